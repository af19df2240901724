"""Fingerprints of what a model is made of: they tell two models apart, and one from itself.

:func:`checkpoint_identity` is the one answer to the question "what do the answers of this folder
depend on"; whatever loads a checkpoint (target, judge, annotator, ranker, reward model, base of a
training, reference cache) puts it, or its digest, into its own identity.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.foreign import foreign_json
from bfpo_bench.common.progress import logged
from bfpo_bench.common.remembered import Memory
from bfpo_bench.models.adapters import Adapter
from bfpo_bench.models.checkpoint import MOST_CONFIG, TOKENIZER_FILES, ModelFiles
from bfpo_bench.models.template_files import chat_templates
from bfpo_bench.models.weights import safetensors_header

READ_BYTES = 1 << 24

PROCESSORS = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
GENERATION = "generation_config.json"
TOKENIZERS = ("*.model", "*.tiktoken", "*.spm", "*.bpe", "tekken.json", "encoder.json")
"""What tokenizers are kept in besides `TOKENIZER_FILES`, as patterns."""

SAID_ELSEWHERE = frozenset(
    (
        # Written by whoever saved last; an answer does not depend on them.
        *("transformers_version", "_name_or_path", "name_or_path", "_commit_hash", "is_local"),
        # The number format of an answer is that of loading, which identities hold beside this.
        *("dtype", "torch_dtype"),
        # Paths of the machine where a tokenizer was saved, and whether keys and values are kept.
        *("tokenizer_file", "special_tokens_map_file", "use_cache"),
    )
)
"""Settings that an identity leaves out: saving a checkpoint again changes them, and nothing else.

Everything else counts, known or not; a setting that is only spelt out now (a default of the same
value) counts as changed, because telling that would need the very version that reads it."""

OF_NO_WEIGHT = ("base_model_name_or_path", "revision", "inference_mode", "peft_version")
"""Settings of an adapter that its sum with the base's weights does not depend on."""

__all__ = [
    "TOKENIZER_FILES",
    "checkpoint_digest",
    "checkpoint_identity",
    "tokenizer_fingerprint",
    "weight_fingerprint",
]


def checkpoint_identity(
    files: ModelFiles,
    *,
    adapter: Adapter | None = None,
    tokenizer: Path | None = None,
    templates: bool = True,
    generation: bool = False,
    code: bool = False,
) -> dict[str, str]:
    """All that the answers of a checkpoint depend on, part by part, as hexadecimal digests.

    ``weights`` (every number), ``settings`` (config.json and what processors have, by meaning),
    ``tokens`` (tokenizer), ``templates``, ``generation`` and ``code``. The folder's name and
    place, the times and order of its files, the revision and the sharding do not matter, nor do
    the settings in `SAID_ELSEWHERE`.

    Args:
        adapter: what is merged into the weights: one more part, ``adapter``.
        tokenizer: folder of another tokenizer; its chat templates take the place of the model's.
        templates: whether the folder's own chat templates can be used.
        generation: whether its generation config can be used.
        code: whether the checkpoint's own Python files are run (``--trust-remote-code``).
    """
    place = tokenizer or files.folder
    found = {
        "weights": weight_fingerprint(files.weights),
        "settings": _settings(files.folder, ("config.json", *PROCESSORS)),
        "tokens": tokenizer_fingerprint(place),
    }
    if adapter is not None:
        config = {k: v for k, v in adapter.config.items() if k not in OF_NO_WEIGHT}
        # PEFT writes sets of names as lists, in any order.
        config = {k: sorted(v, key=str) if isinstance(v, list) else v for k, v in config.items()}
        found["adapter"] = _digest([weight_fingerprint((adapter.weights,)), config])
    if templates:
        found["templates"] = _digest(chat_templates(place))
    if generation:
        found["generation"] = _settings(files.folder, (GENERATION,))
    if code:
        folders = tuple(dict.fromkeys((files.folder, place)))
        found["code"] = _digest([_code(folder) for folder in (*folders, *_elsewhere(folders))])
    return found


