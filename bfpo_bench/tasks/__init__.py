"""The benchmarks: a YAML that lm-eval reads and a module of source, prompts and gold answers each.

What a model is asked is made of them in `requests`.

`FOLDER` is what lm-eval's ``--include_path`` takes. See docs/tasks.md.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent

__all__ = ["FOLDER"]
