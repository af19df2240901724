"""Rows in little memory are the rows that were given."""

from __future__ import annotations

import gc
import tracemalloc
import zlib
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bfpo_bench.common import lazy
from bfpo_bench.common.lazy import CompactRows

VALUES = st.one_of(
    st.text(), st.integers(), st.floats(allow_nan=False), st.lists(st.text()), st.just("\ud800")
)


@given(st.lists(st.dictionaries(st.text(), VALUES), max_size=9), st.integers(1, 4))
def test_rows_come_back_as_they_were(rows: list[dict[str, Any]], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy, "BLOCK", block)
        found = CompactRows(iter(rows))
        assert len(found) == len(rows)
        assert list(found) == rows
        assert [found[i] for i in reversed(range(len(rows)))] == rows[::-1]
        assert found[-3:] == rows[-3:]
        assert [list(map(type, row.values())) for row in found] == [
            list(map(type, row.values())) for row in rows
        ]
        with pytest.raises(IndexError):
            found[len(rows)]


def test_a_block_read_in_order_is_unpacked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = CompactRows({"n": n} for n in range(3 * lazy.BLOCK))
    unpack = Mock(side_effect=zlib.decompress)
    monkeypatch.setattr(lazy.zlib, "decompress", unpack)
    assert [rows[n]["n"] for n in range(len(rows))] == list(range(len(rows)))
    assert unpack.call_count == 3


def test_they_take_a_fraction_of_the_memory() -> None:
    gc.collect()
    words = [f"word{n}" for n in range(12)]
    tracemalloc.start()
    try:
        given = [{"prompt": f"{n} " + " ".join(words[n % 7 :] * 5), "id": n} for n in range(5000)]
        plain = tracemalloc.get_traced_memory()[0]
        rows = CompactRows(given)
        del given
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < plain / 8
        assert rows[4999]["id"] == 4999
    finally:
        tracemalloc.stop()
