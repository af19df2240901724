"""An annotator that is loaded here: what it is asked, what its answers are, and real models."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.protocol import Engine, GenerateRequest, Response
from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.helpfulness import annotator as choosing
from bfpo_bench.helpfulness import local
from bfpo_bench.helpfulness.annotate import annotate, annotations_of, make_pairs
from bfpo_bench.helpfulness.annotator import AnnotatorOptions, ChosenAnnotator, choose_annotator
from bfpo_bench.helpfulness.cost import Budget, Prices
from bfpo_bench.run.store import Store
from tests.helpfulness.package import IN_WORDS, WEIGHTED, install_package
from tests.helpfulness.test_annotate import PAIRS, expected, fill
from tests.helpfulness.toy_annotator import choice


class ToyEngine(Engine):
    """The toy annotator's answers in the place of a model's.

    Attributes:
        asked: prompts whose labels were computed, or that were answered.
        fails_after: batches before it fails.
    """

    backend = "toy"

    def __init__(self, tokenizer: Any, max_length: int = 4096) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self.asked: list[str] = []
        self.fails_after: int | None = None
        self.closed = 0

    def label_batches(
        self, prompts: Sequence[str], token_ids: Sequence[int], add: bool = True, done: Any = ()
    ) -> Iterator[list[tuple[int, list[float]]]]:
        assert not add
        for number, prompt in enumerate(prompts):
            if number in done:
                continue
            if len(self.asked) == self.fails_after:
                raise KeyboardInterrupt
            self.asked.append(prompt)
            told = choice({"messages": [{"content": prompt}], "logprobs": True})
            [token] = told["logprobs"]["content"]
            values = {one["token"]: one["logprob"] for one in token["top_logprobs"]}
            yield [(number, [values[self.tokenizer.decode([one])] for one in token_ids])]

    def score(self, requests: Sequence[Any], done: Any = ()) -> Any:
        raise AssertionError("annotators score nothing")

    def respond(
        self, requests: Sequence[GenerateRequest], done: Any = ()
    ) -> Iterator[list[tuple[int, Response]]]:
        for number, request in enumerate(requests):
            self.asked.append(request.prompt)
            assert request.sampling.max_new_tokens == 100
            assert request.special_tokens is False
            text = choice({"messages": [{"content": request.prompt}]})["message"]["content"]
            yield [(number, Response(text, 9, 9, 0, "stop"))]

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def toy(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> ToyEngine:
    engine = ToyEngine(load_tokenizer(tiny_llama))
    monkeypatch.setattr(choosing, "open_engine", lambda backend, options: engine)
    return engine


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return install_package(
        *(monkeypatch, tmp_path / "site"),
        reasoned={**WEIGHTED, "completions_kwargs": {**KWARGS, "max_tokens": 300}},
        called={**IN_WORDS, "completions_kwargs": {"model_name": "m", "tools": []}},
    )


KWARGS = WEIGHTED["completions_kwargs"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "samples.sqlite") as store:
        fill(store)
        yield store


def choose(model: Path, **options: Any) -> ChosenAnnotator:
    asked = {"annotator": "local", "annotator_model": str(model), "backend": "hf"}
    return choose_annotator(AnnotatorOptions(**asked, **options))


def run(store: Store, chosen: ChosenAnnotator) -> list[Any]:
    pairs = make_pairs(chosen, store, seed=0)
    annotate(pairs, chosen, Prices(), store, Progress(show=False))
    return annotations_of(pairs, chosen, store, "mine")


def test_preferences_are_those_that_a_server_gives(
    tiny_llama: Path, toy: ToyEngine, store: Store
) -> None:
    chosen = choose(tiny_llama)
    found = run(store, chosen)
    assert [one.preference for one in found] == expected()
    # All is there: nothing is loaded again.
    assert run(store, chosen) == found
    assert (len(toy.asked), toy.closed) == (PAIRS, 1)
    raw = found[0].raw_completion
    assert set(raw) == {"finish_reason", "index", "logprobs", "message", "text"}
    assert [one["token"] for one in raw["logprobs"]["content"][0]["top_logprobs"]] in (
        ["m", "M"],
        ["M", "m"],
    )


def test_what_is_asked_is_the_models_own_chat(
    tiny_llama: Path, toy: ToyEngine, store: Store
) -> None:
    chosen = choose(tiny_llama)
    run(store, chosen)
    pair = make_pairs(chosen, store, 0)[0]
    messages = chosen.config.messages(*pair.shown())
    written = toy.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    assert toy.asked[0] == written


def test_a_stopped_one_goes_on(tiny_llama: Path, toy: ToyEngine, store: Store) -> None:
    toy.fails_after = 7
    with suppress(KeyboardInterrupt):
        run(store, choose(tiny_llama))
    assert (len(store.annotations()), toy.closed) == (7, 1)
    toy.fails_after = None
    assert [one.preference for one in run(store, choose(tiny_llama))] == expected()
    assert len(set(toy.asked)) == len(toy.asked) == PAIRS


def test_an_answer_in_words_is_generated(tiny_llama: Path, toy: ToyEngine, store: Store) -> None:
    found = run(store, choose(tiny_llama, annotator_config="alpaca_eval_gpt4"))
    assert [one.preference for one in found] == [1.0 if n % 2 else 2.0 for n in range(PAIRS)]
    assert found[0].raw_completion.startswith("[{'model'")


def test_questions_that_do_not_fit_are_counted(
    tiny_llama: Path, toy: ToyEngine, store: Store
) -> None:
    toy.max_length = 5
    assert {one.preference for one in run(store, choose(tiny_llama))} == {None}
    [record, *_] = store.annotations().values()
    assert "too long for the annotator's context of 5 tokens" in str(record.raw)
    assert toy.asked == []


@pytest.mark.parametrize(
    ("values", "preference"),
    [
        ((math.log(0.3), math.log(0.6)), 1 + 0.6 / 0.9),
        ((-math.inf, 0.0), 2.0),
        # Both labels together are less likely than one in a hundred.
        ((math.log(0.004), math.log(0.005)), None),
        ((-math.inf, -math.inf), None),
        ((math.nan, -1.0), None),
    ],
)
def test_what_log_probabilities_say(
    tiny_llama: Path, toy: ToyEngine, values: tuple[float, float], preference: float | None
) -> None:
    with choose(tiny_llama).opened(Budget(Prices()), Progress(show=False)) as annotator:
        assert isinstance(annotator, local.LocalAnnotator)
        by_label = dict(zip("mM", values, strict=True))
        row = [by_label[label] for label in annotator._labels.values()]
        answer = annotator._weighted(row)
    assert answer.preference == (preference and pytest.approx(preference))
    json.dumps(answer.raw, allow_nan=False)


def test_the_identity_is_all_that_an_answer_depends_on(tiny_llama: Path, tmp_path: Path) -> None:
    found = choose(tiny_llama).identity
    assert {"weights", "tokens", "templates", "backend", "dtype"} <= set(found)
    other = Path(shutil.copytree(tiny_llama, tmp_path / "tiny-llama"))
    assert choose(other).identity == found
    assert choose(other, dtype="bfloat16").identity != found
    (other / "chat_template.jinja").write_text("{{ strftime_now('%d') }}{{ messages }}")
    assert choose(other).identity["templates"] != found["templates"]
    assert choose(other).identity["date"] == "2024-07-26"


# ------------------------------------------------------------------------------ what cannot be had


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("reasoned", "reasoned needs the log-probabilities of an answer that is first reasoned"),
        ("called", "called needs calls of functions, which a server gives: name one with"),
    ],
)
def test_configurations_for_servers(tiny_llama: Path, config: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        choose(tiny_llama, annotator_config=config)


def test_models_that_cannot_annotate(
    tiny_llama: Path, tmp_path: Path, toy: ToyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(tiny_llama, tmp_path / "tiny-llama"))
    (model / "chat_template.jinja").write_text("{{ raise_exception('no system here') }}")
    with (
        pytest.raises(BadInput, match=r"chat template refuses the messages \(no system here\)"),
        choose(model).opened(Budget(Prices()), Progress(show=False)),
    ):
        pass
    monkeypatch.setattr(local, "label_tokens", lambda engine, labels: {5: "m"})
    with (
        pytest.raises(BadInput, match="no single token of its model reads as the label 'M'"),
        choose(tiny_llama).opened(Budget(Prices()), Progress(show=False)),
    ):
        pass
    assert toy.closed == 2
    monkeypatch.setattr(choosing, "read_chat_template", lambda folder: None)
    with pytest.raises(BadInput, match="has no chat template, and an annotator is asked in a chat"):
        choose(tiny_llama)


# --------------------------------------------------------------------------------- a real model


def by_transformers(model: Path, messages: list[dict[str, str]]) -> dict[str, float]:
    """Log-probabilities of both labels as the first answer token."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(model)(ids).logits[0, -1].float()
    found = logits.log_softmax(-1)
    return {label: float(found[tokenizer.convert_tokens_to_ids(label)]) for label in "mM"}


def test_a_real_models_preferences(
    tiny_llama: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal to those of transformers' own logits, read as alpaca_eval's parser reads them.

    That vLLM's log-probabilities are those of hf is tested where that engine is.
    """
    # A random model has no liking for the labels.
    monkeypatch.setattr(local, "LEAST_MASS", 0.0)
    chosen = choose(tiny_llama, dtype="float32", device="cpu")
    pairs = make_pairs(chosen, store, 0)
    for pair, one in list(zip(pairs, run(store, chosen), strict=True))[:6]:
        values = by_transformers(tiny_llama, chosen.config.messages(*pair.shown()))
        [token] = one.raw_completion["logprobs"]["content"]
        named = {other["token"]: other["logprob"] for other in token["top_logprobs"]}
        assert named == pytest.approx(values, abs=1e-4)
        second = math.exp(values["M"]) / (math.exp(values["m"]) + math.exp(values["M"]))
        preference = 2 - second if pair.swapped else 1 + second
        assert one.preference == pytest.approx(preference, abs=1e-4)
