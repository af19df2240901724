"""The 12 discriminative tasks against lm-evaluation-harness's own, on the same rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.stock_tasks import STOCK, load_stock

from .conftest import DISC, load_task, requests

# Documents of our local copies, where FACTS' counts hold for them; None: not at hand.
REAL = {
    "bfpo_crows_pairs": 1508,
    "bfpo_bbq_lite": 16076,
    "bfpo_winogrande": 1267,
    "bfpo_ethics_cm": 3885,
    "bfpo_ethics_justice": 2704,
    "bfpo_ethics_deontology": 3596,
    "bfpo_ethics_utilitarianism": 4808,
    "bfpo_ethics_virtue": 4975,
    "bfpo_toxigen": 940,
    "bfpo_hhh_alignment": 221,
}


def log_likelihoods(choices: int, rng: random.Random) -> list[tuple[float, bool]]:
    """Made-up answers of a model; rounded, so that ties come up."""
    return [(round(rng.gauss(-12, 4)), rng.random() < 0.1) for _ in range(choices)]


def assert_same(ours: Any, stock: Any, draws: int = 5) -> None:
    """Same requests for every document, and the same scores for the same answers."""
    asked = requests(ours)
    assert asked == requests(stock)
    rng = random.Random(0)
    n_choices = [0] * len(ours.eval_docs)
    for doc_id, *_ in asked:
        n_choices[doc_id] += 1
    for n, our_doc, stock_doc in zip(n_choices, ours.eval_docs, stock.eval_docs, strict=True):
        for _ in range(draws):
            answers = log_likelihoods(n, rng)
            scored = ours.process_results(our_doc, answers)
            assert scored == stock.process_results(stock_doc, answers)
    assert ours.aggregation() == stock.aggregation()
    assert ours.higher_is_better() == stock.higher_is_better()
    assert scored.keys() == ours.aggregation().keys()


def test_every_discriminative_task_has_its_stock_task() -> None:
    assert list(STOCK) == DISC


@pytest.mark.parametrize("name", DISC)
def test_equals_stock_on_mini_items(name: str, compiled_once: Callable[..., Any]) -> None:
    ours = load_task(name, mini=True)
    assert len(ours.eval_docs) >= 24
    assert_same(ours, load_stock(name, ours.eval_docs))


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_equals_stock_on_real_data(
    name: str, data_dir: Path, compiled_once: Callable[..., Any]
) -> None:
    ours = load_task(
        name,
        data_dir=data_dir,
        variants={"crows_pairs": "original"},
        allow_unpinned=True,  # our ToxiGen is a stand-in
    )
    assert len(ours.eval_docs) == REAL[name]
    assert_same(ours, load_stock(name, ours.eval_docs), draws=1)


def test_equals_stock_on_awkward_text(
    monkeypatch: pytest.MonkeyPatch, compiled_once: Callable[..., Any]
) -> None:
    """Braces, quotes, surrounding blanks: what a template engine could stumble over."""
    awkward = [" {{ doc }} {% x %}\n", 'it\'s "so"', "naïve – 例\\n\t ", "a_b", "7", "[1]"]
    by_field = {
        "bfpo_ethics_cm": [{"input": text, "label": 1} for text in awkward],
        "bfpo_ethics_justice": [{"scenario": text, "label": 0} for text in awkward],
        "bfpo_ethics_deontology": [
            {"scenario": text, "excuse": other, "label": 1}
            for text, other in zip(awkward, reversed(awkward), strict=True)
        ],
        "bfpo_ethics_utilitarianism": [
            {"activity": text, "baseline": other}
            for text, other in zip(awkward, reversed(awkward), strict=True)
        ],
        "bfpo_ethics_virtue": [
            {"scenario": text, "trait": other, "label": 0}
            for text, other in zip(awkward, reversed(awkward), strict=True)
        ],
        "bfpo_toxigen": [
            {"text": text, "toxicity_ai": ai, "toxicity_human": 2.5}
            for text, ai in zip(awkward, (1.0, 2.99, 3.0, 3.01, 4.0, 5.0), strict=True)
        ],
        "bfpo_winogrande": [
            {"sentence": f"{text} _ {text}", "option1": text, "option2": "b", "answer": "2"}
            for text in awkward
        ],
        "bfpo_crows_pairs": [{"sent_more": text, "sent_less": "x"} for text in awkward],
        "bfpo_bbq_lite": [
            {"inputs": text, "choices": [text, "b", text], "scores": [0, 0, 1]} for text in awkward
        ],
        "bfpo_simple_ethical_questions": [
            {"inputs": text, "choices": [*awkward], "scores": [0, 1, 0, 1, 0, 0]}
            for text in awkward
        ],
    }
    for name, rows in by_field.items():
        with monkeypatch.context() as patch:
            pretend_source(rows, patch)
            ours = load_task(name)
            assert_same(ours, load_stock(name, ours.eval_docs))


def pretend_source(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every source yields these rows."""
    from types import SimpleNamespace

    from bfpo_bench.data import Source
    from bfpo_bench.tasks import rows as module

    loaded = SimpleNamespace(rows=rows, marks=[])
    monkeypatch.setattr(module, "load_source", lambda *_, **__: loaded)
    monkeypatch.setattr(Source, "ids", lambda _, rows: [str(i) for i in range(len(rows))])
