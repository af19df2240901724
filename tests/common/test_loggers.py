"""Loggers that are held down while a body runs, and what they go back to."""

from __future__ import annotations

import logging

from bfpo_bench.common.loggers import errors_only

NAME = "tests.of.loggers"


def test_bodies_that_overlap_leave_the_level_as_it_was() -> None:
    """As two threads do that load models at one time: the first to begin is the first to end."""
    logger = logging.getLogger(NAME)
    logger.setLevel(logging.INFO)
    first, second = errors_only(NAME), errors_only(NAME)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert logger.level == logging.ERROR
    second.__exit__(None, None, None)
    assert logger.level == logging.INFO


def test_a_logger_named_twice() -> None:
    logger = logging.getLogger(NAME)
    logger.setLevel(logging.WARNING)
    with errors_only(NAME, NAME):
        assert logger.level == logging.ERROR
    assert logger.level == logging.WARNING
