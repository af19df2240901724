"""``vllm serve`` as it is started, looked after and ended: with a program that stands for it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bfpo_bench.client import Server
from bfpo_bench.client.caller import Caller
from bfpo_bench.common.errors import BadInput, BenchError, RunFailed
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.engines.vllm import layout, server
from bfpo_bench.engines.vllm.layout import Layout
from bfpo_bench.engines.vllm.server import VLLMServer
from tests.common.test_processes import alive

REPO = Path(__file__).parents[3]
PROGRAM = (sys.executable, "-m", "tests.engines.vllm.serve_program", "serve")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(layout, "PROGRAM", PROGRAM)
    monkeypatch.setattr(server, "POLL_SECONDS", 0.05)
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    monkeypatch.setenv("NOTED", str(tmp_path / "noted"))
    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)


def noted(tmp_path: Path) -> list[int]:
    """Processes of the servers that have begun, their helpers' too."""
    file = tmp_path / "noted"
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


def left(tmp_path: Path) -> list[int]:
    """Those that still run."""
    pids = noted(tmp_path)
    assert pids
    return [pid for pid in pids if alive(pid)]


# ----------------------------------------------------------------------------- what is asked for


def test_a_layout_is_one_text() -> None:
    assert Layout.parse("tp=8, pp=2,nodes=2") == Layout(tp=8, pp=2, nodes=2)
    assert Layout.parse("tp=4,timeout=60,port=8001,address=10.0.0.1").address == "10.0.0.1"
    assert Layout.parse(None) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tpp=8", "unknown part of --serve 'tpp'; did you mean 'tp'?"),
        ("tp", "--serve: tp has no value; write such as tp=8,pp=2,nodes=2."),
        ("tp=2,tp=4", "--serve: tp is given twice; leave one of them out."),
        (" ,", "--serve names nothing; write such as tp=8,pp=2,nodes=2."),
        ("tp=0", "--serve, tp must be "),
        ("tp=eight", "--serve, tp must be "),
        ("port=70000", "--serve, port must be at most 65535, not 70000."),
        ("tp=3,nodes=2", "--serve: tp x pp = 3 GPUs are not shared evenly by 2 nodes; let nodes "),
    ],
)
def test_layouts_that_are_none(text: str, sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        Layout.parse(text)
    assert sentence in str(caught.value)


def test_the_commands_are_vllms_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two nodes; that vLLM reads them is seen in test_serve.py."""
    monkeypatch.setattr(layout, "gpu_visible", lambda: True)
    options = EngineOptions("/models/m", dtype="bfloat16", max_length=4096, batch_size=64)
    spread = Layout(tp=8, pp=2, nodes=2)
    first, second = (
        spread.command(options, "m", 8000, rank, ("10.0.0.1", 29500))[len(PROGRAM) :]
        for rank in (0, 1)
    )
    assert first[0] == second[0] == "/models/m"
    assert "--headless" in second
    assert "--headless" not in first
    only = [word for word in second if word not in first]
    assert only == ["1", "--headless"]
    assert " ".join(word for word in first if word not in second) == "--host 127.0.0.1 --port 8000"
    text = " ".join(second)
    assert "--tensor-parallel-size 8 --pipeline-parallel-size 2 " in text
    assert "--nnodes 2 --node-rank 1 --master-addr 10.0.0.1 --master-port 29500 " in text


# ------------------------------------------------------------------------------- how it fares


def begin(tmp_path: Path, **more: Any) -> VLLMServer:
    return VLLMServer(Layout(**more), EngineOptions("/m"), "toy", tmp_path)


@pytest.mark.parametrize(
    ("how", "more", "sentence"),
    [
        (
            "dies",
            {},
            "vllm serve on this machine could not load the model: ValueError: no room for the key "
            "*** on the GPU | at some place | at some place | RuntimeError: Engine core "
            "initialization failed.; all of it is in {folder}/serve.log.",
        ),
        (
            "hangs deaf",
            {"timeout": 1},
            "vllm serve has not loaded the model after 1 s: INFO loading /m; all of it is in "
            "{folder}/serve.log. Where it only needs longer, give --serve timeout=2.",
        ),
    ],
)
def test_a_model_that_is_not_loaded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    more: dict[str, int],
    sentence: str,
) -> None:
    monkeypatch.setenv("SERVES", how)
    monkeypatch.setattr(server, "PATIENCE", 0.5)

    def now() -> float:
        """No time passes until the program has said what it does."""
        return 1000.0 if len(noted(tmp_path)) == 2 else 0.0

    monkeypatch.setattr(server, "time", SimpleNamespace(monotonic=now, sleep=time.sleep))
    with pytest.raises(RunFailed) as caught:
        begin(tmp_path, **more)
    assert str(caught.value) == sentence.format(folder=tmp_path)
    assert left(tmp_path) == []


def test_what_is_seen_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "gpu_visible", lambda: False)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BadInput, match=rf"^port {port} is taken \(Address already in use\); "):
            begin(tmp_path, port=port)
    with pytest.raises(
        BadInput, match=r"^--serve: no GPU is seen here, and on CPUs vLLM 0\.32 bre"
    ):
        begin(tmp_path, pp=2)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_ends_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noticed at the next question, not after ten of them."""
    monkeypatch.setenv("SERVES", "ends 1")
    running = begin(tmp_path)
    try:
        assert running.gone() is None
        asked = Server(running.base_url, running.key, gone=running.gone)
        caller = Caller(asked)
        question = {"model": "toy", "prompt": "Hi", "max_tokens": 1}
        caller.post("completions", question, lambda reply: reply)
        with pytest.raises(RunFailed) as caught:
            caller.post("completions", question, lambda reply: reply)
        assert re.fullmatch(
            r"vllm serve on this machine has ended \(exit code 3\): .*RuntimeError: the GPU has "
            r"fallen off the bus; all of it is in .*/serve\.log\. What was answered is kept: .*",
            str(caught.value),
        )
    finally:
        running.close()
    assert left(tmp_path) == []
    log = (tmp_path / "serve.log").read_text()
    assert running.key.reveal() not in log + " ".join(map(str, vars(running).values()))


STARTER = """
import os, sys, time
from pathlib import Path
from bfpo_bench.common.interrupts import Interrupts
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.engines.vllm import layout
from bfpo_bench.engines.vllm.layout import Layout
from bfpo_bench.engines.vllm.server import VLLMServer
layout.PROGRAM = (sys.executable, "-m", "tests.engines.vllm.serve_program", "serve")
Interrupts()
running = VLLMServer(Layout(), EngineOptions("/m"), "toy", Path(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_stopped_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("SERVES", "hangs")
    job = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while len(noted(tmp_path)) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert len(left(tmp_path)) == 2
    job.send_signal(number)
    job.communicate(timeout=60)
    until = time.monotonic() + 60
    while left(tmp_path) and time.monotonic() < until:  # the watcher ends them
        time.sleep(0.05)
    assert left(tmp_path) == []


# -------------------------------------------------------------------------------- several nodes


def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: str) -> None:
    """Slurm's commands: scontrol names nodes, srun notes where it runs what, and runs it here."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    commands = {
        "scontrol": f'test "$3" = "{nodes}" && printf "%s\\n" a7 a8 a9',
        "srun": f'echo "$@" >> {tmp_path}/srun\nwhile [ "${{1#--}}" != "$1" ]; do shift; done\n'
        'exec "$@"',
    }
    for name, text in commands.items():
        (bin_folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin_folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_NODELIST", nodes)
    monkeypatch.setenv("SLURMD_NODENAME", "a8")


def test_nodes_of_an_allocation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm(tmp_path, monkeypatch, "a[7-9]")
    port = layout.free_port()
    running = begin(tmp_path, tp=2, nodes=2, master_port=port)
    try:
        assert running.gone() is None
        # It answers as soon as this node is ready; the other one may still be about to begin.
        until = time.monotonic() + 60
        while len(left(tmp_path)) < 4 or not (tmp_path / "serve-1.log").read_text():
            assert time.monotonic() < until
            time.sleep(0.05)
        step = (tmp_path / "srun").read_text()
        # This node first, then the others in Slurm's order.
        assert step.startswith("--overlap --nodes=1 --ntasks=1 --nodelist=a7 ")
        assert f"--nnodes 2 --node-rank 1 --master-addr a8 --master-port {port} " in step
        assert "loading" in (tmp_path / "serve-1.log").read_text()
    finally:
        running.close()
    assert left(tmp_path) == []


def test_an_allocation_that_does_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm(tmp_path, monkeypatch, "a[7-9]")

    def sentence(count: int) -> str:
        with pytest.raises(BenchError) as caught:
            layout.allocated(count)
        return str(caught.value)

    assert layout.allocated(3) == ["a8", "a7", "a9"]
    assert sentence(4) == (
        "--serve asks for 4 nodes, and the allocation has 3 (a7, a8, a9); ask Slurm for more, or "
        "--serve for fewer."
    )
    monkeypatch.setenv("SLURMD_NODENAME", "login1")
    assert sentence(2).startswith("this machine (login1) is none of the allocation's (a7, a8, a9);")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "b[1-2]")
    assert sentence(2).startswith("the nodes of the allocation (b[1-2]) cannot be told apart: scon")


def test_without_slurm_a_command_for_each_other_node(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    no_route: Callable[[], str],
) -> None:
    monkeypatch.setenv("SERVES", "dies")
    with pytest.raises(RunFailed):
        begin(tmp_path, tp=3, nodes=3)
    said = capsys.readouterr().err
    assert [line for line in said.splitlines() if line.startswith("Start")] == [
        "Start on node 1 of 0 to 2:",
        "Start on node 2 of 0 to 2:",
    ]
    assert f"--node-rank 2 --master-addr {no_route()} --master-port " in said
    assert said.count("--headless") == 2


@pytest.fixture
def no_route() -> Callable[[], str]:
    return layout.own_address
