"""The model under evaluation: a checkpoint that is loaded here, or one that a server holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.open import choose_backend
from bfpo_bench.engines.openai.engine import OpenAIOptions
from bfpo_bench.engines.protocol import Engine, EngineOptions
from bfpo_bench.engines.thinking import AUTO
from bfpo_bench.engines.vllm.layout import Layout
from bfpo_bench.evaluation.chat_prompts import SERVER_CLOCK, UNTAUGHT, ChatPrompts, choose_prompts
from bfpo_bench.evaluation.options import TargetOptions
from bfpo_bench.models.adapters import Adapter, find_adapter
from bfpo_bench.models.chat import write_messages
from bfpo_bench.models.checkpoint import ModelFiles, find_tokenizer
from bfpo_bench.models.config import find_causal_model, unused_settings
from bfpo_bench.models.fingerprint import checkpoint_identity, tokenizer_fingerprint
from bfpo_bench.models.number_format import go_on_with
from bfpo_bench.tasks.requests import Asked

NO_TEMPLATE = "plain prompts: the model has no chat template"
NEVER_TEMPLATE = "plain prompts: the chat template was switched off"

TRAINING_RECORD = "training.json"
"""What ``bfpo-bench train`` leaves beside the weights, and an evaluation copies into its run."""


@dataclass(frozen=True, kw_only=True)
class Target(ABC):
    """What an evaluation needs to know of its model.

    Attributes:
        backend: name of the engine.
        dtype: number format of the weights, None where only the server knows.
        note: what to say of that format when it is loaded, if anything.
        tokenizer: folder of the tokenizer, None where only the server has one.
        prompts: how the prompts of chat tasks are written; None for plain ones, and where the
            server writes them.
        plain: why chat tasks are asked without a chat template, None when they have one.
    """

    backend: str
    dtype: str | None = None
    note: str | None = None
    tokenizer: Path | None
    prompts: ChatPrompts | None
    plain: str | None

    @property
    @abstractmethod
    def name(self) -> str:
        """How the user called it."""

    @property
    def training(self) -> str | None:
        """How the model was trained: ``training.json`` of ``bfpo-bench train``, if it has one."""
        return None

    @property
    def caveats(self) -> list[str]:
        """What a reader must know of the model itself."""
        return []

    @property
    def unused_settings(self) -> list[str]:
        """What a reader of generated answers must know of settings of its own that went unused."""
        return []

    @property
    def chat_marks(self) -> list[str]:
        """What a reader must know of how the prompts of chat tasks are written."""
        return self.prompts.marks if self.prompts else []

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """All of the model that its answers depend on."""

    def chat(self) -> Callable[..., str] | None:
        """Writes messages as the model wants them; None for plain prompts."""
        return self.prompts.chat if self.prompts else None

    @abstractmethod
    def open(self, planned: Sequence[Asked], scratch: Path | None = None) -> Engine:
        """The loaded model, found able to answer the requests of these tasks.

        Args:
            scratch: folder where an engine may keep a batch that is stopped.
        """


@dataclass(frozen=True, kw_only=True)
class LocalTarget(Target):
    """A checkpoint folder and the engine that loads it, with what is merged into the weights."""

    files: ModelFiles
    engine_options: EngineOptions
    dtype: str
    tokenizer: Path
    adapter: Adapter | None = None

    @property
    def name(self) -> str:
        return self.files.name if self.adapter is None else f"{self.files.name}+{self.adapter.name}"

    @property
    def training(self) -> str | None:
        path = (self.adapter or self.files).folder / TRAINING_RECORD
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def identity(self) -> dict[str, Any]:
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
        return [self.adapter.doubt] if self.adapter and self.adapter.doubt else []

    @property
    def unused_settings(self) -> list[str]:
        return unused_settings(self.files)

    @property
    def chat_marks(self) -> list[str]:
        untaught = self.training is not None and '"special tokens"' not in self.training
        bare = self.prompts is not None and self.prompts.bare
        return super().chat_marks + ([UNTAUGHT] if untaught and bare else [])

    def open(self, planned: Sequence[Asked], scratch: Path | None = None) -> Engine:
        from bfpo_bench.engines.open import open_engine

        kept = str(scratch) if scratch else None
        return open_engine(self.backend, replace(self.engine_options, scratch=kept))


@dataclass(frozen=True, kw_only=True)
class SpreadTarget(LocalTarget):
    """A checkpoint folder in a server that is started for it, over the GPUs of one or more nodes.

    Its prompts are written here, as those of every checkpoint, and sent as token ids.
    """

    layout: Layout
    concurrency: int

    def identity(self) -> dict[str, Any]:
        """See :meth:`Target.identity`; the server's seeds are shorter than the engine's."""
        return {**super().identity(), "served": "vllm serve"}

    def open(self, planned: Sequence[Asked], scratch: Path | None = None) -> Engine:
        """See :meth:`Target.open`. The server's log lies beside the scratch folder."""
        from bfpo_bench.engines.vllm.server import served

        logs = scratch.parent if scratch else None
        options = replace(self.engine_options, scratch=str(scratch) if scratch else None)
        server, end = served(self.layout, options, self.name, logs)
        asked = OpenAIOptions(
            server=server,
            model=self.name,
            tokenizer=self.tokenizer,
            max_length=options.max_length,
            concurrency=self.concurrency,
            trust_remote_code=options.trust_remote_code,
            end=end,
        )
        return _checked(asked, planned)


