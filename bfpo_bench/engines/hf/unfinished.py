"""A batch of responses in the middle of its decoding, kept on disk so that stopping loses nothing.

The tokens so far would not do: keys and values that are computed again, all at once instead of one
by one, differ by a rounding, and a resumed run would give other responses than an undisturbed one.
So what the model holds is written down as it is, and read back bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

SECONDS = 20.0
"""What a killed process may lose of a batch. Writing takes at most a twentieth of the time."""

LARGEST = 8 * 10**9
"""Bytes; a batch that holds more is on a large GPU, where it takes a minute or two in all."""

_KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.bool: "BOOL",
}


@dataclass
class Batch:
    """Rows under way.

    Attributes:
        input_ids: prompts and new tokens of the rows that are still computed, ``[rows, tokens]``.
        state: what the model is given besides, its cache among it.
        tokens: new tokens of all rows, those that have left too.
        rows: numbers of the rows that are still computed.
        going: those of them that have not ended.
        step: tokens that each of `going` has.
        whole: False in the middle of a step, when the cache is of no token.
    """

    input_ids: torch.Tensor
    state: dict[str, Any]
    tokens: list[list[int]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    going: set[int] = field(default_factory=set)
    step: int = 0
    whole: bool = False


class _CannotBeKept(Exception):
    """A cache of a kind that is not known here."""


class Unfinished:
    """The place of one unfinished batch.

    Args:
        folder: where its file lies, under a name of the batch's own: copies of a model share it.
            None keeps nothing.
        asked: all that the batch depends on; a file of another batch is left alone.
    """

    def __init__(self, folder: Path | None, asked: Any) -> None:
        import transformers

        versions = (torch.__version__, transformers.__version__)
        text = json.dumps([asked, versions], default=str)
        self._key = hashlib.sha256(text.encode()).hexdigest()
        self._path = folder / f"{self._key[:16]}.safetensors" if folder else None
        self._next = time.monotonic() + SECONDS

    def save_when_due(self, batch: Batch) -> None:
        """Writes the batch down if the last time was long enough ago."""
        if self._path is not None and time.monotonic() >= self._next:
            self.save(batch)

    def save(self, batch: Batch) -> None:
        """Writes the batch down; where that cannot be done, says so and goes on."""
        if self._path is None or not batch.whole:
            return
        begin = time.monotonic()
        try:
            self._write(self._path, batch)
        except (_CannotBeKept, OSError) as error:
            log.warning("An unfinished batch cannot be kept and will start over (%s).", error)
            self._path = None
        took = time.monotonic() - begin
        self._next = begin + took + max(SECONDS, 20 * took)

    def restore(self, fresh: Batch, config: Any) -> Batch | None:
        """The batch as it was written down, None if it was not.

        Args:
            fresh: its beginning; gives the model's cache, which is filled.
            config: the model's; some make their cache in the first step only.
        """
        from transformers import DynamicCache

        if self._path is None or not self._path.is_file():
            return None
        from safetensors import SafetensorError, safe_open

        device = fresh.input_ids.device
        try:
            with safe_open(self._path, framework="pt", device=str(device)) as file:
                about = file.metadata()
                if about.get("key") != self._key:
                    return None
                content = json.loads(about["content"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError, KeyError, AttributeError):
            return None  # cut off by what ended the process
        cache = cache_of(fresh.state)
        if cache is None:
            cache = DynamicCache(config=config.get_text_config(decoder=True))
        if [type(layer).__name__ for layer in cache.layers] != content["layers"]:
            return None

        for number, layer in enumerate(cache.layers):
            for name, value in content[f"layer {number}"].items():
                setattr(layer, name, _filled(value, tensors, device))
        state = {name: _filled(value, tensors, device) for name, value in content["state"].items()}
        state[content["cache"]] = cache
        return Batch(
            input_ids=tensors["input_ids"],
            state={**fresh.state, **state},
            tokens=content["tokens"],
            rows=content["rows"],
            going=set(content["going"]),
            step=content["step"],
            whole=True,
        )

    def discard(self) -> None:
        """The batch is finished."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self, path: Path, batch: Batch) -> None:
        tensors = {"input_ids": batch.input_ids}
        content = _described(batch, tensors)
        header: dict[str, Any] = {
            "__metadata__": {"key": self._key, "content": json.dumps(content)}
        }
        end = 0
        for name, tensor in tensors.items():
            if tensor.dtype not in _KINDS:
                raise _CannotBeKept(f"{tensor.dtype} in its cache")
            begin, end = end, end + tensor.numel() * tensor.element_size()
            header[name] = {
                "dtype": _KINDS[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [begin, end],
            }
        # Only beside the run: a copy on another node may not see it.
        path.parent.mkdir(exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if end > min(LARGEST, free // 2):
            raise _CannotBeKept(f"{end / 1e9:.1f} GB, and {free / 1e9:.1f} GB of disk are free")
        # safetensors, written piece by piece: its own writer wants a second copy of all in memory.
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(struct.pack("<Q", len(text)) + text)
                for tensor in tensors.values():
                    plain = tensor.detach().reshape(-1).contiguous().cpu()
                    file.write(plain.view(torch.uint8).numpy().data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def cache_of(state: dict[str, Any]) -> Any:
    """The cache among what a model is given, whatever it is called there; None without one."""
    from transformers import Cache

    return next((value for value in state.values() if isinstance(value, Cache)), None)


def is_filled(layer: Any) -> bool:
    """Whether a layer of a cache holds what its model knows of the rows.

    Models that keep a state in their modules (RecurrentGemma) leave it empty.
    """
    states: list[Any] = []
    for name in ("conv_states", "recurrent_states"):
        states += getattr(layer, name, {}).values()
    if states and not any(isinstance(state, torch.Tensor) for state in states):
        return False
    # A layer may have states, keys and values, or both.
    return isinstance(layer.keys, torch.Tensor) if hasattr(layer, "keys") else bool(states)


def _described(batch: Batch, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The batch as JSON, its tensors put into `tensors`."""
    from transformers import DynamicCache

    cache = cache_of(batch.state)
    if type(cache) is not DynamicCache or not all(map(is_filled, cache.layers)):
        raise _CannotBeKept("the model keeps its state in its own way")
    content: dict[str, Any] = {
        "tokens": batch.tokens,
        "rows": batch.rows,
        "going": sorted(batch.going),
        "step": batch.step,
        "layers": [type(layer).__name__ for layer in cache.layers],
        "state": {
            name: _plain(value, f"state.{name}", tensors)
            for name, value in batch.state.items()
            if value is not cache
        },
        "cache": next(name for name, value in batch.state.items() if value is cache),
    }
    for number, layer in enumerate(cache.layers):
        content[f"layer {number}"] = {
            name: _plain(value, f"layer.{number}.{name}", tensors)
            for name, value in vars(layer).items()
            # Room to grow into, see RoomyLayer.
            if not name.endswith("_space")
        }
    return content


def _plain(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {"items": [[k, _plain(v, f"{name}.{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": None}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise _CannotBeKept(f"{type(value).__name__} in its cache")


def _filled(value: Any, tensors: dict[str, torch.Tensor], device: torch.device) -> Any:
    if not isinstance(value, dict):
        return value
    [(kind, what)] = value.items()
    if kind == "items":
        return {key: _filled(some, tensors, device) for key, some in what}
    if kind == "tensor":
        return tensors[what]
    return getattr(torch, what) if kind == "dtype" else device
