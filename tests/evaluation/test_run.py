"""The stages in order, on a tiny random model: what is stored, resumed, refused and printed."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.statistics import standard_error, tally_groups
from bfpo_bench.estimate.dry_run import dry_run
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.leaderboard.columns import COLUMN_OF_TASK
from bfpo_bench.run.results import Results
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.table import markdown, score_text
from tests.toy_models import weights_of

TABLES = ("items", "scores", "responses", "verdicts", "outcomes")


def contents(run: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of a run's store, and its results."""
    with sqlite3.connect(run / "samples.sqlite") as db:
        found = {table: sorted(db.execute(f"SELECT * FROM {table}")) for table in TABLES}
    db.close()
    return {**found, "results": [(run / "results.json").read_text()]}


@pytest.fixture(scope="module")
def run_mini(tiny_llama: Path) -> Callable[..., Results]:
    def run(output: Path, **options: Any) -> Results:
        defaults = {"suite": "mini", "judge": "keyword", "backend": "hf", "dtype": "float32"}
        # Keyword alone gives no figure for continuations, and so no Gen.
        defaults["judge_anyway"] = True  # type: ignore[assignment]
        return bfpo_bench.evaluate(
            options.pop("model", str(tiny_llama)), output=output, **{**defaults, **options}
        )

    return run


