"""From AlpacaEval's files to a run and back."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bfpo_bench.cli.app import app
from bfpo_bench.common.errors import BadInput
from bfpo_bench.data.hub import HubUnavailable
from bfpo_bench.helpfulness import metrics
from bfpo_bench.helpfulness import upstream as files
from bfpo_bench.helpfulness.annotation import TASK
from bfpo_bench.helpfulness.from_files import import_annotations
from bfpo_bench.helpfulness.inputs import LENGTH_CONTROL, better_inputs, read_inputs
from bfpo_bench.helpfulness.of_run import export_helpfulness, read_annotated, read_helpfulness
from bfpo_bench.helpfulness.upstream import read_upstream
from bfpo_bench.leaderboard import win_rates
from bfpo_bench.leaderboard.load import load_rows
from bfpo_bench.leaderboard.stats.intervals import estimated
from bfpo_bench.leaderboard.win_rates import compare_annotations
from bfpo_bench.run.results import HelpfulnessResult
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.run_json import read_run
from bfpo_bench.run.store import Store
from tests.helpfulness.real import MODELS, annotations_file, instructions, outputs_file, rows

FIRST, SECOND = MODELS


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Files from the folder alone, and a tenth of the bootstrap samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_from_hub", lambda name: None)
        patch.setattr(metrics, "REPLICATES", 100)
        patch.setattr(win_rates, "REPLICATES", 100)
        yield


@pytest.fixture(scope="module")
def runs(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both models imported."""
    folder = tmp_path_factory.mktemp("runs")
    for model in MODELS:
        files = annotations_file(data_dir, model), outputs_file(data_dir, model)
        import_annotations(folder / model, *files, data_dir)
    return {model: folder / model for model in MODELS}


def column(run: Path) -> HelpfulnessResult:
    found = read_results(run / "results.json").helpfulness
    assert found is not None
    return found


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the first one's directory, to be changed."""
    copy = tmp_path / "copy"
    shutil.copytree(runs[FIRST], copy)
    return copy


def slim(data_dir: Path, model: str, **values: Any) -> list[dict[str, Any]]:
    """A model's annotations without raw answers, with other values in the fields named."""
    entries = rows(annotations_file(data_dir, model))
    return [{**row, "raw_completion": None, **values} for row in entries]


def changed(data_dir: Path, tmp_path: Path, **values: Any) -> Path:
    return saved(tmp_path, slim(data_dir, FIRST, **values))


