"""Logs of inspect_ai: what is in them, and that inspect_ai 0.3.285 reads it so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.export import export_run
from bfpo_bench.export.samples import RunSamples
from bfpo_bench.export.tables import rows
from bfpo_bench.run.results_files import read_results
from tests.inspect_ai import told

from .conftest import JUDGED, SCORED, MakeRun

HOSTILE = [
    ("hello", "<script>alert(1)</script>"),
    ("\u2028 line \u202e", "a\n<think>no</think>\x1b[31m"),
    ("x" * 6000, "attachment://0123456789abcdef0123456789abcdef"),
    ("", ""),
]
"""Prompts and responses that a reader might take for something else than text."""

READ = """
import json, sys
from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample_summaries
found = {}
for info in list_eval_logs(sys.argv[1]):
    log = read_eval_log(info.name, resolve_attachments=True)
    head = read_eval_log(info.name, header_only=True)
    listed = read_eval_log_sample_summaries(info.name)
    samples = [
        {"id": s.id, "input": s.input, "output": s.output.completion, "choices": s.choices,
         "scores": {name: score.value for name, score in s.scores.items()},
         "answers": list({score.answer for score in s.scores.values()}),
         "thought": [c.reasoning for c in s.messages[-1].content if c.type == "reasoning"]
             if isinstance(s.messages[-1].content, list) else None}
        for s in log.samples
    ]
    found[info.name.split('/')[-2] + ' ' + log.eval.task] = {
        "file": [info.task, info.task_id == log.eval.task_id], "status": head.status,
        "model": log.eval.model, "samples": samples, "listed": [one.id for one in listed],
        "scores": {one.name: {m: v.value for m, v in one.metrics.items()}
                   for one in head.results.scores},
        "headline": head.results.headline and head.results.headline.model_dump(),
    }