@pytest.fixture(scope="module")
def undisturbed(run_mini: Callable[..., Results], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_mini(folder)
    return folder


def test_a_whole_run(undisturbed: Path) -> None:
    results = read_results(undisturbed / "results.json")
    assert len(results.tasks) == 16
    assert all(task.n == task.items >= 24 for task in results.tasks.values())
    disc = [t.score for t in results.tasks.values() if t.group == "disc"]
    gen = [t.score for t in results.tasks.values() if t.group == "gen"]
    assert results.averages["disc"].value == pytest.approx(sum(disc) / 12)
    assert results.averages["gen"].value == pytest.approx(sum(gen) / 4)
    assert results.averages["savg"].value == pytest.approx(sum(disc) / 24 + sum(gen) / 8)
    assert any("demonstration" in mark for mark in results.marks)
    table = (undisturbed / "table.md").read_text()
    assert "demonstration" in table
    assert f"{results.averages['savg'].value:.2f}" in table
    run = json.loads((undisturbed / "run.json").read_text())
    assert len(run["identity"]["model"]["weights"]) == 32
    assert run["environment"]["packages"]["torch"].startswith("2.")


def test_a_number_has_one_interval(undisturbed: Path) -> None:
    """In the file, in the table of the run, and in the leaderboard."""
    results = read_results(undisturbed / "results.json")
    [entry] = bfpo_bench.leaderboard(undisturbed, ci=True).entries
    parts = {**results.tasks, **results.averages}
    for name, part in parts.items():
        column = COLUMN_OF_TASK.get(name)
        cell = entry.cells[column.key if column else name]
        assert (part.low, part.high) == (cell.low, cell.high)
        assert part.low <= cell.value <= part.high
    bbq = results.tasks["bfpo_bbq_lite"]
    with sqlite3.connect(undisturbed / "samples.sqlite") as db:
        groups = db.execute(
            "SELECT COUNT(*), SUM(value) FROM outcomes o JOIN items i USING (task, item) "
            "WHERE task = 'bfpo_bbq_lite' AND metric = 'acc' GROUP BY json_extract(row, '$.group')"
        ).fetchall()
    db.close()
    tally = tally_groups([n for n, _ in groups], [[points] for _, points in groups])
    assert bbq.stderr == standard_error(tally)
    assert f"| {score_text(bbq)} | {bbq.low:.2f} to {bbq.high:.2f} |" in markdown(results)


def test_scores_are_those_of_plain_lm_eval(undisturbed: Path, tiny_llama: Path) -> None:
    """lm-eval alone, with our YAMLs and its own hf model, finds the same numbers."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from bfpo_bench.suites import TASKS_FOLDER

    manager = TaskManager(
        include_path=str(TASKS_FOLDER), include_defaults=False, metadata={"mini": True}
    )
    theirs = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(tiny_llama), "dtype": "float32"},
        tasks=["bfpo_disc"],
        task_manager=manager,
        device="cpu",
        batch_size=8,
        bootstrap_iters=0,
        log_samples=False,
    )["results"]
    ours = read_results(undisturbed / "results.json").tasks
    for name, task in ours.items():
        if task.group == "disc":
            assert task.score == pytest.approx(100 * theirs[name][f"{task.metric},none"])


class _Stops:
    """An engine that is torn away after some batches, as by kill -9 between two commits."""

    def __init__(self, engine: Any, batches: int) -> None:
        self._engine = engine
        self._left = batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def _cut(self, batches: Any) -> Any:
        for batch in batches:
            if not self._left:
                raise KeyboardInterrupt
            self._left -= 1
            yield batch

    def score(self, *arguments: Any) -> Any:
        return self._cut(self._engine.score(*arguments))

    def respond(self, *arguments: Any) -> Any:
        return self._cut(self._engine.respond(*arguments))


@pytest.fixture(scope="module")
def in_small_batches(
    run_mini: Callable[..., Results], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A whole run in which there is something to interrupt."""
    folder = tmp_path_factory.mktemp("small")
    run_mini(folder, batch_size=8)
    return folder


@pytest.mark.parametrize(("batches", "local"), [(0, False), (7, False), (40, True)])
def test_an_interrupted_run_ends_like_an_undisturbed_one(
    run_mini: Callable[..., Results],
    in_small_batches: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batches: int,
    local: bool,
) -> None:
    """With its store in place, or on a disk of the node's own."""
    scratch = tmp_path / "scratch" if local else None
    open_engine = bfpo_bench.engines.open_engine

    def stopping(*arguments: Any) -> Any:
        return _Stops(open_engine(*arguments), batches)

    broken = tmp_path / "broken"
    monkeypatch.setattr("bfpo_bench.engines.open.open_engine", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_mini(broken, batch_size=8, local_scratch=scratch)
    assert scratch is None or not list(scratch.iterdir())
    monkeypatch.setattr("bfpo_bench.engines.open.open_engine", open_engine)
    run_mini(broken, batch_size=8, local_scratch=scratch)
    assert contents(broken) == contents(in_small_batches)


def test_a_finished_run_is_read_not_repeated(
    run_mini: Callable[..., Results],
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a finished run loaded a model")

    monkeypatch.setattr("bfpo_bench.engines.open.open_engine", never)
    monkeypatch.setenv("COLUMNS", "1000")
    found = run_mini(undisturbed, progress=True)
    assert found == read_results(undisturbed / "results.json")
    said = f"Already finished; read from {undisturbed}. `evaluate --fresh` starts over.\n"
    assert capsys.readouterr().err == said


def test_results_are_made_again_from_the_store(
    run_mini: Callable[..., Results],
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = Path(shutil.copytree(undisturbed, tmp_path / "copy"))
    monkeypatch.setattr(
        "bfpo_bench.engines.open.open_engine", lambda *_: pytest.fail("model was loaded")
    )
    older = json.loads((copy / "results.json").read_text())
    for cell in older["tasks"].values():
        # Of before 2026-12: no interval, and items of one group taken for independent.
        del cell["low"], cell["high"]
        cell["stderr"] = 0.5
    for text in ("{ half a fi", json.dumps(older)):
        (copy / "results.json").write_text(text)
        run_mini(copy)
        assert contents(copy) == contents(undisturbed)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed: 0 there, 1 asked for"),
        ({"limit": 5}, "limit: null there, 5 asked for"),
        ({"dtype": "bfloat16"}, "dtype"),
        ({"judge": "harmbench"}, "unknown judge"),
        ({"chat_template": "never"}, "model.chat_template"),
        ({"system_prompt": "Be brief."}, "system_prompt"),
        ({"max_new_tokens": 9}, "tasks.bfpo_advbench.generation.max_new_tokens: 64 there, 9 asked"),
        (
            {"max_new_tokens": 9, "tasks": ["disc"]},
            "--max-new-tokens is the length of responses, and the tasks asked for are scored",
        ),
    ],
)
def test_something_different_is_refused_by_name(
    run_mini: Callable[..., Results], undisturbed: Path, change: dict[str, Any], named: str
) -> None:
    before = contents(undisturbed)
    with pytest.raises(BadInput) as caught:
        run_mini(undisturbed, **change)
    assert named in str(caught.value)
    assert contents(undisturbed) == before


def test_other_weights_are_refused_by_name(
    run_mini: Callable[..., Results], undisturbed: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / tiny_llama.name))
    with weights_of(folder) as tensors:
        tensors[max(tensors)].view(-1)[-1] += 1e-3
    with pytest.raises(BadInput, match=r"model\.weights"):
        run_mini(undisturbed, model=str(folder))


def test_tasks_can_be_added_to_a_run(run_mini: Callable[..., Results], tmp_path: Path) -> None:
    first = run_mini(tmp_path, tasks=["toxigen"])
    assert list(first.tasks) == ["bfpo_toxigen"]
    assert first.averages["disc"].value is None
    assert len(first.averages["disc"].missing) == 11
    second = run_mini(tmp_path, tasks=["gen"])
    assert next(iter(second.tasks)) == "bfpo_toxigen"
    assert second.tasks["bfpo_toxigen"] == first.tasks["bfpo_toxigen"]
    assert second.averages["gen"].value is not None


def test_a_limit_draws_by_seed_and_is_marked(
    run_mini: Callable[..., Results], tmp_path: Path
) -> None:
    drawn = {}
    for seed in (0, 1):
        run = tmp_path / str(seed)
        results = run_mini(run, tasks=["winogrande"], limit=10, seed=seed)
        assert results.tasks["bfpo_winogrande"].n == 10
        assert any("at most 10 items per task" in mark for mark in results.marks)
        drawn[seed] = [row[1] for row in contents(run)["items"]]
    assert len(set(drawn[0])) == 10
    assert drawn[0] != drawn[1]
    more = tmp_path / "more"
    run_mini(more, tasks=["winogrande"], limit=15)
    assert set(drawn[0]) < {row[1] for row in contents(more)["items"]}


def test_a_length_of_responses_instead_of_the_suites(
    run_mini: Callable[..., Results], undisturbed: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"tasks": ("advbench", "toxigen"), "max_new_tokens": 5}
    results = run_mini(tmp_path, **asked)
    mark = "AdvBench: responses have at most 5 tokens instead of the 64 of suite mini"
    assert mark in results.marks
    found, usual = (
        [row for row in contents(run)["responses"] if "bfpo_advbench" in row]
        for run in (tmp_path, undisturbed)
    )
    assert len(found) == len(usual) == results.tasks["bfpo_advbench"].n
    assert results.tasks["bfpo_advbench"].metrics["mean_tokens"] <= 5
    # Other requests, so under other keys: answers of one length never stand for those of another.
    assert not {row[0] for row in found} & {row[0] for row in usual}
    # Scored tasks are as ever, and may be compared.
    keys = [
        {row for row in contents(run)["scores"] if "bfpo_toxigen" in row}
        for run in (tmp_path, undisturbed)
    ]
    assert keys[0] == keys[1]
    told = dry_run(EvaluateOptions(str(tiny_llama), suite="mini", judge="keyword", **asked))
    assert f"at most {5 * len(found)} to generate" in told


def test_a_model_without_chat_template_is_asked_plainly_and_marked(
    run_mini: Callable[..., Results], tiny_llama: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "base"))
    (folder / "chat_template.jinja").unlink()
    run = tmp_path / "run"
    results = run_mini(run, model=str(folder), tasks=["advbench"], limit=4)
    assert results.tasks["bfpo_advbench"].marks == ["plain prompts: the model has no chat template"]
    for row in contents(run)["responses"]:
        prompt, question = row[3], row[4]
        assert prompt == question


