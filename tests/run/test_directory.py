"""One run per folder: the same is resumed, something different is refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.identity import differences
from bfpo_bench.run.run_json import read_run
from bfpo_bench.run.session import Session, mixed_versions
from bfpo_bench.run.store import ResponseRecord, VerdictRecord

IDENTITY = {
    "model": {"weights": "aa", "name": "m"},
    "seed": 0,
    "tasks": {"t1": {"version": 1}},
    "data": {"s1": {"digest": "d"}},
}


def answered(path: Path, identity: dict[str, Any]) -> None:
    """A run that holds a response."""
    with RunDirectory(path, identity) as run, run.open_store() as store:
        store.add_responses([ResponseRecord("k", "t1", "i", "p", "q", "Yes.", "stop", 0, 1, 1, 0)])


def test_the_same_request_reopens_the_run(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", IDENTITY) as run:
        run.write_text("results.json", "{}")
    with RunDirectory(tmp_path / "run", IDENTITY) as run:
        assert run.identity == {**IDENTITY, "judge": None}
        assert run.results_path.exists()


def test_a_models_folder_may_be_renamed(tmp_path: Path) -> None:
    renamed = {**IDENTITY, "model": {"weights": "aa", "name": "other", "revision": "abc"}}
    RunDirectory(tmp_path, IDENTITY).close()
    with RunDirectory(tmp_path, renamed) as run:
        assert run.identity["model"] == IDENTITY["model"]
    # A server's model has nothing but its name.
    served = {**IDENTITY, "model": {"name": "a", "server": {}}}
    answered(tmp_path / "served", served)
    with pytest.raises(BadInput, match=r'different: model\.name: "a" there, "b" asked for'):
        RunDirectory(tmp_path / "served", {**served, "model": {"name": "b", "server": {}}})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": {"weights": "bb", "name": "m"}}, 'model.weights: "aa" there, "bb" asked for'),
        ({"seed": 1}, "seed: 0 there, 1 asked for"),
        ({"tasks": {"t1": {"version": 2}}}, "tasks.t1.version: 1 there, 2 asked for"),
    ],
)
def test_a_different_request_is_refused_by_name(
    tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    answered(tmp_path, IDENTITY)
    with pytest.raises(BadInput, match="something different") as caught:
        RunDirectory(tmp_path, {**IDENTITY, **change})
    assert sentence in str(caught.value)
    assert "--fresh" in str(caught.value)
    RunDirectory(tmp_path, IDENTITY).close()


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("scratch", [False, True])
def test_a_run_without_answers_gives_way_to_the_command_put_right(
    store: bool, scratch: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As the server, or the copies, could not be started."""
    run, local = tmp_path / "run", tmp_path / "scratch" if scratch else None
    with RunDirectory(run, IDENTITY, local_scratch=local) as first:
        first.write_text("serve.log", "no such option")
        first.record_session({"seconds": {}})
        if store:
            first.open_store().close()
    with RunDirectory(run, {**IDENTITY, "seed": 1}, local_scratch=local) as second:
        assert (second.identity["seed"], second.sessions) == (1, [])
    assert sorted(path.name for path in run.iterdir()) == [".lock", "run.json"]
    assert caplog.messages == [f"{run} held a run of something different without answers."]
    # Without a store, what was found is kept.
    with RunDirectory(run, IDENTITY) as third:
        third.write_text("results.json", "{}")
    with pytest.raises(BadInput, match="holds a run of something different: seed: 0 there, 1"):
        RunDirectory(run, {**IDENTITY, "seed": 1})


def test_a_judge_that_has_said_nothing_gives_way_to_another(tmp_path: Path) -> None:
    """What the model has answered stays."""
    one, two = ({**IDENTITY, "judge": {"judge": name, "kind": "classifier"}} for name in "ab")
    answered(tmp_path, one)
    with pytest.raises(BadInput, match="something different: seed: 0 there, 1 asked for"):
        RunDirectory(tmp_path, {**two, "seed": 1})
    with RunDirectory(tmp_path, two) as run, run.open_store() as store:
        assert run.identity == two
        assert len(store.responses("t1")) == 1
        store.add_verdicts([VerdictRecord("v", "b", "t1", "i", True, 0.9, "", None)])
    with pytest.raises(BadInput, match=r'different: judge\.judge: "b" there, "a" asked for'):
        RunDirectory(tmp_path, one)


def test_fresh_starts_over_and_touches_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "results_2026.json").write_text("lm-eval's")
    with RunDirectory(tmp_path, IDENTITY) as run:
        run.open_store().close()
        for name in ("results.json", "results-a.json", "training.json", "table.md"):
            run.write_text(name, "{}")
        (tmp_path / "annotator.log").write_text("")
        (tmp_path / "samples.sqlite.damaged-1").write_text("")
    with RunDirectory(tmp_path, {**IDENTITY, "seed": 5}, fresh=True) as run:
        assert run.identity["seed"] == 5
        assert not run.results_path.exists()
    kept = [".lock", "notes.txt", "results_2026.json", "run.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == kept


def test_a_run_does_not_go_into_a_models_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "training.json").write_text("how it was trained")
    with pytest.raises(BadInput, match=r"holds a model \(config.json\), and a run has files of"):
        RunDirectory(tmp_path, IDENTITY, fresh=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "training.json"]
    # Where an older version has put one there, the model's record stays.
    (tmp_path / "config.json").unlink()
    RunDirectory(tmp_path, IDENTITY).close()
    (tmp_path / "config.json").write_text("{}")
    RunDirectory(tmp_path, {**IDENTITY, "seed": 5}, fresh=True).close()
    assert (tmp_path / "training.json").read_text() == "how it was trained"


