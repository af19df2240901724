"""Every error that a user can cause has a test that reads its sentence.

Found out from source alone, so that an error without a test fails here at once. That a sentence is
read proves that somebody provoked it; what it says is up to the test that reads it. There is no
list of exceptions: what a machine lacks (a GPU that is full) a test can pretend.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import bfpo_bench
from tests.raise_sites import GAP, Site, raise_sites, unread

PACKAGE = Path(bfpo_bench.__file__).parent
TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def sites() -> list[Site]:
    return raise_sites(PACKAGE)


def test_every_error_is_read_by_a_test(sites: list[Site]) -> None:
    assert len(sites) > 200
    missing = [
        f"bfpo_bench/{site.file}:{site.line}: {site.sentence.replace(GAP, '…')}"
        for site in unread(sites, TESTS)
    ]
    assert not missing, (
        "provoke these errors in a test, as a user would, and compare what they say (three words "
        "in a row that stand in no other error are enough):\n" + "\n".join(missing)
    )


def test_every_error_ends_as_a_sentence(sites: list[Site]) -> None:
    """With a full stop, unless its last words are a value's."""
    cut_off = [
        f"bfpo_bench/{site.file}:{site.line}: {site.sentence.replace(GAP, '…')}"
        for site in sites
        if not site.sentence.rstrip(GAP).endswith((".", "?")) and not site.sentence.endswith(GAP)
    ]
    assert not cut_off


# ------------------------------------------------------- the finder finds what it should

ERRORS = """
class BadInput(Exception): ...
class RunFailed(Exception): ...
class Refused(BadInput): ...

def unknown_name(kind, name, known) -> BadInput:
    return BadInput(f"unknown {kind} {name!r}; there are {known}.")
"""


@pytest.fixture
def project(tmp_path: Path) -> tuple[Path, Path]:
    """An empty package and an empty folder of tests."""
    package, tests = tmp_path / "package", tmp_path / "tests"
    package.mkdir()
    tests.mkdir()
    (package / "errors.py").write_text(ERRORS)
    return package, tests


@pytest.mark.parametrize(
    ("code", "sentences"),
    [
        ("def f(x): raise BadInput(f'no {x} is there.')", ["no … is there."]),
        ("def f(): raise RunFailed('a' + ' b c.')", ["a b c."]),
        ("def f(): return Refused('a kind of one.', 404)", ["a kind of one."]),
        ("def f(x): raise unknown_name('task', x, ())", ["…unknown task …; there are ….…"]),
        ("def f(x):\n  why = 'it is' if x else 'as'\n  raise BadInput(f'{why}.')", ["…it is…as…."]),
        (
            "def _late(x) -> RunFailed:\n  return RunFailed(f'too late: {x}.')\n"
            "def f(): raise _late('by a day')\ndef g(): raise _late('by two')",
            ["…too late: by a day.…", "…too late: by two.…"],
        ),
        (
            "class Card:\n  def error(self, x) -> BadInput:\n    return BadInput(f'card: {x}.')\n"
            "  def f(self): raise self.error('no model')\n"
            "log = None\ndef g(): log.error('not an error of ours')",
            ["…card: no model.…"],
        ),
        ("def _say(x):\n  return f'say {x}'\ndef f(): raise BadInput(_say('so'))", ["…say so…"]),
        ("def f():\n  def g(): raise BadInput('deep inside.')\n  return g", ["deep inside."]),
        ("def f(): raise ValueError('nobody reads that')", []),
    ],
)
def test_errors_are_found_where_they_are_made(
    project: tuple[Path, Path], code: str, sentences: list[str]
) -> None:
    package, _ = project
    (package / "code.py").write_text(code)
    found = [site.sentence.replace(GAP, "…") for site in raise_sites(package)]
    assert sorted(found) == sentences


CODE = """
def f(x): raise BadInput(f"there is no file {x}; give one that is there.")
def g(x): raise BadInput(f"there is no file {x}; make it.")
"""


@pytest.mark.parametrize(
    ("test", "lines"),
    [
        ("", [2, 3]),
        ("x = 'give one that'", [3]),
        ("x = 'make it'", [2]),
        ("x = 'there is no file'", [2, 3]),
        ("x = r'file .*; make it\\.$'", [2]),
        ("x = f'there is no file {1}; give one that is there.'", [3]),
        ("x = 'give one'; y = 'is there'", [3]),
        ("x = 'you had better make it at once'", [2, 3]),
        ("'''give one that is there; make it.'''", [2, 3]),
        ("x = 'give that'", [2, 3]),
        ("x = r'there is no file \\S+; make it.'", [2]),
    ],
)
def test_a_sentence_is_read_by_words_that_are_its_alone(
    project: tuple[Path, Path], test: str, lines: list[int]
) -> None:
    package, tests = project
    (package / "code.py").write_text(CODE)
    (tests / "test_code.py").write_text(test)
    assert [site.line for site in unread(raise_sites(package), tests)] == lines


def test_all_parts_of_a_sentence_are_a_reading_too(project: tuple[Path, Path]) -> None:
    package, tests = project
    (package / "code.py").write_text(
        "def f(x): raise BadInput(f'a prompt of {x} tokens is longer than the window.')\n"
        "def g(x): raise BadInput(f'a text of {x} tokens is longer than the window.')\n"
        "def h(x): raise BadInput(f'a prompt of {x} tokens is too long.')\n"
    )
    (tests / "test_code.py").write_text("x = r'a prompt of \\d+ tokens is longer than the window.'")
    assert [site.line for site in unread(raise_sites(package), tests)] == [2, 3]


def test_the_words_before_the_first_value_are_a_reading(project: tuple[Path, Path]) -> None:
    package, tests = project
    (package / "code.py").write_text(
        "def f(x): raise unknown_name('task', x, ())\ndef g(x): raise unknown_name('suite', x, ())"
    )
    (tests / "test_code.py").write_text("match = \"unknown suite 'papr'; there are\"")
    assert [site.line for site in unread(raise_sites(package), tests)] == [1]


def test_words_of_others_are_passed_over(project: tuple[Path, Path]) -> None:
    package, tests = project
    (package / "code.py").write_text("def f(x, error): raise BadInput(f'{x}: {error}')")
    assert len(raise_sites(package)) == 1
    assert unread(raise_sites(package), tests) == []


def test_sentences_that_differ_in_a_value_alone_are_one(project: tuple[Path, Path]) -> None:
    package, tests = project
    (package / "code.py").write_text(
        "def f(x): raise BadInput(f'--{x} must be at least 1, not {x}.')\n"
        "def g(x): raise BadInput(f'--limit must be at least 1, not {x}.')\n"
    )
    assert len(unread(raise_sites(package), tests)) == 2
    (tests / "test_code.py").write_text("x = '--limit must be at least 1'")
    assert unread(raise_sites(package), tests) == []
