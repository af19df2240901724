"""Options that several commands take, each with one meaning and one help text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

Model = Annotated[str, typer.Option(help="Checkpoint folder or hub id.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")]
AdapterFolder = Annotated[
    str | None,
    typer.Option("--adapter", help="Adapter (LoRA), folder or hub id, merged into the weights."),
]
Tokenizer = Annotated[str | None, typer.Option(help="Another tokenizer. [default: the model's]")]
ChatTemplate = Annotated[str, typer.Option(help="auto (the model's), never, or a Jinja file.")]
Thinking = Annotated[
    str,
    typer.Option(
        help="auto (as the model does by itself), on, off, or budget:N tokens beyond the answer's."
    ),
]
MaxLength = Annotated[
    int | None, typer.Option(help="Context window in tokens. [default: the model's]")
]
Backend = Annotated[
    str | None, typer.Option(help="hf, vllm or openai. [default: vllm with a GPU, else hf]")
]
BaseUrl = Annotated[
    str | None, typer.Option(help="OpenAI-compatible server that holds the model (openai).")
]
ApiKeyEnv = Annotated[
    str, typer.Option(help="Environment variable with the server's key (openai).")
]
JudgeModel = Annotated[
    str | None,
    typer.Option(
        help="Folder or hub id of the judge's weights; a served model's name. [default: the card's]"
    ),
]
JudgeUrl = Annotated[
    str | None,
    typer.Option(help="Server of a judge such as openai, up to /v1. [default: the card's]"),
]
JudgeAnyway = Annotated[
    bool,
    typer.Option(
        "--judge-anyway", help="Figures also where the judge is not made for the kind of prompts."
    ),
]
Annotator = Annotated[
    str | None,
    typer.Option(
        help="openai:MODEL, local, or a configuration of alpaca_eval: fills the Alpaca column."
    ),
]
AnnotatorConfig = Annotated[
    str | None,
    typer.Option(help="alpaca_eval's, for openai:MODEL and local. [default: AlpacaEval 2's]"),
]
AnnotatorModel = Annotated[
    str | None,
    typer.Option(help="Folder or hub id that local serves with vLLM; with a URL: its name there."),
]
AnnotatorUrl = Annotated[
    str | None, typer.Option(help="The annotator's server, up to /v1. [default: api.openai.com]")
]
AnnotatorKeyEnv = Annotated[
    str, typer.Option(help="Environment variable with the key of the annotator's server.")
]
MaxCost = Annotated[
    float | None,
    typer.Option(help="Most that annotating may cost now: USD where prices are given, or tokens."),
]
PriceIn = Annotated[
    float | None, typer.Option(help="USD per million tokens that the annotator reads.")
]
PriceOut = Annotated[
    float | None, typer.Option(help="USD per million tokens that the annotator writes.")
]
JudgeBackend = Annotated[
    str | None, typer.Option(help="hf or vllm. [default: vllm with a GPU, else hf]")
]
Dtype = Annotated[
    str,
    typer.Option(
        help="auto, float32, bfloat16 or float16. auto: the checkpoint's, but float32 on a CPU "
        "without units for that."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 … (hf only).")]
BatchSize = Annotated[
    str, typer.Option(help="Sequences per batch; auto finds it from the memory at hand.")
]
TensorParallelSize = Annotated[int, typer.Option(help="GPUs for one copy of a model (vllm).")]
DataParallelSize = Annotated[int, typer.Option(help="Copies of a model.")]
GpuMemoryUtilization = Annotated[
    float, typer.Option(help="Share of GPU memory that vLLM may take.")
]
Date = Annotated[
    str,
    typer.Option(
        metavar="YYYY-MM-DD", help="What a chat template is told that asks for today's date."
    ),
]
TrustRemoteCode = Annotated[bool, typer.Option(help="Run code that comes with a checkpoint.")]


def parse_batch_size(text: str) -> int | None:
    """What --batch-size says; None for ``auto``.

    Raises:
        BadInput: it is neither ``auto`` nor a number.
    """
    from bfpo_bench.common.errors import BadInput

    if text == "auto":
        return None
    if not text.isdecimal():
        raise BadInput(f"--batch-size is auto or a number, not {text!r}.")
    return int(text)


def parse_variants(given: Iterable[str]) -> dict[str, str]:
    """``["crows_pairs=original"]`` → ``{"crows_pairs": "original"}``, names checked.

    Raises:
        BadInput: not of the form SOURCE=NAME, or an unknown source or variant.
    """
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.tasks.catalog import find_source

    variants = {}
    for item in given:
        name, separator, variant = item.partition("=")
        if not separator or not variant:
            raise BadInput(f"--variant {item!r} should be SOURCE=NAME, e.g. crows_pairs=original.")
        variants[name] = find_source(name).variant(variant).name
    return variants
