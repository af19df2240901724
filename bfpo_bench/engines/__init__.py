"""How text goes through a model: `hf` (transformers), `vllm`, `openai`, behind one protocol.

Engines know nothing of tasks, judges or run directories. They are given numbered requests and
yield finished batches of answers, so that the caller can store each batch as it is done.
"""

from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.open import choose_backend, open_engine
from bfpo_bench.engines.protocol import (
    Engine,
    EngineOptions,
    GenerateRequest,
    NonFiniteLogits,
    Response,
    Score,
    ScoreRequest,
)

__all__ = [
    "Engine",
    "EngineOptions",
    "GenerateRequest",
    "NonFiniteLogits",
    "Response",
    "Sampling",
    "Score",
    "ScoreRequest",
    "choose_backend",
    "open_engine",
]
