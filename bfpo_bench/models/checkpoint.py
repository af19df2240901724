"""A model as files: found and looked at without loading a weight."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, NotHere, first_line, why_unreadable
from bfpo_bench.common.foreign import MIB, foreign_json
from bfpo_bench.common.packages import find_spec
from bfpo_bench.common.progress import logged
from bfpo_bench.common.text import valid_text
from bfpo_bench.models.sizes import check_sizes
from bfpo_bench.models.weights import MOST_INDEX, safetensors_header, weight_files

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spm.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
# The hub's patterns: a star spans folders too (additional_chat_templates/tool_use.jinja).
WANTED = ["*.json", "*.safetensors", "*.model", "*.tiktoken", "*.txt", "*.jinja"]
# The weights once more: in Mistral's or Meta's own layout, of earlier steps, for other programs.
UNWANTED = ["consolidated*", "original/*", "*/*.safetensors"]
ADAPTER_CONFIG = "adapter_config.json"
MOST_CONFIG = 16 * MIB
"""Longest config that is read."""

SAFETENSORS_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


@dataclass(frozen=True)
class ModelFiles:
    """A checkpoint folder that holds what an evaluation needs.

    Attributes:
        name: how the user called it: hub id, or the folder's name.
        folder: where the files lie.
        weights: its safetensors files, sorted by name.
        config: the content of ``config.json``.
        revision: commit of a hub model, None for a folder.
    """

    name: str
    folder: Path
    weights: tuple[Path, ...]
    config: dict[str, Any]
    revision: str | None = None

    @property
    def dtype(self) -> str:
        """The checkpoint's own number format, e.g. ``"bfloat16"``.

        Engines disagree on what ``auto`` means (vLLM turns float32 into bfloat16), so it is
        looked up here: in the config, else in the weights.
        """
        for config in (self.config, self.config.get("text_config")):
            if not isinstance(config, dict):
                continue
            for field in ("dtype", "torch_dtype"):
                if config.get(field) in SAFETENSORS_DTYPES.values():
                    return str(config[field])
        sizes: dict[str, int] = {}
        for file in self.weights:
            for tensor in safetensors_header(file).values():
                begin, end = tensor["data_offsets"]
                sizes[tensor["dtype"]] = sizes.get(tensor["dtype"], 0) + end - begin
        most = max(sizes, key=lambda name: sizes[name], default="F32")
        return SAFETENSORS_DTYPES.get(most, "auto")


def find_model(model: str, revision: str | None = None, code: bool = False) -> ModelFiles:
    """Finds a checkpoint folder or a model of the Hugging Face hub, and checks its files.

    Args:
        code: whether its own Python files are fetched with it (``--trust-remote-code``).

    Raises:
        BadInput: there is no such folder or hub model, the config or the weights are missing,
            or a safetensors file is cut off.
    """
    try:
        path = Path(model).expanduser()
        if path.is_dir():
            if valid_text(str(path.resolve())) != str(path.resolve()):
                raise BadInput(
                    f"the path of the model folder {_brief(model)!r} is no UTF-8, and no file that "
                    "names it could be; rename it."
                )
            if revision is not None:
                raise BadInput(
                    f"the model {_brief(model)!r} is a folder, which has no revisions; leave "
                    "--revision out, or give a hub id."
                )
            return _checked(path.resolve().name, path.resolve(), None)
        is_file = path.exists()
    except (OSError, RuntimeError) as error:  # no permission, a name too long, no such ~user
        raise BadInput(
            f"the model folder {_brief(model)!r} cannot be read ({why_unreadable(error)}); give "
            "one that can be, or a hub id."
        ) from error
    if is_file or model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise BadInput(
            f"there is no model folder {_brief(model)!r}{' (it is a file)' if is_file else ''}; "
            "give the path of a checkpoint folder or a hub id such as "
            "mistralai/Mistral-7B-Instruct-v0.2."
        )
    folder = from_hub(model, revision, code)
    return _checked(model, folder, folder.name)


def from_hub(model: str, revision: str | None, code: bool = False) -> Path:
    """The folder of a hub model's files, fetched where they are not here yet.

    Args:
        code: Python files too; nothing runs them here.

    Raises:
        NotHere: it cannot be had.
        BadInput: no model can have that name.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    wanted = [*WANTED, "*.py"] if code else WANTED
    try:
        with logged(f"fetching {model} from the hub"):
            return Path(
                snapshot_download(
                    model, revision=revision, allow_patterns=wanted, ignore_patterns=UNWANTED
                )
            )
    except Exception as error:
        at = f" at revision {revision!r}" if revision else ""
        kind = BadInput if isinstance(error, HFValidationError) else NotHere
        raise kind(
            f"{model!r} is no folder here and could not be had from the hub{at} "
            f"({first_line(error)}); check the name, the network and, for gated models, HF_TOKEN."
        ) from error


