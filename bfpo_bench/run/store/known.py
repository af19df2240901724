"""Which of the things asked are answered already, and by what: one question has one answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.run.store.store import Store

_AROUND = 20
"""Characters shown before and after the first difference of two texts."""


def known(
    store: Store,
    table: str,
    asked: Iterable[tuple[tuple[Any, ...], str]],
    shown: Callable[[int], Mapping[str, Any]],
    **where: str,
) -> set[int]:
    """Numbers (from 0) of the questions that are answered in the store, under the same key.

    In a store that was of schema 1, whose keys were made by other rules, an answer is taken over
    where all that is written beside it agrees; run.json has answered for the rest.

    Args:
        asked: what is asked, and the key that its answer would have.
        shown: what a question consists of, by the columns of the table.
        where: the columns that all questions share, such as the task.

    Raises:
        BadInput: a question is answered under another key; names it, and what differs.
    """
    stored = store.answered(table, **where)
    found: set[int] = set()
    taken_over: dict[str, str] = {}
    lenient: bool | None = None
    for number, (what, key) in enumerate(asked):
        before = stored.get(what)
        if before == key:
            found.add(number)
        elif before is not None:
            lenient = store.of_schema_1 if lenient is None else lenient
            different = _differences(store, table, before, shown(number))
            if different or not lenient:
                raise BadInput(_refusal(store, where, what, different))
            taken_over[before] = key
            found.add(number)
    if taken_over:
        store.rekey(table, taken_over)
    return found


def _differences(store: Store, table: str, key: str, asked: Mapping[str, Any]) -> list[str]:
    if not asked:
        return []
    [row] = store.select(f"SELECT {', '.join(asked)} FROM {table} WHERE key = ?", key)
    return [
        f"its {name} has {_excerpt(old, new)} there, {_excerpt(new, old)} is asked for"
        for (name, new), old in zip(asked.items(), row, strict=True)
        if old != new
    ]


def _excerpt(text: Any, other: Any) -> str:
    """A value, or of a text what stands around its first difference from another."""
    if not (isinstance(text, str) and isinstance(other, str)):
        return repr(text)
    same = next(
        (at for at, (a, b) in enumerate(zip(text, other, strict=False)) if a != b),
        min(len(text), len(other)),
    )
    begin, end = max(0, same - _AROUND), same + _AROUND
    return f"{'…' if begin else ''}{text[begin:end]!r}{'…' if end < len(text) else ''}"


def _refusal(
    store: Store, where: Mapping[str, str], what: tuple[Any, ...], different: list[str]
) -> str:
    task, item = where["task"], what[0]
    by = f" by {where['judge']}" if "judge" in where else ""
    why = different[0] if different else "the model or its settings differ from those of then"
    return (
        f"{store.path} holds an answer to {task}, item {item}{by} that was made in another way: "
        f"{why}. An item has one answer in a run; use another run directory, or "
        "begin this one again with --fresh."
    )
