"""Copies on a real Ray cluster of several nodes on one machine: leases, losses, sentences."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.processes import environment
from bfpo_bench.engines import cluster as clusters
from bfpo_bench.engines import copies as module
from bfpo_bench.engines import copy
from bfpo_bench.engines.copies import Copies
from bfpo_bench.engines.plan import Order
from bfpo_bench.engines.protocol import EngineOptions, NonFiniteLogits
from tests.crash.attempts import all_gone, workers
from tests.engines import scripted_copies
from tests.engines.scripted_copies import BATCH, SLOW, DiesPlanning, Doubler

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head without CPUs of its own, and two nodes with one each."""
    import ray
    from ray.cluster_utils import Cluster

    # A raylet that is gone is missed after seconds, not after half a minute. Workers of nodes that
    # join later are not nice either.
    health = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "2"}
    with environment(clusters._QUIET | clusters._OWN | health):
        with clusters.signals_kept():  # every node takes SIGTERM for itself
            cluster = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False})
            for _ in range(2):
                cluster.add_node(num_cpus=1)
            clusters._init(ray, address=cluster.address)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "SOON_SECONDS", 300.0)  # of a busy machine
            yield cluster
        ray.shutdown()
        cluster.shutdown()


def copies(load: Callable[[], Any], count: int = 2, **options: Any) -> Copies:
    about = EngineOptions(**{"model": "/", **options}, data_parallel_size=count)
    return Copies(lambda _: load(), about)


@pytest.fixture
def opened(nodes: Any) -> Iterator[Callable[..., Copies]]:
    made: list[Copies] = []

    def make(load: Callable[[], Any]) -> Copies:
        made.append(copies(load))
        return made[-1]

    yield make
    for one in made:
        one.close()


def orders(*counts: int) -> list[Order]:
    """Numbers from 0, in orders of so many."""
    found, first = [], 0
    for count in counts:
        found.append(Order("doubles", (list(range(first, first + count)),), count, first))
        first += count
    return found


