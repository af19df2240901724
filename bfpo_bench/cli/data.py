"""``bfpo-bench data``: which data the tasks read, and whether what is there is the right data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bfpo_bench.data import Hub, Variant

app = typer.Typer(
    help="Show where the data of the tasks comes from, and check copies of it.",
    short_help="Show where the data comes from, and check it",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_LIST_EXAMPLE = "Example: bfpo-bench data list --data-dir ./data"
_CHECK_EXAMPLE = """
Examples:

  bfpo-bench data check --data-dir ./data

  bfpo-bench data check --source winogrande --source crows_pairs --variant crows_pairs=original

A source that is not in the data folder is looked for on the Hugging Face hub. Exit code 2 when a
source was refused, or when one named with --source was not found.
"""

DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of upstream files; default: BFPO_DATA_DIR. See docs/data.md."),
]


@app.command("list", epilog=_LIST_EXAMPLE)
def list_sources(data_dir: DataDir = None) -> None:
    """List every source and variant: origin, expected rows and digest, licence. Reads no data."""
    from bfpo_bench import data
    from bfpo_bench.cli.terminal import print_rows
    from bfpo_bench.tasks.catalog import all_sources

    folder = data.find_data_dir(data_dir)
    rows = []
    for source in all_sources().values():
        for variant in source.variants:
            is_default = variant is source.default and len(source.variants) > 1
            cells = (
                source.name,
                variant.name + (" (default)" if is_default else ""),
                _presence(variant, folder),
                _address(variant.hub),
                _count(variant.rows),
                _short(variant.digest),
                source.licence,
            )
            rows.append(cells)
    heads = ("Source", "Variant", "In folder", "Hub", "Rows", "Digest", "Licence")
    print_rows(f"data folder: {folder or 'none'}", heads, rows)


@app.command("check", epilog=_CHECK_EXAMPLE)
def check(
    data_dir: DataDir = None,
    source: Annotated[
        list[str] | None, typer.Option(help="Check only this source; can be repeated.")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE=NAME", help="Take this variant of a source; can be repeated."),
    ] = None,
    allow_unpinned: Annotated[
        bool, typer.Option("--allow-unpinned", help="Let data that differs pass, marked.")
    ] = False,
    mini: Annotated[
        bool, typer.Option("--mini", help="Check the bundled demonstration items instead.")
    ] = False,
) -> None:
    """Read every source and compare its rows with the expected count and digest."""
    from bfpo_bench import data
    from bfpo_bench.cli.terminal import print_rows, say
    from bfpo_bench.evaluation.options import read_variants
    from bfpo_bench.tasks.catalog import all_sources, find_source

    variants = read_variants(variant)
    named = [find_source(name).name for name in source or []]
    folder = data.find_data_dir(data_dir)
    title = "bundled mini items" if mini else f"data folder: {folder or 'none'}"
    rows, failures = [], []
    with data.one_failure_is_enough():
        for name in named or all_sources():
            checked = _check(name, variants.get(name), folder, mini, allow_unpinned)
            rows.append(checked.cells)
            if checked.status == "refused" or (checked.status == "not found" and name in named):
                failures.append(checked.sentence)
    heads = ("Source", "Variant", "Where", "Rows", "Digest", "Status", "Licence")
    print_rows(title, heads, rows)
    for sentence in failures:
        say(f"bfpo-bench: {sentence}", err=True)
    if failures:
        raise typer.Exit(2)


@dataclass(frozen=True)
class _Checked:
    cells: list[str]
    status: str
    sentence: str


def _check(
    name: str, variant: str | None, folder: Path | None, mini: bool, allow_unpinned: bool
) -> _Checked:
    from bfpo_bench import data
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.tasks.catalog import find_source

    source = find_source(name)
    wanted = source.variant(variant)
    loaded: data.Loaded | None = None
    sentence = ""
    try:
        loaded = data.load_source(
            source, data_dir=folder, variant=variant, mini=mini, allow_unpinned=allow_unpinned
        )
        status = str(loaded.status)
    except data.HubUnavailable as error:
        status, sentence = "not found", str(error)
    except BadInput as error:
        status, sentence = "refused", str(error)
        try:  # once more, to show what was found: a file that can be read at all has rows
            loaded = data.load_source(source, data_dir=folder, variant=variant, allow_unpinned=True)
        except BadInput:
            loaded = None
    expected = None if mini else wanted.rows
    cells = [
        name,
        loaded.variant if loaded else wanted.name,
        _where(loaded.where, folder) if loaded else "-",
        f"{len(loaded.rows) if loaded else '-'} / {_count(expected)}",
        loaded.digest[:12] if loaded else "-",
        status,
        "Apache-2.0 (this project)" if mini else source.licence,
    ]
    return _Checked(cells, status, sentence)


def _address(hub: Hub | None) -> str:
    """The data set on the hub, and which part of it."""
    if hub is None:
        return "-"
    return " ".join(part for part in (hub.repo, hub.config or hub.file) if part)


def _presence(variant: Variant, folder: Path | None) -> str:
    from bfpo_bench import data
    from bfpo_bench.common.errors import BadInput

    try:
        return "yes" if data.local_files(variant, folder) else "no"
    except BadInput:
        return "in part"


def _where(place: str, folder: Path | None) -> str:
    """The place, shortened to what lies in the data folder."""
    return place.removeprefix(f"{folder}/") if folder else place


def _count(rows: int | None) -> str:
    return "not known" if rows is None else str(rows)


def _short(digest: str | None) -> str:
    return "not known" if digest is None else digest[:12]
