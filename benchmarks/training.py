"""Preference training side by side with TRL's DPOTrainer: the same model, tokens, order, precision.

Both precompute the reference's log-probabilities (that pass has a row of its own); then the
contenders take turns, update by update, each in a process of its own. DPO is there twice, so that
its losses can be compared; our other losses show that they cost the same. For example::

    OMP_NUM_THREADS=2 python -m benchmarks.training --model tiny --updates 6
    OMP_NUM_THREADS=2 python -m benchmarks.training --model 0.5b --updates 2 --per-update 2 \\
        --min-prompt 256 --losses dpo
    python -m benchmarks.training --model 7b --device cuda --bf16 --layers mlp.down_proj \\
        --checkpointing --per-update 32 --at-once 4 --updates 8
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median

from benchmarks.contender import Contender, OutOfTime
from benchmarks.counting import count_tokens
from benchmarks.matrix_rate import matrix_rate
from benchmarks.pages import head, left_out, model_name, real_data, run, table
from benchmarks.random_models import MODELS, SHAPES, make_model
from benchmarks.training_contenders import TRL, Ready, Setup, Update, serve
from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.tokenize import TokenPair

FILE = Path("preference") / "dpo_pairs_300_sharegpt.json"
LOSSES = ("dpo", "ipo", "bfpo", "modpo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, writes the page, prints it."""
    return run("training", arguments, _parser(), measure)


def measure(options: argparse.Namespace, command: str) -> tuple[str, str]:
    """Runs the contenders; the page's name and its text."""
    model, pairs = _model_and_pairs(options)
    wanted = options.updates * options.per_update
    pairs = [pair for pair in pairs if len(pair.prompt) >= options.min_prompt][:wanted]
    if len(pairs) < wanted or options.per_update % options.at_once:
        raise BadInput(
            f"{options.updates} updates of {options.per_update} pairs, {options.at_once} at once, "
            f"cannot be made of {len(pairs)} pairs; ask for fewer."
        )
    rate = matrix_rate(options.device, "bfloat16" if options.bf16 else "float32")
    kinds = [*([] if options.without_trl else [TRL]), *(f"ours {loss}" for loss in options.losses)]
    contenders: list[Contender] = []
    updates: dict[str, list[Update]] = {kind: [] for kind in kinds}
    peaks: dict[str, int] = {}

    def start(kind: str) -> Contender:
        setup = Setup(
            kind=kind,
            model=model,
            pairs=pairs,
            per_update=options.per_update,
            at_once=options.at_once,
            layers=tuple(options.layers),
            bf16=options.bf16,
            checkpointing=options.checkpointing,
            device=options.device,
        )
        return Contender(kind, serve, setup, options.until)

    def step(contender: Contender) -> None:
        update: Update = contender.ask("update")
        updates[contender.kind].append(update)
        print(f"{contender.kind}: {update}", file=sys.stderr)

    ready: dict[str, Ready] = {}
    # A GPU's memory is one's alone.
    groups = [[kind] for kind in kinds] if options.device == "cuda" else [kinds]
    for group in groups:
        try:
            contenders = []
            for kind in group:
                contenders.append(start(kind))
                ready[kind] = contenders[-1].ready
            for number in range(options.updates):
                turn = number % len(contenders)
                for contender in contenders[turn:] + contenders[:turn]:
                    step(contender)
            for contender in contenders:
                peaks[contender.kind] = contender.ask("peak memory")
        except OutOfTime as error:
            print(error, file=sys.stderr)
            break
        finally:
            for contender in contenders:
                contender.close()
    updates = {kind: updates[kind] for kind in kinds if kind in peaks}
    if not updates:
        raise OutOfTime(f"{options.seconds:g} s do not suffice for {kinds[0]!r} alone.")
    page = _page(options, command, pairs, model, rate, ready, updates, peaks)
    return f"training-{Path(options.model).name}-{options.device}", page


def _model_and_pairs(options: argparse.Namespace) -> tuple[Path, list[TokenPair]]:
    """The model's folder and the file's pairs as its tokens, in the paper's limits."""
    from bfpo_bench.engines.tokenization import load_tokenizer
    from bfpo_bench.training.data.limits import Limits
    from bfpo_bench.training.data.load import load_set
    from bfpo_bench.training.data.preferences import make_pairs
    from bfpo_bench.training.data.tokenize import tokenize_pairs
    from bfpo_bench.training.prepared import TEMPLATES
    from bfpo_bench.training.recipe_parts import DataRecipe

    if options.data is None:
        raise BadInput("there are no pairs to train on; name a file of them with --data.")
    loaded = load_set(
        DataRecipe("pairs", "bfpo", (str(options.data),), all_safe=True, skip_bad_rows=True)
    )
    pairs = make_pairs("bfpo", loaded.records)
    model = Path(options.model)
    if options.model in SHAPES:
        texts = [t for p in pairs for t in (*(c for _, c in p.prompt), p.chosen, p.rejected)]
        dtype = "bfloat16" if options.bf16 else "float32"
        model = make_model(options.model, options.models, texts, dtype)
    template = (TEMPLATES / "zephyr.jinja").read_text(encoding="utf-8")
    tokens, _ = tokenize_pairs(
        pairs, load_tokenizer(model), template=template, limits=Limits(1024, 512)
    )
    return model, tokens