@dataclass(frozen=True, kw_only=True)
class ServedTarget(Target):
    """A model behind an OpenAI-compatible server, which writes the prompts of chat tasks itself
    unless there is a chat template of the user's.
    """

    served: OpenAIOptions

    @property
    def name(self) -> str:
        return self.served.model

    def identity(self) -> dict[str, Any]:
        """See :meth:`Target.identity`; the weights are the server's affair."""
        theirs = {"chat_template": None if self.plain else "server"}
        return {
            "name": self.name,
            "server": self.served.identity(),
            "tokens": tokenizer_fingerprint(self.tokenizer) if self.tokenizer else None,
            **(self.prompts.identity() if self.prompts else theirs),
            **self.served.thinking.identity(),
        }

    @property
    def chat_marks(self) -> list[str]:
        return super().chat_marks if self.prompts or self.plain else [SERVER_CLOCK]

    def chat(self) -> Callable[..., str] | None:
        return super().chat() if self.prompts or self.plain else write_messages

    def open(self, planned: Sequence[Asked], scratch: Path | None = None) -> Engine:
        """See :meth:`Target.open`; tiny requests find out first whether the server can do it."""
        return _checked(self.served, planned)


def _checked(options: OpenAIOptions, planned: Sequence[Asked]) -> Engine:
    """The engine, when the server was seen to answer requests like those of these tasks."""
    from bfpo_bench.engines.openai.engine import OpenAIEngine

    try:
        engine = OpenAIEngine(options)
        engine.check(
            [request for task in planned for request in task.scores],
            # The prompts of a task are all asked in one way.
            [task.prompts[0] for task in planned if task.prompts],
        )
    except BaseException:
        if options.end is not None:
            options.end()
        raise
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
    if options.serve is not None:
        backend = _served_here(options)
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
    kind: type[LocalTarget] = LocalTarget
    more: dict[str, Any] = {}
    if options.serve is not None:
        kind, more = SpreadTarget, {"layout": options.serve, "concurrency": options.concurrency}
    return kind(
        backend=backend,
        dtype=found.dtype,
        note=found.note,
        tokenizer=folder,
        prompts=prompts,
        plain=None if prompts else never,
        files=files,
        engine_options=replace(
            loaded, dtype=found.dtype, adapter=str(adapter.folder) if adapter else None
        ),
        adapter=adapter,
        **more,
    )


def _served_here(options: TargetOptions) -> str:
    """The backend of a model that ``vllm serve`` is started for.

    Raises:
        BadInput: it is not installed, or the options want the model elsewhere too.
    """
    loading = options.loading
    if loading.backend not in (None, "vllm") or options.base_url is not None:
        raise BadInput(
            "--serve starts vllm serve for the model; leave --backend and --base-url out, or "
            "--serve where the model is to be had elsewhere."
        )
    if loading.tensor_parallel_size > 1 or loading.data_parallel_size > 1:
        raise BadInput(
            "--serve says itself how the model is spread (tp=8,pp=2,nodes=2); leave "
            "--tensor-parallel-size and --data-parallel-size out."
        )
    return choose_backend("vllm")


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
        backend="openai",
        tokenizer=tokenizer,
        prompts=prompts,
        plain=NEVER_TEMPLATE if options.chat_template == "never" else None,
        served=served,
    )
