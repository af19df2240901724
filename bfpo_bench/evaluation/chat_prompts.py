"""How the prompts of chat tasks are written for one target: its template, and what that is told."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from bfpo_bench import __version__
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.foreign import MIB, foreign_text
from bfpo_bench.common.remembered import Memory
from bfpo_bench.engines.thinking import AUTO, Thinking, switch
from bfpo_bench.engines.thoughts import marks_of
from bfpo_bench.evaluation.options import TargetOptions
from bfpo_bench.models.chat import AS_WRITTEN, Chat, with_system
from bfpo_bench.models.clock import DATE
from bfpo_bench.models.fingerprint import tokenizer_fingerprint
from bfpo_bench.models.template_files import chat_templates, read_chat_template

SERVER_CLOCK = (
    "the server writes the prompts of chat tasks; where its chat template asks for the date, the "
    "server's clock answers"
)

UNTAUGHT = (
    "version 0.1 trained this model with the tokenizer's BOS before its prompts, and it is asked "
    "without; train it again, or give --chat-template a FILE that writes {{ bos_token }}"
)
BARE = (
    "chat prompts hold the special tokens that the chat template writes and no others, as servers "
    "have it; version 0.1 put the tokenizer's (BOS) around them, so its rows differ"
)


@dataclass(frozen=True)
class ChatPrompts:
    """A chat template, and what goes into it besides the prompts.

    Attributes:
        tokenizer: folder of the tokenizer whose special tokens the template names.
        template: Jinja text.
        date: what the template's clock says.
        system_prompt: what stands before the user's turn.
        thinking: whether the model is to think before it answers.
    """

    tokenizer: Path
    template: str
    date: str = DATE
    system_prompt: str | None = None
    trust_remote_code: bool = False
    thinking: Thinking = AUTO

    @cached_property
    def chat(self) -> Chat:
        """The template at work.

        Raises:
            BadInput: the tokenizer cannot be read, or the template cannot be told to think or not.
        """
        from bfpo_bench.engines.tokenization import load_tokenizer

        tokenizer = load_tokenizer(self.tokenizer, self.trust_remote_code)

        def chat(variables: dict[str, Any]) -> Chat:
            return Chat(tokenizer, self.template, self.date, variables=variables)

        def write(variables: dict[str, Any]) -> str:
            return chat(variables)(with_system("Hi", self.system_prompt))

        marks = marks_of(tokenizer, self.template)
        return chat(switch(write, self.template, self.thinking, marks))

    @cached_property
    def date_used(self) -> str | None:
        """The date that prompts hold; None where they hold none."""
        return self.chat.date(self.system_prompt)

    def identity(self) -> dict[str, Any]:
        """What prompts depend on besides the user's text and the system prompt.

        A date is named only where prompts hold one, and special tokens only where the tokenizer
        would add some: other runs are what they were in version 0.1, which knew no choice of the
        one and left the other to the tokenizer.
        """
        # Rendering needs transformers, which a finished run that is only read shall not load.
        memory = Memory("chat-prompts")
        asked = [
            self.template,
            self.date,
            self.system_prompt,
            self.thinking.identity(),
            tokenizer_fingerprint(self.tokenizer),
        ]
        versions = [metadata.version("transformers"), __version__]
        name = json.dumps([*asked, *versions])
        # Code that comes with a tokenizer may do anything, and is not in its fingerprint.
        found = None if self.trust_remote_code else memory.recall(name)
        if found is None:
            found = {"chat_template": hashlib.sha256(self.template.encode()).hexdigest()[:16]}
            if self.date_used is not None:
                found["date"] = self.date_used
            if self.bare:
                found["special_tokens"] = AS_WRITTEN
            found |= self.thinking.identity()
            if not self.trust_remote_code:
                memory.keep(name, found)
        return found

    @cached_property
    def bare(self) -> bool:
        """Whether prompts lack special tokens that the tokenizer puts around other texts."""
        return self.chat.adds_tokens(self.system_prompt)

    @property
    def marks(self) -> list[str]:
        """What a reader of the results must know."""
        found = []
        if self.date_used is not None:
            found.append(f"the chat template writes a date into prompts: {self.date_used} (--date)")
        if self.bare:
            found.append(BARE)
        return found


def choose_template(choice: str, tokenizer: Path) -> str | None:
    """The chat template that ``--chat-template`` asks for; None for plain prompts.

    Args:
        choice: ``auto``, ``never``, the name of one of the tokenizer's, or a file.

    Raises:
        BadInput: there is none, or it cannot be read.
    """
    if choice == "never":
        return None
    if choice == "auto":
        return read_chat_template(tokenizer)
    named = chat_templates(tokenizer)
    if choice in named:
        return named[choice]
    try:
        return foreign_text(Path(choice), MIB)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"cannot read the chat template {choice!r} ({error}); give auto, never, the path of a "
            f"Jinja file{', or one of the names ' + ', '.join(named) if named else ''}."
        ) from error


def choose_prompts(options: TargetOptions, tokenizer: Path) -> ChatPrompts | None:
    """How the prompts of chat tasks are written by what the options ask for; None: as they are.

    Raises:
        BadInput: see :func:`choose_template`; or there is none that can be told to think or not.
    """
    template = choose_template(options.chat_template, tokenizer)
    if template is None:
        if options.thoughts.mode != "auto":
            raise BadInput(
                f"--thinking {options.thinking} cannot be told to a model without any template "
                "for chats; leave it out, or give a template with --chat-template FILE."
            )
        return None
    date, code = options.loading.date, options.loading.trust_remote_code
    told = (date, options.system_prompt, code, options.thoughts)
    return ChatPrompts(tokenizer, template, *told)
