"""Contenders that start at once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest

from tests.forkserver import imported


@pytest.fixture(scope="module")
def forked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Contenders are forks of one process that imports the test module's ``HEAVY`` first.

    A process that is spawned, as in the benchmarks themselves, imports them for ten seconds.
    """
    heavy = request.module.HEAVY
    with imported(heavy) as context, pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing, "get_context", lambda method=None: context)
        yield