def saved(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_an_import_makes_a_run(runs: dict[str, Path]) -> None:
    results = read_results(runs[FIRST] / "results.json")
    assert results.model["name"] == FIRST
    assert results.tasks == {}
    assert all(average.value is None for average in results.averages.values())
    assert results.marks == ["made of AlpacaEval's files: the model itself was not run here"]
    assert read_run(runs[FIRST])["identity"]["backend"] == "import"
    assert FIRST in (runs[FIRST] / "table.md").read_text(encoding="utf-8")


def test_its_row_has_the_alpaca_column_only(runs: dict[str, Path]) -> None:
    found = load_rows([runs[FIRST]])
    assert found.problems == []
    [loaded] = found.rows
    entry = estimated(loaded, ci=True)
    assert entry.fault is None
    assert set(entry.cells) == {"alpaca"}
    cell, result = entry.cells["alpaca"], column(runs[FIRST])
    assert (cell.value, cell.low, cell.high) == (result.lc_win_rate, result.lc_low, result.lc_high)
    assert "annotator weighted_alpaca_eval_gpt4_turbo" in cell.protocol.text()
    assert loaded.entry.cells["alpaca"].low is None


@pytest.mark.parametrize("model", MODELS)
def test_what_comes_in_goes_out(
    data_dir: Path, runs: dict[str, Path], tmp_path: Path, model: str
) -> None:
    export_helpfulness(runs[model], tmp_path)
    assert rows(tmp_path / "model_outputs.json") == rows(outputs_file(data_dir, model))
    before = rows(annotations_file(data_dir, model))
    lost = {"price_per_example", "time_per_example"}
    kept = [{key: row[key] for key in row if key not in lost} for row in before]
    assert rows(tmp_path / "annotations.json") == kept
    with pytest.raises(BadInput, match="holds files already"):
        export_helpfulness(runs[model], tmp_path)


def test_a_second_import_replaces_the_annotations(
    data_dir: Path, run: Path, tmp_path: Path
) -> None:
    path = changed(data_dir, tmp_path, preference=None)
    done = import_annotations(run, path, data_dir=data_dir)
    assert done.helpfulness is not None
    assert (done.helpfulness.failed, done.helpfulness.win_rate) == (805, None)
    assert read_results(run / "results.json") == done
    with Store(run / "samples.sqlite", read_only=True) as store:
        assert len(store.annotations()) == len(store.responses(TASK)) == 805
    # Another annotator's stand beside them.
    import_annotations(
        run, changed(data_dir, tmp_path, annotator="me", preference=0), None, data_dir
    )
    assert {one.preference for one in read_annotated(run)} == {1.5}
    assert {one.preference for one in read_annotated(run, files.OFFICIAL_ANNOTATOR)} == {None}
    with pytest.raises(BadInput, match=r"unknown annotator of .* did you mean 'me'"):
        read_helpfulness(run, "mee")
    (run / "results.json").unlink()
    with pytest.raises(BadInput, match="holds annotations of 2 annotators, me, weighted"):
        read_helpfulness(run)


def test_outputs_of_another_model(data_dir: Path, run: Path, tmp_path: Path) -> None:
    path = saved(tmp_path, slim(data_dir, SECOND, preference=None))
    with pytest.raises(BadInput, match="holds a run of something different: model"):
        import_annotations(run, path, data_dir=data_dir)


def test_outputs_under_another_name_are_told(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    renamed = [{**row, "generator": "another"} for row in rows(outputs_file(data_dir, FIRST))]
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps(renamed), encoding="utf-8")
    path = saved(tmp_path, slim(data_dir, FIRST))
    import_annotations(tmp_path / "run", path, outputs, data_dir)
    assert "outputs.json is of 'another' and" in caplog.text
    assert "the row takes the second name" in caplog.text
    assert read_run(tmp_path / "run")["identity"]["model"]["name"] == FIRST


def as_if_evaluated(run: Path, **tasks: Any) -> None:
    """Changes run.json so that the run looks as if `evaluate` had made it."""
    content = json.loads((run / "run.json").read_text(encoding="utf-8"))
    content["identity"] |= {"backend": "hf", "tasks": tasks}
    (run / "run.json").write_text(json.dumps(content), encoding="utf-8")


def test_annotations_of_an_evaluated_runs_own_responses(
    data_dir: Path, run: Path, tmp_path: Path
) -> None:
    """Annotated elsewhere, taken up here: they must be of the very responses."""
    as_if_evaluated(run, **{TASK: {}})
    import_annotations(run, changed(data_dir, tmp_path, preference=None), None, data_dir)
    path = saved(tmp_path, slim(data_dir, SECOND, preference=None))
    with pytest.raises(BadInput, match="annotated outputs are not the responses that"):
        import_annotations(run, path, None, data_dir)


def test_an_evaluated_run_without_responses_takes_the_outputs(
    data_dir: Path, run: Path, tmp_path: Path
) -> None:
    for file in run.glob("samples.sqlite*"):
        file.unlink()
    as_if_evaluated(run, bfpo_advbench={})
    import_annotations(run, changed(data_dir, tmp_path, preference=None), None, data_dir)
    assert set(read_run(run)["identity"]["tasks"]) == {"bfpo_advbench", TASK}
    assert len(read_annotated(run)) == 805
    (run / "results.json").unlink()
    with pytest.raises(BadInput, match="evaluate to the end first"):
        import_annotations(run, changed(data_dir, tmp_path, preference=None), None, data_dir)


def test_bad_files(data_dir: Path, tmp_path: Path) -> None:
    whole, path = slim(data_dir, FIRST), tmp_path / "run"
    other = tmp_path / "other.json"
    other.write_text('[{"instruction": "?", "output": "!", "generator": "m"}]')

    def importing(content: Any, outputs: Path | None = None) -> None:
        import_annotations(path, saved(tmp_path, content), outputs, data_dir)

    with pytest.raises(BadInput, match="compares with 'text_davinci_003', and the Alpaca column"):
        importing([{**row, "generator_1": "text_davinci_003"} for row in whole])
    with pytest.raises(BadInput, match="lacks 5 of the 805 instructions"):
        importing(whole[5:])
    with pytest.raises(BadInput, match=r"2 of the 805 instructions in .* are not among the 805"):
        importing([*whole[2:], {**whole[0], "instruction": "?"}, {**whole[0], "instruction": "!"}])
    with pytest.raises(BadInput, match=r"1 of the instructions in .* stand there more than once"):
        importing([*whole, whole[7]])
    with pytest.raises(BadInput, match=r"3 of the reference outputs in .* are not those of"):
        importing([{**row, "output_1": "?"} for row in whole[:3]] + whole[3:])
    with pytest.raises(BadInput, match="are not those that were annotated in"):
        importing(whole, outputs_file(data_dir, SECOND))
    with pytest.raises(BadInput, match=r"1 of the 1 instructions in .* are not among the 805"):
        importing(whole, other)
    assert not path.exists()


def test_weights_that_must_fit(data_dir: Path, tmp_path: Path) -> None:
    weights = data_dir / "alpacaeval" / files.WEIGHTS
    path = changed(data_dir, tmp_path, annotator="me", preference=1.6)
    with pytest.raises(BadInput, match="they are of another annotator or of other outputs"):
        import_annotations(tmp_path / "run", path, None, data_dir, weights)
    with pytest.raises(BadInput, match=r"it has no column np\.tanh"):
        import_annotations(
            tmp_path / "run", path, None, data_dir, data_dir / "alpacaeval" / files.DERIVED
        )
    assert not (tmp_path / "run").exists()


def test_comparison_of_two_models(data_dir: Path, runs: dict[str, Path]) -> None:
    upstream = read_upstream(data_dir, instructions(data_dir))
    one, two = (read_annotated(runs[model]) for model in MODELS)
    [pair] = compare_annotations(one, two, upstream).pairs
    raw, controlled = pair.differences
    assert raw.value == pytest.approx(4.797493939167703 - 10.340415705751552)
    a, b = (column(runs[model]).lc_win_rate for model in (SECOND, FIRST))
    assert a is not None
    assert b is not None
    assert controlled.value == pytest.approx(a - b)
    assert raw.low < raw.value < raw.high < 0
    assert controlled.high < 0
    assert controlled.p == pytest.approx(2 / 101)
    assert raw.n == 805
    # Paired: the interval is narrower than for independent samples.
    errors = [column(runs[model]).standard_error or 0 for model in MODELS]
    independent = 2 * 1.96 * (errors[0] ** 2 + errors[1] ** 2) ** 0.5
    assert raw.high - raw.low < 0.95 * independent
    # A model against itself.
    [pair] = compare_annotations(one, one, upstream).pairs
    same, _ = pair.differences
    assert same.value == 0
    # By the bootstrap's prior, as in `compare`: 805 draws do not prove that none is otherwise.
    assert (same.low, same.high) == pytest.approx((0, 0), abs=0.3)
    assert same.p == pytest.approx(1, abs=0.05)


def test_what_a_fit_was_made_with_is_kept_to_the_bit(
    data_dir: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    upstream = read_upstream(data_dir, instructions(data_dir))
    path = runs[FIRST]
    kept = read_inputs(path)
    assert kept is not None
    assert kept.gamed is not None
    assert upstream.gamed is not None
    assert kept.difficulty == upstream.difficulty
    for part in ("length", "difficulty", "preference"):
        assert (getattr(kept.gamed, part) == getattr(upstream.gamed, part)).all()
    assert kept.fitted(True) == upstream.fitted(True)
    # What lacks more does not take its place, what lacks less does.
    assert better_inputs(path, files.Upstream).difficulty == kept.difficulty
    whole = replace(upstream, rebuilt=False)
    assert better_inputs(path, lambda: whole) is whole
    assert read_inputs(tmp_path) is None
    (tmp_path / LENGTH_CONTROL).write_text("{")
    with pytest.raises(BadInput, match=r"is damaged or of a newer bfpo-bench .*; delete it and"):
        read_inputs(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"win_rate": 44.0}, "Alpaca's win_rate is 10.34 by its annotations and 44.00 in results"),
        ({"lc_win_rate": 44.0}, "Alpaca's lc_win_rate is 16.48 by its annotations and 44.00 in"),
        ({"mean_length": 5.0}, "Alpaca's mean_length is 1107.07 by its annotations and 5.00 in"),
        ({"n": 700}, "Alpaca has 805 annotations by .*, 0 without a .*results.json says 700 and 0"),
        ({"annotator": "me"}, "Alpaca has 0 annotations by me"),
        ({"lc_low": 17.0}, "Alpaca's interval in results.json does not hold its win rate"),
    ],
)
def test_an_alpaca_value_that_was_edited_is_found(
    run: Path, change: dict[str, Any], sentence: str
) -> None:
    [sound] = load_rows([run]).rows
    assert sound.entry.fault is None
    content = json.loads((run / "results.json").read_text())
    content["helpfulness"] |= change
    (run / "results.json").write_text(json.dumps(content))
    [row] = load_rows([run]).rows
    assert re.search(sentence, row.entry.fault or "")