@pytest.mark.parametrize(
    ("system", "between"), [("Be brief.", "\n\n"), ("Be brief.\n\n", ""), ("Be brief: ", "")]
)
def test_a_system_prompt_without_a_chat_template(
    run_mini: Callable[..., Results],
    tiny_llama: Path,
    tmp_path: Path,
    system: str,
    between: str,
) -> None:
    """Joined as lm-eval joins a system prompt and a task's description.

    lm-eval has nothing between it and the prompt, so that its users write the blank line: they are
    asked the same here.
    """
    run = tmp_path / "run"
    options = {"chat_template": "never", "system_prompt": system, "limit": 2}
    run_mini(run, tasks=["advbench", "realtoxicityprompts", "toxigen"], **options)
    rows = [(row[1], row[3], row[4]) for row in contents(run)["responses"]]
    assert {task for task, _, _ in rows} == {"bfpo_advbench", "bfpo_realtoxicityprompts"}
    for task, prompt, question in rows:
        # Continuations and scored tasks have no system prompt.
        chat = task == "bfpo_advbench"
        assert prompt == (f"{system}{between}{question}" if chat else question)


def test_system_prompt_and_template_file(run_mini: Callable[..., Results], tmp_path: Path) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<reply>")
    run = tmp_path / "run"
    run_mini(
        run,
        tasks=["alert", "realtoxicityprompts"],
        limit=3,
        chat_template=str(template),
        system_prompt="Be brief.",
    )
    for task, _, prompt, question in (
        (row[1], row[2], row[3], row[4]) for row in contents(run)["responses"]
    ):
        if task == "bfpo_alert":
            assert prompt == f"<system>Be brief.<user>{question}<reply>"
        else:
            assert prompt == question


def test_nan_weights_stop_the_run_and_name_the_item(
    run_mini: Callable[..., Results], tiny_llama: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "nan"))
    with weights_of(folder) as tensors:
        tensors["model.norm.weight"][:] = float("nan")
    for task in ("toxigen", "advbench"):
        run = tmp_path / task
        with pytest.raises(RunFailed, match=f"bfpo_{task}, item [0-9a-f]+") as caught:
            run_mini(run, model=str(folder), tasks=[task])
        assert "float32 or bfloat16" in str(caught.value)
        assert contents_of_answers(run) == 0


def contents_of_answers(run: Path) -> int:
    with sqlite3.connect(run / "samples.sqlite") as db:
        counts = [
            db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
            for table in ("scores", "responses")
        ]
    db.close()
    return int(sum(counts))


def test_long_prompts_are_cut_and_counted(run_mini: Callable[..., Results], tmp_path: Path) -> None:
    results = run_mini(tmp_path, tasks=["bbq_lite"], limit=5, max_length=32)
    assert results.tasks["bfpo_bbq_lite"].cut > 0
    assert any("cut on the left" in mark for mark in results.marks)
