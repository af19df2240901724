"""What a user can ask of a sweep beside the options of its evaluations."""

from __future__ import annotations

import re
from dataclasses import field
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.options import Count, Help, Options, chosen, one_of
from bfpo_bench.common.validate import STRICT
from bfpo_bench.sweeps.rows import Row

EXECUTORS = ("local", "ray", "slurm")

OURS = ("array", "error", "open-mode", "output", "requeue", "signal")
"""Parameters of sbatch that a sweep sets."""

_FOR = {
    **dict.fromkeys(("executor", "checkpoints"), EXECUTORS),
    **dict.fromkeys(("gpus", "cpus", "at_once"), ("ray", "slurm")),
}
"""Options that are not for Slurm alone, with the executors that they are for."""

_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def _minutes(time: Any) -> Any:
    """Minutes, rounded up, of a time as sbatch takes it."""
    if not isinstance(time, str):
        return time
    found = _TIME.fullmatch(time)
    if found is None:
        raise BadInput(
            f"--time is minutes, H:M:S or DAYS-H:M:S, as sbatch takes it, not {time!r}; "
            "e.g. 4:00:00."
        )
    days, *rest = found.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is None and len(parts) < 3:
        parts = [0, *parts]
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return -(-(int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds) // 60)


def _sbatch(given: Any) -> Any:
    """``["reservation=mine", "exclusive"]`` → ``{"reservation": "mine", "exclusive": True}``."""
    if given is None or isinstance(given, dict):
        return given or {}
    found: dict[str, str | bool] = {}
    for one in given:
        name, equals, value = str(one).partition("=")
        name = name.lstrip("-")
        if name in OURS or not name:
            raise BadInput(
                f"--sbatch {one!r} is nothing to give: a parameter of sbatch is written NAME=VALUE "
                f"or NAME, and the sweep itself sets {', '.join(OURS)}."
            )
        found[name] = value if equals else True
    return found


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SlurmOptions(Options):
    """What each evaluation of a sweep needs of a Slurm cluster."""

    partition: Annotated[str | None, Help("Partition of the cluster (slurm).")] = None
    time: Annotated[
        Count,
        BeforeValidator(_minutes),
        Help(
            "Longest time of a job, as sbatch takes it; what runs longer is queued again and goes "
            "on (slurm).",
            given=str,
            default="4:00:00",
        ),
    ] = 240
    mem: Annotated[str | None, Help("Memory of each evaluation, e.g. 64G (slurm).")] = None
    constraint: Annotated[str | None, Help("Features of the nodes, e.g. h100 (slurm).")] = None
    account: Annotated[str | None, Help("Whom the time is charged to (slurm).")] = None
    qos: Annotated[str | None, Help("Quality of service (slurm).")] = None
    sbatch: Annotated[
        dict[str, str | bool],
        BeforeValidator(_sbatch),
        Help("Any other parameter of sbatch, NAME=VALUE. Repeatable.", given=list[str] | None),
    ] = field(default_factory=dict)
    setup: Annotated[
        tuple[str, ...],
        BeforeValidator(lambda given: tuple(given or ())),
        Help(
            "Line of shell before each evaluation, e.g. 'module load cuda'. Repeatable (slurm).",
            given=list[str] | None,
        ),
    ] = ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SweepOptions(Options):
    """How the evaluations of a sweep are run."""

    executor: Annotated[
        str, one_of("executor", EXECUTORS), Help("local, one after another, or ray, or slurm.")
    ] = "local"
    checkpoints: Annotated[
        bool, Help("Also the checkpoint-N folders inside each model's folder, in their order.")
    ] = False
    gpus: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Help(
            "GPUs of each evaluation (ray, slurm). [default: all copies and their parts, one each]"
        ),
    ] = None
    cpus: Annotated[Count | None, Help("CPU cores of each evaluation (ray, slurm).")] = None
    at_once: Annotated[Count, Help("Most evaluations at a time (ray, slurm).")] = 256
    slurm: SlurmOptions = SlurmOptions()
    detach: Annotated[
        bool, Help("Submit and end; the same command later waits and prints the table (slurm).")
    ] = False

    def __post_init__(self) -> None:
        for name in chosen(self):
            executors = _FOR.get(name, ("slurm",))
            if self.executor not in executors:
                raise BadInput(
                    f"--{name.replace('_', '-')} is for a cluster; add --executor "
                    f"{' or '.join(executors)}, or leave it out."
                )

    def gpus_of(self, row: Row) -> int:
        """GPUs that an evaluation is given, all on one node."""
        return row.gpus if self.gpus is None else self.gpus
