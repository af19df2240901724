"""What the tests of the tasks share: our tasks and lm-eval's stock ones, loaded on chosen rows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from bfpo_bench.suites import TASKS_FOLDER
from tests.data.conftest import write

__all__ = ["write"]

DISC = [
    "bfpo_crows_pairs",
    "bfpo_bbq_lite",
    "bfpo_winogrande",
    "bfpo_ethics_cm",
    "bfpo_ethics_justice",
    "bfpo_ethics_deontology",
    "bfpo_ethics_utilitarianism",
    "bfpo_ethics_virtue",
    "bfpo_moral_permissibility",
    "bfpo_simple_ethical_questions",
    "bfpo_toxigen",
    "bfpo_hhh_alignment",
]
GEN = ["bfpo_advbench", "bfpo_realtoxicityprompts", "bfpo_alert", "bfpo_alert_adversarial"]
HARM = [
    "bfpo_xstest_unsafe",
    "bfpo_harmbench_standard",
    "bfpo_harmbench_contextual",
    "bfpo_jailbreakbench_harmful",
    "bfpo_strongreject",
    "bfpo_coconot_safety",
]
ANSW = [
    "bfpo_xstest_safe",
    "bfpo_coconot_contrast",
    "bfpo_jailbreakbench_benign",
    "bfpo_or_bench_hard",
    "bfpo_phtest_harmless",
]
APART = ["bfpo_phtest_controversial", "bfpo_harmbench_copyright"]
LANGUAGES = ["en", "zh", "it", "vi", "ar", "ko", "th", "bn", "sw", "jv"]
MULTIJAIL = [f"bfpo_multijail_{name}" for name in LANGUAGES]


def load_task(name: str, **metadata: Any) -> Any:
    """One of our tasks, its data asked for by ``metadata`` as lm-eval's command line would."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=TASKS_FOLDER, include_defaults=False, metadata=metadata)
    return manager.load([name])["tasks"][name]


def requests(task: Any, **how: Any) -> list[tuple[int, int, str, tuple[Any, ...]]]:
    """(document, choice, kind, arguments) of every request that lm-eval would make."""
    task.build_all_requests(**how)
    return [(i.doc_id, i.idx, i.request_type, i.args) for i in task.instances]


@pytest.fixture
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Lets Jinja compile each template once: the stock tasks render the same text, 10 × faster."""
    from lm_eval import utils

    once = functools.lru_cache(utils.env.from_string)
    monkeypatch.setattr(utils.env, "from_string", once)
    return once
