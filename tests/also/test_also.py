"""lm-eval's own tasks in a run, against lm-eval itself on the same rows and the same weights."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.leaderboard.compare import compare_runs
from bfpo_bench.leaderboard.gate.gate import hold_against
from bfpo_bench.leaderboard.gate.policy import Asked, Policy
from bfpo_bench.run.also import shown
from bfpo_bench.run.results import Results
from tests.also.tasks import write_tasks
from tests.toy_models import weights_of

WINDOW = 96
TASKS = ("also_choice", "also_answer", "also_text", "also_both", "also_even")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks") / "own")


@pytest.fixture(scope="module")
def evaluate(tiny_llama: Path, folder: Path) -> Callable[..., Results]:
    def run(output: Path, **options: Any) -> Results:
        defaults: dict[str, Any] = {
            "suite": "mini",
            "tasks": ["winogrande"],
            "backend": "hf",
            "dtype": "float32",
            "max_length": WINDOW,
            "include_path": folder,
        }
        model = options.pop("model", str(tiny_llama))
        return bfpo_bench.evaluate(model, output=output, **{**defaults, **options})

    return run


@pytest.fixture(scope="module")
def undisturbed(
    evaluate: Callable[..., Results], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Results]:
    output = tmp_path_factory.mktemp("run")
    return output, evaluate(output, also=list(TASKS))


@pytest.fixture(scope="module")
def stock(tiny_llama: Path, folder: Path) -> dict[str, Any]:
    """What plain lm-eval finds with its own model class."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    found = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(tiny_llama), "dtype": "float32", "max_length": WINDOW},
        tasks=["also_answer", "also_text", "also_both"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        device="cpu",
        batch_size=4,
        bootstrap_iters=1000,
    )
    assert found is not None
    return dict(found)


def test_figures_equal_lm_evals_own(
    undisturbed: tuple[Path, Results], stock: dict[str, Any]
) -> None:
    _, results = undisturbed
    compared = 0
    assert {*stock["results"], "also_even"} == set(results.also)
    for name, right in stock["results"].items():
        found = results.also[name]
        keys = {metric.key: metric for metric in found.metrics}
        assert set(keys) == {k for k in right if "," in k and "_stderr" not in k}
        for key, metric in keys.items():
            assert metric.value == pytest.approx(right[key], rel=1e-5), (name, key)
            error = right[f"{metric.metric}_stderr,{metric.filter}"]
            if error != "N/A":
                assert metric.stderr == pytest.approx(error, rel=1e-4), (name, key)
                compared += 1
            assert metric.low is not None
            assert metric.low <= metric.value <= metric.high
        assert found.n == right["sample_len"]
        if name in stock["n-shot"] and not found.parts:
            assert found.examples == stock["n-shot"][name]
    # acc twice, acc_norm, acc of the group, exact_match twice, perplexity.
    assert compared == 7
    parts = [results.also["also_choice"].metrics[0], results.also["also_last"].metrics[1]]
    assert [part.key for part in parts] == ["acc,none"] * 2
    even = sum(part.value for part in parts if part.value is not None) / 2
    assert results.also["also_even"].metrics[0].value == pytest.approx(even)
    answers = results.also["also_answer"].metrics
    assert [metric.filter for metric in answers] == ["whole", "found"]


