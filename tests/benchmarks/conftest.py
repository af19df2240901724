"""Contenders that start at once."""

from __future__ import annotations

import multiprocessing

import pytest


@pytest.fixture
def forked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contenders are forks of one process that imports the test module's ``HEAVY`` first.

    A process that is spawned, as in the benchmarks themselves, imports them for ten seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(request.module.HEAVY))
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: context)
