"""Ctrl-C and SIGTERM: never in the middle of an import, and otherwise alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# A C function that calls Python back and ends the process when Python raises, as libtorch does.
ABORTING = """
import ctypes, os, signal

@ctypes.CFUNCTYPE(None)
def called_back():
    os.kill(os.getpid(), signal.{number})

try:
    called_back()
except BaseException:
    os.abort()
"""


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_in_an_import_the_first_one_ends_the_process(
    tmp_path: Path, number: str, quiet: bool
) -> None:
    (tmp_path / "aborting.py").write_text(ABORTING.format(number=number))
    code = (
        "import sys\n"
        "from bfpo_bench.common.interrupts import Interrupts\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        f"Interrupts({quiet})\n"
        "import aborting\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    sentence = "Stopped. Run the same command again to go on.\n"
    assert (done.returncode, done.stderr) == (130, "" if quiet else sentence)


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("started", ["ignored", "handled"])
def test_what_the_caller_decided_about_the_signal_stays(started: str, number: str) -> None:
    code = (
        "import signal\n"
        f"before = {'signal.SIG_IGN' if started == 'ignored' else 'lambda *_: None'}\n"
        f"signal.signal(signal.{number}, before)\n"
        "from bfpo_bench.common.interrupts import Interrupts\n"
        "Interrupts()\n"
        f"assert signal.getsignal(signal.{number}) == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


HOLDING = """
import os, signal, sys, threading, types
from bfpo_bench.common.interrupts import Interrupts, held
interrupts = Interrupts()
said, error = threading.Event(), sys.stderr
sys.stderr = types.SimpleNamespace(
    write=error.write, flush=lambda: (error.flush(), said.set())
)
try:
    with held():
        for number in {signals}:
            os.kill(os.getpid(), number)
        said.wait({seconds})
        print("held", interrupts.seen)
    print("never")
except KeyboardInterrupt:
    {after}
    print("wound up")
    sys.exit(7)
"""


def holding(
    signals: str, seconds: float = 0.0, after: str = "pass"
) -> subprocess.CompletedProcess[str]:
    code = HOLDING.format(signals=signals, seconds=seconds, after=after)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50
    )


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_what_is_held_is_raised_at_the_end(number: str) -> None:
    done = holding(f"[signal.{number}]")
    assert (done.stdout.split("\n")[:2], done.returncode) == (["held True", "wound up"], 7)
    assert done.stderr == ""


def test_who_waits_for_what_is_held_is_told() -> None:
    assert "Stopping as soon as what is under way" in holding("[signal.SIGTERM]", 40).stderr


def test_a_second_sigterm_changes_nothing_and_ctrl_c_still_ends_it() -> None:
    """Slurm, srun and a shell that passes it on may each send one."""
    twice = "os.kill(os.getpid(), signal.SIGTERM)"
    done = holding("[signal.SIGTERM, signal.SIGTERM]", after=twice)
    assert (done.stdout.split("\n")[:2], done.returncode) == (["held True", "wound up"], 7)
    done = holding("[signal.SIGTERM, signal.SIGINT]")
    assert (done.stdout, done.returncode) == ("", 130)


def test_a_forked_child_dies_of_sigterm() -> None:
    """A pool of another library ends its workers that way, and they have nothing to wind up."""
    code = (
        "import os, signal, time\n"
        "from bfpo_bench.common.interrupts import Interrupts\n"
        "Interrupts()\n"
        "read, write = os.pipe()\n"
        "child = os.fork()\n"
        "if not child:\n    os.write(write, b'here')\n    time.sleep(30)\n    os._exit(0)\n"
        "os.read(read, 4)\n"
        "os.kill(child, signal.SIGTERM)\n"
        "assert os.waitpid(child, 0)[1] == signal.SIGTERM\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
