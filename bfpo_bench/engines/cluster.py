"""Ray: started on this machine for the time of a model, or a cluster that runs already."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

from bfpo_bench.common.errors import BadInput, BenchError, RunFailed, first_line
from bfpo_bench.common.packages import find_spec
from bfpo_bench.common.processes import Guard, environment

log = logging.getLogger(__name__)

OBJECT_STORE = 200 * 10**6
"""Bytes for the requests of an order; what does not fit lies in Ray's folder on disk."""

ANSWER_SECONDS = 10.0
"""What a cluster is given to take a connection."""

_NAMESPACE = "bfpo-bench"

_OURS = "bfpo-ray-"
"""How the folder begins of a Ray that a command has started for itself."""

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_ONCE = {
    # A cluster that is joined is asked once, for 40 seconds, and not twenty times.
    "RAY_gcs_server_port_wait_time_s": "1",
}
_OWN = {
    # Ray's workers are nice by default, and get nothing where others are busy.
    "RAY_worker_niceness": "0",
    # It kills workers where the memory, whoever holds it, is nearly full.
    "RAY_memory_monitor_refresh_ms": "0",
}


def check_installed(need: str, otherwise: str) -> None:
    """Raises BadInput where Ray is not installed; says what needs it, and what else can be done."""
    if find_spec("ray") is None:
        raise BadInput(f"{need}; run `pip install 'bfpo-bench[ray]'`, or {otherwise}.")


def check_copies(address: str | None) -> None:
    """Whether copies of a model can be had, as far as that is seen at once.

    Args:
        address: as for :func:`connected`.

    Raises:
        BadInput: Ray is not installed, or nothing listens at the address.
    """
    check_installed(
        "copies of a model (--data-parallel-size, --ray) need Ray", "leave the option out"
    )
    if address == "auto":  # which is what Ray itself takes for it
        address = os.environ.get("RAY_ADDRESS") or address
    if address not in (None, "auto"):
        _check_answers(str(address))


def _check_answers(address: str) -> None:
    """Raises BadInput where nothing listens; Ray itself would try for a quarter of an hour."""
    client = address.startswith("ray://")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise _no_cluster(address, "it is neither auto nor HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, first_line(error)) from None
    if client:
        raise _no_cluster(address, "through Ray's client, ray://, answers do not come as they are")


@contextmanager
def connected(address: str | None, copies: int) -> Iterator[Any]:
    """Ray as a module, connected while the body runs; as it was where the program has done so.

    Args:
        address: of a running cluster, or ``"auto"``; None starts Ray on this machine.
        copies: that are to fit on this machine, where there are no GPUs.

    Raises:
        BadInput: Ray is not installed, or no cluster answers.
    """
    check_copies(address)
    with environment(_QUIET):
        import ray
    if ray.is_initialized():
        yield ray
        return
    with _joined(ray, address) if address else _started(ray, copies):
        yield ray


@contextmanager
def _started(ray: Any, copies: int) -> Iterator[None]:
    # The paths of Ray's sockets are some 70 characters longer than this one, and 107 at most.
    place = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix=_OURS, dir=place if len(place) < 20 else "/tmp")
    guard = Guard(folder)
    with guard.starting(), environment(_QUIET | _OWN):
        _init(
            ray,
            address="local",
            num_cpus=max(copies, os.cpu_count() or 1),
            object_store_memory=OBJECT_STORE,
            include_dashboard=False,
            _temp_dir=folder,
        )
    try:
        yield
    finally:
        with suppress(Exception):
            ray.shutdown()
        guard.end()


@contextmanager
def _joined(ray: Any, address: str) -> Iterator[None]:
    try:
        if address == "auto":
            # A cluster that was killed still stands in Ray's file of the one that runs.
            _check_answers(ray._private.services.canonicalize_bootstrap_address_or_die(address))
        with environment(_QUIET | _ONCE):
            _init(ray, address=address)
    except BadInput:
        raise
    except Exception as error:
        raise _no_cluster(address, _why(error)) from error
    try:
        # `auto` takes any that it finds.
        if _OURS in ray._private.worker._global_node.get_session_dir_path():
            raise _no_cluster(address, "that Ray is another bfpo-bench command's, and ends with it")
        yield
    finally:
        ray.shutdown()


def _why(error: Exception) -> str:
    """What Ray says of not having joined a cluster."""
    text = " ".join(str(error).split())
    # The versions stand in lines of their own; elsewhere it is a traceback that follows.
    return text if text.startswith("Version mismatch") else first_line(error).partition(". Last")[0]


def _no_cluster(address: str | None, why: str) -> BadInput:
    return BadInput(
        f"no Ray cluster can be used at {address!r} ({why.rstrip('.')}); start one with `ray start "
        "--head`, run this on one of its nodes with --ray auto, or leave --ray out."
    )


