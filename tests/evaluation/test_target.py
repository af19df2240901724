"""A model behind a server goes through the same evaluation; its key goes nowhere."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.tokenization import encode_pairs, load_tokenizer
from bfpo_bench.run.results import Results
from tests.client.fake_server import FakeServer, serving
from tests.engines.openai.toy_openai import Toy, logprob

KEY = "sk-planted-0123456789abcdef"


@pytest.fixture(autouse=True)
def _planted_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def run(server: FakeServer, output: Path, **options: Any) -> Results:
    defaults = {"suite": "mini", "judge": "keyword", "backend": "openai", "base_url": server.url}
    return bfpo_bench.evaluate("toy", output=output, **{**defaults, **options})


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "samples.sqlite") as db:
        found = db.execute(query).fetchall()
    db.close()
    return found


def test_scores_and_chats_of_a_server(tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    tokenizer = load_tokenizer(tiny_llama)
    options: dict[str, Any] = {"tasks": ["toxigen", "alert"], "system_prompt": "Be brief."}
    with serving(Toy(tokenizer)) as server:
        results = run(server, folder, **options, tokenizer=str(tiny_llama))
        asked = len(server.seen)
        assert run(server, folder, **options, tokenizer=str(tiny_llama)) == results
        assert len(server.seen) == asked
    assert results.backend == "openai"
    assert results.model["server"] == {"base_url": server.url, "model": "toy"}
    for *texts, loglikelihood in rows(
        folder, "SELECT context, continuation, loglikelihood FROM scores"
    ):
        [(_, ids)] = encode_pairs(tokenizer, [(texts[0], texts[1])])
        assert loglikelihood == pytest.approx(sum(logprob(f"token_id:{i}") for i in ids))
    for prompt, question in rows(folder, "SELECT prompt, question FROM responses"):
        assert json.loads(prompt) == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": question},
        ]
    assert results.tasks["bfpo_alert"].marks == []


def test_the_key_reaches_no_file(tmp_path: Path) -> None:
    with serving(Toy()) as server:
        run(server, tmp_path / "run", tasks=["alert"], limit=3)
    headers = [dict(headers) for _, headers, _ in server.seen]
    assert any(KEY in str(h) for h in headers)
    for file in (tmp_path / "run").iterdir():
        assert KEY.encode() not in file.read_bytes(), file


def test_without_template_prompts_are_plain_and_marked(tmp_path: Path) -> None:
    with serving(Toy()) as server:
        results = run(server, tmp_path, tasks=["alert"], limit=3, chat_template="never")
    assert results.tasks["bfpo_alert"].marks == [
        "plain prompts: the chat template was switched off"
    ]
    for prompt, question in rows(tmp_path, "SELECT prompt, question FROM responses"):
        assert prompt == question


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"base_url": None}, "--backend openai and --base-url go together: the one says"),
        ({"backend": "hf"}, "--base-url go together: the one says that a server"),
        ({"concurrency": 0}, "--concurrency must be at least 1"),
        ({"chat_template": __file__}, "needs the served model's --tokenizer"),
    ],
)
def test_what_does_not_fit_together(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with serving(Toy()) as server, pytest.raises(BadInput, match=sentence):
        run(server, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_dry_run_of_a_served_model_asks_nothing() -> None:
    from bfpo_bench.estimate.dry_run import dry_run
    from bfpo_bench.evaluation.options import EvaluateOptions

    with serving(Toy()) as server:
        text = dry_run(
            EvaluateOptions(
                "toy", suite="mini", judge="keyword", backend="openai", base_url=server.url
            )
        )
        assert server.seen == []
    assert "guessed at 4 characters" in text
    assert text.count("── bfpo_") == 16
