"""SteerLM's chat template, which asks a trained model for the wanted attributes by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.models.chat import Chat, TemplateFault
from bfpo_bench.training.data.chat import HELPFULNESS, SAFETY, attribute_line
from bfpo_bench.training.data.chat_template import ChatTemplate


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
