"""The number format that a model is loaded in: the checkpoint's own, unless it is slow here.

A CPU without units for a format of 16 bits emulates it, several times slower than it computes in
float32. Widening such weights is exact: float32 holds every number of either format.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from bfpo_bench.common.device import cpu_formats, find_device
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.weights import safetensors_header

WIDE = "float32"

_ROOM = 0.9
"""Share of the memory that weights may take; the rest is the system's and what is computed."""

_WIDENED = ("F64", "F32", "BF16", "F16")


class NumberFormat(NamedTuple):
    """A number format, and what a reader must know of the choice.

    Attributes:
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``, or ``"auto"`` where the checkpoint
            names none.
        note: one sentence without its full stop; None where there is nothing to say.
    """

    dtype: str
    note: str | None = None


def choose_format(
    files: ModelFiles, wanted: str = "auto", device: str = "auto", copies: int = 1
) -> NumberFormat:
    """The number format for a model on a device.

    What is wanted is obeyed. ``"auto"`` is the checkpoint's own, but float32 on a CPU without units
    for that, if the weights then fit into the machine's memory: all of it, free or not, so that
    the same command decides alike tomorrow. Packed (quantised) weights stay as they are.

    Args:
        device: as a user names it.
        copies: of the model, in this machine's memory at a time.
    """
    own = files.dtype
    dtype = own if wanted == "auto" else wanted
    if dtype not in ("bfloat16", "float16") or "quantization_config" in files.config:
        return NumberFormat(dtype)
    if not _is_cpu(device) or dtype in cpu_formats():
        return NumberFormat(dtype)
    need, total = copies * _wide_bytes(files), find_device("cpu").total
    fits = need <= _ROOM * total
    if wanted != "auto":
        better = f"; --dtype {WIDE} is several times faster here" if fits else ""
        return NumberFormat(dtype, f"{dtype} is slow: this CPU has no units for it{better}")
    if fits:
        return NumberFormat(
            WIDE,
            f"loaded in {WIDE}: this CPU has no units for the checkpoint's {dtype} and would take "
            f"several times as long (--dtype {dtype} does it all the same)",
        )
    return NumberFormat(
        dtype,
        f"stays in {dtype}, which is slow as this CPU has no units for it: in {WIDE} the weights "
        f"take {need / 1e9:.1f} GB, too much for a memory of {total / 1e9:.1f} GB",
    )


def go_on_with(files: ModelFiles, chosen: NumberFormat, stored: object) -> NumberFormat:
    """The format in which what ``auto`` chose for is gone on with.

    The choice may have been another one on the machine, or in the version, that began the run.

    Args:
        chosen: what it would be now.
        stored: the dtype that the run's identity holds.
    """
    if stored == chosen.dtype or stored not in (files.dtype, WIDE):
        return chosen
    return NumberFormat(
        str(stored),
        f"loaded in {stored}, as the run was begun (--dtype auto would take {chosen.dtype} now)",
    )


def training_advice(precision: str, device: str = "auto") -> str | None:
    """What to tell of a recipe's precision on this device; None where there is nothing to say."""
    if precision != "bf16" or not _is_cpu(device) or "bfloat16" in cpu_formats():
        return None
    return (
        "precision: bf16 is slow here: this CPU has no units for bfloat16; with precision: fp32 a "
        "training is several times faster"
    )


def _is_cpu(device: str) -> bool:
    if device == "auto":
        return not find_device().is_gpu
    return device.startswith("cpu")


def _wide_bytes(files: ModelFiles) -> int:
    """Bytes of the weights in float32."""
    tensors = [tensor for file in files.weights for tensor in safetensors_header(file).values()]
    return sum(4 * math.prod(t["shape"]) for t in tensors if t["dtype"] in _WIDENED)
