"""Many questions under way at once, answers handed out as they come."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from bfpo_bench.client.caller import Caller
from bfpo_bench.client.server import Server

T = TypeVar("T")
R = TypeVar("R")

HAND_OUT_SECONDS = 0.5
"""Finished answers are handed out (and stored by whoever asked) at least this often."""


def ask_all(
    server: Server,
    tasks: Iterable[tuple[int, T]],
    work: Callable[[Caller, T], R],
    limit: int,
) -> Iterator[list[tuple[int, R]]]:
    """Works on numbered tasks, at most `limit` of them at a time.

    `tasks` is read as room appears, so memory does not grow with its length. When a task fails,
    the answers that are there are handed out first, then its error is raised. When the caller
    stops reading (an error, Ctrl-C), requests under way are cut off at once; a Ctrl-C that comes
    while it works or waits here is raised after the answers that are there.

    Args:
        work: asks the server about one task; runs in a thread.
        limit: tasks at a time.

    Yields:
        batches of (number, result), in the order in which they were finished.
    """
    crew = _Crew(server, work)
    source = iter(tasks)
    more = True
    waiting = 0
    batch: list[tuple[int, R]] = []
    handed_out = time.monotonic()
    try:
        while True:
            # One task in hand and one in the queue for each thread: no thread waits for us.
            while more and waiting < 2 * limit:
                task = next(source, None)
                if task is None:
                    more = False
                    break
                waiting += 1
                crew.give(task, limit)
            if not waiting:
                break
            wait = HAND_OUT_SECONDS - (time.monotonic() - handed_out)
            found = crew.take(max(0.0, wait) if batch else HAND_OUT_SECONDS)
            if found is not None:
                waiting -= 1
                number, result, error = found
                if error is not None:
                    ready, batch = batch + crew.leftovers(), []
                    if ready:
                        yield ready
                    raise error
                batch.append((number, result))
            if batch and (not waiting or time.monotonic() - handed_out >= HAND_OUT_SECONDS):
                ready, batch = batch, []
                yield ready
                handed_out = time.monotonic()
    except KeyboardInterrupt:
        # What has been answered has been paid for.
        crew.dismiss()
        batch += crew.leftovers()
        if batch:
            yield batch
        raise
    finally:
        crew.dismiss()


def ask(server: Server, work: Callable[[Caller], R]) -> R:
    """One question.

    It, too, is asked in a thread: an interrupt then hits the frame that waits here, not those of
    the HTTP library, which hold the key.
    """
    [[(_, result)]] = ask_all(server, [(0, None)], lambda caller, _: work(caller), 1)
    return result


class _Crew:
    """The threads. They are daemons: a program that ends does not wait for a server's answer."""

    def __init__(self, server: Server, work: Callable[[Caller, Any], Any]) -> None:
        self._server = server
        self._work = work
        self._stop = threading.Event()
        self._todo: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
        self._callers: list[Caller] = []

    def give(self, task: tuple[int, Any], limit: int) -> None:
        """Queues a task; hires as long as there are fewer than `limit` threads."""
        self._todo.put(task)
        if len(self._callers) < limit:
            caller = Caller(self._server, self._stop)
            self._callers.append(caller)
            name = f"bfpo-remote-{len(self._callers)}"
            threading.Thread(target=self._run, args=(caller,), name=name, daemon=True).start()

    def take(self, timeout: float) -> tuple[int, Any, BaseException | None] | None:
        """The next finished task, None when there is none in time."""
        try:
            return self._done.get(timeout=timeout)
        except queue.Empty:
            return None

    def leftovers(self) -> list[tuple[int, Any]]:
        """Results that are finished but not taken."""
        found = []
        while (entry := self.take(0)) is not None:
            if entry[2] is None:
                found.append(entry[:2])
        return found

    def dismiss(self) -> None:
        """Ends all threads, cutting off what they wait for."""
        self._stop.set()
        for caller in self._callers:
            caller.abort()
            self._todo.put(None)

    def _run(self, caller: Caller) -> None:
        try:
            while not self._stop.is_set():
                task = self._todo.get()
                if task is None or self._stop.is_set():
                    return
                number, content = task
                try:
                    self._done.put((number, self._work(caller, content), None))
                except BaseException as error:
                    self._done.put((number, None, error))
        finally:
            caller.close()
