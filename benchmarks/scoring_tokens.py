"""Tokens that scoring computes against those that the prefix tree holds, on whole tasks.

Plans only: no weight is read, so all items of all tasks take seconds. For example::

    python -m benchmarks.scoring_tokens --model smollm2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.counting import load
from benchmarks.items import read_items
from benchmarks.pages import head, model_name, real_data, run, table
from bfpo_bench.engines.prefix.attention import TILES
from bfpo_bench.engines.prefix.scorer import Scorer
from bfpo_bench.engines.prefix.tree import SortedRequests
from bfpo_bench.engines.tokenization import encode_pairs

COLUMNS = (
    *("task", "items", "asked", "tree", "tiles", "of the tree", "batches"),
    *("short rows", "of the tree"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Counts, writes the page, prints it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scoring_tokens",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", type=model_name, required=True, help="a checkpoint folder, or smollm2"
    )
    parser.add_argument("--tokens", type=int, default=2048, help="of a batch at most")
    parser.add_argument(
        "--tasks", nargs="*", default=[], help="names of scored tasks; default: all"
    )
    parser.add_argument("--limit", type=int, help="items per task; all by default")
    parser.add_argument("--data-dir", type=Path, default=real_data(), help="of real data")
    return run("scoring_tokens", arguments, parser, measure)


def measure(options: argparse.Namespace, command: str) -> tuple[str, str]:
    """Plans every task in both ways.

    Returns:
        the page's name and its text.
    """
    from bfpo_bench.engines.hf.load import outline

    options.model = Path(options.model)
    model, (_, tokenizer) = outline(options.model), load(options.model)
    rows = []
    for asked in read_items(options.tasks, options.data_dir, options.limit, 0, False):
        pairs = encode_pairs(tokenizer, [(r.context, r.continuation) for r in asked.requests])
        ordered = SortedRequests([[*context, *more][:-1] for context, more in pairs])
        tree = ordered.tree_tokens()
        tiles, batches = computed(Scorer(model, options.tokens, kind=TILES), ordered)
        short, _ = computed(Scorer(model, options.tokens), ordered)
        counts = (asked.items, int(ordered.lengths.sum()), tree, tiles)
        shares = (f"{tiles / tree:.2%}", f"{batches:,}", f"{short:,}", f"{short / tree:.2%}")
        rows.append((asked.name, *(f"{count:,}" for count in counts), *shares))
    facts = {"Model": options.model.name, "Batches": f"of at most {options.tokens:,} tokens"}
    notes = (
        "*Asked*: tokens of all requests. *Tree*: tokens of their prefix tree, the least that has "
        "to be computed. *Tiles*: tokens that go through the model in rows as long as a batch. "
        "*Short rows*: the same, padding included, for models that need one dense mask."
    )
    top = head(f"Tokens computed: {options.model.name}", command, facts)
    page = "\n".join([*top, *table(COLUMNS, rows), "", notes, ""])
    return f"scoring-tokens-{options.model.name}", page


def computed(scorer: Scorer, ordered: SortedRequests) -> tuple[int, int]:
    """Tokens that go through the model, padding included, and in how many batches."""
    batches = scorer.batches(ordered, scorer.max_tokens)
    held = [[sum(map(ordered.tokens_of, row)) for row in batch] for batch in batches]
    return sum(len(batch) * max(batch) for batch in held), len(batches)


if __name__ == "__main__":
    raise SystemExit(main())
