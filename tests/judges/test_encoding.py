"""Which encoding a file is in: recognised, found out, or asked for."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.judges.encoding import decode, plausibility

ENGLISH = "She didn’t say “no” – a café, naïve, señor, Zoë, Über uns, 5 €"


@pytest.mark.parametrize("encoding", ["cp1252", "mac-roman"])
def test_letters_and_quotation_marks_tell_the_two_apart(encoding: str) -> None:
    assert decode(ENGLISH.encode(encoding), "f") == (ENGLISH, encoding)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (ENGLISH.encode(), (ENGLISH, "utf-8")),
        (codecs.BOM_UTF8 + ENGLISH.encode(), (ENGLISH, "utf-8-sig")),
        (ENGLISH.encode("utf-16"), (ENGLISH, "utf-16")),
        (b"plain", ("plain", "utf-8")),
        (b"", ("", "utf-8")),
    ],
)
def test_unicode_is_recognised(data: bytes, expected: tuple[str, str]) -> None:
    assert decode(data, "f") == expected


def test_where_it_cannot_be_told_the_user_is_asked() -> None:
    # 0xA9 is the copyright sign in both; the second makes no sense in either.
    for data in (b"\xa9 2024", b"\xd7\xd7 \xb8", bytes(range(256))):
        with pytest.raises(BadInput, match="say which with --encoding"):
            decode(data, "labels.csv")


def test_a_named_encoding_is_taken_or_refused_by_name() -> None:
    assert decode("é".encode("latin-1"), "f", "latin-1") == ("é", "latin-1")
    with pytest.raises(BadInput, match="unknown encoding 'klingon'"):
        decode(b"", "f", "klingon")
    with pytest.raises(BadInput, match=r"f is not ascii text \(.*\); try another --encoding"):
        decode(b"\xe9", "f", "ascii")
    with pytest.raises(BadInput, match="is not utf-16 text"):
        decode(codecs.BOM_UTF16_LE + b"a", "f")


def test_what_makes_sense_counts_for_and_the_rest_against() -> None:
    assert plausibility("café “x” École") == 4
    assert plausibility("caf√©") == 0  # the root counts against, the copyright sign for
    assert plausibility("cafŽ Ódon'tÓ") == -2 + 1
    assert plausibility("plain") == 0


def test_the_real_file_is_mac_roman(data_dir: Path) -> None:
    file = data_dir / "jailbreakbench" / "judge-comparison.csv"
    if not file.is_file():
        pytest.skip(f"no {file}")
    text, encoding = decode(file.read_bytes(), file.name)
    assert encoding == "mac-roman"
    assert "ó" in text
