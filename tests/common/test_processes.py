"""Children of a killed process end; children of one that ends in good order are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bfpo_bench.common.processes import MARK, Guard

# A child that was spawned, one that was forked, and a grandchild that comes late and at once loses
# its parent: what a killed process leaves behind when it was just starting its engine.
PARENT = """
import os, subprocess, sys, time
from bfpo_bench.common.processes import Guard
sleep = [sys.executable, "-c", "import time; time.sleep(120)"]
late = "import subprocess as s, sys; print(s.Popen(sys.argv[1:], stdout=s.DEVNULL).pid)"
quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
guard = Guard()
with guard.starting():
    children = [subprocess.Popen(sleep, **quiet).pid, os.fork()]
    if not children[1]:
        time.sleep(120)
        os._exit(0)
    found = subprocess.run([sys.executable, "-c", late, *sleep], stdout=subprocess.PIPE)
    children.append(int(found.stdout))
    if sys.argv[1] == "start":
        print(*children, flush=True)
        time.sleep(120)
if sys.argv[1] == "dismiss":
    guard.dismiss()
print(*children, flush=True)
time.sleep(120)
"""


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def gone(*processes: int) -> None:
    """Waits for their end."""
    deadline = time.monotonic() + 60
    while any(map(alive, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("when", ["start", "watch", "dismiss"])
def test_children_after_kill_9(when: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, when], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    children = spawned, _, late = [int(word) for word in parent.stdout.readline().split()]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    # The kernel ends a forked one with its parent in any case, see processes.py.
    survive = {spawned, late} if when == "dismiss" else set()
    gone(*(child for child in children if child not in survive))
    if survive:
        time.sleep(2)  # a guard would have ended them by then
    assert {child for child in children if alive(child)} == survive
    for child in survive:
        psutil.Process(child).kill()


def test_a_start_that_fails_leaves_nothing_behind() -> None:
    """Nor what has lost its environment, as Ray's agents do when they write themselves a title."""
    code = (
        "import subprocess as s, sys; wait = [sys.executable, '-c', 'import time; time.sleep(99)'];"
        "child = s.Popen(wait, env={}); print(child.pid, flush=True); child.wait()"
    )
    started = []
    grandchildren = []

    def fails() -> None:
        with Guard().starting():
            child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
            started.append(child)
            assert child.stdout is not None
            grandchildren.append(int(child.stdout.readline()))
            raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        fails()
    assert started[0].wait(timeout=60) == -signal.SIGKILL
    gone(*grandchildren)
    assert MARK not in os.environ


def test_who_has_lost_environment_and_parent_is_known_by_title_and_files(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    folder.mkdir()
    code = (
        "import shutil, subprocess as s, sys; title, log = sys.argv[1], open(sys.argv[2], 'w');"
        "print(s.Popen([title, '99'], executable=shutil.which('sleep'), env={}, stdout=log).pid)"
    )
    own, other = folder / "agent.log", tmp_path / "session.log"
    guard = Guard(str(folder))
    with guard.starting():
        found = [
            int(subprocess.check_output([sys.executable, "-c", code, title, log]))
            for title, log in (("ray::Agent", own), ("ray::Agent", other), ("pytest", own))
        ]
    assert list(map(alive, found)) == [True, True, True]
    guard.end()
    gone(found[0])
    assert list(map(alive, found[1:])) == [True, True]
    for left in found[1:]:
        psutil.Process(left).kill()
    assert not folder.exists()


def test_whom_the_others_serve_may_have_a_title_and_files_there(tmp_path: Path) -> None:
    """As a driver of Ray has that is a worker of pytest-xdist, or an actor of somebody else's."""
    pytest.importorskip("setproctitle", reason="comes with vLLM")
    code = (
        "import sys, setproctitle; from bfpo_bench.common.processes import Guard;"
        "setproctitle.setproctitle('ray::Evaluation' + 10_000 * '.'); log = open(sys.argv[1], 'w');"
        "guard = Guard(sys.argv[2])\nwith guard.starting(): pass\nguard.end(); print('here')"
    )
    folder = tmp_path / "session"
    folder.mkdir()
    command = [sys.executable, "-c", code, str(folder / "driver.log"), str(folder)]
    said = subprocess.run(command, capture_output=True, text=True)
    assert (said.stdout, said.returncode) == ("here\n", 0), said.stderr


def test_what_this_process_had_before_is_left_alone() -> None:
    """A data loader, a shell of a notebook: they serve something else."""
    sleep = [sys.executable, "-c", "import time; time.sleep(120)"]
    with subprocess.Popen(sleep) as before:
        guard = Guard()
        try:
            with guard.starting():
                serving = subprocess.Popen(sleep, env={})
            guard.end()
            assert serving.wait(timeout=60) == -signal.SIGKILL
            assert alive(before.pid)
        finally:
            before.kill()
