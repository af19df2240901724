"""A run's scores against stock lm-evaluation-harness, item by item, on the same rows.

A seeded sample of the items that the run holds goes through lm-eval's own tasks and its ``hf``
model: prompts, log-likelihoods, greedy flags and the metric of every item are compared. For
example::

    python -m benchmarks.agreement --run runs/my-model --model ./my-model --items 20
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pages import head, model_name, run, table
from benchmarks.stock_tasks import STOCK, load_stock
from bfpo_bench.common.errors import BadInput
from bfpo_bench.export.samples import RunSamples, Sample


@dataclass(frozen=True)
class Agreement:
    """How a task's sample compares.

    Attributes:
        name: of the task.
        items, choices: how many were compared.
        largest: largest difference of two log-likelihoods.
        prompts, greedy, metrics: whose texts, greedy flags and metric values are equal.
    """

    name: str
    items: int
    choices: int
    largest: float
    prompts: int
    greedy: int
    metrics: int

    @property
    def whole(self) -> bool:
        """Whether everything that can be equal is."""
        equal = (self.prompts, self.greedy, self.metrics)
        return equal == (self.choices, self.choices, self.items)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares, writes the page, prints it."""
    return run("agreement", arguments, _parser(), measure)


def measure(options: argparse.Namespace, command: str) -> tuple[str, str]:
    """Asks lm-eval; see the module.

    Args:
        options: what was asked for.
        command: as which words; the page repeats them.

    Returns:
        the page's name and its text.

    Raises:
        BadInput: the run holds no scores.
    """
    from lm_eval.models.huggingface import HFLM

    name = Path(options.model).name
    with RunSamples(options.run) as samples:
        drawn = {task: _draw(samples, task, options) for task in samples.tasks if task in STOCK}
    if not any(drawn.values()):
        raise BadInput(f"{options.run} holds no scores to compare; evaluate scored tasks first.")
    model = HFLM(
        options.model, dtype=options.dtype, device=options.device, batch_size=options.batch
    )
    found = [compare(task, items, model) for task, items in drawn.items() if items]
    equal = "everything is equal" if all(one.whole for one in found) else "NOT everything is equal"
    facts = {
        "Run": f"{options.run}, {sum(one.items for one in found)} items drawn by seed "
        f"{options.seed}",
        "lm-eval": f"its own tasks and `hf`, batch {options.batch}, {options.dtype} on "
        f"{options.device}",
        "Result": f"{equal}; log-likelihoods differ by {max(one.largest for one in found):.1e} "
        "at most",
    }
    columns = ["Task", "Items", "Choices", "Same texts", "Same greedy", "Same metric", "Largest Δ"]
    lines = head(f"Agreement with lm-eval: {name}", command, facts)
    lines += table(columns, map(_cells, found))
    return f"agreement-{name}", "\n".join(lines) + "\n"


def compare(name: str, items: Sequence[Sample], model: Any) -> Agreement:
    """A task's items by lm-eval's own task and a model of lm-eval's.

    Args:
        name: of our task.
        items: answered items of a finished run.
        model: that has ``loglikelihood``.
    """
    stock = load_stock(name, [item.row for item in items])
    stock.build_all_requests()
    # A request with two texts asks for a log-likelihood; lm-eval counts on their order.
    asked = sorted(stock.instances, key=lambda one: (one.doc_id, one.idx))
    theirs = model.loglikelihood(asked, disable_tqdm=True)
    ours = [score for item in items for score in item.scores]
    pairs = list(zip(ours, asked, theirs, strict=True))
    metrics, at = 0, 0
    for item, doc in zip(items, stock.eval_docs, strict=True):
        answers = theirs[at : at + len(item.scores)]
        at += len(item.scores)
        results = stock.process_results(doc, list(answers))
        metrics += all(
            math.isclose(results[name], value, rel_tol=1e-5, abs_tol=1e-3)  # a difference of sums
            for name, value in item.metrics.items()
        )
    return Agreement(
        name=name,
        items=len(items),
        choices=len(pairs),
        largest=max(abs(mine.loglikelihood - other[0]) for mine, _, other in pairs),
        prompts=sum((mine.context, mine.continuation) == one.args for mine, one, _ in pairs),
        greedy=sum(mine.is_greedy == other[1] for mine, _, other in pairs),
        metrics=metrics,
    )


def _draw(samples: RunSamples, name: str, options: argparse.Namespace) -> list[Sample]:
    """Items of a task by seed, in the order of its source."""
    there = [sample for sample in samples.of(name) if sample.metrics]
    rng = random.Random(f"{options.seed} {name}")
    chosen = rng.sample(range(len(there)), min(options.items, len(there)))
    return [there[index] for index in sorted(chosen)]


def _cells(one: Agreement) -> list[str]:
    counts = [one.items, one.choices, one.prompts, one.greedy, one.metrics]
    return [one.name.removeprefix("bfpo_"), *map(str, counts), f"{one.largest:.1e}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.agreement",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--run", type=Path, required=True, help="a finished run directory")
    add("--model", type=model_name, required=True, help="the model's folder, or smollm2")
    add("--items", type=int, default=20, help="per task")
    add("--seed", type=int, default=0, help="decides which")
    add("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    add("--device", default="cpu")
    add("--batch", type=int, default=8)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
