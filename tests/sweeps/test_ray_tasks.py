"""What models need of a Ray cluster, and what cannot be had of it; without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines import cluster
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.sweeps.options import SweepOptions
from bfpo_bench.sweeps.ray_tasks import NO_GPUS, RayExecutor, check
from bfpo_bench.sweeps.record import Home
from bfpo_bench.sweeps.rows import Row
from bfpo_bench.sweeps.run import find_sweep


def row(name: str, **options: Any) -> Row:
    return Row(name, EvaluateOptions(name, output=Path(name), **options))


SMALL, COPIED, LARGE = row("s"), row("c", data_parallel_size=2), row("l", tensor_parallel_size=8)
WIDE = row("w", tensor_parallel_size=2, data_parallel_size=3)
SERVED, CPU = row("v", serve="tp=4"), row("p", device="cpu")


class Asked:
    """Stands for Ray: takes tasks, and says that they are done."""

    exceptions = None

    def __init__(self) -> None:
        self.asked: dict[str, tuple[int, int]] = {}

    def remote(self, function: Any) -> Any:
        return self

    def options(self, *, num_gpus: int, num_cpus: int, max_retries: int, name: str) -> Any:
        self.asked[name] = num_gpus, num_cpus
        assert max_retries > 0

        class Task:
            def remote(self, home: Home, name: str) -> str:
                return name

        return Task()

    def wait(self, tasks: list[str], timeout: float) -> tuple[list[str], list[str]]:
        return tasks[:1], tasks[1:]

    def get(self, task: str) -> Any:
        from bfpo_bench.sweeps.record import Attempt

        return Attempt("done", "", "", 0, 0.0, 0.0)


def asked(
    nodes: list[tuple[int, int]],
    rows: list[Row],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    **options: Any,
) -> dict[str, tuple[int, int]]:
    """The (GPUs, CPUs) that tasks are given on a cluster of such nodes, in order."""
    ray = Asked()

    @contextmanager
    def connected(address: str | None, copies: int) -> Iterator[Asked]:
        yield ray

    monkeypatch.setattr(cluster, "connected", connected)
    monkeypatch.setattr(cluster, "nodes", lambda _: nodes)
    executor = RayExecutor(Home(tmp_path), SweepOptions(executor="ray", **options), None)
    executor.run(rows, Progress(show=False))
    return ray.asked


@pytest.mark.parametrize(
    ("nodes", "rows", "options", "expected"),
    [
        (
            [(0, 9), (8, 9)],
            [SMALL, COPIED, LARGE, WIDE, SERVED, CPU],
            {},
            # The largest first.
            {"l": (8, 1), "w": (6, 3), "v": (4, 1), "c": (2, 2), "s": (1, 1), "p": (0, 1)},
        ),
        ([(0, 2)], [SMALL, COPIED], {}, {"c": (0, 2), "s": (0, 1)}),
        ([(8, 8)], [SMALL, LARGE], {"gpus": 2, "cpus": 3}, {"s": (2, 3), "l": (2, 3)}),
    ],
)
def test_each_model_is_given_what_it_needs(
    nodes: list[tuple[int, int]],
    rows: list[Row],
    options: dict[str, int],
    expected: dict[str, tuple[int, int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = asked(nodes, rows, tmp_path, monkeypatch, **options)
    assert list(found.items()) == list(expected.items())


@pytest.mark.parametrize(
    ("nodes", "options", "sentence"),
    [
        # Sixteen GPUs, but no node has eight.
        (
            [(4, 9)] * 4,
            {},
            "l needs 8 GPUs and 1 CPU on one node, and the largest has 4 GPUs and 9",
        ),
        ([(8, 2)], {"cpus": 3}, "s needs 1 GPU and 3 CPUs on one node, and the largest has 8 GPUs"),
        ([(0, 2)], {"gpus": 1}, "s needs 1 GPU and 1 CPU on one node, and the largest has 0 GPUs"),
    ],
)
def test_what_no_node_has_is_said_at_once(
    nodes: list[tuple[int, int]],
    options: dict[str, int],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(BadInput) as error:
        asked(nodes, [SMALL, LARGE], tmp_path, monkeypatch, **options)
    assert any(line.startswith(sentence) for line in error.value.lines)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ray": "auto", "data_parallel_size": 2}, "x names a Ray cluster for its copies (ray), "),
        ({"serve": "tp=8,pp=2,nodes=2"}, "x is served over 2 nodes, and a task of Ray is on one;"),
    ],
)
def test_rows_that_no_task_can_run(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        check([SMALL, row("x", **options)])
    [line] = error.value.lines
    assert line.startswith(sentence)


def test_the_plan_says_what_each_needs(tiny_llama: Path, tmp_path: Path) -> None:
    """The cluster is the sweep's; what is run for a model is the same without one."""
    common = EvaluateOptions(
        "", suite="mini", judge="keyword", tasks=("toxigen",), data_parallel_size=2, ray="auto"
    )
    found = find_sweep([str(tiny_llama)], common, SweepOptions(executor="ray"), tmp_path)
    said = found.described()
    assert f"{tiny_llama.name}-mini: waiting, 2 GPUs and 2 CPUs\n" in said
    assert "--data-parallel-size=2" in said
    assert "--ray" not in said
    assert said.endswith(NO_GPUS)


def test_without_ray_one_sentence_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"^--executor ray needs Ray; .*install 'bfpo-bench\[ray\]'"):
        bfpo_bench.sweep("m", executor="ray", output=tmp_path)
