"""Every command line and Python snippet of README and docs, on tiny models and the mini suite.

Nothing is listed: what a page shows is found (``pages.py``), filled in (``world.py``, the table of
placeholders) and run (``cheap.py``). Of other programs' commands the options are read by their own
parsers, and make's targets by make.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.client.fake_server import serving
from tests.docs import cheap
from tests.docs.pages import PAGES, ROOT, Block, blocks, mentions
from tests.docs.shell import FOREIGN, Command, commands
from tests.docs.world import (
    HERE,
    STANDS_FOR,
    docs_world,
    filled,
    filled_code,
    no_minutes,
    page_world,
    unfilled,
)
from tests.engines.openai.toy_openai import Toy

__all__ = ["docs_world", "page_world"]

VARIABLES = {
    "SCRATCH": ".",
    "TMPDIR": ".",
    "HOME": ".",
    "USER": "me",
    "SLURM_JOB_ID": "1",
    "SLURM_GPUS": "1",
}
"""What the environment of a page's commands holds."""


@pytest.fixture(scope="module")
def served(tiny_llama: Path) -> Iterator[str]:
    """Address of a server of the model "toy", for snippets that ask one."""
    from bfpo_bench.engines.tokenization import load_tokenizer

    with serving(Toy(load_tokenizer(tiny_llama))) as server:
        yield server.url


NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FOLLOWED = ROOT / "CONTRIBUTING.md"
"""Its blocks are run as they stand, by test_contributing.py."""


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_what_a_page_shows_runs(
    page: Path, page_world: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace: dict[str, Any] = {}
    for block in blocks(page):
        if name := re.match(r"# ([\w-]+\.(?:yaml|py))\b", block.text):
            Path(name[1]).write_text(filled_code(block.text), encoding="utf-8")
        if block.language == "python":
            _snippet(block, namespace, monkeypatch, served)
        elif (text := block.commands()) is not None:
            for command in commands(at(served, filled(text)), page_world, VARIABLES):
                if wrong := _wrong(command, page_world, monkeypatch):
                    said = shlex.join(command.words)
                    pytest.fail(f"{block.place(command.line)}: `{said}`: {wrong}")


def at(server: str, text: str) -> str:
    """A block with the address of a server that is there."""
    return text.replace("http://localhost:8000/v1", server)


def _wrong(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is wrong with a command; "" if nothing is."""
    foreign = command.words[0] in FOREIGN
    gone = [word for word in command.words if word[:5] == "docs/" and not (ROOT / word).exists()]
    if gone:
        return f"there is no {gone[0]}"
    if not foreign and (yours := unfilled(command.words, folder)):
        return f"{yours} is a placeholder that is not known; say in {HERE} what stands for it."
    program, *words = command.words
    with monkeypatch.context() as patch:
        for name, value in command.environment.items():
            if name == "PYTHONPATH":
                patch.syspath_prepend(folder / value)
            else:
                patch.setenv(name, value)
        if program == "bfpo-bench":
            return cheap.run(words, monkeypatch)
        if program in RUNNERS:
            return RUNNERS[program](words, monkeypatch)
    return "" if foreign else f"no test knows the program {program!r}."


def _make(words: Sequence[str], _: pytest.MonkeyPatch) -> str:
    """Make says what it would run; nothing of it is run."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 and done.stdout else done.stderr


def _python(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """``python -m`` one of our modules, ``python -c`` something."""
    if words[0] == "-c":
        exec(words[1], {})
        return ""
    assert words[0] == "-m", "a page runs python with -m or -c"
    return _module(words[1], words[2:], monkeypatch)


def _module(module: str, words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> str:
    if module == "bfpo_bench":
        return cheap.run(words, monkeypatch, work=False)
    if module == "bfpo_bench.lm_eval":
        importlib.import_module(module)
        return _lm_eval(words, monkeypatch)
    if module == "tests.house":
        return ""
    return cheap.parsed(importlib.import_module(module).main, words, monkeypatch)


def _lm_eval(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """lm-eval's own parser reads the options; the model and our tasks are there by name."""
    from lm_eval._cli import HarnessCLI
    from lm_eval.api.registry import model_registry

    from bfpo_bench.suites import TASKS_FOLDER

    monkeypatch.setattr(sys, "argv", ["lm_eval", *words])
    asked = HarnessCLI().parse_args()
    if asked.command != "run":
        return ""
    if asked.model not in model_registry:
        return f"lm-eval has no model {asked.model}"
    named = asked.tasks if isinstance(asked.tasks, list) else asked.tasks.split(",")
    ours = [name for name in named if name.startswith("bfpo_")]
    there = {path.stem.lstrip("_") for path in Path(TASKS_FOLDER).rglob("*.yaml")}
    gone = [name for name in ours if name not in there]
    return f"there are no tasks {gone}" if gone else ""


def _accelerate(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """accelerate's parser reads its options; what it launches is read as it would be alone."""
    from accelerate.commands.launch import launch_command_parser

    assert words[0] == "launch"
    asked = launch_command_parser().parse_args(words[1:])
    if asked.config_file and not (ROOT / asked.config_file).is_file():
        return f"there is no file {asked.config_file}"
    assert asked.module, "a page launches modules"
    return _module(asked.training_script, asked.training_script_args, monkeypatch)


def _pip(words: Sequence[str], _: pytest.MonkeyPatch) -> str:
    """pip's own parser reads the options; nothing is installed. The extras are there."""
    with pytest.MonkeyPatch.context() as patch:
        # Once setuptools' hook has seen pip, setuptools cannot be imported any more, and with it
        # neither vLLM nor torch's compiler, whose tests may come after this one.
        hooks = [one for one in sys.meta_path if "_distutils_hack" not in repr(one)]
        patch.setattr(sys, "meta_path", hooks)
        from pip._internal.commands import create_command

        command = create_command(words[0])
    try:
        command.parse_args(list(words[1:]))
    except SystemExit as error:
        return f"exit code {error.code}"
    asked = re.findall(r"(?:^|\s)(?:\.|bfpo-bench)\[([\w,-]+)\]", " ".join(words))
    extras = [extra for some in asked for extra in some.split(",")]
    gone = [extra for extra in extras if extra not in extras_there()]
    return f"there are no extras {gone}" if gone else ""


def extras_there() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["optional-dependencies"])


def _ray(words: Sequence[str], _: pytest.MonkeyPatch) -> str:
    """Ray's own parser reads the options; nothing is started."""
    from ray.scripts.scripts import cli

    try:
        cli.commands[words[0]].make_context(words[0], list(words[1:]))
    except Exception as error:
        return str(error)
    return ""


RUNNERS = {
    "pip": _pip,
    "ray": _ray,
    "make": _make,
    "python": _python,
    "lm_eval": _lm_eval,
    "lm-eval": _lm_eval,
    "accelerate": _accelerate,
}


def _snippet(
    block: Block, namespace: dict[str, Any], monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """Runs a snippet after those before it on its page; a file of the name in its first line."""
    code = at(server, filled_code(block.text))
    place = str(Path("snippet.py").resolve())
    with monkeypatch.context() as patch:
        no_minutes(patch)
        patch.syspath_prepend(str(Path.cwd()))
        namespace |= {"__file__": place, "__name__": "snippet"}
        try:
            exec(compile(code, block.place(), "exec"), namespace)
        except Exception as error:
            pytest.fail(
                f"{block.place()}: the snippet ends in {type(error).__name__}: {error}; what "
                f"stands for something of the reader's is said in {HERE}."
            )


@pytest.mark.parametrize("page", [*PAGES, FOLLOWED], ids=[*NAMES, FOLLOWED.name])
def test_what_sentences_quote_is_there(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bfpo-bench …` in a line of text may leave out what it needs, but names what there is."""
    wrong = [
        f"{page.relative_to(ROOT)}:{line}: `{said}`: {fault}"
        for line, said in mentions(page)
        if (fault := _misquoted(said, monkeypatch))
    ]
    assert not wrong


def _misquoted(said: str, monkeypatch: pytest.MonkeyPatch) -> str:
    program, *words = said.split()
    if program == "make":
        return _make(shlex.split(said)[1:], monkeypatch)
    if program == "python":
        return "" if importlib.util.find_spec(words[1]) else f"there is no module {words[1]}"
    return cheap.misnamed(words)


def test_what_nobody_has_said_is_told(page_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new placeholder, model, option or program fails with a sentence that says where to go."""

    def told(line: str) -> str:
        [command] = commands(filled(line), page_world, VARIABLES)
        return _wrong(command, page_world, monkeypatch)

    assert told("bfpo-bench evaluate --model YOURS") == (
        "['YOURS'] is a placeholder that is not known; say in STANDS_FOR in tests/docs/world.py "
        "what stands for it."
    )
    assert "['org/model']" in told("bfpo-bench evaluate --model org/model")
    assert "no such option: --modle" in told("bfpo-bench evaluate --modle ./my-model")
    assert "did you mean 'vllm'" in told("bfpo-bench evaluate --model MODEL --backend vlm")
    assert "No rule to make target" in told("make tset")
    assert told("nowhere --at all") == "no test knows the program 'nowhere'."


def test_every_extra_is_told() -> None:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert [extra for extra in extras_there() if f"`{extra}`" not in page] == []


def test_every_entry_of_the_table_stands_for_something() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in STANDS_FOR if name not in pages] == []
    assert [name for name, here in STANDS_FOR.items() if name == here] == []


def test_blocks_are_found_as_readers_see_them() -> None:
    text = "a\n\n    bfpo-bench one\n\n    two\n\n```sh\n$ make three \\\n    --four\nsaid\n```\n"
    first, second = blocks(ROOT / "README.md", text)
    assert (first.line, first.commands()) == (2, "bfpo-bench one\n\ntwo")
    assert (second.line, second.commands()) == (7, "make three \\\n    --four\n")
