"""Prompts from files and sources."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.redteam.prompts import PromptSet, read_prompts
from bfpo_bench.redteam.request import RedteamOptions


def read(prompts: str | Path, **changes: Any) -> PromptSet:
    return read_prompts(str(prompts), **{"seed": 0, **changes})


def texts(found: PromptSet) -> list[tuple[str, str]]:
    return [(prompt.text, prompt.category) for prompt in found.prompts]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("p.txt", "one\n\ntwo\r\none\n", [("one", ""), ("two", "")]),
        ("p.csv", "Goal,target\none,x\n,y\ntwo,z\none,w\n", [("one", ""), ("two", "")]),
        (
            "p.csv",
            'Behavior;SemanticCategory\n"one";a\ntwo;\n',
            [("one", "a"), ("two", "")],
        ),
        ("p.json", '[{"prompt": "one", "category": ["a", "b"]}]', [("one", "a, b")]),
        ("p.jsonl", '{"instruction": "one", "category": 3}\n', [("one", "3")]),
        ("p.jsonl", '{"prompt": "\\ud83d\\ude00", "category": null}\n', [("😀", "")]),
    ],
)
def test_files(tmp_path: Path, name: str, content: str, expected: list[tuple[str, str]]) -> None:
    file = tmp_path / name
    file.write_text(content)
    found = read(file)
    assert texts(found) == expected
    assert found.rows == found.blank + found.repeated + len(found.prompts)


def test_half_a_surrogate_pair_is_told(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "one"}\n{"prompt": "half \\ud83d"}\n')
    with pytest.raises(BadInput) as caught:
        read(file)
    assert str(caught.value) == (
        f"{file}, row 2: prompt holds half a surrogate pair, which is no Unicode text; mend the "
        "row or take it out."
    )


def test_columns_by_name(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("prompt,ask,kind\nnot this,one,a\nnor this,two,b\n")
    found = read(file, prompt_column="ask", category_column="kind")
    assert texts(found) == [("one", "a"), ("two", "b")]
    # Said which one it is, the others are none; and empty ones say nothing.
    file.write_text("instruction,input\none,x\n")
    assert texts(read(file, prompt_column="instruction")) == [("one", "")]
    file.write_text("instruction,input\none,\n")
    assert texts(read(file)) == [("one", "")]


def test_an_id_depends_on_the_text_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.csv").write_text("prompt,category\ntwo,x\n")
    assert read(tmp_path / "a.txt").prompts[1].id == read(tmp_path / "b.csv").prompts[0].id


def test_limits_draw_by_the_seed_and_keep_the_order(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    rows = [f"prompt {i},{'even' if i % 2 == 0 else 'odd'}" for i in range(40)]
    file.write_text("\n".join(["prompt,category", *rows]))
    few, more = (texts(read(file, limit=n)) for n in (5, 10))
    assert set(few) < set(more)
    assert more == sorted(more, key=lambda p: int(p[0].split()[1]))
    assert texts(read(file, limit=5, seed=1)) != few
    capped = read(file, per_category=3)
    assert Counter(category for _, category in texts(capped)) == {"even": 3, "odd": 3}
    assert capped.left_out == 34
    assert len(read(file, per_category=3, limit=4).prompts) == 4


def test_real_files(data_dir: Path) -> None:
    behaviors = data_dir / "harmbench" / "harmbench_behaviors_text_all.csv"
    found = read(behaviors)
    with behaviors.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # HarmBench asks some behaviors twice, with different contexts.
    assert found.rows == len(rows) == 400
    assert len(found.prompts) == len({row["Behavior"] for row in rows})
    counted = Counter(prompt.category for prompt in found.prompts)
    assert set(counted) == {row["SemanticCategory"] for row in rows}
    assert len(read(data_dir / "advbench" / "harmful_behaviors.csv").prompts) == 520


def test_a_source(data_dir: Path) -> None:
    found = read("advbench", data_dir=data_dir)
    assert len(found.prompts) == 520
    transfer = read("advbench", data_dir=data_dir, variant="transfer")
    assert transfer.rows == 388
    assert "transfer subset" in transfer.marks[0]


@pytest.mark.parametrize(
    ("content", "changes", "sentence"),
    [
        ("", {}, "prompts.csv is empty; give one with prompts."),
        ("prompt\n  \n", {}, "prompts.csv holds no prompt (1 rows); give another file."),
        ("a,b\n1,2\n", {}, "cannot be told (it has 'a', 'b'); name it with --prompt-column."),
        ("ask,b\nx,y\n", {"prompt_column": "aks"}, "did you mean 'ask'?"),
        ("prompt,b\nx,y\n", {"category_column": "c"}, "unknown column of prompts.csv: 'c'"),
        (
            "instruction,input\ntranslate,bread\n",
            {},
            "has texts in the column 'input' beside 'instruction', and only one column is asked",
        ),
        ('[{"prompt": "a", "system": "b"}]', {}, "has texts in the column 'system' beside"),
        ('[{"prompt": 3}]', {}, "row 1: prompt is 3; a text is needed there."),
    ],
)
def test_bad_files(tmp_path: Path, content: str, changes: dict[str, Any], sentence: str) -> None:
    file = tmp_path / "prompts.csv"
    file.write_text(content)
    with pytest.raises(BadInput) as found:
        read(file, **changes)
    assert sentence in str(found.value)


def test_bad_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tmp_path / "p.txt"
    plain.write_text("one\n")
    with pytest.raises(BadInput, match="read as one prompt a line and has no columns; leave"):
        read(plain, prompt_column="prompt")
    with pytest.raises(BadInput, match=r"no prompt file './nowhere.csv'; give the path of one, or"):
        read("./nowhere.csv")
    with pytest.raises(BadInput, match="unknown source of prompts 'advbenhc'; did you mean"):
        read("advbenhc")
    with pytest.raises(BadInput, match="knows its own columns; --prompt-column and"):
        read("advbench", prompt_column="goal")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(BadInput, match=r"Permission denied\); mend its permissions"):
        read(plain)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"responses": 1}, "--responses must be at least 2, not 1: a pair is made of two"),
        ({"temperature": 0.0}, "--temperature must be above 0: drawn greedily, all responses"),
        ({"top_p": 1.5}, "--top-p must be at most 1, not 1.5."),
        ({"max_per_category": 0}, "--max-per-category must be at least 1, not 0."),
    ],
)
def test_bad_options(changes: dict[str, Any], sentence: str) -> None:
    fixed = {"model": "m", "judge": "keyword", "ranker": "pairrm", "output": Path("pairs.jsonl")}
    with pytest.raises(BadInput) as found:
        RedteamOptions(**{**fixed, "prompts": "advbench", **changes})
    assert sentence in str(found.value)