def test_every_session_keeps_its_own_environment(tmp_path: Path) -> None:
    def session(run: RunDirectory, torch: str, **about: str) -> Session:
        packages = {"torch": torch, "vllm": torch, "bfpo-bench": "0.2.0"}
        monkeypatch.setattr(
            "bfpo_bench.run.session.describe_environment", lambda: {"packages": packages}
        )
        return Session(run, **about)

    with pytest.MonkeyPatch.context() as monkeypatch, RunDirectory(tmp_path, IDENTITY) as run:
        # One that was killed: on record from its first answer on.
        with session(run, "2.13.0").timed("score"):
            assert [s["environment"]["packages"]["torch"] for s in run.sessions] == ["2.13.0"]
        assert mixed_versions(run.sessions, "hf") == []
        # One that answers nothing is no matter, nor is a judge's for the model's environment.
        idle = session(run, "2.14.0")
        with idle.timed("collect"):
            pass
        idle.record()
        assert mixed_versions(run.sessions, "hf") == []
        rejudging = session(run, "2.15.0", judge="other")
        with rejudging.timed("judge"):
            pass
        rejudging.record()
        with session(run, "2.16.0").timed("respond"):
            pass
        content = read_run(tmp_path)
    assert len(content["sessions"]) == 4
    assert content["environment"]["packages"]["torch"] == "2.16.0"
    mark = (
        "answers were made under several versions of {} (2.13.0, 2.16.0); run.json says which "
        "session had which"
    )
    assert mixed_versions(content["sessions"], "hf") == [mark.format("torch")]
    assert mixed_versions(content["sessions"], "vllm") == [
        mark.format("torch"),
        mark.format("vllm"),
    ]
    # Version 0.1 kept no environment with its sessions.
    assert mixed_versions([{"seconds": {"score": 1.0}}, *content["sessions"][:1]], "hf") == []


def test_tasks_and_data_may_grow(tmp_path: Path) -> None:
    RunDirectory(tmp_path, IDENTITY).close()
    more = {**IDENTITY, "tasks": {"t2": {"version": 1}}, "data": {"s2": {"digest": "e"}}}
    with RunDirectory(tmp_path, more) as run:
        assert run.identity["tasks"].keys() == {"t1", "t2"}
        assert run.identity["data"].keys() == {"s1", "s2"}


def test_a_judge_may_be_named_later(tmp_path: Path) -> None:
    RunDirectory(tmp_path, {**IDENTITY, "judge": None}).close()
    with RunDirectory(tmp_path, {**IDENTITY, "judge": {"judge": "a"}}) as run:
        assert run.identity["judge"] == {"judge": "a"}
    with RunDirectory(tmp_path, {**IDENTITY, "judge": None}) as run:
        assert run.identity["judge"] == {"judge": "a"}


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from bfpo_bench.run.directory import RunDirectory\n"
        "from bfpo_bench.common.errors import BadInput\n"
        "try: RunDirectory(pathlib.Path(sys.argv[1]), {})\n"
        "except BadInput as error: print(error)\n"
    )
    with RunDirectory(tmp_path, IDENTITY):
        output = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
        ).stdout
    assert "another process is working on" in output


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadInput) as caught:
            RunDirectory(path, IDENTITY)
        assert str(caught.value) == (
            f"cannot write into {path} (a file is in the way); choose another run directory."
        )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", r"is damaged \(.*\); begin the run again with --fresh"),
        ("[" * 100_000, r"is damaged \(.*\); begin the run again with --fresh"),
        ("[]", "not a run of bfpo-bench; use another run directory"),
        (json.dumps({"schema": 99, "identity": {}}), "newer bfpo-bench"),
        (json.dumps({"schema": "1", "identity": IDENTITY}), "schema must be a whole number, not"),
        (
            json.dumps({"schema": 1, "identity": IDENTITY}),
            r"run.json: 'sessions' is missing\); begin",
        ),
        (
            json.dumps({"schema": 1, "sessions": [], "identity": {"data": {}}}),
            r"identity: 'tasks' is missing\); begin the run again with --fresh",
        ),
        (
            json.dumps(
                {
                    "schema": 1,
                    "sessions": [],
                    "identity": {"data": {}, "tasks": {"t": {"generation": 5}}},
                }
            ),
            r"tasks, t, generation must be keys and values, not 5",
        ),
    ],
)
def test_damaged_and_newer_runs(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(BadInput, match=sentence):
        read_run(tmp_path)


def test_answers_of_an_unknown_run_are_not_taken_up(tmp_path: Path) -> None:
    (tmp_path / "samples.sqlite").write_text("")
    with pytest.raises(BadInput, match=r"no run\.json"):
        RunDirectory(tmp_path, IDENTITY)


def test_no_run_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(BadInput, match="is no run directory") as caught:
            read_run(path)
        assert str(caught.value).endswith("); name the --output of an evaluate command.")


def test_a_file_that_cannot_be_written_keeps_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "table.md").mkdir()
    with RunDirectory(tmp_path, IDENTITY) as run, pytest.raises(RunFailed) as caught:
        run.write_text("table.md", "text")
    assert str(caught.value) == (
        f"cannot write {tmp_path}/table.md: Is a directory; make room on the disk and run the same "
        "command again."
    )
    assert not list(tmp_path.glob(".*.tmp"))


def test_differences_of_missing_fields() -> None:
    assert differences({"a": 1}, {"b": 2}) == [
        "a: 1 there, null asked for",
        "b: null there, 2 asked for",
    ]
