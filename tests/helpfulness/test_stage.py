"""The Alpaca column of an evaluation, from the options to the results."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.estimate.dry_run import dry_run
from bfpo_bench.evaluation import resolve
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.helpfulness.annotation import TASK, load_instructions
from bfpo_bench.helpfulness.annotator_config import OFFICIAL
from bfpo_bench.run.repair import open_whole
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.store import (
    AnnotationRecord,
    ResponseRecord,
    ScoreRecord,
    Store,
    answer_key,
)
from bfpo_bench.run.table import markdown
from bfpo_bench.suites import load_suite
from tests.client.fake_server import FakeServer, serving
from tests.helpfulness.package import install_package
from tests.helpfulness.toy_annotator import ToyAnnotator

MINI = 26


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_package(monkeypatch, tmp_path / "site")


def asked(model: Path, server: FakeServer, **options: Any) -> dict[str, Any]:
    return {
        "suite": "mini",
        "tasks": ("alpaca",),
        "backend": "hf",
        "device": "cpu",
        "annotator": "openai:toy",
        "annotator_url": server.url,
        **options,
    }


def test_the_805_instructions_are_the_published_ones(data_dir: Path) -> None:
    loaded, instructions = load_instructions(data_dir)
    assert (loaded.status, len(instructions)) == ("pinned", 805)
    file = data_dir / "alpacaeval/results/vicuna-7b-v1.5/model_outputs.json"
    others = json.loads(file.read_text(encoding="utf-8"))
    assert [one.instruction for one in instructions] == [row["instruction"] for row in others]
    assert {one.reference_model for one in instructions} == {"gpt4_1106_preview"}


def test_a_run_has_an_alpaca_column(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = ToyAnnotator()
    output = tmp_path / "run"
    with serving(toy) as server:
        options = asked(tiny_llama, server, output=output)
        results = bfpo_bench.evaluate(str(tiny_llama), **options)
        assert len(server.seen) == MINI + 1
        # It is finished: nothing is planned, and nobody is contacted.
        with monkeypatch.context() as patch:
            patch.setattr(resolve, "render", lambda *_: pytest.fail("planned again"))
            again = bfpo_bench.evaluate(str(tiny_llama), **options)
            # So are the responses alone.
            plain = {k: v for k, v in options.items() if not k.startswith("annotator")}
            assert bfpo_bench.evaluate(str(tiny_llama), **plain) == results
            # Another annotator has all to do.
            with pytest.raises(pytest.fail.Exception, match="planned again"):
                bfpo_bench.evaluate(str(tiny_llama), **options | {"annotator": "openai:other"})
        assert len(server.seen) == MINI + 1
    assert again == results
    found = results.helpfulness
    assert found is not None
    assert (found.annotator, found.reference) == (f"{OFFICIAL}:toy", "bfpo-bench")
    assert (found.n, found.failed) == (MINI, 0)
    with Store(output / "samples.sqlite", read_only=True) as store:
        preferences = [record.preference for record in store.annotations().values()]
        assert {response.task for response in store.responses(TASK)} == {TASK}
    assert found.win_rate == pytest.approx(100 * sum(p - 1 for p in preferences) / MINI)  # type: ignore[operator]
    assert results.tasks == {}
    assert any("annotated by" in mark and "toy" in mark for mark in results.marks)
    text = markdown(results)
    assert f"| {found.win_rate:.2f} ({found.win_low:.2f} to {found.win_high:.2f}) |" in text
    assert results.judge is None
    assert found.settings["annotator"] == f"{OFFICIAL}:toy"
    [entry] = bfpo_bench.leaderboard(output).entries
    assert entry.fault is None
    assert entry.cells["alpaca"].value == found.lc_win_rate
    # The file says it, one of before says nothing, and one that is not whole is refused.
    path = output / "results.json"
    assert read_results(path) == results
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["helpfulness"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_results(path).helpfulness is None
    content["helpfulness"] = {"annotator": "x"}
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BadInput, match=r"results\.json, helpfulness: .reference. is missing"):
        read_results(path)


def test_responses_without_an_annotator_then_with_one(tiny_llama: Path, tmp_path: Path) -> None:
    """The column may come later, and other tasks beside it, in one run directory."""
    output = tmp_path / "run"
    toy = ToyAnnotator()
    with serving(toy) as server:
        options = asked(tiny_llama, server, output=output)
        plain = {k: v for k, v in options.items() if not k.startswith("annotator")}
        before = bfpo_bench.evaluate(str(tiny_llama), **plain)
        assert before.helpfulness is None
        assert any("name who compares them with --annotator" in mark for mark in before.marks)
        with sqlite3.connect(output / "samples.sqlite") as db:
            responses = db.execute("SELECT * FROM responses ORDER BY key").fetchall()
        db.close()
        assert len(responses) == MINI
        found = bfpo_bench.evaluate(str(tiny_llama), **options)
        with sqlite3.connect(output / "samples.sqlite") as db:
            assert db.execute("SELECT * FROM responses ORDER BY key").fetchall() == responses
        db.close()
        other = bfpo_bench.evaluate(str(tiny_llama), **{**plain, "tasks": ("toxigen",)})
    assert found.helpfulness is not None
    assert other.helpfulness == found.helpfulness
    assert list(other.tasks) == ["bfpo_toxigen"]


def test_an_annotator_adds_its_task(tiny_llama: Path, tmp_path: Path) -> None:
    with serving(ToyAnnotator()) as server:
        options = asked(tiny_llama, server, output=tmp_path / "run", tasks=("toxigen",), limit=3)
        results = bfpo_bench.evaluate(str(tiny_llama), **options)
    assert list(results.tasks) == ["bfpo_toxigen"]
    assert results.helpfulness is not None
    assert results.helpfulness.n == 3


def test_an_annotator_that_is_loaded_after_the_model(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A random model has no liking for the labels.
    monkeypatch.setattr("bfpo_bench.helpfulness.local.LEAST_MASS", 0.0)
    asked = {"suite": "mini", "tasks": ("alpaca",), "backend": "hf", "device": "cpu", "limit": 3}
    local = {"annotator": "local", "annotator_model": str(tiny_llama)}
    output = tmp_path / "run"
    found = bfpo_bench.evaluate(str(tiny_llama), output=output, **asked, **local).helpfulness  # type: ignore[arg-type]
    assert found is not None
    assert (found.n, found.failed) == (3, 0)
    assert 0 < (found.win_rate or 0) < 100
    assert found.settings["backend"] == "hf"
    assert not (output / "annotator.log").exists()


def test_annotations_are_rescued_from_a_damaged_store(tmp_path: Path) -> None:
    path = tmp_path / "samples.sqlite"
    with Store(path) as store:
        for number in range(20):
            key = answer_key("response", number)
            response = (key, TASK, f"{number}", "p", "q", "r", "stop", 0, 1, 1, 0)
            store.add_responses([ResponseRecord(*response)])
            preference = None if number == 3 else 1 + number / 20
            mine = (answer_key("annotation", number), "toy", TASK, f"{number}", preference)
            store.add_annotations([AnnotationRecord(*mine, None, "{}")])
        store.add_annotations([AnnotationRecord("f" * 32, "toy", TASK, "lost", 1.0, "{}", "{}")])
        many = [(answer_key(i), "t", f"{i}", 0, "c" * 300, "d", -1.0, True, 0) for i in range(500)]
        store.add_scores(ScoreRecord(*row) for row in many)
        before = store.annotations()
    with closing(sqlite3.connect(path)) as db:
        query = "SELECT pageno FROM dbstat WHERE name = 'scores' AND pagetype = 'leaf'"
        try:
            page = max(page for (page,) in db.execute(query))
        except sqlite3.OperationalError:
            pytest.skip("this SQLite was built without dbstat")
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    with open_whole(path) as store:
        assert len(store.scores("t")) < 500
        # The annotation of a response that is lost is lost with it.
        assert store.annotations() == {k: r for k, r in before.items() if r.item != "lost"}


# ----------------------------------------------------------------------------------- dry run


def test_a_dry_run_says_what_it_will_cost(tiny_llama: Path, tmp_path: Path) -> None:
    with serving(ToyAnnotator()) as server:
        options = asked(tiny_llama, server, output=tmp_path / "run")
        prices = {"price_in": 2.0, "price_out": 8.0, "max_cost": 1.0}
        text = dry_run(EvaluateOptions(model=str(tiny_llama), **options, **prices))
        assert server.seen == []
        free = dry_run(EvaluateOptions(model=str(tiny_llama), **options, max_cost=10.0))
    assert f"annotator {OFFICIAL}:toy: {MINI} questions to {server.url}" in text
    assert "tokens to read where responses are as long as the reference's" in text
    assert "USD, at most" in text
    assert "--max-cost 1.00 USD covers that" in text
    assert "--max-cost 10 tokens does not cover that" in free
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_what_a_local_annotator_needs(tiny_llama: Path) -> None:
    options = EvaluateOptions(
        model=str(tiny_llama),
        suite="mini",
        backend="hf",
        tasks=("alpaca",),
        annotator="local",
        annotator_model=str(tiny_llama),
    )
    text = dry_run(options)
    assert (
        f"annotator {OFFICIAL}:tiny-llama: {MINI} questions to a model that is loaded (hf)" in text
    )
    assert f"annotator {OFFICIAL}:tiny-llama: needs about" in text


def test_a_dry_run_says_that_responses_do_not_fit_the_window(tiny_llama: Path) -> None:
    for length, said in ((64, True), (256, False)):
        text = dry_run(
            EvaluateOptions(
                model=str(tiny_llama),
                suite="mini",
                backend="hf",
                tasks=("alpaca",),
                max_length=length,
            )
        )
        found = f"leave no room for a prompt in a context window of {length}" in text
        assert found is said


# ----------------------------------------------------------------------------------- options


@pytest.mark.parametrize("name", ["annotator_config", "annotator_model", "annotator_url"])
def test_options_of_an_annotator_without_one(tiny_llama: Path, name: str) -> None:
    with pytest.raises(BadInput, match=f"--{name.replace('_', '-')} is for an annotator, and none"):
        bfpo_bench.evaluate(str(tiny_llama), suite="mini", tasks=("alpaca",), **{name: "x"})


def test_a_suite_without_helpfulness(tiny_llama: Path, tmp_path: Path) -> None:
    suite = tmp_path / "own.yaml"
    suite.write_text("{name: mini, version: 1, data: mini, judge: keyword, tasks: [bfpo_toxigen]}")
    assert load_suite(str(suite)).helpfulness is None
    with pytest.raises(BadInput, match="suite mini has nothing to annotate"):
        bfpo_bench.evaluate(str(tiny_llama), suite=str(suite), annotator=OFFICIAL)
    with pytest.raises(BadInput, match="unknown task 'alpaca'"):
        load_suite(str(suite)).only(["alpaca"])
