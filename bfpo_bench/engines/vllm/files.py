"""A checkpoint folder as vLLM should see it: the weights of the model, an adapter's in them.

vLLM 0.32 reads every safetensors file of a folder that has no index, a second copy of the weights
in another layout too.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.models.weights import weight_files

_OF_WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".pt", ".pth", ".gguf")


@contextmanager
def prepared(options: EngineOptions) -> Iterator[EngineOptions]:
    """The same options for a folder that vLLM reads rightly, there while the body runs.

    Raises:
        BadInput, RunFailed: see :func:`merged_copy`.
    """
    with ExitStack() as stack:
        if options.adapter is not None:
            options = stack.enter_context(merged_copy(options))
        if others := other_weights(Path(options.model)):
            options = stack.enter_context(without(options, others))
        yield options


def other_weights(folder: Path) -> set[str]:
    """Names of the safetensors files that are not among the model's weights."""
    own = {path.name for path in weight_files(folder)}
    if (folder / "model.safetensors.index.json").is_file():
        return set()  # which vLLM goes by
    return {path.name for path in folder.glob("*.safetensors")} - own


@contextmanager
def without(options: EngineOptions, names: set[str]) -> Iterator[EngineOptions]:
    """The same options for a folder of links that lacks these files, there while the body runs."""
    base = Path(options.model)
    with tempfile.TemporaryDirectory(prefix="bfpo-vllm-") as place:
        folder = Path(place) / base.name
        folder.mkdir()
        for file in base.iterdir():
            if file.name not in names:
                (folder / file.name).symlink_to(file.resolve())
        yield replace(options, model=str(folder))


@contextmanager
def merged_copy(options: EngineOptions) -> Iterator[EngineOptions]:
    """The same options for a folder with the merged model, which is there while the body runs.

    It lies in the run's scratch folder where there is
    one, and needs as much room as the model.

    Raises:
        BadInput: the adapter and the model do not go together.
        RunFailed: there is no room for it.
    """
    import torch

    from bfpo_bench.engines.hf.load import load_causal_model

    base = Path(options.model)
    model = load_causal_model(
        base,
        options.dtype,
        torch.device("cpu"),
        options.trust_remote_code,
        adapter=options.adapter,
    )
    if options.scratch is not None:
        Path(options.scratch).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="merged-", dir=options.scratch) as name:
        folder = Path(name) / base.name
        try:
            model.save_pretrained(folder)
            del model
            for file in base.iterdir():
                if not file.name.endswith(_OF_WEIGHTS) and not (folder / file.name).exists():
                    (shutil.copytree if file.is_dir() else shutil.copy)(file, folder / file.name)
        except OSError as error:
            raise RunFailed(
                f"the model with its adapter cannot be written to {folder} ({error}); make room "
                "for a copy of the model, or use --backend hf, which needs none."
            ) from error
        yield replace(options, model=str(folder), tokenizer=options.tokenizer, adapter=None)