def test_an_edited_interval_is_not_shown(runs: dict[str, Path], run: Path) -> None:
    content = json.loads((run / "results.json").read_text())
    held = dict(content["helpfulness"])
    content["helpfulness"] |= {"lc_low": 16.4, "lc_high": 16.5}
    (run / "results.json").write_text(json.dumps(content))
    [row] = load_rows([run]).rows
    cell = estimated(row, ci=True).cells["alpaca"]
    assert (cell.low, cell.high) == (held["lc_low"], held["lc_high"])


def test_what_cannot_be_compared(runs: dict[str, Path]) -> None:
    one, two = (read_annotated(runs[model]) for model in MODELS)
    nothing = files.Upstream()
    with pytest.raises(BadInput, match=r"was annotated by .* only win rates of one annotator"):
        compare_annotations(one, [replace(a, annotator="me") for a in two], nothing)
    with pytest.raises(BadInput, match="were annotated on different instructions"):
        compare_annotations(one, two[1:], nothing)
    with pytest.raises(BadInput, match="have 0 instructions with usable annotations in common"):
        compare_annotations(one, [replace(a, preference=None) for a in two], nothing)


def test_runs_without_responses_or_annotations(run: Path) -> None:
    with sqlite3.connect(run / "samples.sqlite") as db:
        db.execute("DELETE FROM annotations")
    with pytest.raises(BadInput, match="holds no annotations; evaluate with --annotator or import"):
        read_annotated(run)
    with sqlite3.connect(run / "samples.sqlite") as db:
        db.execute("DELETE FROM responses")
    db.close()
    with pytest.raises(BadInput, match="instructions; evaluate with --annotator or import them"):
        read_helpfulness(run)