def _checked(name: str, folder: Path, revision: str | None) -> ModelFiles:
    config_file = folder / "config.json"
    if (folder / ADAPTER_CONFIG).is_file():
        _refuse_adapter(folder)
    if not config_file.is_file():
        raise BadInput(
            f"{folder} has no config.json; a checkpoint folder as written by save_pretrained is "
            "needed."
        )
    try:
        config = foreign_json(config_file, MOST_CONFIG)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"the model's {config_file} is not JSON ({why_unreadable(error)}); copy the config "
            "again."
        ) from error
    if not isinstance(config, dict):
        raise BadInput(
            f"{config_file} holds {type(config).__name__} where the model's settings should be; "
            "copy the file again."
        )
    weights = weight_files(folder)
    check_sizes(config_file, config, [safetensors_header(file) for file in weights])
    _check_tokenizer(folder, "save it there with tokenizer.save_pretrained")
    return ModelFiles(name, folder, weights, config, revision)


def _refuse_adapter(folder: Path) -> None:
    """Of what transformers would load by itself: the adapter's base, or an adapter on weights."""
    try:
        content = foreign_json(folder / ADAPTER_CONFIG, MOST_CONFIG)
        base = str(content["base_model_name_or_path"])
    except (OSError, ValueError, LookupError, TypeError):
        base = "its base model"
    if any(not file.name.startswith("adapter_") for file in folder.glob("*.safetensors")):
        raise BadInput(
            f"{folder} holds a model's weights and an adapter beside them, and nobody can tell "
            "whether the one is in the other already; if it is merged, delete adapter_config.json "
            f"and adapter_model.*, else evaluate {base} with --adapter {folder}."
        )
    raise BadInput(
        f"{folder} holds an adapter alone; evaluate it with --model {base} --adapter {folder} (as "
        "a judge, annotator, reward model or base of a training it must be merged first)."
    )


def find_tokenizer(name: str, code: bool = False) -> Path:
    """Folder of a tokenizer, from a path or the hub, there with its own Python files if asked for.

    Raises:
        BadInput: there is none.
    """
    try:
        path = Path(name).expanduser()
        folder = path.resolve() if path.is_dir() else None
        is_file = path.exists() and folder is None
    except (OSError, RuntimeError) as error:
        raise BadInput(
            f"the tokenizer folder {_brief(name)!r} cannot be read ({why_unreadable(error)}); give "
            "one that can be."
        ) from error
    if folder is None:
        if is_file or name.startswith((".", "/", "~")) or name.count("/") != 1:
            raise BadInput(
                f"there is no tokenizer folder {_brief(name)!r}"
                f"{' (it is a file)' if is_file else ''}; give a folder or a hub id."
            )
        folder = from_hub(name, None, code)
    _check_tokenizer(folder, "name the folder of one with --tokenizer")
    return folder


def _check_tokenizer(folder: Path, what_to_do: str) -> None:
    for file in folder.iterdir():
        if file.suffix in (".json", ".model", ".txt", ".tiktoken", ".jinja") and file.is_file():
            size = file.stat().st_size
            if size > MOST_INDEX:
                raise BadInput(
                    f"{file} has {size / MIB:,.0f} MiB, where at most {MOST_INDEX // MIB} are read "
                    "beside a model's weights; copy the file again."
                )
    there = [file for file in TOKENIZER_FILES[:5] if (folder / file).is_file()]
    if not there and not any(folder.glob("*.tiktoken")):
        raise BadInput(
            f"{folder} has no tokenizer (tokenizer.json or tokenizer.model); {what_to_do}."
        )
    if there != ["spm.model"]:
        return
    # DeBERTa's: transformers reads it by itself, where the packages for it are.
    if not (find_spec("sentencepiece") and find_spec("google.protobuf")):
        raise BadInput(
            f"{folder} holds its tokenizer as spm.model alone; install what reads it (pip install "
            "sentencepiece protobuf), or add its tokenizer.json."
        )


def _brief(text: str) -> str:
    return text if len(text) <= 100 else text[:99] + "…"
