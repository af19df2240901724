"""A checkpoint folder as vLLM should see it: with the weights that are the model's, and no others.

vLLM 0.32 reads every safetensors file of a folder that has no index, a second copy of the weights
in another layout too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.models.checkpoint import weight_files


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
