"""Log lines, our own and other libraries': which are written, and that none steers a terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from bfpo_bench.common.text import sentence


@contextmanager
def errors_only(*loggers: str) -> Iterator[None]:
    """Lets these loggers say nothing below an error while the body runs."""
    before = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def clean_messages() -> None:
    """Has every message of this process, whoever logs it, as :func:`~.text.sentence` shows it."""
    logging.setLogRecordFactory(_Clean)


class _Clean(logging.LogRecord):
    def getMessage(self) -> str:
        return sentence(super().getMessage())
