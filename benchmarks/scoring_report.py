"""The scoring benchmark's figures as a Markdown page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.counting import Count
from benchmarks.engines import Answers, Ready, Timing
from benchmarks.items import Asked
from benchmarks.pages import table


def columns(baseline: str) -> tuple[str, ...]:
    """Of the table, beside an engine that all are compared with."""
    return (
        *("task", "engine", "seconds", f"× {baseline}", "CPU s", f"× {baseline}", "items/s"),
        *("asked / computed", "peak MiB"),
        *("utilisation", "largest difference", "answers that differ"),
    )


@dataclass(frozen=True)
class Measured:
    """One task.

    Attributes:
        count: what its requests hold.
        operations: floating-point operations of computing what they hold once.
        timings: of each engine, one per repeat; all are compared with the first.
    """

    asked: Asked
    count: Count
    operations: float
    timings: dict[str, list[Timing]]

    @property
    def baseline(self) -> str:
        """The engine that all are compared with."""
        return next(iter(self.timings))

    def seconds(self, engine: str) -> float:
        """Median over the repeats."""
        return median(timing.seconds for timing in self.timings[engine])

    def cpu_seconds(self, engine: str) -> float:
        """Median over the repeats, of processor time."""
        return median(timing.cpu_seconds for timing in self.timings[engine])

    def peak(self, engine: str) -> int:
        """Largest of the repeats, in bytes."""
        return max(timing.memory for timing in self.timings[engine])

    def difference(self, engine: str) -> float:
        """Largest difference of a score from the baseline's, relative to it (from 1 nat on)."""
        return largest_difference(self._answers(engine), self._answers(self.baseline))

    def differing(self, engine: str) -> int:
        """Items on which lm-eval's metric comes out differently than from the baseline's."""
        pairs = zip(
            self.asked.outcomes(self._answers(engine)),
            self.asked.outcomes(self._answers(self.baseline)),
            strict=True,
        )
        return sum(one != other for one, other in pairs)

    def _answers(self, engine: str) -> Answers:
        return self.timings[engine][-1].answers


def largest_difference(answers: Answers, expected: Answers) -> float:
    """Largest difference of log-likelihoods, relative to the expected ones where those exceed 1."""
    return max(
        abs(one - other) / max(1.0, abs(other))
        for (one, _), (other, _) in zip(answers, expected, strict=True)
    )


def page(
    top: Sequence[str],
    measured: Sequence[Measured],
    ready: dict[str, Ready],
    rate: float,
) -> str:
    """The page.

    Args:
        top: its first lines.
        rate: operations per second of a plain matrix product on the device.
    """
    baseline = measured[0].baseline
    notes = [
        "Seconds run from texts to scores, tokenisation included: the median of the repeats, in "
        "which the engines take turns task by task. *CPU s*: processor time of the engine's main "
        "process meanwhile, which other programs on the machine disturb less. "
        "*Asked / computed*: tokens of all requests over tokens that went through the model, "
        "padding included (vLLM does not tell). "
        "*Peak*: resident memory of the engine's own process(es), model and libraries included; "
        "on a GPU what torch's allocator held at most. "
        "*Utilisation*: operations that computing every distinct token once would take, per "
        "second, over the rate of a plain matrix product. "
        f"*Largest difference*: of a log-likelihood, relative to {baseline}'s (absolute below 1 "
        "nat). *Answers that differ*: items on which lm-eval's metric comes out differently.",
    ]
    mini = [task.asked.name for task in measured if task.asked.mini]
    if mini:
        notes.append(
            f"Not the real data, which was not at hand, but the few bundled items: "
            f"{', '.join(mini)}."
        )
    for engine, state in ready.items():
        batch = f", batch size {state.batch}" if state.batch else ""
        search = f" after a search of {state.search:.1f} s" if state.search > 0.1 else ""
        notes.append(
            f"{engine}: loaded in {state.seconds:.1f} s, {_mib(state.memory)} MiB then"
            f"{batch}{search} (not in the table)."
        )
    lines = [
        *top,
        *table(columns(measured[0].baseline), _rows(measured, rate), words=2),
        "",
        *_shared(measured),
        "",
    ]
    for note in notes:
        lines += [note, ""]
    return "\n".join(lines)


def _rows(measured: Sequence[Measured], rate: float) -> list[list[str]]:
    engines = list(measured[0].timings)
    rows = [_row(task.asked.name, [task], engine, rate) for task in measured for engine in engines]
    rows += [_row("**all tasks**", measured, engine, rate) for engine in engines]
    for engine in engines:
        # What all items would take at the rates of those asked.
        row = _row("all items, extrapolated", measured, engine, rate, scaled=True)
        rows.append(row[:7] + [""] * 5)
    return rows


def _row(
    name: str, tasks: Sequence[Measured], engine: str, rate: float, scaled: bool = False
) -> list[str]:
    """One engine's row for some tasks taken together."""
    scales = [task.asked.all_items / task.asked.items if scaled else 1.0 for task in tasks]

    def total(clock: Callable[[Measured, str], float], of: str) -> float:
        return sum(scale * clock(task, of) for scale, task in zip(scales, tasks, strict=True))

    row = [name, engine]
    for clock in (Measured.seconds, Measured.cpu_seconds):
        mine = total(clock, engine)
        row += [f"{mine:.2f}", f"{total(clock, tasks[0].baseline) / mine:.2f}"]
    seconds = total(Measured.seconds, engine)
    row.append(
        f"{sum(s * t.asked.items for s, t in zip(scales, tasks, strict=True)) / seconds:.1f}"
    )
    computed = [task.timings[engine][-1].tokens for task in tasks]
    known = [tokens for tokens in computed if tokens is not None]
    row += [
        _ratio(sum(task.count.asked for task in tasks), sum(known)),
        _mib(max(task.peak(engine) for task in tasks)),
        f"{sum(task.operations for task in tasks) / seconds / rate:.0%}",
    ]
    if engine == tasks[0].baseline:
        return [*row, "", ""]
    worst = max(task.difference(engine) for task in tasks)
    return [*row, f"{worst:.1e}", str(sum(task.differing(engine) for task in tasks))]


def _shared(measured: Sequence[Measured]) -> list[str]:
    """What sharing beginnings can save: tokens asked over tokens of the prefix tree."""
    rows: list[tuple[str, ...]] = [
        (
            task.asked.name,
            f"{task.asked.items:,} of {task.asked.all_items:,}",
            f"{len(task.asked.requests):,}",
            f"{task.count.asked:,}",
            f"{task.count.tree:,}",
            _ratio(task.count.asked, task.count.tree),
        )
        for task in measured
    ]
    return table(
        ("task", "items", "requests", "tokens asked", "tokens of the tree", "asked / tree"), rows
    )


def _ratio(asked: int, computed: int) -> str:
    return f"{asked / computed:.2f}" if computed else ""


def _mib(memory: int) -> str:
    return f"{memory / 2**20:,.0f}"
