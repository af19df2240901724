"""Sets of prompts, harmful ones and benign ones that look harmful, in one kind of canonical row."""

from __future__ import annotations

from collections.abc import Callable

from bfpo_bench.data import Hub, Record, Row, Source, Variant, from_csv, from_hub, from_jsonl

Read = Callable[[Record], Row | None]
"""A record of a set → ``{"prompt": …, "category": …}``; None where it belongs to another part."""


def prompt_set(
    name: str,
    file: str,
    row: Read,
    hub: tuple[str, str | None, str],
    licence: str,
    homepage: str,
    *,
    rows: int | None = None,
    digest: str | None = None,
    columns: tuple[str, ...] = (),
    hub_row: Read | None = None,
    harmful: bool = False,
) -> Source:
    """The source of a set that is published as one file.

    Args:
        file: its place in a data folder: CSV, or JSON lines.
        row: reads one record of it.
        hub: repository, configuration and split on the hub.
        columns: those that a CSV file must have.
        hub_row: reads one record of the hub, where its columns have other names.
        harmful: whether red teaming can ask these prompts.
    """
    return Source(
        name=name,
        variants=(
            Variant(
                name="default",
                rows=rows,
                digest=digest,
                layouts=((file,),),
                read=from_csv(row, *columns) if file.endswith(".csv") else from_jsonl(row),
                hub=Hub(hub[0], hub[2], from_hub(hub_row or row), hub[1]),
            ),
        ),
        fields={"prompt": str, "category": str},
        extras=("category",),
        licence=licence,
        homepage=homepage,
        prompt="prompt" if harmful else None,
        category="category",
    )