def checkpoint_digest(files: ModelFiles, **what: Any) -> str:
    """The same in one word of 32 hex digits, for names and keys. Arguments as there."""
    whole = json.dumps(checkpoint_identity(files, **what), sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def tokenizer_fingerprint(folder: Path) -> str:
    """Hash over a folder's tokenizer, 16 hex digits; its chat templates do not count."""
    names = {path.name for pattern in TOKENIZERS for path in folder.glob(pattern)}
    return _settings(folder, tuple(sorted(names.union(TOKENIZER_FILES))))


def _settings(folder: Path, names: tuple[str, ...]) -> str:
    """Hash over the meaning of the named files; missing ones count as absent."""
    return _digest({name: _meaning(folder / name) for name in names if (folder / name).is_file()})


def _meaning(path: Path) -> Any:
    """A file's settings without those that stand elsewhere; the bytes' hash of any other file."""
    content = path.read_bytes()
    # The vocabularies are long and have no settings to leave out.
    if path.name.endswith("config.json"):
        try:
            return lasting(json.loads(content))
        except (ValueError, RecursionError):
            pass
    return hashlib.sha256(content).hexdigest()


def lasting(value: Any) -> Any:
    """Settings without what a checkpoint that is saved again may say otherwise."""
    if isinstance(value, list):
        return [lasting(one) for one in value]
    if not isinstance(value, dict):
        return value
    # How weights are quantised is never said elsewhere, in whichever words.
    return {
        key: one if key == "quantization_config" else lasting(one)
        for key, one in value.items()
        if key not in SAID_ELSEWHERE and key != "chat_template"
    }


def _elsewhere(folders: Iterable[Path]) -> list[Path]:
    """Where the code lies that configs take from another hub model (``owner/name--module.Class``).

    Raises:
        BadInput: it cannot be had.
    """
    from huggingface_hub import snapshot_download

    found: dict[str, Path] = {}
    for file in (
        folder / f"{name}config.json" for folder in folders for name in ("", "tokenizer_")
    ):
        try:
            entries = foreign_json(file, MOST_CONFIG)["auto_map"].values()
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue
        # A tokenizer has two classes, the slow and the fast one, or null for one of them.
        named = [n for one in entries for n in (one if isinstance(one, list) else [one]) if n]
        for model in sorted({str(name).partition("--")[0] for name in named if "--" in str(name)}):
            try:
                found[model] = Path(snapshot_download(model, allow_patterns=["*.py"]))
            except Exception as error:
                raise BadInput(
                    f"the code that {file} names stands in {model!r} of the hub, which could not "
                    f"be had ({type(error).__name__}); check the network, or leave out "
                    "--trust-remote-code."
                ) from error
    return list(found.values())


def _code(folder: Path) -> dict[str, str]:
    """Hash of each Python file under a folder, by its place in it."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.py"))
        if path.is_file()
    }


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def weight_fingerprint(weights: tuple[Path, ...]) -> str:
    """Hash over every byte of every tensor: 32 hex digits, the same however they are sharded.

    Each tensor is hashed whole (xxh3-128, several GB/s, threads over tensors), so a change of a
    single number changes the result. Hashes are remembered per file under its size, inode and
    change time, so that a second look at the same files costs nothing.
    """
    import xxhash

    tensors: dict[str, str] = {}
    memory = Memory("fingerprints")
    with logged("hashing weights", len(weights), unit="files") as stage:
        for path in weights:
            seen = _as_it_is(path)  # before it is read: it may be changed meanwhile
            known = memory.recall(seen)
            if known is None:
                known = _tensor_hashes(path)
                memory.keep(seen, known)
            tensors.update(known)
            stage.advance(1)
    whole = xxhash.xxh3_128()
    for name in sorted(tensors):
        whole.update(f"{name}\0{tensors[name]}\n".encode())
    return str(whole.hexdigest())


def _tensor_hashes(path: Path) -> dict[str, str]:
    header = safetensors_header(path)
    with path.open("rb") as file:
        offset = 8 + struct.unpack("<Q", file.read(8))[0]

    def hash_one(name: str) -> str:
        import xxhash

        entry = header[name]
        begin, end = entry["data_offsets"]
        digest = xxhash.xxh3_128(f"{entry['dtype']}{entry['shape']}".encode())
        with path.open("rb", buffering=0) as file:
            file.seek(offset + begin)
            left = end - begin
            while left:
                block = file.read(min(left, READ_BYTES))
                digest.update(block)
                left -= len(block)
        return str(digest.hexdigest())

    names = sorted(header)
    with ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) * 2)) as pool:
        return dict(zip(names, pool.map(hash_one, names), strict=True))


def _as_it_is(path: Path) -> str:
    """A file under its size, inode and change time, which cannot be set back by hand."""
    stat = path.stat()
    return f"{path.resolve()}\0{stat.st_size}\0{stat.st_ino}\0{stat.st_ctime_ns}"
