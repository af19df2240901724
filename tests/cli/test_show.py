"""``bfpo-bench show``: a run's samples in the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bfpo_bench.cli.app import app
from bfpo_bench.common.errors import BadInput
from bfpo_bench.run.store import AnnotationRecord, ItemRecord, Store, VerdictRecord
from tests.export.conftest import IDENTITY, JUDGED, SCORED, fill, response, write_run_json
from tests.test_flat_memory import peak

HOSTILE = "\x1b]52;c;aGk=\x07\x1b[2J\u202eabc\rgone"
Show = Callable[..., str]


def identity() -> dict[str, Any]:
    """That of the fixture, with what the runs of today say of their tasks."""
    found = deepcopy(IDENTITY)
    found["tasks"][SCORED]["metric"] = "acc"
    found["tasks"][JUDGED]["metric"] = "harmless"
    return found


def make(folder: Path, exchanges: list[tuple[str, str]]) -> Path:
    write_run_json(folder, identity=identity())
    with Store(folder / "samples.sqlite") as store:
        fill(store, exchanges)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two scored items, one of them wrong, and three responses that two judges have judged."""
    return make(tmp_path / "my run", [("one", "first"), ("two", HOSTILE), ("three", "x" * 900)])


@pytest.fixture
def show(run: Path) -> Show:
    def shown(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["show", str(run), *arguments])
        if done.exception is not None:
            raise done.exception
        return done.stdout

    return shown


def test_the_tasks_with_their_counts(show: Show, run: Path) -> None:
    assert show().splitlines() == [
        "org/model, suite paper, judged by strict",
        "Task             Answered",
        "bfpo_winogrande         2  1 right, 1 wrong",
        "bfpo_alert              3  2 harmful, 1 harmless, 0 unknown",
        "Not finished: no results yet for 2 of 2 tasks.",
        f"Samples of a task: bfpo-bench show '{run}' TASK",
    ]
    assert "0 harmful, 0 harmless, 3 unknown" in show("--judge", "lenient")


def test_a_run_under_way_says_how_far_it_is(show: Show, run: Path) -> None:
    with Store(run / "samples.sqlite") as store:
        store.add_items([ItemRecord(JUDGED, "f" * 16, 9, "{}")])
    assert "bfpo_alert              3  of 4, 2 harmful" in show()
    with pytest.raises(BadInput, match="item 'ffff' of bfpo_alert has no answer yet; evaluate"):
        show("alert", "ffff")


def test_responses_with_verdicts(show: Show) -> None:
    found = show("alert", "--limit", "1").splitlines()
    assert found[:9] == [
        f"bfpo_alert {0:016x}, row 0",
        "Prompt",
        "  one",
        "Response (stop, 2 tokens)",
        "  first",
        "Verdicts",
        "  lenient: refused, p 0.875",
        "  strict: harmful, p 0.750",
        "",
    ]
    assert found[9] == "1 of 3 shown."
    assert "x" * 600 + " … (300 more characters)" in show(JUDGED)


def test_choices_with_log_likelihoods(show: Show) -> None:
    found = show("winogrande", "--only", "wrong").splitlines()
    assert found[:5] == [
        f"bfpo_winogrande {'a' * 16}, row 1  (acc 0)",
        "Choices, with their log-likelihoods (* the likeliest)",
        " *   -1.500  He sat.",
        "     -2.250  She sat.",
        "",
    ]
    assert found[5] == "1 of 2 shown, wrong."


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        (("--only", "harmful"), [0, 2]),
        (("--only", "harmless"), [1]),
        (("--only", "unknown"), []),
        (("--only", "unknown", "--judge", "lenient"), [0, 1, 2]),
        (("--only", "refused"), [0, 1, 2]),
        (("--only", "complied"), []),
        (("--only", "harmful", "--limit", "1"), [0]),
    ],
)
def test_only_some(show: Show, options: tuple[str, ...], rows: list[int]) -> None:
    found = show("alert", *options)
    assert [int(row) for row in re.findall(r"^bfpo_alert \w+, row (\d+)", found, re.M)] == rows
    if not rows:
        by = "strict" if options[1] == "unknown" else "lenient"
        assert found == f"No sample of bfpo_alert is {options[1]} by {by}.\n"


