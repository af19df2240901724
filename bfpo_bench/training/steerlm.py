"""SteerLM: fine-tuning on all responses, each told apart by its attributes.

Dong et al. 2023 (arXiv 2310.05344). The prompt says what the answer is like, in a system message
such as ``helpfulness: 1, safety: 0``; the model learns both good and bad answers, and is asked for
good ones afterwards. The chat template that is saved with it writes the wanted attributes itself,
so that it is evaluated and served like any other model. (Here attributes are the data's own labels;
SteerLM predicts graded ones with a model first.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.models.chat import Chat, TemplateFault
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.data.preferences import Messages, PreferenceRecord

ATTRIBUTES = "attributes"
"""What a recipe writes as ``pairs`` of a set whose responses are told apart by their attributes."""

HELPFULNESS, SAFETY = "helpfulness", "safety"


def attribute_line(values: Mapping[str, int]) -> str:
    """Attributes as the model reads them: ``helpfulness: 1, safety: 0``."""
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def attributes_of(record: PreferenceRecord, index: int) -> dict[str, int]:
    """What the labels say of a response: 1 or 0, nothing where they leave it open."""
    values = {}
    if record.more_helpful is not None:
        values[HELPFULNESS] = int(record.more_helpful == index)
    if record.safe[index] is not None:
        values[SAFETY] = int(bool(record.safe[index]))
    return values


def steered_conversations(
    records: Sequence[PreferenceRecord], name: str
) -> list[tuple[Messages, str]]:
    """A conversation for each response that has an attribute, in order, and where its row stands.

    Args:
        name: of the set, for messages.

    Raises:
        BadInput: no response has one.
    """
    found: list[tuple[Messages, str]] = []
    for record in records:
        for index, response in enumerate(record.responses):
            values = attributes_of(record, index)
            if values:
                asked = _with_system(record.prompt, attribute_line(values))
                found.append(((*asked, ("assistant", response)), record.where))
    if not found:
        raise BadInput(
            f"set {name!r} says neither which response is more helpful nor which is safe, so there "
            "are no attributes to learn; take a set with labels."
        )
    return found


def _with_system(prompt: Messages, line: str) -> Messages:
    if prompt[0][0] == "system":
        return (("system", f"{line}\n{prompt[0][1]}"), *prompt[1:])
    return (("system", line), *prompt)


def steered_template(template: str, wanted: Mapping[str, int], tokenizer: Any) -> str:
    """A chat template that asks for the wanted attributes in every conversation.

    Args:
        template: the one that was trained with (Jinja).
        wanted: by name; 0 or 1.
        tokenizer: to try it with.

    Raises:
        BadInput: an unknown attribute, or a template that writes no system message.
    """
    for name in wanted:
        if name not in (HELPFULNESS, SAFETY):
            raise unknown_name("attribute", name, (HELPFULNESS, SAFETY))
    line = attribute_line(wanted)
    text = json.dumps(line)
    steered = (
        "{% if messages[0]['role'] == 'system' %}"
        f"{{% set messages = [{{'role': 'system', 'content': {text} + '\\n' + "
        "messages[0]['content']}] + messages[1:] %}"
        "{% else %}"
        f"{{% set messages = [{{'role': 'system', 'content': {text}}}] + messages %}}"
        "{% endif %}" + template
    )
    question = [{"role": "user", "content": "?"}]
    try:
        written = Chat(tokenizer, steered).write(question, False)
    except TemplateFault:
        written = ""
    if line not in written:
        raise BadInput(
            "the chat template writes no system message, where SteerLM's attributes stand; give "
            "one that does, such as tokens.chat_template: zephyr."
        )
    ChatTemplate(tokenizer, steered)
    return steered
