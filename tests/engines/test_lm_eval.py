"""The engine as a model of lm-eval's, against lm-eval's own ``hf`` on the same weights."""

from __future__ import annotations

import json
import os
import random
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines import EngineOptions
from bfpo_bench.suites import TASKS_FOLDER
from tests.lm_eval_program import without_its_own_tasks

WINDOW = 48


@pytest.fixture(scope="module")
def ours(tiny_llama: Path) -> Any:
    from bfpo_bench.engines.hf.engine import HFEngine

    return HFEngine(
        EngineOptions(str(tiny_llama), dtype="float32", device="cpu", max_length=WINDOW)
    )


@pytest.fixture(scope="module")
def stock(tiny_llama: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(str(tiny_llama), dtype="float32", device="cpu", batch_size=4, max_length=WINDOW)


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, row, i) for i, row in enumerate(arguments)]


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(["bike", "mine", "yours", "open", "paint"]) for _ in range(count))


def same(found: list[tuple[float, bool]], right: list[tuple[float, bool]]) -> None:
    assert [greedy for _, greedy in found] == [greedy for _, greedy in right]
    assert [value for value, _ in found] == pytest.approx([v for v, _ in right], rel=1e-5, abs=1e-4)


# ---------------------------------------------------------------- text requests, both ways


@pytest.mark.parametrize(
    "pair",
    [
        ("", "the bike is mine"),
        ("   ", "mine"),
        ("the bike is", " mine"),
        ("the bike is  ", "mine"),
        # Tokenised as one, the border falls inside a token: that token belongs to the context.
        ("the bi", "ke is mine and yours"),
        ("we bor", "row"),
        # Not one token of the context is left out of sight, or most are.
        ("open " * 100, " paint"),
        ("mine", " open" * 20),
        ("Ünï→cödé", " 日本語"),
    ],
)
def test_log_likelihoods_equal_stock(ours: Any, stock: Any, pair: tuple[str, str]) -> None:
    requests = instances("loglikelihood", [pair])
    same(ours.loglikelihood(requests, True), stock.loglikelihood(requests, True))


def test_a_continuation_of_the_whole_window_equals_stock(ours: Any, stock: Any) -> None:
    continuation = list(range(100, 100 + WINDOW))
    asked = [(None, [5, 6, 7], continuation), (None, [7], [8]), (None, [7, 9], continuation)]
    same(
        ours._loglikelihood_tokens(asked, disable_tqdm=True),
        stock._loglikelihood_tokens(asked, disable_tqdm=True),
    )


