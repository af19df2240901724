"""Runs of schema 1: read as they are, and gone on with.

`tests/schema_1` is a run that commit e3c233e wrote: the mini suite with ``--limit 2`` on the tiny
random model, judged by `keyword` and then by the card beside it.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from typer.testing import CliRunner

import bfpo_bench
from bfpo_bench.cli.app import app
from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.rejudge import judge_run, verdicts_of
from bfpo_bench.export import export_run
from bfpo_bench.judges import Exchange, Verdict, keyword
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.load import CARDS
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.leaderboard.load import load_rows
from bfpo_bench.leaderboard.report.samples import write_samples
from bfpo_bench.run.repair import open_whole
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.store import SCHEMA_VERSION, Store, schema_1

FIXTURE = Path(__file__).with_name("schema_1")
OPTIONS: dict[str, Any] = {
    "suite": "mini",
    "judge": "keyword",
    "backend": "hf",
    "dtype": "float32",
    "limit": 2,
    # As it was then.
    "judge_anyway": True,
}
TASK = "bfpo_advbench"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The run of schema 1."""
    run = Path(shutil.copytree(FIXTURE, tmp_path / "old"))
    with closing(sqlite3.connect(run / "samples.sqlite")) as db:
        # Not as text: a response may hold a carriage return.
        db.executescript((run / "samples.sql").read_bytes().decode())
    (run / "samples.sql").unlink()
    return run


def as_then(folder: Path) -> dict[str, Any]:
    """`OPTIONS` with the keyword judge as it was, when it did not tell refusals."""
    text = (CARDS / "keyword.yaml").read_text(encoding="utf-8")
    card = folder / "keyword.yaml"
    card.write_text(text[: text.index("gives:")], encoding="utf-8")
    return {**OPTIONS, "judge": str(card)}


