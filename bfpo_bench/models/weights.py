"""The weights of a checkpoint folder: which files hold them, and what their headers say."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, why_unreadable
from bfpo_bench.common.foreign import MIB, foreign_json

MOST_INDEX = 256 * MIB
"""Longest file beside the weights that is read; a vocabulary has 35 MB, the longest index 9 MB."""

MOST_HEADER = 100_000_000
"""Longest header of a safetensors file, by its format."""

_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8", "I8", "U8", "BOOL"), 1),
}
"""Of a number, in the formats of whole bytes."""


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that a folder's model is loaded from.

    Raises:
        BadInput: some are missing, or all.
    """
    index_file = folder / "model.safetensors.index.json"
    if index_file.is_file():
        try:
            content = foreign_json(index_file, MOST_INDEX)
            names = sorted(set(content["weight_map"].values()))
            missing = [name for name in names if not (folder / name).is_file()]
            outside = [n for n in names if Path(n).is_absolute() or ".." in Path(n).parts]
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise BadInput(
                f"{index_file} does not say which weight file holds what ({type(error).__name__}: "
                f"{why_unreadable(error)}); copy the file again."
            ) from error
        if outside:
            raise BadInput(
                f"{index_file} names a weight file outside the model's folder ({outside[0]}); put "
                "it there, or copy the model again from a place that you trust."
            )
        if missing:
            raise BadInput(
                f"{folder} lacks {len(missing)} of {len(names)} weight files, the first is "
                f"{missing[0]}; copy or download the model again."
            )
        return tuple(folder / name for name in names)
    files = tuple(sorted(folder.glob("*.safetensors")))
    if (one := folder / "model.safetensors") in files:
        # What else lies there (a copy in another layout) is not loaded.
        return (one,)
    if files:
        # Mistral's own layout of the same weights, which nothing here loads beside the usual one.
        return tuple(f for f in files if not f.name.startswith("consolidated")) or files
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise BadInput(
            f"{folder} holds pickled weights only, which can run code when loaded; save the model "
            "again with save_pretrained (it writes safetensors)."
        )
    raise BadInput(f"{folder} has no weights (*.safetensors); copy or download the model again.")


def safetensors_header(path: Path) -> dict[str, dict[str, Any]]:
    """Tensors of a safetensors file (name → dtype, shape, data_offsets), sizes checked.

    Raises:
        BadInput: the file is shorter or longer than its header says, or has no header.
    """
    again = "copy or download the file again"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            begin = file.read(8)
            length = struct.unpack("<Q", begin)[0] if len(begin) == 8 else size
            if length + 8 > size or length > MOST_HEADER:
                raise BadInput(f"{path} is no whole safetensors file ({size} bytes); {again}.")
            tensors: dict[str, dict[str, Any]] = json.loads(file.read(length))
        tensors.pop("__metadata__", None)
        for tensor in tensors.values():
            _check_shape(tensor)
        places = [tuple(tensor["data_offsets"]) for tensor in tensors.values()]
        end = 8 + length + max((end for _, end in places), default=0)
        # Without holes or overlaps; else many tensors could be read from one and the same place.
        if end != 8 + length + sum(end - begin for begin, end in places):
            raise ValueError
    except OSError as error:
        raise BadInput(
            f"the weights {path} cannot be read ({why_unreadable(error)}); {again}."
        ) from error
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise BadInput(f"{path} has a damaged header; {again}.") from error
    if size < end:
        raise BadInput(f"{path} is cut off: {size} of {end} bytes are there; {again}.")
    if size > end:
        raise BadInput(f"{path} has {size - end} bytes more than its header says; {again}.")
    return tensors


def _check_shape(tensor: dict[str, Any]) -> None:
    """Raises ValueError for a shape of another number of bytes than the tensor has."""
    shape, (begin, end) = tensor["shape"], tensor["data_offsets"]
    if len(shape) > 16 or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError
    width = _BYTES.get(tensor["dtype"].partition("_")[0])  # several kinds of F8
    if width is not None and math.prod(shape) * width != end - begin:
        raise ValueError
