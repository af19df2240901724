"""lm-eval's command line without lm-eval's own tasks.

They are 14,000 files, which it reads for half a minute before it comes to ours. One test has it do
so: tests/tasks/test_lm_eval.py.
"""

from __future__ import annotations

import sys

_CODE = """
import functools, runpy
import lm_eval.tasks
lm_eval.tasks.TaskManager = functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)
runpy.run_module({module!r}, run_name="__main__")
"""


def without_its_own_tasks(module: str) -> list[str]:
    """A command that does what ``python -m MODULE`` does, but for those tasks."""
    return [sys.executable, "-c", _CODE.format(module=module)]
