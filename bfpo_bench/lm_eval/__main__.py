"""``python -m bfpo_bench.lm_eval`` is ``lm_eval`` with the model ``bfpo-hf``."""

from __future__ import annotations

import sys

from lm_eval.__main__ import cli_evaluate

import bfpo_bench.lm_eval  # noqa: F401  (registers the model)
from bfpo_bench.common.errors import BenchError

if __name__ == "__main__":
    try:
        cli_evaluate()
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
