"""Texts from outside."""

from __future__ import annotations

import pytest

from bfpo_bench.common.text import LONGEST, sentence, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
        ("\x9b2J\rgone", r"\x9b2J\rgone"),
        ("one\ntwo\t3", "one\ntwo\t3"),
        ("abc\u202ecba \u2066x", r"abc\u202ecba \u2066x"),
        (
            "half \ud800, line\u2028end, tag \U000e0041",
            r"half \ud800, line\u2028end, tag \U000e0041",
        ),
        ("na\u00efve \u4f60\u597d \u00a0 \U0001f468\u200d\U0001f469", "naïve 你好 \u00a0 👨‍👩"),
    ],
)
def test_nothing_foreign_steers_a_terminal(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


def test_a_sentence_keeps_its_begin_and_its_end() -> None:
    assert sentence("bfpo-bench: Größe \u202e.") == "bfpo-bench: Größe \\u202e."
    for middle in ("x" * 35_000_000, "\x1b" * LONGEST, "\x1b" * (LONGEST - 100)):
        shown = sentence(f"bfpo-bench: {middle}; mend it.")
        assert len(shown) in (LONGEST - 1, LONGEST)
        assert shown.startswith("bfpo-bench: ")
        assert shown.endswith("; mend it.")
        assert " [… cut …] " in shown
        assert "\x1b" not in shown
