"""``bfpo-bench`` without the ten seconds that importing torch and its company takes.

One process imports them once and forks a child for each command. What stands for the program
(``PROGRAM`` of a sweep) is this file run as a client: it hands its arguments and outputs over, ends
as the child ends, and takes it along when it is killed.
"""

from __future__ import annotations

import array
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

MODULES = ("bfpo_bench.evaluation.run", "bfpo_bench.engines.hf.engine", "lm_eval.tasks", "datasets")


def client(place: str, arguments: list[str]) -> None:
    """Has a command run, and ends as it does."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(place)
    # Told to stop, the child winds up; one that never came into being ends at once.
    signal.signal(signal.SIGTERM, lambda *_: server.sendall(b"T"))
    asked = json.dumps({"cwd": str(Path.cwd()), "arguments": arguments}).encode()
    outputs = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1, 2]))
    server.sendmsg([asked + b"\n"], [outputs])
    said = server.recv(100)
    code = int(said or b"1")
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


def serve(place: str) -> None:
    """Forks a child for each client, until standard input closes."""
    import importlib

    for name in MODULES:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    gc.freeze()  # the children need neither look through all that nor copy it
    door = socket.socket(socket.AF_UNIX)
    door.bind(place)
    door.listen()
    print("ready", flush=True)
    children: dict[socket.socket, int] = {}
    while True:
        ready, _, _ = select.select(
            [sys.stdin, door, *children], [], [], 0.02 if children else None
        )
        for one in ready:
            if one is sys.stdin:
                return
            if one is door:
                connection, _ = door.accept()
                child = _fork(connection, place)
                if child is None:
                    connection.close()
                else:
                    children[connection] = child
            elif one in children and one.recv(1) == b"T":
                os.kill(children[one], signal.SIGTERM)
            else:  # it was killed
                os.kill(children[one], signal.SIGKILL)
                os.waitpid(children.pop(one), 0)
                one.close()
        for connection, child in list(children.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                with suppress(OSError):  # it was killed just now
                    connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
                connection.close()
                del children[connection]


def _hold(place: str, command: str) -> None:
    """Has this process wait in the middle of its work, see tests/sweeps/holding.py."""
    from bfpo_bench.run.store import Store

    insert, stored = Store._insert, 0
    hold, held = Path(f"{place}.hold"), Path(f"{place}.held")

    def is_held() -> bool:
        try:
            return hold.read_text() in command
        except FileNotFoundError:
            return False

    def inserting(store: Store, table: str, *more: Any) -> None:
        nonlocal stored
        stored += table in ("scores", "responses")
        if stored == 2 and is_held():
            with held.open("a") as file:
                print(command, file=file)
            while is_held():
                time.sleep(0.02)
        insert(store, table, *more)

    Store._insert = inserting  # type: ignore[method-assign]


def _fork(connection: socket.socket, place: str) -> int | None:
    """Process id of the child; None for a client that was killed before it asked anything."""
    asked, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(8))
    if not ancillary:
        return None
    outputs = array.array("i", ancillary[0][2])
    child = os.fork()
    if not child:
        from bfpo_bench.cli import main

        code = 99
        try:
            for number, output in enumerate(outputs, 1):
                os.dup2(output, number)
            call = json.loads(asked)
            os.chdir(call["cwd"])
            sys.argv = ["bfpo-bench", *call["arguments"]]
            _hold(place, " ".join(sys.argv))
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    for output in outputs:
        os.close(output)
    return child


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        client(sys.argv[2], sys.argv[3:])