def _page(
    options: argparse.Namespace,
    command: str,
    pairs: Sequence[TokenPair],
    model: Path,
    rate: float,
    ready: dict[str, Ready],
    updates: dict[str, list[Update]],
    peaks: dict[str, int],
) -> str:
    from transformers import AutoConfig

    held = count_tokens([(p.prompt, r) for p in pairs for r in (p.chosen, p.rejected)])
    per_update = held.asked / options.updates
    operations = held.operations(AutoConfig.from_pretrained(model)) / options.updates
    name = Path(options.model).name
    first = next(iter(updates))
    facts = {
        "Model": f"{name}{' (random weights)' if options.model in SHAPES else ''}, "
        f"{'bf16' if options.bf16 else 'fp32'} on {options.device}, trained: "
        f"{', '.join(options.layers) or 'everything'} ({ready[first].parameters:,} parameters), "
        f"gradient checkpointing {'on' if options.checkpointing else 'off'}",
        "Pairs": f"{len(pairs)} of {options.data.name}, {options.per_update} per update, "
        f"{options.at_once} at once; mean tokens: prompt {mean(len(p.prompt) for p in pairs):.0f}, "
        f"chosen {mean(len(p.chosen) for p in pairs):.0f}, "
        f"rejected {mean(len(p.rejected) for p in pairs):.0f}",
        "Tokens": f"{held.asked:,} in all sequences, {held.tree:,} with each prompt once "
        f"({held.asked / held.tree:.2f} times fewer)",
        "Matrix products": f"{rate / 1e9:,.0f} GFLOP/s",
    }

    def middle(kind: str, clock: str) -> float:
        # The first update also warms up.
        some = updates[kind][1:] or updates[kind]
        return float(median(getattr(update, clock) for update in some))

    rows: list[list[str]] = []
    for kind, done in updates.items():
        seconds, cpu = middle(kind, "seconds"), middle(kind, "cpu_seconds")
        work = operations * (2 + ready[kind].share)
        difference = ""
        if kind == "ours dpo" and TRL in updates:
            both = zip(done, updates[TRL], strict=True)
            difference = f"{max(abs(mine.loss - theirs.loss) for mine, theirs in both):.1e}"
        rows.append(
            [
                *(kind, f"{seconds:.2f}", f"{middle(first, 'seconds') / seconds:.2f}"),
                *(f"{cpu:.2f}", f"{middle(first, 'cpu_seconds') / cpu:.2f}"),
                *(f"{per_update / seconds:,.0f}", f"{peaks[kind] / 2**20:,.0f}"),
                *(f"{work / seconds / rate:.0%}", difference),
                *(f"{ready[kind].seconds:.1f}", f"{ready[kind].cpu_seconds:.1f}"),
            ]
        )
    columns = (
        *("trainer", "s per update", "× faster", "CPU s", "× fewer", "tokens/s", "peak MiB"),
        *("utilisation", "largest loss difference", "reference pass s", "CPU s of it"),
    )
    lines = head(f"Training: {name} on {options.device}", command, facts)
    lines += left_out(kind for kind in ready if kind not in updates)
    lines += [*table(columns, rows), ""]
    lines += [
        "Medians over the updates after the first; *× faster* and *× fewer* are those of "
        f"{first} over the row's. *CPU s*: processor time of the process, which other programs on "
        "the machine disturb less. *tokens/s*: of all sequences, prompts counted for both "
        "responses, whoever computes them once. *Peak*: resident memory of the process with its "
        "libraries, or what torch's allocator held on a GPU. *Utilisation*: operations of "
        "computing each distinct token once forward, its gradient once and that of the trained "
        "weights, per second, over the rate of a plain matrix product. *Largest loss difference*: "
        "of an update's DPO loss from TRL's.",
        "",
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--model",
        type=model_name,
        default="tiny",
        help=f"{', '.join(SHAPES)} (random weights), smollm2 (a real one) or a folder",
    )
    add("--device", default="cpu", choices=["cpu", "cuda"])
    add("--bf16", action="store_true", help="products in bfloat16")
    add("--layers", nargs="*", default=[], help="name patterns of what is trained; default: all")
    add("--checkpointing", action="store_true", help="gradient checkpointing")
    add("--without-trl", action="store_true", help="ours alone")
    add("--losses", nargs="*", default=list(LOSSES), choices=LOSSES)
    add("--updates", type=int, default=6)
    add("--per-update", type=int, default=8, help="pairs")
    add("--at-once", type=int, default=2, help="pairs that go through the model together")
    add("--min-prompt", type=int, default=0, help="only pairs with prompts of so many tokens")
    data = real_data()
    pairs = data / FILE if data and (data / FILE).is_file() else None
    add("--data", type=Path, default=pairs, help="file of pairs in any format that recipes take")
    add("--models", type=Path, default=MODELS)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
