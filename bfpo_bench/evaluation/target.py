"""The model under evaluation: a checkpoint that is loaded here, or one that a server holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.openai.engine import OpenAIOptions
from bfpo_bench.engines.protocol import Engine, EngineOptions
from bfpo_bench.engines.thinking import AUTO
from bfpo_bench.evaluation.chat_prompts import SERVER_CLOCK, UNTAUGHT, ChatPrompts, choose_prompts
from bfpo_bench.evaluation.options import TargetOptions
from bfpo_bench.models.adapters import Adapter, find_adapter
from bfpo_bench.models.checkpoint import ModelFiles, find_tokenizer
from bfpo_bench.models.config import find_causal_model
from bfpo_bench.models.fingerprint import checkpoint_identity, tokenizer_fingerprint
from bfpo_bench.models.number_format import go_on_with
from bfpo_bench.tasks.requests import Asked

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
    def note(self) -> str | None:
        """What to say of its number format when it is loaded, if anything."""
        ...

    @property
    def plain(self) -> str | None:
        """Why chat tasks are asked without a chat template, None when they have one."""
        ...

    @property
    def training(self) -> str | None:
        """How the model was trained: ``training.json`` of ``bfpo-bench train``, if it has one."""
        ...

    @property
    def caveats(self) -> list[str]:
        """What a reader must know of the model itself."""
        ...

    @property
    def chat_marks(self) -> list[str]:
        """What a reader must know of how the prompts of chat tasks are written."""
        ...

    def identity(self) -> dict[str, Any]:
        """All of the model that its answers depend on."""
        ...

    def chat(self) -> Callable[..., str] | None:
        """Writes messages as the model wants them; None for plain prompts."""
        ...

    def open(self, planned: Sequence[Asked], scratch: Path | None = None) -> Engine:
        """The loaded model, found able to answer the requests of these tasks.

        Args:
            scratch: folder where an engine may keep a batch that is stopped.
        """
        ...


@dataclass(frozen=True)
class LocalTarget:
    """A checkpoint folder and the engine that loads it.

    Attributes:
        prompts: how the prompts of chat tasks are written; None for plain ones.
        plain, note: see :class:`Target`.
        adapter: what is merged into the weights.
    """

    files: ModelFiles
    tokenizer: Path
    prompts: ChatPrompts | None
    plain: str | None
    backend: str
    engine_options: EngineOptions
    note: str | None = None
    adapter: Adapter | None = None

    @property
    def name(self) -> str:
        """See :class:`Target`."""
        return self.files.name if self.adapter is None else f"{self.files.name}+{self.adapter.name}"

    @property
    def dtype(self) -> str:
        """See :class:`Target`."""
        return self.engine_options.dtype

    @property
    def training(self) -> str | None:
        """See :class:`Target`."""
        path = (self.adapter or self.files).folder / TRAINING_RECORD
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def identity(self) -> dict[str, Any]:
        """See :class:`Target`."""
        found = checkpoint_identity(
            self.files,
            adapter=self.adapter,
            tokenizer=self.tokenizer,
            # The one that is used stands below, whoever's it is.
            templates=False,
            generation=True,
            code=self.engine_options.trust_remote_code,
        )
        return {
            "name": self.name,
            **found,
            **(self.prompts.identity() if self.prompts else {"chat_template": None}),
            "revision": self.files.revision,
        }

    @property
    def caveats(self) -> list[str]:
        """See :class:`Target`."""
        return [self.adapter.doubt] if self.adapter and self.adapter.doubt else []

    @property
    def chat_marks(self) -> list[str]:
        """See :class:`Target`."""
        if self.prompts is None:
            return []
        taught = self.training is None or '"special tokens"' in self.training
        return self.prompts.marks + ([] if taught or not self.prompts.bare else [UNTAUGHT])

    def chat(self) -> Callable[..., str] | None:
        """See :class:`Target`."""
        return self.prompts.chat if self.prompts else None

    def open(self, planned: Sequence[Asked], scratch: Path | None = None) -> Engine:
        """See :class:`Target`."""
        from bfpo_bench.engines.open import open_engine

        kept = str(scratch) if scratch else None
        return open_engine(self.backend, replace(self.engine_options, scratch=kept))


@dataclass(frozen=True)
class ServedTarget:
    """A model behind an OpenAI-compatible server.

    Attributes:
        prompts: a chat template of the user's; None leaves it to the server.
        plain: see :class:`Target`.
    """

    served: OpenAIOptions
    prompts: ChatPrompts | None
    plain: str | None
    backend: str = "openai"
    dtype: str | None = None
    note: str | None = None

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

    @property
    def caveats(self) -> list[str]:
        """See :class:`Target`."""
        return []

    def identity(self) -> dict[str, Any]:
        """See :class:`Target`; the weights are the server's affair."""
        folder = self.served.tokenizer
        theirs = {"chat_template": None if self.plain else "server"}
        return {
            "name": self.name,
            "server": self.served.identity(),
            "tokens": tokenizer_fingerprint(folder) if folder else None,
            **(self.prompts.identity() if self.prompts else theirs),
            **self.served.thinking.identity(),
        }

    @property
    def chat_marks(self) -> list[str]:
        """See :class:`Target`."""
        if self.prompts is not None:
            return self.prompts.marks
        return [] if self.plain else [SERVER_CLOCK]

    def chat(self) -> Callable[..., str] | None:
        """See :class:`Target`."""
        from bfpo_bench.models.chat import write_messages

        if self.plain:
            return None
        return self.prompts.chat if self.prompts else write_messages

    def open(self, planned: Sequence[Asked], scratch: Path | None = None) -> Engine:
        """See :class:`Target`; tiny requests find out first whether the server can do it."""
        from bfpo_bench.engines.openai.engine import OpenAIEngine

        engine = OpenAIEngine(self.served)
        engine.check(
            [request for task in planned for request in task.scores],
            # The prompts of a task are all asked in one way.
            [task.prompts[0] for task in planned if task.prompts],
        )
        return engine


