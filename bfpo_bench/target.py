"""The model under evaluation: a checkpoint that is loaded here, or one that a server holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bfpo_bench.chat_template import chat_renderer
from bfpo_bench.engines.openai import OpenAIOptions
from bfpo_bench.engines.protocol import Engine, EngineOptions
from bfpo_bench.errors import BadInput
from bfpo_bench.fingerprint import checkpoint_identity, tokenizer_fingerprint
from bfpo_bench.models import ModelFiles, find_model, find_tokenizer, read_chat_template
from bfpo_bench.options import TargetOptions
from bfpo_bench.plan import Asked

NO_TEMPLATE = "plain prompts: the model has no chat template"
NEVER_TEMPLATE = "plain prompts: the chat template was switched off"


TRAINING_RECORD = "training.json"
"""What ``bfpo-bench train`` leaves beside the weights, and an evaluation copies into its run."""


class Target(Protocol):
    """What an evaluation needs to know of its model."""

    @property
    def name(self) -> str:
        """How the user called it."""
        ...

    @property
    def backend(self) -> str:
        """Name of the engine."""
        ...

    @property
    def dtype(self) -> str | None:
        """Number format of the weights, None where only the server knows."""
        ...

    @property
    def tokenizer(self) -> Path | None:
        """Folder of the tokenizer, None where only the server has one."""
        ...

    @property
    def plain(self) -> str | None:
        """Why chat tasks are asked without a chat template, None when they have one."""
        ...

    @property
    def training(self) -> str | None:
        """How the model was trained: ``training.json`` of ``bfpo-bench train``, if it has one."""
        ...

    def identity(self) -> dict[str, Any]:
        """All of the model that its answers depend on."""
        ...

    def chat(self) -> Callable[..., str] | None:
        """Writes messages as the model wants them; None for plain prompts."""
        ...

    def open(self, planned: Sequence[Asked]) -> Engine:
        """The loaded model, found able to answer the requests of these tasks."""
        ...


@dataclass(frozen=True)
class LocalTarget:
    """A checkpoint folder and the engine that loads it."""

    files: ModelFiles
    tokenizer: Path
    template: str | None
    plain: str | None
    backend: str
    engine_options: EngineOptions

    @property
    def name(self) -> str:
        """See :class:`Target`."""
        return self.files.name

    @property
    def dtype(self) -> str:
        """See :class:`Target`."""
        return self.engine_options.dtype

    @property
    def training(self) -> str | None:
        """See :class:`Target`."""
        path = self.files.folder / TRAINING_RECORD
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def identity(self) -> dict[str, Any]:
        """See :class:`Target`."""
        found = checkpoint_identity(
            self.files,
            tokenizer=self.tokenizer,
            # The one that is used stands below, whoever's it is.
            templates=False,
            generation=True,
            code=self.engine_options.trust_remote_code,
        )
        return {
            "name": self.name,
            **found,
            "chat_template": _hash(self.template),
            "revision": self.files.revision,
        }

    def chat(self) -> Callable[..., str] | None:
        """See :class:`Target`."""
        if self.template is None:
            return None
        from bfpo_bench.engines.tokenization import load_tokenizer

        tokenizer = load_tokenizer(self.tokenizer, self.engine_options.trust_remote_code)
        return chat_renderer(tokenizer, self.template)

    def open(self, planned: Sequence[Asked]) -> Engine:
        """See :class:`Target`."""
        from bfpo_bench.engines.select import open_engine

        return open_engine(self.backend, self.engine_options)


@dataclass(frozen=True)
class ServedTarget:
    """A model behind an OpenAI-compatible server.

    Attributes:
        template: a chat template of the user's; None leaves it to the server.
        plain: see :class:`Target`.
    """

    served: OpenAIOptions
    template: str | None
    plain: str | None
    backend: str = "openai"
    dtype: str | None = None

    @property
    def name(self) -> str:
        """See :class:`Target`."""
        return self.served.model

    @property
    def tokenizer(self) -> Path | None:
        """See :class:`Target`."""
        return self.served.tokenizer

    @property
    def training(self) -> str | None:
        """See :class:`Target`; the server does not tell."""
        return None

    def identity(self) -> dict[str, Any]:
        """See :class:`Target`; the weights are the server's affair."""
        folder = self.served.tokenizer
        own = None if self.plain else "server"
        return {
            "name": self.name,
            "server": self.served.identity(),
            "tokens": tokenizer_fingerprint(folder) if folder else None,
            "chat_template": _hash(self.template) or own,
        }

    def chat(self) -> Callable[..., str] | None:
        """See :class:`Target`."""
        from bfpo_bench.engines.messages import write_messages
        from bfpo_bench.engines.tokenization import load_tokenizer

        if self.plain:
            return None
        if self.template is None:
            return write_messages
        assert self.served.tokenizer is not None
        tokenizer = load_tokenizer(self.served.tokenizer, self.served.trust_remote_code)
        return chat_renderer(tokenizer, self.template)

    def open(self, planned: Sequence[Asked]) -> Engine:
        """See :class:`Target`; tiny requests find out first whether the server can do it."""
        from bfpo_bench.engines.openai import OpenAIEngine

        engine = OpenAIEngine(self.served)
        engine.check(
            [request for task in planned for request in task.scores],
            # The prompts of a task are all asked in one way.
            [task.prompts[0] for task in planned if task.prompts],
        )
        return engine


def find_target(options: TargetOptions, backend: str) -> Target:
    """Finds the model that the options name. Loads nothing.

    Raises:
        BadInput: one sentence for the first thing that cannot be had.
    """
    if (backend == "openai") != (options.base_url is not None):
        raise BadInput(
            "--backend openai and --base-url go together: the one says that a server holds the "
            "model, the other where it is (e.g. http://localhost:8000/v1)."
        )
    tokenizer = find_tokenizer(options.tokenizer) if options.tokenizer else None
    if backend == "openai":
        return _served(options, tokenizer)
    files = find_model(options.model, options.revision)
    template = _template(options.chat_template, tokenizer or files.folder)
    engine_options = options.engine_options(files, tokenizer, options.max_length)
    never = NEVER_TEMPLATE if options.chat_template == "never" else NO_TEMPLATE
    plain = never if template is None else None
    return LocalTarget(files, tokenizer or files.folder, template, plain, backend, engine_options)


def _served(options: TargetOptions, tokenizer: Path | None) -> ServedTarget:
    from bfpo_bench.remote import Secret, Server

    assert options.base_url is not None
    template = None
    if options.chat_template not in ("auto", "never"):
        if tokenizer is None:
            raise BadInput(
                "a chat template FILE needs the served model's --tokenizer; without one the "
                "server's own template is used (--chat-template auto)."
            )
        template = _template(options.chat_template, tokenizer)
    server = Server(options.base_url, Secret.from_environment(options.api_key_env))
    served = OpenAIOptions(
        server=server,
        model=options.model,
        tokenizer=tokenizer,
        max_length=options.max_length,
        concurrency=options.concurrency,
        trust_remote_code=options.trust_remote_code,
    )
    return ServedTarget(
        served, template, NEVER_TEMPLATE if options.chat_template == "never" else None
    )


def _template(choice: str, tokenizer: Path) -> str | None:
    if choice == "never":
        return None
    if choice == "auto":
        return read_chat_template(tokenizer)
    try:
        return Path(choice).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"cannot read the chat template {choice!r} ({error}); give auto, never or the path of "
            "a Jinja file."
        ) from error


def _hash(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()[:16]
