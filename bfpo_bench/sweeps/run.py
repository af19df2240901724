"""A sweep from what was named to its table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from bfpo_bench.common.files import owned
from bfpo_bench.common.progress import Progress
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.leaderboard.board import Leaderboard, read_leaderboard
from bfpo_bench.leaderboard.options import LeaderboardOptions
from bfpo_bench.leaderboard.rows import Badge, Entry
from bfpo_bench.sweeps import ray_tasks, slurm
from bfpo_bench.sweeps.attempt import attempt
from bfpo_bench.sweeps.options import SweepOptions
from bfpo_bench.sweeps.record import Home, Plan, Standing, planned
from bfpo_bench.sweeps.rows import Row, find_rows

PROGRAM = (sys.executable, "-m", "bfpo_bench")
"""What an evaluation is run by."""


class Executor(Protocol):
    """What has the evaluations of a sweep run."""

    def run(self, rows: Sequence[Row], progress: Progress) -> None:
        """Has each row attempted once; what has failed or stopped is on record."""


class LocalExecutor:
    """Runs rows on this machine, one after another."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def run(self, rows: Sequence[Row], progress: Progress) -> None:
        """See :class:`Executor`; what evaluations print is passed on."""
        with progress.stage("sweep", len(rows), unit="models"):
            for number, row in enumerate(rows, 1):
                place = f"[{number}/{len(rows)}] {row.name}"
                progress.say(f"{place} …")
                ended = attempt(self._home, row.name, show=not progress.silent)
                if ended.state != "done":  # stopped by a signal that was for the evaluation
                    progress.say(f"{place}: {self._home.bad_end(row.name, ended)}")
                progress.advance(1)


@dataclass(frozen=True)
class Sweep:
    """What is to be run, found sound.

    Attributes:
        standings: how each row stands, in their order.
    """

    home: Home
    rows: tuple[Row, ...]
    options: SweepOptions
    plan: Plan
    standings: tuple[Standing, ...]

    @property
    def missing(self) -> list[Row]:
        """The rows that are not done."""
        done = {one.name for one in self.standings if one.state == "done"}
        return [row for row in self.rows if row.name not in done]

    def described(self) -> str:
        """The plan as ``--dry-run`` prints it: how rows stand, their commands, what they need."""
        lines = [f"{len(self.rows)} models, {len(self.missing)} to be run ({self.plan.executor}):"]
        for row, standing in zip(self.rows, self.standings, strict=True):
            needs = f", {ray_tasks.need(row, self.options)}" * (self.options.executor == "ray")
            why = f" ({standing.why})" * bool(standing.why)
            lines += ["", f"{row.name}: {standing.state}{why}{needs}"]
            lines.append(f"  {shlex.join(self.plan.rows[row.name].command)}")
        if self.options.executor == "ray" and self.missing:
            lines += ["", ray_tasks.NO_GPUS]
        if self.options.executor == "slurm" and self.missing:
            lines += ["", slurm.header(self.missing, self.options, self.home)]
        return "\n".join(lines)


def find_sweep(
    models: Sequence[str],
    common: EvaluateOptions,
    options: SweepOptions,
    folder: Path,
    fetch: bool = True,
) -> Sweep:
    """Finds what a sweep is to run, and checks it. Runs nothing.

    Args:
        models, common, folder, fetch: see :func:`bfpo_bench.sweeps.rows.find_rows`.

    Raises:
        BadInput: a line for everything that is wrong.
    """
    home = Home(folder)
    known = home.known()
    names = {row.key: name for name, row in known.items()}
    if options.executor == "ray":  # it is the sweep that the cluster is named for
        common = replace(common, loading=replace(common.loading, ray=None))
    rows = find_rows(models, common, folder, options.checkpoints, names, fetch)
    if options.executor == "ray":
        ray_tasks.check(rows)
    if options.executor == "slurm":
        slurm.check_rows(rows)
    plan = Plan(
        1,
        str(Path.cwd()),
        options.executor,
        {row.name: planned(row, PROGRAM, known) for row in rows},
    )
    return Sweep(home, tuple(rows), options, plan, standings(home, plan))


def standings(home: Home, plan: Plan | None = None) -> tuple[Standing, ...]:
    """How the rows of a sweep stand now.

    Args:
        plan: None for the one that was asked for last.

    Raises:
        BadInput: the folder is none of a sweep.
    """
    plan = plan or home.plan()
    queue = slurm.Queue(home)
    return tuple(home.standing(name, row, queue) for name, row in plan.rows.items())


def run_sweep(
    models: Sequence[str],
    common: EvaluateOptions,
    options: SweepOptions,
    folder: Path,
    progress: Progress | None = None,
) -> Leaderboard:
    """Evaluates many models, each in its run directory, and puts them into one table.

    What is done already is not run again. A model that fails costs its row, which says why.

    Args:
        models, common, folder: see :func:`bfpo_bench.sweeps.rows.find_rows`.

    Returns:
        the table; ``problems`` names what has not been finished.

    Raises:
        BadInput: a line for everything that is wrong, before anything is run.
        RunFailed: jobs cannot be submitted.
    """
    progress = progress or Progress(show=False)
    if options.executor == "slurm":
        slurm.check()
    if options.executor == "ray":
        ray_tasks.check_installed()
    with owned(folder / ".sweep", inside=True):
        sweep = find_sweep(models, common, options, folder)
        home = sweep.home
        home.keep(sweep.plan)
        missing = sweep.missing
        progress.say(
            f"{len(sweep.rows)} models, {len(missing)} to be run; all is kept in {folder}."
        )
        executor: Executor = LocalExecutor(home)
        if options.executor == "slurm":
            executor = slurm.SlurmExecutor(home, options)
        if options.executor == "ray":
            executor = ray_tasks.RayExecutor(home, options, common.loading.ray)
        if missing:
            executor.run(missing, progress)
        return table(home)


def table(home: Home) -> Leaderboard:
    """The table of a sweep as it stands: a row for what is done, and for what has failed."""
    found = standings(home)
    done = [home.folder / one.name for one in found if one.state == "done"]
    board = read_leaderboard(done) if done else Leaderboard((), LeaderboardOptions())
    failed = [_failed(home.folder / one.name, one) for one in found if one.state == "failed"]
    left = [
        f"{one.name} {'failed' if one.state == 'failed' else 'is not finished'}: "
        f"{(one.why or one.state).rstrip('.')}."
        for one in found
        if one.state != "done"
    ]
    return Leaderboard(
        (*board.entries, *failed), board.options, (*board.problems, *left), board.remarks
    )


def _failed(run: Path, standing: Standing) -> Entry:
    why = f"failed: {standing.why}"
    return Entry(
        name=run.name,
        kind="measured",
        source=str(run),
        cells={},
        marks=(why,),
        badges=(Badge("failed", why),),
    )