def find_target(
    options: TargetOptions, backend: str, begun: Mapping[str, Any] | None = None
) -> Target:
    """Finds the model that the options name. Loads nothing.

    Args:
        begun: identity of the run that is gone on with: in its number format where ``--dtype auto``
            chose it, for it may choose another one on the machine, or in the version, that goes on.

    Raises:
        BadInput: one sentence for the first thing that cannot be had.
    """
    if (backend == "openai") != (options.base_url is not None):
        raise BadInput(
            "--backend openai and --base-url go together: the one says that a server holds the "
            "model, the other where it is (e.g. http://localhost:8000/v1)."
        )
    code = options.loading.trust_remote_code
    tokenizer = find_tokenizer(options.tokenizer, code) if options.tokenizer else None
    if backend == "openai":
        if options.adapter is not None:
            raise BadInput(
                "--adapter is for a model that is loaded here; a server names what it holds with "
                "an adapter as a model of its own, which --model takes."
            )
        return _served(options, tokenizer)
    files = find_causal_model(options.model, options.revision, backend, code)
    adapter = find_adapter(options.adapter, files) if options.adapter else None
    if adapter is not None and adapter.has_tokenizer and tokenizer is None:
        tokenizer = adapter.folder
    folder = tokenizer or files.folder
    prompts = choose_prompts(options, folder)
    found = options.loading.number_format(files)
    if options.loading.dtype == "auto":
        found = go_on_with(files, found, (begun or {}).get("dtype"))
    loaded = options.loading.engine_options(files, tokenizer, options.max_length)
    never = NEVER_TEMPLATE if options.chat_template == "never" else NO_TEMPLATE
    plain = None if prompts else never
    merged = str(adapter.folder) if adapter else None
    loaded = replace(loaded, dtype=found.dtype, adapter=merged)
    return LocalTarget(files, folder, prompts, plain, backend, loaded, found.note, adapter)


def _served(options: TargetOptions, tokenizer: Path | None) -> ServedTarget:
    from bfpo_bench.client import Secret, Server

    assert options.base_url is not None
    prompts = None
    if options.chat_template not in ("auto", "never"):
        if tokenizer is None:
            raise BadInput(
                "a chat template FILE needs the served model's --tokenizer; without one the "
                "server's own template is used (--chat-template auto)."
            )
        prompts = choose_prompts(options, tokenizer)
    server = Server(options.base_url, Secret.from_environment(options.api_key_env))
    served = OpenAIOptions(
        server=server,
        model=options.model,
        tokenizer=tokenizer,
        max_length=options.max_length,
        concurrency=options.concurrency,
        trust_remote_code=options.loading.trust_remote_code,
        thinking=options.thoughts if prompts is None else AUTO,
    )
    return ServedTarget(
        served, prompts, NEVER_TEMPLATE if options.chat_template == "never" else None
    )
