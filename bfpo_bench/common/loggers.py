"""Log lines, our own and other libraries': which are written, and that none steers a terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from bfpo_bench.common.text import sentence

# For each logger that is held down: how many bodies hold it, and the level it goes back to.
_held: dict[str, tuple[int, int]] = {}
_lock = Lock()


@contextmanager
def errors_only(*loggers: str) -> Iterator[None]:
    """Lets these loggers say nothing below an error while the body runs.

    Bodies may overlap, in one thread or several: the last to end gives a logger its level back.
    """
    with _lock:
        for name in loggers:
            logger = logging.getLogger(name)
            bodies, level = _held.get(name, (0, logger.level))
            _held[name] = bodies + 1, level
            logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        with _lock:
            for name in loggers:
                bodies, level = _held.pop(name)
                if bodies > 1:
                    _held[name] = bodies - 1, level
                else:
                    logging.getLogger(name).setLevel(level)


def clean_messages() -> None:
    """Has every message of this process, whoever logs it, as :func:`~.text.sentence` shows it."""
    logging.setLogRecordFactory(_Clean)


class _Clean(logging.LogRecord):
    def getMessage(self) -> str:
        return sentence(super().getMessage(), lines=not self.name.startswith("bfpo_bench"))
