"""The source of a function of one's own, and of what was written with it, is told from another."""

from __future__ import annotations

import hashlib
import importlib
import statistics
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from bfpo_bench.common.imports import import_function, source_digest

Write = Callable[..., str]


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes files and gives the digest of a function in one of them, imported anew."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, **files: str) -> str:
        for module, text in files.items():
            path = tmp_path.joinpath(*module.split("__")).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        forget(tmp_path)
        return source_digest(import_function("loss", name))

    yield write
    forget(tmp_path)


def forget(folder: Path) -> None:
    """Lets the modules of a folder be imported anew."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
    importlib.invalidate_caches()


def test_a_module_by_itself_is_the_hash_of_its_text(digest_of: Write) -> None:
    text = "def loss(x):\n    return x  # é\n"
    assert digest_of("alone:loss", alone=text) == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert digest_of("alone:loss", alone=text.replace("return x", "return -x")) != digest_of(
        "alone:loss", alone=text
    )


def test_what_it_imports_from_its_folder_counts(digest_of: Write) -> None:
    files = {
        "mine": "import json\nfrom parts import SCALE\ndef loss(x):\n    return SCALE * x\n",
        "parts": "import deeper\nSCALE = deeper.VALUE\n",
        "deeper": "VALUE = 2\n",
        "unused": "VALUE = 3\n",
    }
    first = digest_of("mine:loss", **files)
    assert digest_of("mine:loss", unused="VALUE = 4\n") == first
    assert digest_of("mine:loss", deeper="VALUE = 5\n") != first
    assert digest_of("mine:loss", deeper="VALUE = 2\n") == first


def test_so_does_what_it_imports_when_it_is_called_and_relatively(digest_of: Write) -> None:
    files = {
        "pack____init__": "",
        "pack__mine": "def loss(x):\n    from . import parts\n    return parts.SCALE * x\n",
        "pack__parts": "from .sub.deep import VALUE as SCALE\n",
        "pack__sub____init__": "",
    }
    first = digest_of("pack.mine:loss", **files, pack__sub__deep="VALUE = 1\n")
    assert digest_of("pack.mine:loss", pack__sub__deep="VALUE = 2\n") != first


def test_installed_packages_and_this_one_count_by_their_versions(digest_of: Write) -> None:
    # The standard library imports half of itself; only the function's own module counts.
    text = Path(statistics.__file__).read_text(encoding="utf-8")
    assert source_digest(statistics.mean) == hashlib.sha256(text.encode()).hexdigest()[:16]
    text = (
        "from bfpo_bench.common.errors import BadInput\nimport numpy\ndef loss(x):\n    return x\n"
    )
    # Also where it lies beside the project, as in a clone of the repository.
    beside = {"bfpo_bench____init__": "", "bfpo_bench__common__errors": "VALUE = 1\n"}
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert digest_of("mine:loss", mine=text, **beside) == digest


def test_of_a_function_of_this_package_its_room_counts() -> None:
    rewards, truth, words = (
        import_module(f"bfpo_bench.toy_world.{name}")
        for name in ("rewards", "ground_truth", "vocabulary")
    )
    text = Path(rewards.__file__ or "").read_text(encoding="utf-8")
    for module in (import_module("bfpo_bench.toy_world"), truth, words):
        source = Path(module.__file__ or "").read_text(encoding="utf-8")
        text += f"\0{module.__name__}\0{source}"
    assert source_digest(rewards.safe) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_function_without_a_file() -> None:
    made: dict[str, Callable[[int], int]] = {}
    exec("def loss(x):\n    return x", made)
    assert source_digest(made["loss"]) == hashlib.sha256(b"").hexdigest()[:16]
