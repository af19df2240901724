"""What a user can ask of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.validate import Texts
from bfpo_bench.engines.open import choose_backend
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.engines.thinking import Thinking
from bfpo_bench.models.chat import DATE, is_date
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.number_format import NumberFormat, choose_format

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class LoadingOptions:
    """How models are loaded and told the date: what a target and a judge have in common.

    What each field means stands in :class:`EvaluateOptions`.

    Raises:
        BadInput: a number or a name is not possible; options that exist are right.
    """

    backend: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    batch_size: int | None = None
    tensor_parallel_size: int = 1
    data_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    trust_remote_code: bool = False
    date: str = DATE

    def __post_init__(self) -> None:
        if not is_date(self.date):
            raise BadInput(
                f"--date is a day, written YYYY-MM-DD such as {DATE}, not {self.date!r}."
            )
        if self.dtype not in DTYPES:
            raise unknown_name("dtype", self.dtype, DTYPES)
        if not 0 < self.gpu_memory_utilization <= 1:
            raise BadInput("--gpu-memory-utilization is a share: more than 0, at most 1.")
        self._at_least_one("batch_size", "tensor_parallel_size", "data_parallel_size")

    def _at_least_one(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"--{name.replace('_', '-')} must be at least 1, not {value}.")

    def beside_target(self) -> dict[str, Any]:
        """The same for what works beside the target: judge, annotator, ranker.

        A server holds the target only; the others are loaded here.
        """
        loading = {f.name: getattr(self, f.name) for f in fields(LoadingOptions)}
        return {**loading, "backend": None if self.backend == "openai" else self.backend}

    def number_format(self, files: ModelFiles) -> NumberFormat:
        """The number format in which an engine loads these files."""
        # vLLM takes the GPU where there is one, whatever the device.
        device = "auto" if choose_backend(self.backend) == "vllm" else self.device
        return choose_format(files, self.dtype, device, self.data_parallel_size)

    def engine_options(
        self, files: ModelFiles, tokenizer: Path | None = None, max_length: int | None = None
    ) -> EngineOptions:
        """How an engine loads these files.

        Args:
            tokenizer: folder of another tokenizer than the model's own.
            max_length: context window in tokens; None takes the model's.
        """
        return EngineOptions(
            model=str(files.folder),
            tokenizer=str(tokenizer) if tokenizer else None,
            dtype=self.number_format(files).dtype,
            device=self.device,
            batch_size=self.batch_size,
            max_length=max_length,
            tensor_parallel_size=self.tensor_parallel_size,
            data_parallel_size=self.data_parallel_size,
            gpu_memory_utilization=self.gpu_memory_utilization,
            trust_remote_code=self.trust_remote_code,
        )


@dataclass(frozen=True, kw_only=True)
class TargetOptions(LoadingOptions):
    """The model that is asked, and how: the part that an evaluation and a red teaming share.

    What each field means stands in :class:`EvaluateOptions`.
    """

    model: str = field(kw_only=False)
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 16
    max_length: int | None = None
    revision: str | None = None
    adapter: str | None = None
    tokenizer: str | None = None
    chat_template: str = "auto"
    system_prompt: str | None = None
    thinking: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            (self.system_prompt or "").encode()
        except UnicodeEncodeError as error:
            raise BadInput(
                f"--system-prompt is no Unicode text at character {error.start} (half a surrogate "
                "pair, or a byte that is no UTF-8); write it again."
            ) from None
        self._at_least_one("max_length", "concurrency")
        if self.thoughts.mode != "auto" and self.chat_template == "never":
            raise BadInput(
                f"--thinking {self.thinking} and --chat-template never exclude each other: nothing "
                "but a template tells a model to think; leave one of them out."
            )

    @property
    def thoughts(self) -> Thinking:
        """Whether the model is to think before it answers.

        Raises:
            BadInput: ``thinking`` is no such wish.
        """
        return Thinking.parse(self.thinking)


@dataclass(frozen=True)
class EvaluateOptions(TargetOptions):
    """Options of :func:`bfpo_bench.evaluate`, with the defaults of the command line.

    Attributes:
        model: checkpoint folder or hub id.
        suite: ``"paper"``, ``"mini"`` or the path of a suite's YAML file.
        output: run directory; default ``runs/<model>`` (``runs/<model>-<suite>`` for a suite
            other than ``paper``).
        tasks: only these tasks or groups of the suite; empty for all.
        limit: at most so many items per task, drawn at random by the seed.
        judge: judge card by name or path; default: the suite's.
        judge_model: folder or hub id of the judge's weights (for a judge that asks a server: the
            served model's name) instead of the card's.
        judge_url: base URL of the server of a judge that asks one (openai), instead of the card's.
        judge_anyway: give figures also where the judge is not made for a task's kind of prompts.
        annotator: who compares responses with AlpacaEval's reference outputs: ``"openai:MODEL"``,
            ``"local"``, or a configuration of alpaca_eval; None fills no Alpaca column.
        annotator_config: configuration for ``openai:MODEL`` and ``local``; default: AlpacaEval 2's.
        annotator_model: folder or hub id that ``local`` serves; with a URL, the served name.
        annotator_url: base URL of the annotator's server.
        annotator_key_env: environment variable that holds that server's key.
        max_cost: the most that annotation may cost in this command: USD where there are prices,
            else tokens.
        price_in, price_out: the annotator's, in USD per million tokens read and written.
        backend: ``"hf"``, ``"vllm"`` or ``"openai"`` (a server, with ``base_url``); default: vllm
            where a GPU and vLLM are there, else hf.
        base_url: address of an OpenAI-compatible server that holds the model.
        api_key_env: environment variable that holds the server's key.
        concurrency: requests under way at a time (openai, and the annotator).
        data_dir: folder of upstream data files; default: ``BFPO_DATA_DIR``, else the hub.
        variants: source → variant, for data that comes in several.
        allow_unpinned: take data that differs from the pinned digest, and mark the results.
        seed: decides which items a limit draws and how responses are sampled.
        dtype: ``"auto"`` (the checkpoint's; float32 on a CPU without units for that),
            ``"float32"``, ``"bfloat16"`` or ``"float16"``; also for the judge.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` (hf only).
        batch_size: sequences per batch; None finds it.
        max_length: context window in tokens; None takes the model's.
        tensor_parallel_size: GPUs for one copy of a model (vllm only).
        data_parallel_size: copies of a model.
        gpu_memory_utilization: share of GPU memory that vLLM may take.
        revision: of a hub model.
        adapter: folder or hub id of an adapter (LoRA) that is merged into the model's weights.
        tokenizer: folder or hub id of another tokenizer; default: the adapter's if it has one,
            else the model's.
        chat_template: ``"auto"`` (the model's own), ``"never"``, the name of another
            one of the model's, or a file with a Jinja template.
        system_prompt: put before the user's turn in tasks with a chat template.
        thinking: whether a reasoning model thinks before it answers in those tasks: ``"auto"`` (as
            it does by itself), ``"on"``, ``"off"``, or ``"budget:N"``: N tokens besides the answer.
        date: YYYY-MM-DD, what a chat template is told that asks for the date; judges' too.
        trust_remote_code: run code that comes with the checkpoint.
        fresh: forget an earlier run in the output folder.
    """

    suite: str = "paper"
    output: Path | None = None
    tasks: Texts = ()
    limit: int | None = None
    judge: str | None = None
    judge_model: str | None = None
    judge_url: str | None = None
    judge_anyway: bool = False
    annotator: str | None = None
    annotator_config: str | None = None
    annotator_model: str | None = None
    annotator_url: str | None = None
    annotator_key_env: str = "OPENAI_API_KEY"
    max_cost: float | None = None
    price_in: float | None = None
    price_out: float | None = None
    data_dir: Path | None = None
    variants: dict[str, str] = field(default_factory=dict)
    allow_unpinned: bool = False
    seed: int = 0
    fresh: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("limit")
