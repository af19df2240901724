"""Checkpoint folders that were made to confuse, to hang or to run something."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.attack.attempt import Case
from tests.attack.corpus_files import NO_FILE
from tests.attack.texts import CLIPBOARD, NOT_JSON

DRY = (
    "evaluate --model {here}/model --suite mini --tasks advbench --judge keyword --device cpu "
    "--output {out}/run --dry-run"
)
FOLDER = "model"

TEMPLATES: dict[str, str] = {
    "a loop of 10^18": "{% for a in range(10**9) %}{% for b in range(10**9) %}{% endfor %}"
    "{% endfor %}",
    "gigabytes": "{{ 'x' * 10**10 }}",
    "a number of a million digits": "{{ 7 ** 10**7 }}",
    "a way to the interpreter": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "a way to the system": "{{ cycler.__init__.__globals__.os.system('touch owned') }}",
    "a way by format": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "an include": "{% include '/etc/passwd' %}",
    "an escape that is raised": f"{{{{ raise_exception('{CLIPBOARD}') }}}}",
    "a long text that is raised": "{{ raise_exception('x\\x1b[2J' * 1000000) }}",
    "no Jinja": "{% if %}",
    "nesting": "{% if 1 %}" * 2_000,
    "brackets": "{{ " + "(" * 5_000 + ")" * 5_000 + " }}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "nothing said": "hello",
    "a megabyte": "{# " + "x" * (2 << 20) + " #}{{ messages }}",
    "half a surrogate pair": "{{ '\\ud800' }}{% for m in messages %}{{ m.content }}{% endfor %}",
}
"""Chat templates that end in a sentence."""

CONFIGS: dict[str, dict[str, Any]] = {
    "ten million layers": {"num_hidden_layers": 10**7},
    "a huge vocabulary": {"vocab_size": 10**15},
    "a width below nothing": {"hidden_size": -1},
    "heads that do not divide": {"num_attention_heads": 7},
    "a kind that steers": {"model_type": f"llama{CLIPBOARD}", "architectures": [CLIPBOARD]},
    "a kind without end": {"model_type": "m" * 200_000},
    "its own code": {"auto_map": {"AutoConfig": "evil.Config"}, "model_type": "evil"},
    "a list for a number": {"hidden_size": [1]},
    "a text for a number": {"num_hidden_layers": "many"},
    "no number": {"rope_theta": float("nan"), "hidden_size": 1e999},
    "an activation that there is not": {"hidden_act": "__import__('os')"},
    "deep settings": {"rope_scaling": [[[[[[[[[[]]]]]]]]]]},
}
"""Changes to a config that end in a sentence."""


def copied(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """Makes a copy of the sound model beside the case's folder, and changes it."""

    def make(here: Path) -> None:
        shutil.copytree(here.parent / "good" / "model", here / FOLDER)
        change(here / FOLDER)

    return make


def settings(name: str, change: dict[str, Any]) -> Callable[[Path], None]:
    """Changes one of the JSON files."""

    def make(model: Path) -> None:
        before = json.loads((model / name).read_text()) if (model / name).exists() else {}
        (model / name).write_text(json.dumps(before | change))

    return make


def template(text: str) -> Callable[[Path], None]:
    """Another chat template."""
    return lambda model: (model / "chat_template.jinja").write_text(text, "utf-8") and None


def header(tensors: Any, size: int = 0) -> Callable[[Path], None]:
    """Weights with this header."""
    text = tensors if isinstance(tensors, bytes) else json.dumps(tensors).encode()

    def make(model: Path) -> None:
        with (model / "model.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + size)

    return make


def index(names: dict[str, Any]) -> Callable[[Path], None]:
    """An index in the place of the weights."""

    def make(model: Path) -> None:
        (model / "model.safetensors").unlink()
        (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))

    return make


class _Runs:
    def __reduce__(self) -> Any:
        return os.system, ("touch owned",)


def pickled(model: Path) -> None:
    """Weights that run something when they are loaded."""
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(_Runs()))


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
WEIGHTS: dict[str, Callable[[Path], None]] = {
    "a pickle": pickled,
    "a header of 2^63 bytes": lambda m: (
        (m / "model.safetensors").write_bytes(b"\xff" * 7 + b"\x7f") and None
    ),
    "a deep header": header(b"[" * 100_000),
    "offsets beyond the end": header({"a": {**ONE, "data_offsets": [0, 10**12]}}),
    "offsets below nothing": header({"a": {**ONE, "data_offsets": [-4, 0]}}),
    "two tensors in one place": header({"a": ONE, "b": ONE}, 4),
    "a tensor of 10^30 numbers": header({"a": {**ONE, "shape": [10**10] * 3}}, 4),
    "a text for offsets": header({"a": {**ONE, "data_offsets": "ab"}}, 4),
    "a name that steers": header({CLIPBOARD: ONE}, 4),
    "no tensor": header({}),
    "an index out of the folder": index({"a": "../../../../etc/passwd"}),
    "an index of a name that steers": index({"a": CLIPBOARD.replace("/", "_")}),
    "an index of a name without end": index({"a": "x" * 100_000}),
    "an index of NUL": index({"a": "a\0b.safetensors"}),
    "an index of no names": index({"a": [1]}),
}
"""What may be wrong with weights."""


def cases() -> Iterator[Case]:
    """All of them, by one command."""
    for what, text in TEMPLATES.items():
        yield Case(f"template: {what}", DRY, copied(template(text)))
    for what, change in CONFIGS.items():
        yield Case(f"config: {what}", DRY, copied(settings("config.json", change)))
    for what, change in WEIGHTS.items():
        yield Case(f"weights: {what}", DRY, copied(change))
    files = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
    made = {w: _content(c) for w, c in NOT_JSON.items()} | NO_FILE
    for number, (what, make) in enumerate(made.items()):
        for file in files if "BFPO_ATTACK" in os.environ else (files[number % 4],):
            code = -1 if file == "generation_config.json" else 2  # it is not needed
            yield Case(f"{file}: {what}", DRY, copied(_instead(file, make)), code)


def _content(content: bytes) -> Callable[[Path], object]:
    return lambda place: place.write_bytes(content)


def _instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        (model / name).unlink(missing_ok=True)
        make(model / name)

    return change