def _init(ray: Any, **arguments: Any) -> None:
    """``ray.init``, with signals left to us and nothing said that we do not say."""
    # Raylets print paragraphs on stdout about workers that were lost.
    with signals_kept(), mock.patch.object(ray._private.worker, "listen_error_messages"):
        ray.init(log_to_driver=False, logging_level="error", **arguments)


@contextmanager
def signals_kept() -> Iterator[None]:
    """What this process does on a signal is what it did before Ray started."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(ValueError):  # not the main thread
                signal.signal(number, handler)


def nodes(ray: Any) -> list[tuple[int, int]]:
    """GPUs and CPUs of each node."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(node.get("GPU", 0)), int(node.get("CPU", 0))) for node in found]


def note(key: str, number: int) -> None:
    """Writes a number where every process of the cluster can read it, whatever that is at."""
    from ray.experimental import internal_kv

    with suppress(Exception):  # as where the cluster is gone
        internal_kv._internal_kv_put(key, str(number), namespace=_NAMESPACE)


def noted(key: str) -> int:
    """The number; 0 where none is there, or nobody answers."""
    from ray.experimental import internal_kv

    with suppress(Exception):
        return int(internal_kv._internal_kv_get(key, namespace=_NAMESPACE) or 0)
    return 0


def forget(key: str) -> None:
    """Removes the number."""
    from ray.experimental import internal_kv

    with suppress(Exception):
        internal_kv._internal_kv_del(key, namespace=_NAMESPACE)


def words(gpus: int, cpus: int) -> str:
    """GPUs and CPUs, as a user reads them."""
    return f"{gpus} GPU{'s' * (gpus != 1)} and {cpus} CPU{'s' * (cpus != 1)}"


def gpus_of_a_copy(ray: Any, width: int, device: str) -> int:
    """GPUs that one copy takes.

    Args:
        width: of a copy that runs on GPUs.
        device: as for an engine.
    """
    on_gpu = device.startswith("cuda") or (device == "auto" and any(gpus for gpus, _ in nodes(ray)))
    return width if on_gpu else 0


def room(ray: Any, gpus: int) -> int:
    """How many copies, of so many GPUs and a CPU each, the nodes can hold, whatever runs there."""
    return sum(min(cpus, has // gpus if gpus else cpus) for has, cpus in nodes(ray))


def check_room(ray: Any, copies: int, gpus: int) -> None:
    """Whether nodes to which none will be added can hold all copies.

    Raises:
        BadInput: they have too few GPUs or CPUs, for which Ray would wait for ever.
    """
    have_gpus, have_cpus = zip(*nodes(ray), strict=True)
    there = f"on {len(have_cpus)} nodes" if len(have_cpus) > 1 else "visible"
    if gpus and sum(count // gpus for count in have_gpus) < copies:
        raise BadInput(
            f"{copies} copies on {gpus} GPU(s) each need {copies * gpus} GPUs, {sum(have_gpus)} "
            f"are {there}; lower --data-parallel-size or --tensor-parallel-size."
        )
    if room(ray, gpus) < copies:
        raise BadInput(
            f"{copies} copies need a CPU each, {sum(have_cpus)} are {there}; lower "
            "--data-parallel-size."
        )


def no_room(ray: Any, gpus: int, seconds: float) -> str:
    """That a copy has not begun within so long, and what is missing.

    Ray does not tell a copy that has no node from one whose process is slow to start.
    """
    free = ray.available_resources()
    largest = max(nodes(ray), default=(0, 0))
    there = int(free.get("GPU", 0)), int(free.get("CPU", 0))
    advice = "end what else runs there, or add nodes"
    if largest[0] < gpus:
        advice = "add a node that has it, or lower --tensor-parallel-size"
    elif there[0] >= gpus and there[1]:
        advice = "if that is on one node, Python is slow to start there"
    return (
        f"no copy of the model has begun within {seconds:g} seconds: it needs "
        f"{words(gpus, 1)} of one node, the largest node has {words(*largest)}, and "
        f"{words(*there)} are free on all of the cluster; {advice}."
    )


def cause(error: Any) -> BenchError:
    """What failed in a task of Ray."""
    found = error.cause
    if isinstance(found, BenchError):
        return found
    return RunFailed(f"a copy of the model failed: {found!r}")


def ended(node: str | None, said: str, what: str = "A copy of the model") -> str:
    """How a copy, or another worker, came to its end, as far as Ray can say."""
    log.info("%s", said)
    gone = "node" in said and "died" in said.partition("node")[2]
    why = "its node is gone" if gone else "killed? Did the memory suffice?"
    where = f" on node {node}" if node else ""
    return f"{what}{where} ended unexpectedly ({why})."
