"""Agreement over classes against scikit-learn, Krippendorff's examples and closed forms."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfpo_bench.judges.classes import compare_classes


# Krippendorff, Computing Krippendorff's alpha-reliability (2011): two observers, no missing data.
@pytest.mark.parametrize(
    ("one", "other", "alpha"),
    [
        ("0100000010", "1110010000", 0.095),  # A: binary data
        ("aabbdcccedda", "babbbccceddd", 0.692),  # B: nominal data
    ],
)
def test_alpha_of_the_published_examples(one: str, other: str, alpha: float) -> None:
    names = sorted({*one, *other})
    found = compare_classes(list(one), list(other), names)
    assert found.measures["alpha"].value == pytest.approx(alpha, abs=5e-4)


PAIRS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=40
)


@settings(deadline=None, max_examples=25)
@given(PAIRS)
def test_values_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    from sklearn import metrics

    labels, said = zip(*pairs, strict=True)
    found = compare_classes([None if v == "d" else v for v in said], labels, "abc")
    kept = [(label, verdict) for label, verdict in pairs if verdict != "d"]
    assert sum(found.unknown) == len(pairs) - len(kept)
    if not kept:
        assert all(measure.value is None for measure in found.measures.values())
        return
    truth, verdicts = (list(column) for column in zip(*kept, strict=True))
    every = {"y_true": truth, "y_pred": verdicts}
    values = {name: measure.value for name, measure in found.measures.items()}
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(**every))
    assert values["macro_f1"] == pytest.approx(metrics.f1_score(**every, average="macro"))
    if len({*truth, *verdicts}) > 1:
        assert values["kappa"] == pytest.approx(metrics.cohen_kappa_score(truth, verdicts))
    else:
        assert values["kappa"] is None
    matrix = metrics.confusion_matrix(**every, labels=list("abc"))
    assert found.confusion == tuple(map(tuple, matrix.tolist()))
    by_class = metrics.precision_recall_fscore_support(**every, labels=list("abc"), zero_division=0)
    for i, name in enumerate("abc"):
        for what, theirs in zip(("precision", "recall", "f1"), by_class, strict=False):
            assert (found.per_class[name][what].value or 0) == pytest.approx(theirs[i])


def test_intervals_hold_the_value_and_shrink() -> None:
    """A tenth of the width with a hundred times the responses."""
    labels, said = ["a", "a", "b", "b", "c"] * 12, ["a", "b", "b", "b", "a"] * 12
    few, many = (compare_classes(said * n, labels * n, "abc") for n in (1, 100))
    for one, other in zip(few.measures.values(), many.measures.values(), strict=True):
        for measure in (one, other):
            assert measure.value is not None
            assert measure.low is not None
            assert measure.high is not None
            assert measure.low < measure.value < measure.high
        assert other.high is not None
        assert one.high is not None
        assert other.low is not None
        assert one.low is not None
        assert (one.high - one.low) / (other.high - other.low) == pytest.approx(10, rel=0.1)


def test_a_perfect_judge_and_none() -> None:
    perfect = compare_classes(list("aabc"), list("aabc"), "abc")
    assert [measure.value for measure in perfect.measures.values()] == [1, 1, 1, 1]
    nothing = compare_classes([], [], "abc")
    assert nothing.to_json()["per_class"]["b"] == {
        "n": 0,
        "precision": None,
        "recall": None,
        "f1": None,
    }
