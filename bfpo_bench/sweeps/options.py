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

EXECUTORS = ("local", "slurm")

OURS = ("array", "error", "open-mode", "output", "requeue", "signal")
"""Parameters of sbatch that a sweep sets."""

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
    gpus: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Help("GPUs of each evaluation (slurm). [default: all copies and their parts, one each]"),
    ] = None
    cpus: Annotated[Count | None, Help("CPU cores of each evaluation (slurm).")] = None
    mem: Annotated[str | None, Help("Memory of each evaluation, e.g. 64G (slurm).")] = None
    constraint: Annotated[str | None, Help("Features of the nodes, e.g. h100 (slurm).")] = None
    account: Annotated[str | None, Help("Whom the time is charged to (slurm).")] = None
    qos: Annotated[str | None, Help("Quality of service (slurm).")] = None
    at_once: Annotated[Count, Help("Most evaluations at a time (slurm).")] = 256
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
        str, one_of("executor", EXECUTORS), Help("local, one after another, or slurm.")
    ] = "local"
    checkpoints: Annotated[
        bool, Help("Also the checkpoint-N folders inside each model's folder, in their order.")
    ] = False
    slurm: SlurmOptions = SlurmOptions()
    detach: Annotated[
        bool, Help("Submit and end; the same command later waits and prints the table (slurm).")
    ] = False

    def __post_init__(self) -> None:
        given = [*chosen(self.slurm), *(["detach"] if self.detach else [])]
        if given and self.executor != "slurm":
            raise BadInput(
                f"--{given[0].replace('_', '-')} is for a cluster; add --executor slurm, or leave "
                "it out."
            )