def wait_until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_every_batch_is_computed_once_by_whoever_is_free(
    opened: Callable[..., Copies], tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    running = opened(partial(Doubler, notes, gate=tmp_path))
    asked, found = orders(50, 0, 31, 2), []
    asked[0].arguments[0][0] = SLOW
    for batch in running.answers(asked):
        found += batch
        # Whoever got that number has its batch, and at most the next one.
        if len(found) >= 83 - 2 * BATCH:
            (tmp_path / "open").touch()
    assert sorted(found) == [(0, 2 * SLOW), *((number, 2 * number) for number in range(1, 83))]
    lines = notes.read_text().split("\n")[:-1]
    assert len(lines) == 13 + 8 + 1
    shares = Counter(line.split()[0] for line in lines)
    assert sorted(shares.values()) in ([1, 21], [2, 20])
    # What is known whole is not computed; what is known in part comes once.
    known = {*range(50), 52, *range(54, 60)}
    rest = [one for batch in running.answers(orders(50, 31, 2), known) for one in batch]
    assert sorted(rest) == [(number, 2 * number) for number in range(83) if number not in known]


def test_stopped_copies_keep_what_is_under_way(
    opened: Callable[..., Copies], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they do for Ctrl-C: it closes what hands out the answers."""
    notes = tmp_path / "notes"
    running = opened(partial(Doubler, notes, gate=tmp_path))
    asked = Order("doubles", ([1] * BATCH + [SLOW] * 400,), BATCH + 400)
    note = clusters.note

    def told(*what: Any) -> None:
        note(*what)
        (tmp_path / "open").touch()

    monkeypatch.setattr(clusters, "note", told)
    with closing(running.answers([asked])) as answers:  # type: ignore[type-var]
        next(answers)
        wait_until((tmp_path / "reached").exists)
    # What was told to stop at its last answer, or after it, is closed as well.
    assert notes.read_text().count("kept") >= 1
    assert notes.read_text().count(" ") <= 4
    assert len([one for batch in running.answers(orders(9)) for one in batch]) == 9


def test_lost_while_it_plans(nodes: Any, tmp_path: Path) -> None:
    """Nothing of the order has been leased by then."""
    with closing(copies(partial(DiesPlanning, tmp_path / "notes"), 1)) as alone:
        found = [one for batch in alone.answers(orders(9, 4)) for one in batch]
    assert sorted(found) == [(number, 2 * number) for number in range(13)]


def test_copies_agree_on_the_least_memory(opened: Callable[..., Copies], tmp_path: Path) -> None:
    running = opened(partial(scripted_copies.of_other_limits, tmp_path))
    batches = list(running.answers(orders(9)))
    assert {len(batch) for batch in batches} == {3}


def test_a_request_without_finite_logits_is_named(opened: Callable[..., Copies]) -> None:
    running = opened(Doubler)
    asked = [Order("doubles", ([1, 2, -3],), 3, first=10)]
    with pytest.raises(NonFiniteLogits) as caught:
        list(running.answers(asked))
    assert caught.value.index == 12
    # Nothing of it is left to disturb the next order.
    assert sorted(n for batch in running.answers(orders(9)) for n, _ in batch) == list(range(9))


@pytest.mark.parametrize(
    ("load", "kind", "sentence"),
    [
        (scripted_copies.is_refused, BadInput, "node {}: there is no such model; give another"),
        (
            scripted_copies.has_no_room,
            RunFailed,
            r"node {}: a copy of the model failed: MemoryError\('no room for the weights'\)",
        ),
        (scripted_copies.dies, RunFailed, r"A copy of the model on node {} ended unexpectedly \("),
    ],
)
def test_a_copy_that_cannot_load_says_where_and_why(
    nodes: Any, load: Callable[[], Any], kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind, match="^" + sentence.format(os.uname().nodename)):
        copies(load, 1)
    all_gone()


def test_what_the_nodes_lack_is_told_before_anything_waits(
    nodes: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    node = os.uname().nodename
    with pytest.raises(
        BadInput, match=r"^3 copies need a CPU each, 2 are on 3 nodes; lower --data"
    ):
        copies(Doubler, 3)
    with pytest.raises(BadInput) as caught:
        copies(Doubler, tensor_parallel_size=2, device="cuda")
    assert str(caught.value) == (
        "2 copies on 2 GPU(s) each need 4 GPUs, 0 are on 3 nodes; lower --data-parallel-size or "
        "--tensor-parallel-size."
    )
    with pytest.raises(BadInput, match=f"^node {node} does not see {tmp_path}/m; put the model on"):
        copies(Doubler, 1, model=str(tmp_path / "m"))
    here = copy.versions()
    monkeypatch.setattr(copy, "versions", lambda: {**here, "torch": "1.0"})
    with pytest.raises(BadInput) as caught:
        copies(Doubler, 1)
    assert str(caught.value) == (
        f"node {node} has torch {here['torch']}, this machine 1.0; install the same on all nodes."
    )
    all_gone()


def test_a_cluster_that_others_use(
    opened: Callable[..., Copies], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened(Doubler)
    monkeypatch.setattr(module, "SOON_SECONDS", 0.5)
    monkeypatch.setattr(module, "PLACE_SECONDS", 1.0)
    with pytest.raises(RunFailed) as caught:
        copies(Doubler, 1, ray="auto")
    missing = (
        "no copy of the model has begun within {} seconds: it needs 0 GPUs and 1 CPU of one node, "
        "the largest node has 0 GPUs and 1 CPU, and 0 GPUs and 0 CPUs are free on all of the "
        "cluster; end what else runs there, or add nodes."
    )
    assert str(caught.value) == missing.format(1)
    assert caplog.messages == ["Waiting 1 seconds more at most: " + missing.format(0.5)]


@pytest.mark.parametrize(
    ("gpus", "free", "advice"),
    [
        (2, {"GPU": 1.0, "CPU": 8.0}, "end what else runs there, or add nodes."),
        (2, {"GPU": 2.0, "CPU": 8.0}, "if that is on one node, Python is slow to start there."),
        (2, {"GPU": 2.0}, "end what else runs there, or add nodes."),
        (3, {}, "add a node that has it, or lower --tensor-parallel-size."),
    ],
)
def test_what_a_copy_waits_for(gpus: int, free: dict[str, float], advice: str) -> None:
    node = {"Alive": True, "Resources": {"GPU": 2.0, "CPU": 8.0}}
    ray = SimpleNamespace(nodes=lambda: [node], available_resources=lambda: free)
    assert clusters.no_room(ray, gpus, 20).endswith(f"of the cluster; {advice}")


def test_killed_again_and_again(
    opened: Callable[..., Copies], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five kills at random moments; `benchmarks/copies.py` does thirty."""
    monkeypatch.setattr(module, "RESTARTS", 20)
    notes = tmp_path / "notes"
    running = opened(partial(Doubler, notes, 0.004))
    rng = random.Random(5)
    asked = orders(*[400] * 4)
    at = set(rng.sample(range(1, 380), 5))
    found = []
    for heard, batch in enumerate(running.answers(asked)):
        found += batch
        if heard in at:
            rng.choice(workers()).kill()
    assert sorted(found) == [(number, 2 * number) for number in range(1600)]
    computed = len(notes.read_text().splitlines())
    assert 400 <= computed <= 400 * 1.05


def test_the_run_ends_when_no_copy_is_left(
    opened: Callable[..., Copies], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = opened(partial(scripted_copies.dies_the_second_time, tmp_path))
    found: list[Any] = []

    def ask() -> None:
        for heard, batch in enumerate(running.answers(orders(2000))):
            found.extend(batch)
            if heard == 3:
                for worker in workers():
                    worker.kill()

    caplog.set_level(logging.WARNING)
    with pytest.raises(
        RunFailed, match=r"^no copy of the model is left \(node .*: the disk is gone"
    ):
        ask()
    assert len(found) >= 4 * BATCH
    assert "Going on with one copy of the model less: node" in caplog.text


def test_the_command_is_killed(nodes: Any) -> None:
    """On a cluster that goes on without it."""
    code = "import time; from tests.engines.test_copies import *; "
    # Kept: copies that nobody holds any more are ended by Ray.
    code += f"kept = copies(Doubler, 1, ray={nodes.address!r}); print('loaded', flush=True); "
    code += "time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as command:
        try:
            assert command.stdout is not None
            assert command.stdout.readline() == b"loaded\n"
            assert workers()
        finally:
            command.kill()
    all_gone()


def test_a_node_is_killed_and_larger_one_joins(
    nodes: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes the copy that was lost, and the one for which there was no room before."""
    notes = tmp_path / "notes"
    [_, lost] = [node for node in nodes.list_all_nodes() if not node.is_head()]
    deadline = time.monotonic() + 180

    def asked() -> Iterator[Order]:
        """Until three copies have computed something after the node was lost."""
        first = 0
        while time.monotonic() < deadline and not (joined and len(at_work(joined)) == 3):
            yield Order("doubles", (list(range(first, first + 40)),), 40, first)
            first += 40

    def at_work(since: int) -> set[str]:
        return {line.split()[0] for line in notes.read_text().splitlines()[since:]}

    joined, found = 0, []
    with closing(copies(partial(Doubler, notes, 0.01), 3, ray="auto")) as running:
        for heard, batch in enumerate(running.answers(asked())):
            found += batch
            if heard == 5:
                nodes.remove_node(lost, allow_graceful=False)
            if heard == 25:
                joined = len(notes.read_text().splitlines())
                nodes.add_node(num_cpus=2)
    assert sorted(found) == [(number, 2 * number) for number in range(len(found))]
    run = "of 3 copies of the model run"
    assert caplog.messages[0] == f"2 {run}; the others start when the cluster has room for them."
    assert caplog.messages[1].startswith("A copy of the model on node")
    assert caplog.messages[2:] == [f"2 {run}.", f"3 {run}."]


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        BadInput, match=r"need Ray; run `pip install 'bfpo-bench\[ray\]'`, or leave"
    ):
        copies(Doubler)


def test_no_cluster_to_join(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def init(**_: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance. Please start one.")

    monkeypatch.setattr(ray, "init", init)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(BadInput, match=r"^no Ray cluster can be used at 'auto' \(Could not find"):
        copies(Doubler, ray="auto")
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_ray_of_another_command_is_not_joined(
    nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found by `auto` where no other runs."""
    import ray

    node = SimpleNamespace(get_session_dir_path=lambda: "/tmp/bfpo-ray-x1/session_1")
    with monkeypatch.context() as patch:
        patch.setattr(ray, "is_initialized", lambda: False)
        patch.setattr(ray, "init", lambda **_: None)
        patch.setattr(ray, "shutdown", lambda: None)
        patch.setattr(ray._private.worker, "_global_node", node)
        with pytest.raises(BadInput, match=r"at 'auto' \(that Ray is another bfpo-bench command's"):
            copies(Doubler, ray="auto")
    assert clusters._OURS not in ray._private.worker._global_node.get_session_dir_path()