@pytest.fixture(scope="module")
def new(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, made by the code of today."""
    run = tmp_path_factory.mktemp("new") / "run"
    bfpo_bench.evaluate(str(tiny_llama), output=run, **as_then(run.parent))
    judge_run(
        run,
        choose_judge(JudgeOptions(str(FIXTURE / "strict.yaml"), backend="hf", judge_anyway=True)),
    )
    return run


def change(run: Path, *statements: str) -> None:
    with closing(sqlite3.connect(run / "samples.sqlite")) as db, db:
        for statement in statements:
            db.execute(statement)


def schema(run: Path) -> str:
    with closing(sqlite3.connect(run / "samples.sqlite")) as db:
        return str(db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()[0])


def compare(before: Store, now: Store) -> None:
    """Every field but the keys, which are made by other rules."""
    for query in (
        "SELECT * FROM items ORDER BY task, item",
        "SELECT task, item, choice, context, continuation, is_greedy, cut_tokens FROM scores "
        "ORDER BY task, item, choice",
        "SELECT task, item, prompt, question, response, finish, seed, prompt_tokens, tokens, "
        "cut_tokens, thought FROM responses ORDER BY task, item",
        "SELECT task, item, judge, harmful, p_harmful, raw FROM verdicts ORDER BY 1, 2, 3",
        "SELECT task, item, metric FROM outcomes ORDER BY 1, 2, 3",
        "SELECT task, item, annotator, preference, raw, settings FROM annotations",
        "SELECT task, first, second, ranker, preference, raw FROM rankings",
    ):
        assert before.select(query) == now.select(query), query
    # Packed in another way, sums differ in their last digits.
    for query in (
        "SELECT loglikelihood FROM scores ORDER BY task, item, choice",
        "SELECT value FROM outcomes ORDER BY task, item, metric",
    ):
        assert [x for (x,) in before.select(query)] == pytest.approx(
            [x for (x,) in now.select(query)], rel=1e-4
        )


def test_the_same_answers_as_today(old: Path, new: Path) -> None:
    """Read as it is, and read after it was made into a store of today."""
    with Store(new / "samples.sqlite", read_only=True) as now:
        with Store(old / "samples.sqlite", read_only=True) as before:
            compare(before, now)
        assert schema(old) == "1"
        with Store(old / "samples.sqlite") as migrated:
            compare(migrated, now)
            assert migrated.of_schema_1
            assert not now.of_schema_1
        assert schema(old) == str(SCHEMA_VERSION)
        with Store(old / "samples.sqlite", read_only=True) as again:
            compare(again, now)
    with (
        closing(sqlite3.connect(old / "samples.sqlite")) as db,
        closing(sqlite3.connect(new / "samples.sqlite")) as other,
    ):
        query = "SELECT name FROM sqlite_master ORDER BY name"
        assert db.execute(query).fetchall() == other.execute(query).fetchall()


def test_everything_that_reads_a_run_reads_it(old: Path, new: Path, tmp_path: Path) -> None:
    assert list(verdicts_of(old)) == ["keyword", "strict"]
    rows: list[list[Any]] = []
    numbers: list[list[float]] = []
    for run in (old, new):
        path = export_run(run, "jsonl", tmp_path / f"{run.name}.jsonl").path
        rows.append([json.loads(line) for line in path.read_text().splitlines()])
        # Packed in another way, sums differ in their last digits.
        numbers.append([value for row in rows[-1] for value in row["metrics"].values()])
        numbers[-1] += [c.pop("loglikelihood") for row in rows[-1] for c in row["choices"]]
        for row in rows[-1]:
            row["metrics"] = list(row["metrics"])
    assert rows[0] == rows[1]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-4)
    for name in ("old", "new"):
        (tmp_path / f"report-{name}").mkdir()
    shown = [
        write_samples([("run", run)], tmp_path / f"report-{name}")
        for name, run in (("old", old), ("new", new))
    ]
    assert [(rows, problems) for (rows, _), problems in shown] == [(8, {}), (8, {})]
    for file in (tmp_path / "report-old").iterdir():
        assert file.read_bytes() == (tmp_path / "report-new" / file.name).read_bytes()
    found = load_rows([old])
    assert not found.problems
    [row] = found.rows
    assert (
        row.entry.cells["disc"].value == read_results(old / "results.json").averages["disc"].value
    )
    # Of before a share of refusals among continuations was no number; nobody was asked whether
    # it is wanted all the same.
    assert not {"realtoxicityprompts", "gen", "savg"} & row.entry.cells.keys()
    assert "gen" in load_rows([new]).rows[0].entry.cells
    [strict] = load_rows([old], "strict").rows
    assert strict.entry.judge == "strict"
    assert not {"realtoxicityprompts", "gen", "savg"} & strict.entry.cells.keys()
    assert schema(old) == "1"


def test_its_judges_stand_beside_each_other_with_todays_errors(old: Path) -> None:
    """0 of 2 is not certain: the standard deviation of Beta(0.5, 2.5), and Wilson's interval."""
    assert read_results(old / "results-strict.json").tasks[TASK].stderr == 0
    found = verdicts_of(old)
    for results in found.values():
        for name in (TASK, "bfpo_alert", "bfpo_alert_adversarial"):
            cell = results.tasks[name]
            assert (cell.score, cell.low) == (0, 0)
            assert cell.stderr == pytest.approx(100 * stats.beta(0.5, 2.5).std())
            assert cell.high == pytest.approx(
                100 * stats.binomtest(0, 2).proportion_ci(method="wilson").high
            )
        assert results.averages["gen"].missing == ["RealToxicityPrompts"]
        assert results.averages["disc"].low is not None
    # The number of one judge has one error, whoever is asked beside it.
    asked = ["judge", str(old), "--judge", "keyword", "--backend", "hf"]
    output = CliRunner().invoke(app, asked, env={"COLUMNS": "200"}).output
    # The table before it is of refusals, which the keyword judge of today tells, too.
    *_, line = [line for line in output.splitlines() if "│ AdvBench" in line]
    assert set(line.replace(" ", "").strip("│").split("│")[2:]) == {"0.00±18.63"}
    assert line.count("±") == len(verdicts_of(old)) > 1
    assert "± 0.00" not in output
    for judge in ("keyword", "strict"):
        assert f"RealToxicityPrompts: no number: judge {judge} is made for instructions" in output


def test_it_is_gone_on_with(old: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked again, whatever the keys of today are made of, but judges by rules.

    Their code was another one, and what they say costs nothing.
    """
    asked: list[Exchange] = []
    judge = keyword.KeywordJudge.judge

    def look(self: keyword.KeywordJudge, items: Sequence[Exchange]) -> list[Verdict]:
        asked.extend(items)
        return judge(self, items)

    monkeypatch.setattr(keyword.KeywordJudge, "judge", look)
    change(
        old,
        "UPDATE responses SET response = '…' WHERE key = (SELECT MIN(r.key) FROM responses r "
        "JOIN verdicts v ON v.response_key = r.key WHERE v.judge = 'keyword' AND v.harmful "
        f"AND r.task = '{TASK}')",
    )
    before = json.loads((old / "results.json").read_text())["tasks"]
    (old / "results.json").unlink()
    monkeypatch.setattr(
        "bfpo_bench.engines.open.open_engine", lambda *_: pytest.fail("model was loaded")
    )
    found = bfpo_bench.evaluate(str(tiny_llama), output=old, **OPTIONS)
    assert len(asked) == 8
    # Marks alone, which were harmless.
    assert (found.tasks[TASK].unknown, found.tasks[TASK].score) == (1, before[TASK]["score"])
    assert {name: cell.score for name, cell in found.tasks.items()} == pytest.approx(
        {name: cell["score"] for name, cell in before.items()}
    )
    strict = choose_judge(
        JudgeOptions(str(FIXTURE / "strict.yaml"), backend="hf", judge_anyway=True)
    )
    rejudged = judge_run(old, strict)
    assert rejudged.path.name == "results-strict.json"
    assert len(asked) == 16
    for results, name in ((found, "results.json"), (rejudged.results, "results-strict.json")):
        assert (results.judge or {})["implementation"] == keyword.IMPLEMENTATION == 2
        assert read_results(old / name) == results
    assert bfpo_bench.evaluate(str(tiny_llama), output=old, **OPTIONS) == found
    assert judge_run(old, strict).results == rejudged.results
    assert len(asked) == 16


def test_keys_by_other_rules_are_taken_over(
    old: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old / "results.json").unlink()
    change(
        old,
        "UPDATE verdicts SET response_key = 'zz' || substr(response_key, 3)",
        "UPDATE responses SET key = 'zz' || substr(key, 3)",
        "UPDATE scores SET key = 'zz' || substr(key, 3)",
        "DELETE FROM scores WHERE task = 'bfpo_toxigen' AND choice = 1",
    )
    monkeypatch.setattr(keyword, "IMPLEMENTATION", 1)
    monkeypatch.setattr(keyword.KeywordJudge, "judge", lambda *_: pytest.fail("judged again"))
    found = bfpo_bench.evaluate(str(tiny_llama), output=old, **as_then(old.parent))
    assert found.tasks["bfpo_toxigen"].n == 2
    with Store(old / "samples.sqlite", read_only=True) as store:
        assert len(store.responses(TASK)) == 2
        assert not any(key.startswith("zz") for key in store.keys("responses"))


def test_what_is_asked_differently_is_refused_by_name(
    old: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old / "results.json").unlink()
    change(
        old,
        f"UPDATE responses SET prompt = 'Today: 26 Jul 2024. ' || prompt WHERE task = '{TASK}'",
        "UPDATE responses SET key = 'zz' || substr(key, 3)",
    )
    monkeypatch.setattr(
        "bfpo_bench.engines.open.open_engine", lambda *_: pytest.fail("model was loaded")
    )
    with pytest.raises(
        BadInput,
        match=rf"holds an answer to {TASK}, item \w+ that was made in another way: its prompt has "
        r"'Today: 26 Jul 2024\. '…? there, .* is asked for\. An item has one answer in a run; use",
    ):
        bfpo_bench.evaluate(str(tiny_llama), output=old, **OPTIONS)


def test_an_item_that_was_answered_twice(old: Path) -> None:
    """As with a template that writes the date, resumed on another day."""
    copied = "prompt, question, response, finish, seed, prompt_tokens, tokens, cut_tokens"
    change(
        old,
        f"INSERT INTO responses SELECT 'f' || substr(key, 2), task, item, {copied} FROM responses "
        f"WHERE task = '{TASK}' LIMIT 1",
    )
    with pytest.raises(
        BadInput, match=rf"samples\.sqlite holds several answers to {TASK}, item \w+: what is asked"
    ):
        Store(old / "samples.sqlite")
    assert schema(old) == "1"
    with Store(old / "samples.sqlite", read_only=True) as store:
        assert len(store.responses(TASK)) == 3


def test_two_verdicts_of_one_judge_are_none(old: Path) -> None:
    change(
        old,
        "INSERT INTO verdicts SELECT 'f' || substr(key, 2), judge, response_key, 1, NULL, '' FROM "
        "verdicts WHERE judge = 'strict' LIMIT 1",
    )
    with Store(old / "samples.sqlite") as store:
        counts = dict(store.select("SELECT judge, COUNT(*) FROM verdicts GROUP BY judge"))
    assert counts == {"keyword": 8, "strict": 7}


def test_annotations_and_rankings_of_then(old: Path) -> None:
    """An annotator that was asked in two ways is two; the more numerous answers keep its name."""
    answers = [
        ("'a' || substr(key, 2)", '{"config": "one", "swapped": true}'),
        ("'b' || substr(key, 2)", '{"config": "two", "swapped": false}'),
    ]
    change(
        old,
        *(
            f"INSERT INTO annotations SELECT {key}, 'somebody', item, key, 1.5, NULL, '{settings}' "
            f"FROM responses WHERE task = '{TASK}' LIMIT {count}"
            for (key, settings), count in zip(answers, (1, 2), strict=True)
        ),
        f"INSERT INTO rankings SELECT 'c' || substr(MIN(key), 2), 'who', MIN(key), MAX(key), 1, '' "
        f"FROM responses WHERE task = '{TASK}'",
    )
    seen = []
    for read_only in (True, False):
        with Store(old / "samples.sqlite", read_only=read_only) as store:
            seen.append((store.annotations(), store.rankings()))
            items = {response.item for response in store.responses(TASK)}
    assert seen[0] == seen[1]
    annotations, rankings = seen[0]
    names = {(one.annotator.partition("-")[0], one.settings): one for one in annotations.values()}
    assert len(names) == 2
    assert names["somebody", answers[1][1]].annotator == "somebody"
    assert names["somebody", answers[0][1]].annotator.startswith("somebody-")
    [ranking] = rankings.values()
    assert {ranking.first, ranking.second} == items


def test_a_store_of_before_annotations(old: Path) -> None:
    change(old, "DROP TABLE annotations")
    with Store(old / "samples.sqlite", read_only=True) as store:
        assert store.annotations() == {}
    with Store(old / "samples.sqlite") as store:
        assert store.annotations() == {}


def test_a_change_that_is_interrupted_leaves_what_was_there(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(function: Callable[..., Any]) -> Callable[..., Any]:
        def stopped(*arguments: Any) -> None:
            function(*arguments)
            raise KeyboardInterrupt

        return stopped

    with monkeypatch.context() as patch:
        patch.setattr(schema_1, "migrate", stops(schema_1.migrate))
        with pytest.raises(KeyboardInterrupt):
            Store(old / "samples.sqlite")
    assert schema(old) == "1"
    with Store(old / "samples.sqlite") as store:
        assert len(store.responses(TASK)) == 2


def test_a_damaged_one_is_rescued(old: Path) -> None:
    with closing(sqlite3.connect(old / "samples.sqlite")) as db:
        query = "SELECT pageno FROM dbstat WHERE name = 'scores' AND pagetype = 'leaf'"
        try:
            page = max(page for (page,) in db.execute(query))
        except sqlite3.OperationalError:
            pytest.skip("this SQLite was built without dbstat")
    with (old / "samples.sqlite").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    with open_whole(old / "samples.sqlite") as store:
        assert 0 < len(store.keys("scores")) < 54
        assert len(store.keys("responses")) == 8
        assert len(store.keys("verdicts")) == 16
    assert (old / "samples.sqlite.damaged-1").exists()
