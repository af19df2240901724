"""Five methods on a real model: what they are trained on, how they are evaluated, what came of it.

    python -m benchmarks.real_model --data-dir DIR --work study

docs/real-model.md tells what it found. Each step is skipped where its output is there.
"""

from benchmarks.real_model.study import main

__all__ = ["main"]