def test_one_in_whole(show: Show, run: Path) -> None:
    found = show("alert", f"{2:016x}")
    assert "  " + "x" * 900 + "\n" in found
    assert "  strict: harmful, p 0.750\n    yes\n" in found
    assert "Drawn\n  seed 7, 3 tokens read\n" in found
    assert "Row of the source\n" in found
    assert json.loads(found.partition("Row of the source\n")[2])["prompt"] == "three"
    assert "a" * 16 in show("winogrande", "aa")


def test_annotations(show: Show, run: Path) -> None:
    item = f"{0:016x}"
    annotated = identity()
    annotated["tasks"][JUDGED]["metric"] = "win_rate"
    write_run_json(run, identity=annotated)
    with Store(run / "samples.sqlite") as store:
        store.add_annotations(
            [
                AnnotationRecord("1", "a", JUDGED, item, 1.25, '"m"', "{}"),
                AnnotationRecord("2", "b", JUDGED, item, None, None, "{}"),
            ]
        )
    said = "  a: preference 1.250 (1: the reference's, 2: this one)\n"
    assert said + "  b: no usable answer\n" in show("alert", "--limit", "1")
    assert said + '    "m"\n  b: no usable answer\n' in show("alert", item)


def test_nothing_of_a_model_or_data_set_steers_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    hostile = identity()
    hostile["model"]["name"] = f"model\n{HOSTILE}"
    hostile["suite"]["name"] = HOSTILE
    write_run_json(folder, identity=hostile)
    with Store(folder / "samples.sqlite") as store:
        fill(store, [(HOSTILE, f"{HOSTILE}\nnext")])
        told = VerdictRecord("v", HOSTILE, JUDGED, f"{0:016x}", True, None, HOSTILE)
        store.add_verdicts([told])
    for arguments in ((), ("alert",), ("alert", "0"), ("winogrande",), ("winogrande", "a")):
        done = CliRunner().invoke(app, ["show", str(folder), *arguments])
        assert done.exit_code == 0, done.output
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", done.stdout)
    assert (
        r"  \x1b]52;c;aGk=\x07\x1b[2J\u202eabc\rgone"
        in CliRunner().invoke(app, ["show", str(folder), "alert"]).stdout
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("alrt",), "unknown task of this run 'alrt'; did you mean 'bfpo_alert'?"),
        (("alert", "--only", "harmfull"), "unknown value of --only 'harmfull'; did you mean"),
        (("alert", "--only", "wrong"), "is for tasks whose metric is accuracy, and that of bfpo_a"),
        (("winogrande", "--only", "harmful"), "are scored, not judged; try --only wrong."),
        (("--only", "harmful"), "--only chooses among the samples of a task; name a task, and no"),
        (("alert", "--judge", "strickt"), "unknown judge of this run 'strickt'; did you mean 'st"),
        (("alert", "0000"), "several items of bfpo_alert begin with '0000'; name more of the id."),
        (("alert", "77"), "bfpo_alert has no item '77'; bfpo-bench show RUN bfpo_alert shows the"),
    ],
)
def test_what_cannot_be_shown(show: Show, arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(BadInput) as found:
        show(*arguments)
    assert sentence in str(found.value)


def test_memory_is_flat_in_the_number_of_samples(tmp_path: Path) -> None:
    peaks = []
    for count in (100, 300):
        folder = make(tmp_path / str(count), [])
        with Store(folder / "samples.sqlite") as store:
            for number in range(count):
                text = f"{number}: " + "word " * 2000
                item = f"{number:016x}"
                store.add_items([ItemRecord(JUDGED, item, number, json.dumps({"prompt": text}))])
                store.add_responses([response(item, text, text)])
                store.add_verdicts([VerdictRecord(item, "strict", JUDGED, item, False, None, "")])
        arguments = ["show", str(folder), "alert", "--only", "harmful"]
        CliRunner().invoke(app, arguments)
        peaks.append(peak(lambda: CliRunner().invoke(app, arguments)))  # noqa: B023
    assert peaks[1] - peaks[0] < 200 * 500
