"""How models are loaded: one object for the target, the judge, the annotator and the ranker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.options import Count, Help, Options, one_of
from bfpo_bench.common.validate import STRICT, Text
from bfpo_bench.engines.cluster import check_copies
from bfpo_bench.engines.open import choose_backend
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.clock import DATE, is_date
from bfpo_bench.models.number_format import NumberFormat, choose_format

DEVICES = ("cpu", "cuda", "mps", "xpu", "hpu", "npu", "meta")
"""What torch knows and models run on; whether it is there, is seen when one is loaded."""

DTYPES = ("auto", "float32", "bfloat16", "float16")


def _day(date: str) -> str:
    if not is_date(date):
        raise BadInput(f"--date is a day, written YYYY-MM-DD such as {DATE}, not {date!r}.")
    return date


def _batch_size(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value == "auto":
        return None
    if not value.isdecimal():
        raise BadInput(f"--batch-size is auto or a number, not {value!r}.")
    return int(value)


def _device(name: str) -> str:
    kind, colon, number = name.partition(":")
    if kind not in ("auto", *DEVICES) or (colon and not number.isdecimal()):
        raise BadInput(f"there is no device {name!r}; give auto, cpu, cuda, or cuda:1 and so on.")
    return name


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Loading(Options):
    """How models are loaded and told the date."""

    backend: Annotated[
        str | None, Help("hf, vllm or openai. [default: vllm with a GPU, else hf]")
    ] = None
    dtype: Annotated[
        str,
        one_of("dtype", DTYPES),
        Help(
            "auto, float32, bfloat16 or float16. auto: the checkpoint's, but float32 on a CPU "
            "without units for that."
        ),
    ] = "auto"
    device: Annotated[
        str, AfterValidator(_device), Help("auto, cpu, cuda, cuda:1 … (hf only).")
    ] = "auto"
    batch_size: Annotated[
        Count | None,
        BeforeValidator(_batch_size),
        Help(
            "Sequences per batch; auto finds it from the memory at hand.", given=str, default="auto"
        ),
    ] = None
    tensor_parallel_size: Annotated[Count, Help("GPUs for one copy of a model (vllm).")] = 1
    data_parallel_size: Annotated[
        Count, Help("Copies of a model, on this machine or a --ray cluster.")
    ] = 1
    ray: Annotated[
        Text | None,
        Help("Ray cluster to put the copies on: auto, or its address.", metavar="ADDRESS"),
    ] = None
    gpu_memory_utilization: Annotated[
        float, Field(gt=0, le=1), Help("Share of GPU memory that vLLM may take.")
    ] = 0.9
    trust_remote_code: Annotated[bool, Help("Run code that comes with a checkpoint.")] = False
    date: Annotated[
        str,
        AfterValidator(_day),
        Help("What a chat template is told that asks for today's date.", metavar="YYYY-MM-DD"),
    ] = DATE

    def chosen_backend(self) -> str:
        """The backend to use, with what it and copies need looked at before any work is done.

        Raises:
            BadInput: of :func:`choose_backend`, and of :meth:`check_copies`.
        """
        self.check_copies()
        return choose_backend(self.backend)

    def check_copies(self) -> None:
        """Whether the copies that are asked for can be had, as far as that is seen at once.

        Raises:
            BadInput: of :func:`bfpo_bench.engines.cluster.check_copies`.
        """
        if self.data_parallel_size > 1 or self.ray is not None:
            check_copies(self.ray)

    def beside_target(self) -> Loading:
        """The same for what works beside the target: judge, annotator, ranker.

        A server holds the target only; the others are loaded here.
        """
        return replace(self, backend=None) if self.backend == "openai" else self

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
        return replace(
            self.place(files),
            tokenizer=str(tokenizer) if tokenizer else None,
            dtype=self.number_format(files).dtype,
            batch_size=self.batch_size,
            max_length=max_length,
            tensor_parallel_size=self.tensor_parallel_size,
            gpu_memory_utilization=self.gpu_memory_utilization,
            trust_remote_code=self.trust_remote_code,
        )

    def place(self, files: ModelFiles) -> EngineOptions:
        """Where a model is put that is no engine's (a reward model, PairRM), and how often."""
        return EngineOptions(
            str(files.folder),
            device=self.device,
            data_parallel_size=self.data_parallel_size,
            ray=self.ray,
        )