def test_examples_and_chat_template_are_lm_evals(
    evaluate: Callable[..., Results], tiny_llama: Path, folder: Path, tmp_path: Path
) -> None:
    """Of the items that the limit draws, every text that the model is shown."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    names = ["also_choice", "also_answer"]
    wish: dict[str, Any] = {"num_fewshot": 1, "apply_chat_template": True}
    results = evaluate(tmp_path, also=names, limit=4, **wish)
    with sqlite3.connect(tmp_path / "samples.sqlite") as db:
        places = {
            name: [at for (at,) in db.execute(f"SELECT position FROM items WHERE task = '{name}'")]
            for name in names
        }
        scored = db.execute("SELECT context, continuation FROM scores WHERE task = 'also_choice'")
        found = sorted(scored.fetchall())
        prompts = sorted(db.execute("SELECT DISTINCT prompt FROM responses").fetchall())
    db.close()
    right = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(tiny_llama), "dtype": "float32", "max_length": WINDOW},
        tasks=names,
        samples={name: sorted(some) for name, some in places.items()},
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        device="cpu",
        fewshot_as_multiturn=True,
        bootstrap_iters=0,
        **wish,
    )
    assert right is not None
    samples = right["samples"]
    asked = {tuple(pair) for sample in samples["also_choice"] for pair in sample["arguments"]}
    assert found == sorted(asked)
    assert len(found) == 16
    texts = {sample["arguments"][0][0] for sample in samples["also_answer"]}
    assert prompts == [(text,) for text in sorted(texts)]
    assert results.also["also_choice"].chat_template
    for name in names:
        for metric in results.also[name].metrics:
            assert metric.value == pytest.approx(right["results"][name][metric.key], rel=1e-5)


def test_answers_equal_lm_evals_own(
    undisturbed: tuple[Path, Results], stock: dict[str, Any]
) -> None:
    """A tiny model is right about nothing: what it says is what tells."""
    run, _ = undisturbed
    with sqlite3.connect(run / "samples.sqlite") as db:
        rows = db.execute("SELECT prompt, response FROM responses WHERE task = 'also_answer'")
        found = sorted(rows.fetchall())
    db.close()
    right = [
        (sample["arguments"][0][0], text)
        for sample in stock["samples"]["also_answer"]
        if sample["filter"] == "whole"
        for text in sample["resps"][0]
    ]
    assert found == sorted(right)
    assert len({text for _, text in found}) > 2
    assert any("e" not in text for _, text in found)


def contents(run: Path) -> list[Any]:
    with sqlite3.connect(run / "samples.sqlite") as db:
        tables = ("items", "scores", "responses", "outcomes")
        found = [sorted(db.execute(f"SELECT * FROM {table}")) for table in tables]
    db.close()
    return [*found, json.loads((run / "results.json").read_text())]


def test_a_broken_run_goes_on(
    undisturbed: tuple[Path, Results], evaluate: Callable[..., Results], tmp_path: Path
) -> None:
    run, _ = undisturbed
    again = tmp_path / "run"
    shutil.copytree(run, again)
    (again / "results.json").unlink()
    with sqlite3.connect(again / "samples.sqlite") as db:
        db.execute("DELETE FROM scores WHERE task = 'also_choice' AND item > '7'")
        db.execute("DELETE FROM scores WHERE task = 'also_text' AND item > '7'")
        db.execute("DELETE FROM responses WHERE item > '7'")
        db.execute("DELETE FROM outcomes")
    db.close()
    evaluate(again, also=TASKS)
    assert contents(again) == contents(run)


def test_a_finished_run_is_given_more(
    undisturbed: tuple[Path, Results],
    evaluate: Callable[..., Results],
    tmp_path: Path,
    folder: Path,
) -> None:
    """Only what is new is asked; averages, earlier answers and the identity stay as they were."""
    bare = {"include_path": None}
    before = evaluate(tmp_path, **bare)
    identity = json.loads((tmp_path / "run.json").read_text())["identity"]
    assert "also" not in identity
    also = evaluate(tmp_path, also="also_last")
    assert (also.tasks, also.averages) == (before.tasks, before.averages)
    run = json.loads((tmp_path / "run.json").read_text())
    assert {k: v for k, v in run["identity"].items() if k != "also"} == identity
    both = evaluate(tmp_path, also="also_both")
    # Asked for by itself before, and part of a group now: it was not asked again.
    assert list(both.also) == ["also_both", "also_choice", "also_last"]
    assert [one.asked for one in both.also.values()] == [True, False, True]
    sessions = json.loads((tmp_path / "run.json").read_text())["sessions"]
    assert ["score" in session["seconds"] for session in sessions] == [True, True, True]
    assert both.also["also_last"].metrics == undisturbed[1].also["also_last"].metrics
    loose = evaluate(tmp_path, also="also_loose")
    assert list(loose.also) == ["also_even", "also_choice", "also_last", "also_both"]
    assert [one.asked for one in loose.also.values()] == [True, False, True, True]
    assert not loose.also.keys() & {"also_loose"}
    both = evaluate(tmp_path, also="also_both")
    # Without the option, and with it: nothing is left to do.
    assert evaluate(tmp_path, **bare).also == evaluate(tmp_path, also="also_both").also == both.also
    # A task that is another now has no answers there.
    changed = json.loads((folder / "also_last.yaml").read_text())
    own = tmp_path / "own"
    own.mkdir()
    (own / "also_last.yaml").write_text(json.dumps({**changed, "doc_to_text": "{{question}}"}))
    with pytest.raises(BadInput, match=r"also\.also_last\.config"):
        evaluate(tmp_path, also="also_last", include_path=own)


def test_tables_have_a_block_of_their_own(undisturbed: tuple[Path, Results]) -> None:
    run, results = undisturbed
    titles = [result.column(metric) for result, metric in shown(results.also)]
    assert titles[:4] == [
        *("also_choice acc", "also_choice acc_norm", "also_choice brier_score"),
        "also_answer exact_match (whole)",
    ]
    table = (run / "table.md").read_text()
    block = table.split("| Also |")[1].split("\n\n")[0]
    assert all(title.replace("_", "\\_") in block for title in titles)
    frame = results.to_frame()
    rows = frame[frame.group == "also"].set_index("column")
    assert list(rows.index) == titles
    acc, perplexity = results.also["also_both"].metrics[0], rows.loc["also_text word_perplexity"]
    assert rows.loc["also_both acc"].score == 100 * acc.value
    assert perplexity.score == results.also["also_text"].metrics[0].value
    [entry] = bfpo_bench.leaderboard(run, ci=True).entries
    assert entry.fault is None
    assert [column.title for column in entry.extra] == titles
    cell = entry.cells["also_both:acc,none"]
    assert (cell.value, cell.low, cell.high) == (100 * acc.value, 100 * acc.low, 100 * acc.high)


def test_runs_are_paired_by_item(
    undisturbed: tuple[Path, Results],
    evaluate: Callable[..., Results],
    tiny_llama: Path,
    tmp_path: Path,
) -> None:
    other = Path(shutil.copytree(tiny_llama, tmp_path / "other"))
    with weights_of(other) as tensors:
        tensors.update({name: tensor.flip(0) for name, tensor in tensors.items()})
    two = evaluate(tmp_path / "run", model=str(other), also=["also_both", "also_even", "also_text"])
    one = undisturbed[1]
    compared = compare_runs([undisturbed[0], tmp_path / "run"])
    [pair] = compared.pairs
    found = {d.column: d for d in pair.differences if d.group == "also"}
    # What is no share of items cannot be paired.
    assert list(found) == [
        "also_choice acc",
        "also_choice acc_norm",
        "also_both acc",
        "also_even acc",
    ]
    assert "also_text word_perplexity, also_text bits_per_byte: no share" in compared.remarks[-1]
    for result, metric in shown(one.also):
        if result.column(metric) in found:
            there = {theirs.key: theirs for theirs in two.also[result.task].metrics}
            difference = found[result.column(metric)]
            right = 100 * (there[metric.key].value - metric.value)
            assert difference.value == pytest.approx(right)
            # Of tasks that count alike whatever their size, no item stands alone.
            test = (metric.n, "McNemar") if metric.weighted else (None, "bootstrap")
            assert (difference.n, difference.test) == test
    assert any(difference.value != 0 for difference in found.values())
    asked: dict[str, Asked | None] = {"also_choice acc": None, "also_both:acc,none": None}
    gate = hold_against(tmp_path / "run", undisturbed[0], Policy(asked))
    assert [check.value for check in gate.checks] == pytest.approx(
        [found[column].value for column in ("also_choice acc", "also_both acc")]
    )
    with pytest.raises(BadInput, match="also_text word_perplexity cannot be paired in these runs"):
        hold_against(
            tmp_path / "run", undisturbed[0], Policy({"also_text word_perplexity": Asked()})
        )


def test_items_can_be_looked_at(undisturbed: tuple[Path, Results]) -> None:
    from typer.testing import CliRunner

    from bfpo_bench.cli.show import app

    run, results = undisturbed
    text = CliRunner().invoke(app, [str(run)]).output
    assert re.search(r"also_choice +9\n", text)
    text = CliRunner().invoke(app, [str(run), "also_choice", "--limit", "9"]).output
    acc = results.also["also_choice"].metrics[0]
    assert text.count("acc,none 1") == round(9 * (acc.value or 0))
    assert "Q: Which word follows" in text
    done = CliRunner().invoke(app, [str(run), "also_choice", "--only", "harmful"])
    assert isinstance(done.exception, BadInput)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"also": "also_chioce"}, "did you mean 'also_choice'"),
        ({"num_fewshot": 3}, "--num-fewshot is for tasks of lm-eval's, and none is named"),
        ({"also": "x", "include_path": "nowhere"}, "--include-path nowhere is no folder"),
        ({"also": "runs_code"}, "add --confirm-run-unsafe-code"),
        ({"also": "needs_trust"}, "add --trust-remote-code"),
        ({"also": "no_rows"}, "--also no_rows: lm-eval cannot load it"),
        ({"also": "beams"}, "generates with num_beams 4"),
        ({"also": "bfpo_winogrande"}, "a task of suite mini has that name"),
        ({"also": "also_choice,other"}, "also_choice is asked for twice, with different settings"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    options: dict[str, Any],
    sentence: str,
    evaluate: Callable[..., Results],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import lm_eval.tasks

    # Its own 14,000 tasks take seconds to list.
    real = lm_eval.tasks.TaskManager

    def without_its_own(**given: Any) -> Any:
        return real(**{**given, "include_defaults": False})

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", without_its_own)
    for name in ("also_choice", "also_answer"):
        shutil.copy(folder / f"{name}.yaml", tmp_path)
    choice = json.loads((folder / "also_choice.yaml").read_text())
    answer = json.loads((folder / "also_answer.yaml").read_text())
    more = {
        "runs_code": {**answer, "unsafe_code": True},
        "needs_trust": {**choice, "dataset_kwargs": {"trust_remote_code": True}},
        "no_rows": {**choice, "dataset_kwargs": {"data_files": {"test": "nowhere.json"}}},
        "beams": {**answer, "generation_kwargs": {"until": [], "num_beams": 4}},
        "bfpo_winogrande": choice,
    }
    for name, content in more.items():
        (tmp_path / f"{name}.yaml").write_text(json.dumps({**content, "task": name}))
    group = {"group": "other", "task": [{"task": "also_choice", "num_fewshot": 1}]}
    (tmp_path / "other.yaml").write_text(json.dumps(group))
    given = {"include_path": tmp_path if "also" in options else None, **options}
    with pytest.raises(BadInput) as caught:
        evaluate(tmp_path / "run", **given)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dry_run_counts_them(tiny_llama: Path, folder: Path) -> None:
    from bfpo_bench.estimate.dry_run import dry_run
    from bfpo_bench.evaluation.options import EvaluateOptions

    options = EvaluateOptions(
        str(tiny_llama), suite="mini", tasks="winogrande", backend="hf",
        also=TASKS, include_path=folder, max_length=WINDOW,
    )  # fmt: skip
    text = dry_run(options)
    assert "also_choice: 9 of 9 items" in text
    assert "36 choices" in text
    assert "12 prompts" in text