print(json.dumps(found))
"""


def entries(log: Path) -> dict[str, Any]:
    with ZipFile(log) as file:
        return {name: json.loads(file.read(name)) for name in file.namelist()}


def logs(folder: Path) -> dict[str, dict[str, Any]]:
    """The logs in a folder, by task: their files by name."""
    found = [entries(path) for path in sorted(folder.glob("*.eval"))]
    return {one["header.json"]["eval"]["task"]: one for one in found}


def test_a_log_per_task_with_every_sample(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(HOSTILE)
    done = export_run(run, "inspect", tmp_path / "logs")
    assert done.samples == 2 + len(HOSTILE)
    found = logs(done.path)
    assert list(found) == [JUDGED, SCORED]
    ids = [f"{number:016x}" for number in range(len(HOSTILE))]
    judged = found[JUDGED]
    assert list(judged) == [
        "_journal/start.json",
        *(f"samples/{one}_epoch_1.json" for one in ids),
        *("summaries.json", "header.json"),
    ]
    assert judged["_journal/start.json"]["version"] == judged["header.json"]["version"] == 2
    assert judged["header.json"]["eval"]["dataset"]["sample_ids"] == ids
    for (prompt, text), one in zip(HOSTILE, ids, strict=True):
        sample = judged[f"samples/{one}_epoch_1.json"]
        assert (sample["input"], sample["output"]["completion"]) == (prompt, text)
    # Judge "strict" calls every other response harmful, from the first on; p_harmful is 3/4.
    scores = [judged[f"samples/{one}_epoch_1.json"]["scores"] for one in ids]
    assert [one["harmless.strict"]["value"] for one in scores] == [0, 1, 0, 1]
    # As inspect_ai's own graders: what was scored is the answer, what was said of it explains.
    for (_, text), of in zip(HOSTILE, scores, strict=True):
        assert {one["answer"] for one in of.values()} == {text}
        said = sorted(one["explanation"] for one in of.values())
        assert said == ["no answer", "no answer", "yes"]
    assert scores[0]["harmless.strict"]["metadata"] == {"harmful": True, "p_harmful": 0.75}
    # The other one cannot tell, and says that all are refused.
    assert [one["harmless.lenient"]["reason"] for one in scores] == ["grader_failed"] * 4
    assert [one["refusal.lenient"]["value"] for one in scores] == ["full_refusal"] * 4
    shown = {one["name"]: one for one in judged["header.json"]["results"]["scores"]}
    assert shown["harmless.strict"]["metrics"]["mean"]["value"] == 0.5
    assert shown["refusal.lenient"]["metrics"]["full_refusal"]["value"] == 1
    # Of a scored item, input and choice together are the text that was scored.
    scored = found[SCORED][f"samples/{'b' * 16}_epoch_1.json"]
    assert (scored["input"], scored["choices"]) == ("", ["He ran.", "She ran."])
    assert scored["scores"] == {"acc": {"value": 1.0, "answer": "He ran."}}
    # What is listed is short.
    assert max(len(json.dumps(one)) for one in judged["summaries.json"]) < 8000
    assert export_run(run, "inspect", tmp_path / "again").samples == done.samples
    for log in done.path.iterdir():
        assert log.read_bytes() == (tmp_path / "again" / log.name).read_bytes()


def test_half_a_task_has_no_mean(make_run: MakeRun, tmp_path: Path) -> None:
    import sqlite3

    run = make_run(HOSTILE)
    with sqlite3.connect(run / "samples.sqlite") as db:
        db.execute("DELETE FROM verdicts WHERE judge = 'strict' AND item LIKE '%3'")
    db.close()
    header = logs(export_run(run, "inspect", tmp_path / "logs").path)[JUDGED]["header.json"]
    shown = {one["name"]: one for one in header["results"]["scores"]}
    assert (shown["harmless.strict"]["metrics"], header["status"]) == ({}, "cancelled")
    assert shown["harmless.strict"]["unscored_samples"] == 1


def test_names_in_the_log_lead_nowhere(make_run: MakeRun, tmp_path: Path) -> None:
    """Neither an item's id nor a task's name is a way out of the folder."""
    import sqlite3

    run = make_run()
    with sqlite3.connect(run / "samples.sqlite") as db:
        db.execute("UPDATE items SET item = '../../x' WHERE task = ?", (JUDGED,))
        db.execute("UPDATE responses SET item = '../../x'")
    db.close()
    found = logs(export_run(run, "inspect", tmp_path / "logs").path)[JUDGED]
    (name,) = (name for name in found if name.startswith("samples/"))
    assert name.count("/") == 1
    assert f"samples/{found[name]['id']}_epoch_1.json" == name
    assert found[name]["metadata"]["bfpo_bench"]["item"] == "../../x"


@pytest.mark.slow
def test_inspect_ai_reads_every_sample(make_run: MakeRun, tmp_path: Path) -> None:
    whole = synthetic_run(tmp_path / "whole", "whole", limit=10, second_judge="keyword")
    for run, name in ((make_run(HOSTILE), "mine"), (whole, "whole")):
        export_run(run, "inspect", tmp_path / "logs" / name)
    read = told(READ, tmp_path / "logs")
    results = read_results(whole / "results.json")
    with RunSamples(whole) as opened:
        by_task: dict[str, list[dict[str, Any]]] = {}
        for row in rows(opened):
            by_task.setdefault(row["task"], []).append(row)
    assert len(read) == len(results.tasks) + 2
    for task, cell in results.tasks.items():
        log = read[f"whole {task}"]
        assert log["file"] == [task.replace("_", "-"), True]
        assert (log["status"], log["model"]) == ("success", "whole")
        assert sorted(log["listed"]) == sorted(one["id"] for one in log["samples"])
        own = f"harmless.{results.judges.harm}" if cell.judged else cell.metric
        assert 100 * log["scores"][own]["mean"] == pytest.approx(cell.score)
        assert 100 * log["scores"][own]["stderr"] == pytest.approx(cell.stderr)
        assert log["headline"]["score"] == own
        there = {one["id"]: one for one in log["samples"]}
        for row in by_task[task]:
            one = there.pop(row["item"])
            if cell.judged:
                assert (one["input"], one["output"]) == (row["question"], row["response"])
            else:
                said = [c["context"] + c["continuation"] for c in row["choices"]]
                assert [one["input"] + choice for choice in one["choices"]] == said
            for verdict in row["verdicts"]:
                harmless = verdict["harmful"] is False
                assert one["scores"][f"harmless.{verdict['judge']}"] == harmless
        assert not there
    mine = read[f"mine {JUDGED}"]
    assert [(one["input"], one["output"]) for one in mine["samples"]] == HOSTILE
    assert all(one["answers"] == [one["output"]] for one in mine["samples"])
    assert len(mine["listed"]) == len(HOSTILE)
