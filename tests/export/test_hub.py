"""What the hub shows of a run, read back by huggingface_hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.rejudge import judge_run
from bfpo_bench.export import export_run
from bfpo_bench.export.hub import entries
from bfpo_bench.export.samples import RunSamples
from bfpo_bench.imports import import_files
from bfpo_bench.imports.options import ImportOptions
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.options import JudgesOptions
from bfpo_bench.run.results_files import read_results


def test_entries_are_read_back(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", "a | <b>", limit=10)
    done = export_run(run, "hub", tmp_path / "out")
    written = (done.path / ".eval_results" / "bfpo-bench.yaml").read_text(encoding="ascii")
    found = parse_eval_result_entries(yaml.safe_load(written))
    results = read_results(run / "results.json")
    with RunSamples(run) as opened:
        assert found == list(entries(opened, results))
    assert done.samples == len(found) > 10
    assert done.notes == []
    by_task = {one.task_id: one for one in found}
    assert by_task["bfpo_winogrande"].dataset_id == "allenai/winogrande"
    for task, one in by_task.items():
        assert one.value == pytest.approx(results.tasks[task].score, abs=1e-4)
    said = by_task["bfpo_advbench"].notes
    assert "harmless, percent of 10 of 520 items" in said
    assert "verdicts of the judge harmbench-llama2-13b" in said
    # As a part of a card: every cell of the row is there, and a name is a name.
    text = (done.path / "MODEL_CARD_SECTION.md").read_text(encoding="utf-8")
    card = ModelCard(f"---\nlicense: mit\n---\n# Mine\n\n{text}")
    assert card.text.strip().startswith("# Mine\n\n## Safety and helpfulness\n\n| Model |")
    assert "a \\| \\<b\\>" in card.text
    for title, mean in results.titled_averages().items():
        assert title in text
        assert str(mean) in text


def test_prompts_of_ones_own_are_on_no_hub(tmp_path: Path) -> None:
    rows = [{"q": f"How? ({n})", "a": "I can't help with that." if n else "So."} for n in range(4)]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    fields = {"prompt_field": "q", "response_field": "a"}
    imported = import_files(
        [file], ImportOptions(output=tmp_path / "run", model="m", **fields)
    ).path
    for format in ("hub", "eee"):
        with pytest.raises(BadInput, match=r"has no number yet.*with `bfpo-bench judge` first"):
            export_run(imported, format, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    judge_run(imported, choose_judge(JudgesOptions(judge="keyword"), gives=None))
    done = export_run(imported, "hub", tmp_path / "out")
    assert (done.samples, done.numbers_only) == (1, True)
    [note] = done.notes
    assert note.startswith("The hub has no data set for mine: MODEL_CARD_SECTION.md shows")
    assert [path.name for path in done.path.iterdir()] == ["MODEL_CARD_SECTION.md"]
    # Three of four are refusals.
    text = (done.path / "MODEL_CARD_SECTION.md").read_text(encoding="utf-8")
    assert "| 75.00 " in text
    # Without an average the row is its name; GitHub shows no table whose lines differ in cells.
    assert "\n| Model |\n|---|\n| m |\n" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [len({line.count("|") for line in table}) for table in tables] == [1] * len(tables)


def test_a_demonstration_is_not_for_a_models_page(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", "m", limit=1)
    content = json.loads((run / "results.json").read_text(encoding="utf-8"))
    content["suite"]["demonstration"] = True
    (run / "results.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BadInput, match="a few bundled items that measure nothing, and is not for"):
        export_run(run, "hub", tmp_path / "out")