@pytest.mark.parametrize("count", [0, 1, 10, 47, 48, 49, 100, 500])
def test_rolling_log_likelihoods_equal_stock(ours: Any, stock: Any, count: int) -> None:
    rng = random.Random(count)
    texts = [(words(rng, count),), (words(rng, count // 2),)]
    requests = instances("loglikelihood_rolling", texts)
    found = ours.loglikelihood_rolling(requests, True)
    right = stock.loglikelihood_rolling(requests, True)
    assert found == pytest.approx(right, rel=1e-5, abs=1e-4)


def test_answers_go_to_lm_eval_s_cache(tiny_llama: Path, ours: Any, tmp_path: Path) -> None:
    from lm_eval.api.model import CachingLM

    requests = instances("loglikelihood", [("the", " bike"), ("the", " paint")])
    texts = instances("loglikelihood_rolling", [("we borrow the bike",)])
    cached = CachingLM(ours, str(tmp_path / "cache.db"))
    try:
        first = cached.loglikelihood(requests), cached.loglikelihood_rolling(texts)
        before = ours._scorer.computed_tokens
        assert (cached.loglikelihood(requests), cached.loglikelihood_rolling(texts)) == first
        assert ours._scorer.computed_tokens == before
    finally:
        from lm_eval.api.model import CacheHook

        ours.set_cache_hook(CacheHook(None))


# ---------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("context", "continuation", "sentence"),
    [
        ([], [5], "no token before the one to be scored"),
        ([5], [], "none to be scored"),
        ([], [], "no token before"),
        ([5], list(range(100, 101 + WINDOW)), "longer than the context window of 48"),
        ([5, 10**6], [7], "made token 1000000, the model knows tokens 0 to"),
        ([5], [10**6], "made token 1000000"),
        ([-1, 5], [6], "made token -1"),
        ([5], [6, -2], "made token -2"),
    ],
)
def test_token_requests_that_cannot_be_scored(
    ours: Any, context: list[int], continuation: list[int], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        ours._loglikelihood_tokens([(None, context, continuation)], disable_tqdm=True)


@pytest.mark.parametrize("context", ["the bike", "", "  "])
def test_an_empty_continuation_is_one_sentence(ours: Any, context: str) -> None:
    if context == "  ":
        # The blanks move to the continuation, which is then not empty.
        [(value, _)] = ours.loglikelihood(instances("loglikelihood", [(context, "")]), True)
        assert value < 0
        return
    with pytest.raises(BadInput, match="no token of its own"):
        ours.loglikelihood(instances("loglikelihood", [(context, "")]), True)


def test_a_continuation_that_melts_into_its_context_is_one_sentence(tiny_llama: Path) -> None:
    """A tokenizer that makes one token of context and continuation leaves nothing to score."""
    from transformers import AutoTokenizer

    from bfpo_bench.engines.tokenization import encode_pairs

    class Melting:
        bos_token, bos_token_id, eos_token_id = None, 1, 2

        def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, Any]:
            return {"input_ids": [[len(text)] for text in texts]}

    with pytest.raises(BadInput, match="no token of its own after its context"):
        encode_pairs(Melting(), [("one", " two")])[0]
    assert AutoTokenizer.from_pretrained(tiny_llama).bos_token_id is not None


def test_labels_that_the_model_does_not_have(ours: Any) -> None:
    with pytest.raises(BadInput, match="made token 1000000"):
        ours.label_logprobs(["the bike"], [5, 10**6])


def test_an_empty_prompt_has_no_next_token(ours: Any) -> None:
    with pytest.raises(BadInput, match="no token before"):
        ours.label_logprobs([""], [5], add_special_tokens=False)


# -------------------------------------------------------------------------- whole evaluations


def evaluated(**arguments: Any) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    found: dict[str, Any] = lm_eval.simple_evaluate(
        task_manager=TaskManager(
            include_path=TASKS_FOLDER, include_defaults=False, metadata={"mini": True}
        ),
        log_samples=True,
        bootstrap_iters=0,
        **{"tasks": ["bfpo_disc"], **arguments},
    )
    return found


@pytest.mark.slow
def test_the_bundled_tasks_give_stock_s_results(tiny_llama: Path) -> None:
    from bfpo_bench.engines.hf.engine import HFEngine

    engine = HFEngine(EngineOptions(str(tiny_llama), dtype="float32", device="cpu"))
    found = evaluated(model=engine)
    settings = {"pretrained": str(tiny_llama), "dtype": "float32"}
    right = evaluated(model="hf", model_args=settings, device="cpu", batch_size=16)
    assert found["samples"].keys() == right["samples"].keys()
    for task, samples in right["samples"].items():
        for one, other in zip(found["samples"][task], samples, strict=True):
            assert one["arguments"] == other["arguments"]
            same(
                [pair for [pair] in one["resps"]],
                [(float(value), bool(greedy)) for [(value, greedy)] in other["resps"]],
            )
    assert found["results"].keys() == right["results"].keys()
    for task, scores in right["results"].items():
        for name, value in scores.items():
            if isinstance(value, float):  # CrowS-Pairs' mean difference is one of sums
                value = pytest.approx(value, rel=1e-5, nan_ok=True)
            assert found["results"][task][name] == value, (task, name)


@pytest.mark.slow
def test_lm_eval_s_command_line_takes_it(tiny_llama: Path, tmp_path: Path) -> None:
    arguments = ["--model", "bfpo-hf", "--model_args", f"pretrained={tiny_llama},dtype=float32"]
    arguments += ["--device", "cpu", "--batch_size", "8", "--tasks", "bfpo_bbq_lite"]
    arguments += ["--include_path", str(TASKS_FOLDER), "--metadata", '{"mini": true}']
    arguments += ["--limit", "8"]
    program = without_its_own_tasks("bfpo_bench.lm_eval")
    done = subprocess.run(
        [*program, "run", "--output_path", "out", *arguments],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    [path] = tmp_path.glob("out/**/results_*.json")
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["config"]["model"] == "bfpo-hf"
    right = evaluated(
        tasks=["bfpo_bbq_lite"],
        model="hf",
        model_args={"pretrained": str(tiny_llama), "dtype": "float32"},
        device="cpu",
        limit=8,
    )
    scores, expected = (found["results"]["bfpo_bbq_lite"] for found in (results, right))
    assert scores["sample_len"] == 8
    assert scores["acc,none"] == expected["acc,none"]


def test_mistakes_on_the_command_line_are_sentences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import lm_eval.__main__

    from bfpo_bench.lm_eval import PackedHF

    def cli_evaluate() -> None:
        PackedHF.create_from_arg_string("pretrained=./nowhere", {"batch_size": 1})

    monkeypatch.setattr(lm_eval.__main__, "cli_evaluate", cli_evaluate)
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("bfpo_bench.lm_eval", run_name="__main__")
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: there is no model folder './nowhere'")


# -------------------------------------------------------------------------- registered by name


def test_it_is_registered_and_takes_lm_eval_s_arguments(tiny_llama: Path) -> None:
    from lm_eval.api.registry import get_model

    import bfpo_bench.lm_eval

    kind = get_model("bfpo-hf")
    assert kind is bfpo_bench.lm_eval.PackedHF
    model = kind.create_from_arg_string(
        f"pretrained={tiny_llama},tokenizer={tiny_llama},dtype=bfloat16,max_length=32,"
        "trust_remote_code=False",
        {"batch_size": "auto:2", "max_batch_size": None, "device": "cpu"},
    )
    assert str(model.model.dtype) == "torch.bfloat16"
    assert model.max_length == 32
    assert model.batch_size == "auto"
    # lm-eval's batch size is for generation; scores share beginnings whatever it says.
    assert model._scorer.max_requests is None


def test_arguments_that_it_does_not_take_are_named(tiny_llama: Path) -> None:
    from bfpo_bench.lm_eval import PackedHF

    with pytest.raises(BadInput, match=r"does not take gptqmodel, parallelize"):
        PackedHF.create_from_arg_obj({"pretrained": "x", "gptqmodel": "y", "parallelize": True})


def test_generation_goes_by_the_checkpoints_own_settings(tiny_llama: Path, tmp_path: Path) -> None:
    """A checkpoint's repetition penalty counts for lm-eval's ``hf``, and so for ``bfpo-hf``."""
    import shutil

    from lm_eval.models.huggingface import HFLM

    from bfpo_bench.common.sampling import Sampling
    from bfpo_bench.engines import GenerateRequest
    from bfpo_bench.engines.hf.engine import HFEngine

    folder = Path(shutil.copytree(tiny_llama, tmp_path / "penalised"))
    asked = instances(
        "generate_until",
        [
            (text, {"until": ["\n\n"], "max_gen_toks": 16, "do_sample": False})
            for text in ("the bike is mine", "we borrow the bike", "open")
        ],
    )
    found = {}
    for name, settings in (
        ("plain", {}),
        ("penalty", {"repetition_penalty": 1.3}),
    ):
        own = json.loads((tiny_llama / "generation_config.json").read_text())
        (folder / "generation_config.json").write_text(json.dumps(own | settings))
        engine = HFEngine(EngineOptions(str(folder), dtype="float32", device="cpu"))
        # An evaluation asks for what the suite says, and leaves the settings where they are.
        prompts = [GenerateRequest("the bike", Sampling(8), 0)]
        [[(_, response)]] = list(engine.respond(prompts))
        found[name] = engine.generate_until(asked, disable_tqdm=True)
        theirs = HFLM(str(folder), dtype="float32", device="cpu", batch_size=1)
        assert found[name] == theirs.generate_until(asked, disable_tqdm=True), name
        found.setdefault("suite", [response.text])
        assert found["suite"] == [response.text]
    assert found["plain"] != found["penalty"]
