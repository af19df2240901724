"""How long a pair may be, and what is cut of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.limits import Ids, Limits, fit


def numbers(prompt: int, chosen: int, rejected: int) -> Ids:
    """Ids that tell where they stood: prompts count from 0, responses from 10,000 and 20,000."""
    return Ids(
        list(range(prompt)),
        list(range(10_000, 10_000 + chosen)),
        list(range(20_000, 20_000 + rejected)),
    )


@pytest.mark.parametrize(
    ("lengths", "kept"),
    [
        ((800, 224, 100), (800, 224, 100)),  # within 1024: as it is
        ((800, 225, 100), (512, 225, 100)),  # one too long: the prompt to max_prompt, as authors
        ((2000, 300, 512), (512, 300, 512)),
        ((600, 700, 10), (324, 700, 10)),  # the authors would cut the response to 512
        ((100, 1020, 10), (4, 1020, 10)),  # the response stays whole to the last
        ((100, 1021, 10), (100, 924, 10)),  # no room for 4 prompt tokens: the response is cut
        ((900, 3000, 600), (512, 512, 512)),  # as the authors'
        ((3, 1021, 1021), (3, 1021, 1021)),
        ((3, 1022, 1021), (3, 1021, 1021)),
    ],
)
def test_what_the_papers_limits_leave(
    lengths: tuple[int, int, int], kept: tuple[int, int, int]
) -> None:
    fitted = fit(numbers(*lengths), Limits(), keep_start=1, keep_end=3)
    assert tuple(map(len, fitted)) == kept
    assert fitted.prompt[0] == 0
    assert fitted.prompt[1:] == list(range(lengths[0] - kept[0] + 1, lengths[0]))


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60)),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 1),
    st.integers(1, 3),
)
def test_a_cut_pair_fits_and_keeps_its_ends(
    lengths: tuple[int, int, int], max_prompt: int, more: int, start: int, end: int
) -> None:
    limits = Limits(max_prompt + more, max_prompt)
    whole = numbers(*lengths)
    fitted = fit(whole, limits, start, end)
    longer = max(lengths[1:])
    assert len(fitted.prompt) + max(len(fitted.chosen), len(fitted.rejected)) <= limits.max_length
    if lengths[0] + longer <= limits.max_length:
        assert fitted == whole
    # Of a prompt: the first `start` tokens and its end.
    kept = len(fitted.prompt)
    assert kept >= 1
    assert fitted.prompt[:start] == whole.prompt[:start]
    assert (
        fitted.prompt[start:] == whole.prompt[len(whole.prompt) - (kept - start) :][: kept - start]
    )
    # Of a response: its beginning, and all of it unless it leaves no room for the prompt's ends.
    for response, before in zip(fitted[1:], whole[1:], strict=True):
        assert response == before[: len(response)]
        if len(response) < len(before):
            assert longer > limits.max_length - min(lengths[0], max_prompt, start + end)
            assert kept == min(lengths[0], max_prompt)


@pytest.mark.parametrize("limits", [(512, 512), (10, 0)])
def test_limits_that_leave_no_room(limits: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match="max_prompt should be at least 1 and less than max_length"):
        Limits(*limits)
