"""The study's page: the table, what differs from the start, and what the texts look like."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import bfpo_bench
from bfpo_bench.leaderboard.compare import compare_runs
from bfpo_bench.leaderboard.plots.draw import draw_all
from bfpo_bench.run.results_files import read_results
from bfpo_bench.toy_world.study.means import mean

if TYPE_CHECKING:
    from bfpo_bench.leaderboard.rows import Entry

GRAM = 4
"""Words of a phrase that counts as repeated where a response has it twice."""
SHOWN = {
    "harm": "Harm.",
    "harm_refused": "refused",
    "answ": "Answ.",
    "answ_partly_refused": "partly",
    "answ_refused": "refused",
}
SETS = {
    "advbench": "AdvBench, held out",
    "bfpo_xstest_unsafe": "XSTest unsafe",
    "bfpo_xstest_safe": "XSTest safe",
    "bfpo_coconot_contrast": "CoCoNot contrast",
}


def page(runs: Path, models: Path, methods: Sequence[str], pictures: Path, validated: Path) -> str:
    """Markdown of all that is reported.

    Args:
        runs: ``start``, and a folder with the runs of every seed for each method.
        models: the trained models, ``METHOD-SEED``.
        pictures: folder for the plane of Harm. and Answ., and others.
        validated: runs on the validation prompts, by method and rate.
    """
    start, others = runs / "start", [runs / method for method in methods]
    rows = [start, *others]
    board = bfpo_bench.leaderboard(*rows, columns="balance", ci=True)
    pictures.mkdir(exist_ok=True)
    draw_all(board.entries, pictures)
    lines = ["## Means over the seeds", "", *_table(board.entries, SHOWN)]
    lines += ["", "## By set: harmless, then answered", "", *_table(board.entries, SETS)]
    lines += ["", "## By seed, and means with Student's interval over the seeds", ""]
    lines += ["| | Harm. | mean | less DPO | Answ. | mean | less DPO |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|"]
    dpo = _by_seed(runs / "dpo")
    for row in rows:
        found, cells = _by_seed(row), []
        for key, values in found.items():
            pairs = zip(values, dpo[key], strict=False)
            less = [one - other for one, other in pairs] if row.name not in ("start", "dpo") else []
            cells += [" / ".join(f"{one:.1f}" for one in values), _over(values), _over(less)]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    lines += ["", "## What differs from the start", ""]
    lines += [
        "| | difference | 95 % interval | p | Holm | verdict |",
        "|---|---:|---|---:|---:|---|",
    ]
    for pair in compare_runs(rows).pairs:
        lines += [
            f"| {pair.other}: {d.column} | {d.value:+.1f} | [{d.low:+.1f}, {d.high:+.1f}] "
            f"| {d.p:.3f} | {d.holm:.3f} | {d.verdict} |"
            for d in pair.differences
            if d.group == "average"
        ]
    lines += ["", "## The trainings", "", *trainings(models, methods)]
    if validated.is_dir():
        lines += ["", "## Rates, by the first seed on validation prompts", ""]
        lines += rates(validated, methods)
    lines += ["", "## The texts", "", *texts(rows)]
    return "\n".join([*lines, ""])


def _runs(row: Path) -> list[Path]:
    return [row] if (row / "run.json").exists() else sorted(row.iterdir())


def _by_seed(row: Path) -> dict[str, list[float]]:
    found = [read_results(run / "results.json").averages for run in _runs(row)]
    return {key: [float(one[key].value or 0) for one in found] for key in ("harm", "answ")}


def _over(values: Sequence[float]) -> str:
    """A mean over seeds and half of its interval."""
    if not values:
        return ""
    over = mean(values)
    return f"{over.value:.1f}" + ("" if over.half is None else f" ± {over.half:.1f}")


def _table(entries: Sequence[Entry], shown: dict[str, str]) -> list[str]:
    """Percent with its interval over prompts, and the standard deviation over the seeds."""
    lines = [f"| | {' | '.join(shown.values())} |", f"|---|{'---:|' * len(shown)}"]
    for entry in entries:
        cells = []
        for key in shown:
            cell = entry.cells[key]
            spread = "" if cell.spread is None else f" ± {cell.spread:.1f}"
            cells.append(f"{cell.value:.1f}{spread} [{cell.low:.0f}, {cell.high:.0f}]")
        lines.append(f"| {entry.name} | {' | '.join(cells)} |")
    return lines


def trainings(models: Path, methods: Sequence[str]) -> list[str]:
    """Of each method: held-out pairs that went where its loss wants them, means over the seeds."""
    lines = ["| | held-out helpfulness | held-out safety | loss, first to last | s |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for method in methods:
        found = [
            json.loads((one / "training.json").read_text(encoding="utf-8"))
            for one in sorted(models.glob(f"{method}-*"))
            if (one / "training.json").exists()
        ]
        right = {
            name: fmean(_last(record, f"eval_rewards/accuracies_held-{name}") for record in found)
            for name in ("helpfulness", "safety")
        }
        losses = [[c["loss"] for c in record["curves"] if "loss" in c] for record in found]
        seconds = fmean(record["seconds"]["training"] for record in found)
        lines.append(
            f"| {method} | {100 * right['helpfulness']:.0f} % | {100 * right['safety']:.0f} % "
            f"| {fmean(one[0] for one in losses):.3g} to {fmean(one[-1] for one in losses):.3g} "
            f"| {seconds:.0f} |"
        )
    return lines


def rates(validated: Path, methods: Sequence[str]) -> list[str]:
    """What a rate is chosen by: the mean of Harm. and Answ., less the share that goes in circles.

    It is the rule of the study in miniature, with repetition for broken text.

    Args:
        validated: ``start``, and a folder of runs for each method, by rate.
    """
    lines = [
        "| | rate | Harm. | Answ. | repeat a phrase | score |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in ("start", *methods):
        row = validated / name
        for run in _runs(row) if row.is_dir() else ():
            averages = read_results(run / "results.json").averages
            harm, answ = (float(averages[key].value or 0) for key in ("harm", "answ"))
            said = bfpo_bench.samples(run)["response"]
            again = 100 * fmean(float(repeats(str(one))) for one in said)
            cells = [name, "" if run == row else run.name]
            cells += [f"{one:.1f}" for one in (harm, answ, again, (harm + answ) / 2 - again)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _last(record: dict[str, Any], name: str) -> float:
    values = [float(entry[name]) for entry in record["curves"] if name in entry]
    return values[-1] if values else float("nan")


def texts(rows: Sequence[Path]) -> list[str]:
    """How long responses are, how many were cut, go in circles, and how many are sorry.

    The last without any judge, of harmful and of benign prompts: what a model says alike to both
    is no refusal of harm.
    """
    lines = ["| | n | mean tokens | cut | repeat a phrase | sorry: harmful | sorry: benign |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|"]
    for row in rows:
        found = [s for run in _runs(row) for s in bfpo_bench.samples(run).to_dict("records")]
        sorry = {
            group: _percent(
                "sorry" in str(one["response"])[:60] for one in found if one["group"] == group
            )
            for group in ("harm", "answ")
        }
        lines.append(
            f"| {row.name} | {len(found)} | {fmean(one['tokens'] for one in found):.1f} "
            f"| {_percent(one['finish'] == 'length' for one in found)} "
            f"| {_percent(repeats(str(one['response'])) for one in found)} "
            f"| {sorry['harm']} | {sorry['answ']} |"
        )
    return lines


def _percent(which: Iterable[bool]) -> str:
    return f"{100 * fmean(map(float, which)):.0f} %"


def repeats(text: str) -> bool:
    """Whether a phrase of :data:`GRAM` words stands in a text twice."""
    words = text.casefold().split()
    grams = [tuple(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1)]
    return len(set(grams)) < len(grams)
