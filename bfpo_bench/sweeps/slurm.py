"""A sweep on a Slurm cluster: an array of jobs, through submitit.

A job that is preempted, or whose time is over, is queued again, and its evaluation goes on. Whoever
waits here may be interrupted: the jobs stay, and the same command waits for them again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bfpo_bench.common.errors import BadInput, RunFailed, first_line
from bfpo_bench.common.progress import Progress
from bfpo_bench.sweeps.attempt import Job
from bfpo_bench.sweeps.options import SweepOptions
from bfpo_bench.sweeps.record import Home, Standing, counted
from bfpo_bench.sweeps.rows import Row, served_over_nodes

CLUSTER = "slurm"
"""What submitit calls it; its tests, and ours, have it run jobs on this machine ("local")."""

REQUEUES = 20
"""How often a job whose time is over is queued again."""

LOOK_SECONDS = 5.0

INSTALL = (
    "--executor slurm goes through submitit, which is not installed; run `pip install "
    "'bfpo-bench[slurm]'`, or use --executor local."
)


def check() -> None:
    """Raises BadInput where jobs cannot be submitted from here."""
    submitit = _submitit()
    executors = submitit.core.plugins.get_executors()
    if executors[CLUSTER].affinity() <= 0:
        raise BadInput(
            "there is no Slurm here (no srun on the PATH); run this on a node from which jobs are "
            "submitted, or use --executor local."
        )


def check_rows(rows: Sequence[Row]) -> None:
    """Raises BadInput, a line for each row that no job can run."""
    if faults := served_over_nodes(rows, "a job of a sweep"):
        raise BadInput(*faults)


def header(rows: Sequence[Row], options: SweepOptions, home: Home) -> str:
    """What sbatch is given for these rows: a text for each array."""
    _submitit()
    from submitit.slurm.slurm import _make_sbatch_string

    texts = []
    for gpus, some in _arrays(rows, options).items():
        parameters = _parameters(gpus, options)
        # As submitit itself does it: one row is no array.
        count = len(some) if len(some) > 1 else None
        text = _make_sbatch_string("…", home.jobs, map_count=count, **parameters)
        texts.append(text.rstrip())
    return "\n\n".join(texts)


class SlurmExecutor:
    """Runs rows as jobs of a cluster."""

    def __init__(self, home: Home, options: SweepOptions) -> None:
        self._home, self._options = home, options
        self._queue = Queue(home)

    def run(self, rows: Sequence[Row], progress: Progress) -> None:
        """See :class:`bfpo_bench.sweeps.run.Executor`."""
        plan = self._home.plan()
        names = {row.name for row in rows}

        def standing(name: str) -> Standing:
            return self._home.standing(name, plan.rows[name], self._queue)

        new = [row for row in rows if standing(row.name).state not in ("queued", "running")]
        for row in new:
            self._home.forget(row.name)
        jobs = self._submit(new) if new else {}
        marked = {
            name: replace(row, job=jobs.get(name, row.job)) for name, row in plan.rows.items()
        }
        plan = replace(plan, rows=marked)
        self._home.keep(plan)
        progress.say(f"{len(new)} jobs submitted, {len(names) - len(new)} are under way.")
        if self._options.detach:
            return
        over = 0
        with progress.stage("sweep", len(names), unit="models"):
            # Twice: what a node has written may be seen here only after its job has ended.
            while over < 2:
                now = [standing(name) for name in names]
                busy = sum(one.state in ("queued", "running") for one in now)
                progress.set(len(names) - busy, len(names), counted(now))
                over = 0 if busy else over + 1
                time.sleep(LOOK_SECONDS)

    def _submit(self, rows: Sequence[Row]) -> dict[str, str]:
        """Puts rows into the queue; their jobs by name."""
        submitit = _submitit()
        found: dict[str, str] = {}
        job = Job(Home(self._home.folder.resolve()))
        for gpus, some in _arrays(rows, self._options).items():
            try:
                executor = submitit.AutoExecutor(
                    self._home.jobs, cluster=CLUSTER, slurm_max_num_timeout=REQUEUES
                )
                parameters = _parameters(gpus, self._options)
                minutes = parameters.pop("time")
                executor.update_parameters(
                    timeout_min=minutes, **{f"slurm_{k}": v for k, v in parameters.items()}
                )
                jobs = executor.map_array(job, [row.name for row in some])
            except Exception as error:  # of sbatch, or of submitit's own
                raise RunFailed(
                    f"the jobs cannot be submitted ({first_line(error)}); mend that and run the "
                    "same command again."
                ) from error
            for row, submitted in zip(some, jobs, strict=True):
                found[row.name] = submitted.job_id
                self._queue.jobs[submitted.job_id] = submitted
        return found


class Queue:
    """What the cluster says of jobs: asked for all of them at once, and not too often."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.jobs: dict[str, Any] = {}

    def __call__(self, job_id: str) -> str | None:
        """The state of a job that waits or runs; None for one that has ended."""
        if job_id not in self.jobs:
            submitit = _submitit()
            executor = submitit.core.plugins.get_executors()[CLUSTER]
            self.jobs[job_id] = executor.job_class(folder=self._home.jobs, job_id=job_id)
        job = self.jobs[job_id]
        return None if job.done() else str(job.state)


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise BadInput(INSTALL) from None
    return submitit


def _arrays(rows: Sequence[Row], options: SweepOptions) -> dict[int, list[Row]]:
    """Rows by the GPUs that each needs: the jobs of an array are alike."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(options.gpus_of(row), []).append(row)
    return found


def _parameters(gpus: int, options: SweepOptions) -> dict[str, Any]:
    """For sbatch, by the names that submitit has for them."""
    slurm = options.slurm
    named = {
        "partition": slurm.partition,
        "gpus_per_node": gpus or None,
        "cpus_per_task": options.cpus,
        "mem": slurm.mem,
        "constraint": slurm.constraint,
        "account": slurm.account,
        "qos": slurm.qos,
        "setup": list(slurm.setup) or None,
    }
    return {
        **{name: value for name, value in named.items() if value is not None},
        "job_name": "bfpo-bench",
        "time": slurm.time,
        "array_parallelism": options.at_once,
        # Slurm itself queues again what it preempts.
        "additional_parameters": {"requeue": True, **slurm.sbatch},
    }
