"""``vllm serve``, started for one command: from the first process to the last, on every exit."""

from __future__ import annotations

import http.client
import os
import re
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bfpo_bench.client import Secret, Server
from bfpo_bench.common.errors import BadInput, RunFailed, why_unwritable
from bfpo_bench.common.processes import Guard
from bfpo_bench.common.versions import versions_of
from bfpo_bench.engines.open import gpu_visible
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.engines.vllm.files import other_weights, prepared
from bfpo_bench.engines.vllm.layout import Layout, allocated, free_port, own_address

POLL_SECONDS = 0.5
PATIENCE = 30.0
"""Seconds that a server has to end by itself."""

_NOISE = re.compile(r"^\((?:\w+ )*pid=\d+\) ?|\x1b\[[\d;]*m")
_REASON = re.compile(r"^\s*[\w.]*(?:Error|Exception)\b: ")
_LAST, _LONGEST = 3, 600


@dataclass(frozen=True)
class _Node:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


class VLLMServer:
    """A model in ``vllm serve``, ready to answer.

    Only this machine reaches it, and only with a key that is made for it and stands nowhere.

    Args:
        layout: GPUs and nodes.
        options: of the model.
        name: under which the server knows it.
        folder: where its log goes, ``serve.log``; that of another node is ``serve-1.log`` …

    Raises:
        BadInput: a port is taken, or the allocation does not suffice.
        RunFailed: the model could not be loaded; says the last lines of the log.
    """

    def __init__(self, layout: Layout, options: EngineOptions, name: str, folder: Path) -> None:
        if layout.pp > 1 and not gpu_visible():
            raise BadInput(
                "--serve: no GPU is seen here, and on CPUs vLLM 0.32 breaks off at the first "
                "answer of a pipeline; write tp= in the place of pp=."
            )
        names = allocated(layout.nodes) if layout.nodes > 1 else []
        self._port = free_port(layout.port)
        address = layout.address or (names[0] if names else own_address())
        meet = (address, free_port(layout.master_port, "", "master_port"))
        commands = [
            layout.command(options, name, self._port, rank, meet) for rank in range(layout.nodes)
        ]
        self.base_url = f"http://127.0.0.1:{self._port}/v1"
        self.key = Secret(secrets.token_urlsafe(24))
        self._nodes: list[_Node] = []
        home = tempfile.mkdtemp(prefix="bfpo-serve-")
        self._guard = Guard(home)
        with self._guard.starting():
            try:
                self._variables = _description(Path(home))
                self._begin("this machine", commands[0], folder / "serve.log")
                for rank, command in enumerate(commands[1:], 1):
                    if names:
                        step = layout.over_slurm(names[rank], command)
                        self._begin(names[rank], step, folder / f"serve-{rank}.log")
                    else:
                        _ask_for(rank, layout.nodes, command)
                self._wait(layout)
            except BaseException:
                self._end()
                raise

    def gone(self) -> str | None:
        """Why it will not answer any more: a sentence; None while it runs."""
        for node in self._nodes:
            if (code := node.process.poll()) is not None:
                return (
                    f"vllm serve on {node.name} has ended (exit code {code}): {self._last(node)}; "
                    f"all of it is in {node.log}. What was answered is kept: mend the cause and "
                    "run the same command again to go on."
                )
        return None

    def close(self) -> None:
        """Ends it, on all nodes, with all the processes that it has started."""
        self._end()
        self._guard.end()

    def _end(self) -> None:
        for node in self._nodes:
            node.process.terminate()
        until = time.monotonic() + PATIENCE
        for node in self._nodes:
            try:
                node.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()

    def _begin(self, name: str, command: Sequence[str], logged: Path) -> None:
        try:
            with logged.open("wb") as file:
                process = subprocess.Popen(
                    command,
                    # With the guard's mark, by which all that it starts is known.
                    env={
                        "VLLM_NO_USAGE_STATS": "1",
                        "VLLM_CPU_KVCACHE_SPACE": "2",
                        **os.environ,
                        **self._variables,
                        "VLLM_API_KEY": self.key.reveal(),
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C is for us, who end it in good order.
                    start_new_session=True,
                )
        except OSError as error:
            raise BadInput(
                f"cannot start {command[0]} ({why_unwritable(error)}); it is to run vllm serve."
            ) from error
        self._nodes.append(_Node(name, process, logged))

    def _wait(self, layout: Layout) -> None:
        until = time.monotonic() + layout.timeout
        while not self._is_healthy():
            for node in self._nodes:
                if node.process.poll() is not None:
                    raise RunFailed(
                        f"vllm serve on {node.name} could not load the model: {self._last(node)}; "
                        f"all of it is in {node.log}."
                    )
            if time.monotonic() > until:
                raise RunFailed(
                    f"vllm serve has not loaded the model after {layout.timeout} s: "
                    f"{self._last(self._nodes[0])}; all of it is in {self._nodes[0].log}. Where "
                    f"it only needs longer, give --serve timeout={2 * layout.timeout}."
                )
            time.sleep(POLL_SECONDS)

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _last(self, node: _Node) -> str:
        """The last lines of a node's log as a part of a sentence, the first error before them."""
        text = node.log.read_bytes()[-200_000:].decode("utf-8", "replace")
        lines = [_NOISE.sub("", line).strip() for line in self.key.redact(text).splitlines()]
        lines = [line for line in lines if line]
        last = lines[-_LAST:]
        reason = next((line for line in lines if _REASON.match(line)), None)
        if reason is not None and reason not in last:
            last.insert(0, reason)
        said = " | ".join(line[: _LONGEST // 2] for line in last)
        return said[-_LONGEST:] or "it has said nothing"


def served(
    layout: Layout, options: EngineOptions, name: str, folder: Path | None
) -> tuple[Server, Callable[[], None]]:
    """A model in a server of its own, and what ends that.

    Args:
        folder: for the logs; None takes a new one.

    Raises:
        BadInput, RunFailed: see :class:`VLLMServer`.
    """
    if layout.nodes > 1 and (others := other_weights(Path(options.model))):
        raise BadInput(
            f"{options.model} holds weights that are not the model's "
            f"({', '.join(sorted(others))}), which vLLM would load on the other nodes; move them "
            "out of the folder."
        )
    with prepared(options) as seen:
        home = folder or Path(tempfile.mkdtemp(prefix="bfpo-serve-"))
        running = VLLMServer(layout, seen, name, home)
    return Server(running.base_url, running.key, gone=running.gone), running.close


def _ask_for(rank: int, nodes: int, command: Sequence[str]) -> None:
    """Has the user start a node where nothing here can."""
    text = shlex.join(command)
    print(f"Start on node {rank} of 0 to {nodes - 1}:\n\n  {text}\n", file=sys.stderr, flush=True)


def _description(folder: Path) -> dict[str, str]:
    """Variables with which vLLM's build for CPUs, where that is installed, finds itself."""
    found = versions_of(("vllm", "vllm-cpu"))
    if "vllm" in found or not found:
        return {}
    # It is a distribution of another name, but the server asks for one named vllm, and takes its
    # platform from "cpu" in that one's version.
    version = f"{found['vllm-cpu']}+cpu"
    about = folder / f"vllm-{version}.dist-info"
    about.mkdir()
    text = f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n"
    (about / "METADATA").write_text(text, encoding="utf-8")
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    }
