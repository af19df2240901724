"""Templates are filled in one pass, whatever the texts hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bfpo_bench.judges.protocol import PLACEHOLDERS, fill, placeholders, valid_unicode

# Braces and letters that cannot spell a placeholder between them.
LITERAL = st.text(alphabet="{}%$\\ab\n", max_size=12)
VALUES = st.fixed_dictionaries(
    {
        name: st.one_of(st.text(), st.sampled_from([f"{{{n}}}" for n in PLACEHOLDERS]))
        for name in PLACEHOLDERS
    }
)


@given(st.lists(st.tuples(LITERAL, st.sampled_from(PLACEHOLDERS))), LITERAL, VALUES)
def test_filling_is_concatenation(
    parts: list[tuple[str, str]], end: str, values: dict[str, str]
) -> None:
    template = "".join(f"{literal}{{{name}}}" for literal, name in parts) + end
    expected = "".join(literal + values[name] for literal, name in parts) + end
    assert fill(template, values) == expected


def test_what_was_put_in_is_not_looked_at_again() -> None:
    filled = fill("{context}|{response}", {"context": "{response}", "response": "{context}"})
    assert filled == "{response}|{context}"


def test_placeholders_are_told_from_other_braces() -> None:
    assert placeholders('{"a": {0}} {prompt} {{response}} {generation} {}') == {
        "prompt",
        "response",
    }
    assert fill("{prompt} {behavior}", {"prompt": "p"}) == "p {behavior}"


@given(st.text(alphabet=st.characters(codec=None)))
def test_surrogates_become_valid_text(text: str) -> None:
    valid = valid_unicode(text)
    valid.encode("utf-8")
    assert valid_unicode(valid) == valid
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert valid == text


def test_surrogate_pairs_are_joined_and_lone_ones_replaced() -> None:
    assert valid_unicode("a\ud83d\ude00b") == "a😀b"
    assert valid_unicode("a\ud83db\ude00") == "a\ufffdb\ufffd"