def test_offline_import_advises_options_that_it_has(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, slim(data_dir, FIRST))
    monkeypatch.delenv("BFPO_DATA_DIR", raising=False)
    monkeypatch.setattr("bfpo_bench.data.hub._load", no_network)
    with pytest.raises(HubUnavailable) as caught:
        import_annotations(tmp_path / "run", path)
    has = CliRunner().invoke(app, ["helpfulness", "import", "--help"]).output
    advised = set(re.findall(r"--[a-z-]+", str(caught.value)))
    assert advised == {"--data-dir"}
    assert all(option in has for option in advised)


def no_network(_: object) -> None:
    raise ConnectionError("no network")


def test_the_commands(
    data_dir: Path, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(data_dir: Path | None) -> None:
        raise HubUnavailable("no network.")

    def said(*arguments: object) -> str:
        done = CliRunner().invoke(app, ["helpfulness", *map(str, arguments)])
        assert done.exit_code == 0, done.output
        return done.output

    there = (runs[FIRST], runs[SECOND])
    exported = said("export", there[0], "--output", tmp_path / "out")
    assert "model_outputs.json" in exported
    compared = said("compare", *there, "--data-dir", data_dir)
    held = [read_results(run / "results.json").helpfulness for run in there]
    for figure in ("-5.54", *(f"{one.lc_win_rate:.2f}" for one in held if one)):
        assert figure in compared
    # The runs hold what their numbers were fitted with: none other comes out without the files.
    monkeypatch.setattr("bfpo_bench.helpfulness.annotation.load_instructions", unavailable)
    assert said("compare", *there) == compared
    # One of before holds it not; what is at hand must then give the number that it holds.
    old = shutil.copytree(there[0], tmp_path / "old")
    (old / LENGTH_CONTROL).unlink()
    assert said("compare", old, there[1]) == compared
    alike = said("compare", there[0], shutil.copytree(there[0], tmp_path / "again"))
    assert f"{FIRST} ({there[0].name})" in alike
    assert f"{FIRST} (again)" in alike
    both = [old, shutil.copytree(there[1], tmp_path / "older")]
    (both[1] / LENGTH_CONTROL).unlink()
    done = CliRunner().invoke(app, ["helpfulness", "compare", *map(str, both)])
    assert isinstance(done.exception, BadInput)
    assert re.search(
        r"old holds a length-controlled win rate of 16\.48, and with the files at hand it is "
        r"\d+\.\d\d; name the folder of AlpacaEval's files",
        str(done.exception),
    )
    monkeypatch.undo()
    file = tmp_path / "out" / "annotations.json"
    printed = said("import", tmp_path / "new", "--annotations", file, "--data-dir", data_dir)
    for figure in ("16.25", "10.34", "0.94", "9.50", "1107.07", "805"):
        assert figure in printed
    assert (tmp_path / "new" / "results.json").exists()
