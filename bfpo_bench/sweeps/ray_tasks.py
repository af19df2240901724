"""A sweep on a Ray cluster: a task for each model, with the GPUs that it needs.

The task looks after an evaluation in a process of its own, as all executors do, so its worker keeps
no model. When worker or node is lost, Ray begins the task again and the evaluation goes on. Whoever
waits here takes the tasks along when interrupted, each of which has its evaluation wind up.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bfpo_bench.common.errors import BadInput, first_line
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines import cluster
from bfpo_bench.sweeps.attempt import WIND_UP_SECONDS, attempt
from bfpo_bench.sweeps.options import SweepOptions
from bfpo_bench.sweeps.record import Attempt, Home, begun
from bfpo_bench.sweeps.rows import Row, served_over_nodes

RETRIES = 5
"""How often a task is begun again whose worker or node was lost, at most."""

LOOK_SECONDS = 5.0
"""How often it is shown what runs."""

_PATIENCE = WIND_UP_SECONDS + LOOK_SECONDS

NO_GPUS = "Where the cluster has no GPUs, a model is given CPUs alone, unless --gpus names some."


def check_installed() -> None:
    """Raises BadInput where there is no Ray."""
    cluster.check_installed("--executor ray needs Ray", "use --executor local")


def check(rows: Sequence[Row]) -> None:
    """Raises BadInput, a line for each row that no task can run."""
    faults = served_over_nodes(rows, "a task of Ray")
    for row in rows:
        if row.options.loading.ray is not None:
            faults.append(
                f"{row.name} names a Ray cluster for its copies (ray), which with --executor ray "
                "are put on the GPUs of its own task; leave that out."
            )
    if faults:
        raise BadInput(*faults)


def need(row: Row, options: SweepOptions) -> str:
    """What a task needs of one node, in words."""
    return cluster.words(options.gpus_of(row), _cpus(row, options))


class RayExecutor:
    """Runs rows as tasks of Ray.

    Args:
        address: of a running cluster, or ``"auto"``; None starts Ray on this machine.
    """

    def __init__(self, home: Home, options: SweepOptions, address: str | None) -> None:
        self._home, self._options, self._address = home, options, address

    def run(self, rows: Sequence[Row], progress: Progress) -> None:
        """See :class:`bfpo_bench.sweeps.run.Executor`.

        Raises:
            BadInput: no node has what a row needs, for which Ray would wait for ever.
        """
        most = max(_cpus(row, self._options) for row in rows)
        with cluster.connected(self._address, most) as ray:
            needs = self._needs(rows, cluster.nodes(ray))
            for row in rows:
                self._home.forget(row.name)
            # Large ones first: later there is seldom so much free on one node at a time.
            waiting = sorted(rows, key=lambda row: needs[row.name], reverse=True)
            with progress.stage("sweep", len(rows), unit="models"):
                self._run(ray, waiting, needs, progress)

    def _needs(
        self, rows: Sequence[Row], nodes: Sequence[tuple[int, int]]
    ) -> dict[str, tuple[int, int]]:
        """GPUs and CPUs of each row, found to be there on some node."""
        on_gpus = any(gpus for gpus, _ in nodes)
        found, faults = {}, []
        for row in rows:
            named = self._options.gpus is not None
            named = named or row.options.loading.device.startswith("cuda")
            gpus = self._options.gpus_of(row) if on_gpus or named else 0
            cpus = _cpus(row, self._options)
            found[row.name] = gpus, cpus
            if not any(gpus <= has[0] and cpus <= has[1] for has in nodes):
                faults.append(
                    f"{row.name} needs {cluster.words(gpus, cpus)} on one node, and the largest "
                    f"has {cluster.words(*max(nodes))}; ask for less (--tensor-parallel-size, "
                    "--data-parallel-size, --gpus, --cpus), or leave the model out."
                )
        if faults:
            raise BadInput(*faults)
        return found

    def _run(
        self, ray: Any, waiting: list[Row], needs: dict[str, tuple[int, int]], progress: Progress
    ) -> None:
        task = ray.remote(_task)
        home = Home(self._home.folder.resolve())
        running: dict[Any, str] = {}
        total, over = len(waiting), 0
        try:
            while waiting or running:
                while waiting and len(running) < self._options.at_once:
                    name = waiting.pop(0).name
                    gpus, cpus = needs[name]
                    asked = task.options(
                        num_gpus=gpus, num_cpus=cpus, max_retries=RETRIES, name=name
                    )
                    running[asked.remote(home, name)] = name
                ended, _ = ray.wait(list(running), timeout=LOOK_SECONDS)
                for one in ended:
                    self._end(ray, one, running.pop(one), progress)
                    over += 1
                at_work = sum(home.attempt(name) is not None for name in running.values())
                progress.set(over, total, f"{at_work} running")
        except BaseException:
            for one in running:
                ray.cancel(one)
            if running:
                ray.wait(list(running), num_returns=len(running), timeout=_PATIENCE)
            raise

    def _end(self, ray: Any, task: Any, name: str, progress: Progress) -> None:
        """Says how a row has ended; notes it where its task could not."""
        try:
            ended: Attempt = ray.get(task)
        except ray.exceptions.RayTaskError as error:
            ended = self._failed(name, first_line(error.cause))
        except ray.exceptions.RayError as error:
            ended = self._failed(name, cluster.ended(None, str(error), "its worker"))
        if ended.state != "done":
            progress.say(f"{name}: {self._home.bad_end(name, ended)}")

    def _failed(self, name: str, why: str) -> Attempt:
        found = self._home.attempt(name) or begun(self._home.plan().rows[name].made_of)
        ended = replace(found, state="failed", ended=time.time(), why=why)
        self._home.note(name, ended)
        return ended


def _task(home: Home, name: str) -> Attempt:
    """What a worker of Ray does."""
    # Ray cancels by an interrupt. A worker does not hear it whose `ray start` was put into the
    # background by a script, where shells switch Ctrl-C off.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return attempt(home, name, show=False)


def _cpus(row: Row, options: SweepOptions) -> int:
    return options.cpus or row.options.loading.data_parallel_size
