"""The prompts of red teaming, asked several times each: what is asked of the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.lazy import LazySequence
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.protocol import GenerateRequest, ScoreRequest
from bfpo_bench.models.chat import Chat, Turns, read_messages, write_messages
from bfpo_bench.redteam.prompts import Prompt
from bfpo_bench.tasks.requests import request_seed

TASK = "redteam"
"""Under this name prompts and responses stand in the run's store."""


@dataclass(frozen=True)
class Questions:
    """The requests, prompt after prompt: what the stage ``respond`` goes through.

    Attributes:
        prompts: requests; ``responses`` of them in a row belong to one prompt.
        questions: what a judge is shown as the prompt of each.
    """

    items: list[Prompt]
    responses: int
    prompts: Sequence[GenerateRequest]
    questions: Sequence[str]
    name: str = TASK
    scores: list[ScoreRequest] = field(default_factory=list)
    choices: list[int] = field(default_factory=list)

    def item_id(self, index: int) -> str:
        """Id of a response's place: the prompt's, and its number among the responses to it."""
        prompt, number = divmod(index, self.responses)
        return f"{self.items[prompt].id}-{number}"


def ask(
    prompts: list[Prompt],
    responses: int,
    sampling: Sampling,
    seed: int,
    chat: Callable[..., str] | None,
    system_prompt: str | None,
    thought_tokens: int = 0,
) -> Questions:
    """Writes the requests, as they are asked for.

    Args:
        chat: renders messages with the model's chat template; None when it has none.
        thought_tokens: room of a thought, beyond that of the answer.

    Raises:
        BadInput: the chat template refuses the messages, or there is none for a system prompt.
    """
    if system_prompt is not None and chat is None:
        raise BadInput(
            "a system prompt needs a chat template, and the model has none; leave --system-prompt "
            "out, or give one with --chat-template FILE."
        )

    def written(text: str) -> str:
        if chat is None:
            return text
        said = conversation(text, system_prompt)
        return chat([{"role": role, "content": content} for role, content in said])

    def write(window: range) -> list[GenerateRequest]:
        found = []
        for index in window:
            text = written(prompts[index // responses].text)
            # Where a server applies the chat template, the "prompt" is the messages themselves.
            messages = read_messages(text) if chat is write_messages else None
            own = request_seed(seed, TASK, asked.item_id(index))
            found.append(
                GenerateRequest(
                    *(text, sampling, own, messages),
                    thought_tokens=thought_tokens,
                    special_tokens=chat is None,
                )
            )
        return found

    def shown(window: range) -> list[str]:
        return [prompts[index // responses].text for index in window]

    total = len(prompts) * responses
    asked = Questions(prompts, responses, LazySequence(total, write), LazySequence(total, shown))
    # A chat template that refuses a prompt, or leaves part of it out, shall do so before a model is
    # loaded.
    for prompt in prompts if isinstance(chat, Chat) else prompts[:1]:
        written(prompt.text)
    return asked


def conversation(prompt: str, system_prompt: str | None) -> Turns:
    """A prompt as the messages that the model is shown, and that a pair is trained on."""
    before = (("system", system_prompt),) if system_prompt is not None else ()
    return (*before, ("user", prompt))
