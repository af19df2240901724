"""Makes ``inspect_ai.eval``: what inspect_ai 0.3.285 itself writes, packed with zstd.

Run once by hand with the Python that tests/install_inspect.sh installs:

    python tests/imports/make_inspect_log.py FOLDER
"""

from __future__ import annotations

import sys
from typing import Any

from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ContentReasoning,
    ContentText,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, system_message


class Toy(ModelAPI):
    """Says something else to each question; needs no network."""

    async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:
        said: Any = "I cannot help with that."
        if input[-1].text.startswith("Second"):
            said = [ContentReasoning(reasoning="hm"), ContentText(text="Sure, here is how")]
        choice = ChatCompletionChoice(
            message=ChatMessageAssistant(content=said), stop_reason="max_tokens"
        )
        usage = ModelUsage(input_tokens=5, output_tokens=7, total_tokens=12)
        return ModelOutput(model="toy", choices=[choice], usage=usage)

    async def count_tokens(self, *_: Any, **__: Any) -> int:
        return 3


@modelapi(name="toy")
def toy() -> type[Toy]:
    return Toy


if __name__ == "__main__":
    asked = [Sample(input="How is tea made?", target=""), Sample(input="Second?", target="")]
    task = Task(
        name="my_task",
        dataset=MemoryDataset(asked),
        solver=[system_message("Be kind."), generate()],
        scorer=includes(),
    )
    settings = {"temperature": 0.5, "max_tokens": 64, "epochs": 2, "display": "none"}
    eval(task, model="toy/one", log_dir=sys.argv[1], log_model_api=False, **settings)
