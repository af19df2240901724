"""The stage: what is missing is asked, what was answered is kept, and nobody pays twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.client import Server
from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.helpfulness import served
from bfpo_bench.helpfulness.annotate import annotate, annotations_of, make_pairs
from bfpo_bench.helpfulness.annotation import TASK
from bfpo_bench.helpfulness.annotator import AnnotatorOptions, ChosenAnnotator, choose_annotator
from bfpo_bench.helpfulness.annotator_config import OFFICIAL
from bfpo_bench.helpfulness.cost import Prices
from bfpo_bench.run.store import ItemRecord, ResponseRecord, Store
from tests.client.fake_server import FakeServer, Handler, serving
from tests.helpfulness.package import install_package
from tests.helpfulness.toy_annotator import CERTAIN, ToyAnnotator, shown

KEY = "sk-annotator-0123456789abcdef"
PAIRS = 24
SILENT = Progress(show=False)


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_package(monkeypatch, tmp_path / "site")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(served, "DECLINED_WAITS", (0.0, 0.0))
    # Failures are tried again at once.
    monkeypatch.setattr(Server.__init__, "__defaults__", (None, 30.0, 4, 0.001, 0.002, None))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "run" / "samples.sqlite") as store:
        fill(store)
        yield store


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()


def fill(store: Store, pairs: int = PAIRS) -> None:
    """Instructions of which the model answers every other one well, the reference the rest."""
    for number in range(pairs):
        ours, theirs = f"good {number}", f"poor {number}"
        if number % 2:
            ours, theirs = theirs, ours
        row = {
            "instruction": f"Question {number}?",
            "dataset": "koala",
            "reference_output": theirs,
            "reference_model": "reference",
        }
        item = f"{number:016x}"
        store.add_items([ItemRecord(TASK, item, number, json.dumps(row))])
        response = (f"key{number}", TASK, item, "prompt", "question", ours, "stop", 0, 5, 5, 0)
        store.add_responses([ResponseRecord(*response)])


def choose(server: FakeServer, **options: Any) -> ChosenAnnotator:
    wanted = {"annotator": "openai:toy", "concurrency": 4, **options}
    return choose_annotator(AnnotatorOptions(annotator_url=server.url, **wanted))


def run(store: Store, chosen: ChosenAnnotator, prices: Prices | None = None) -> list[float | None]:
    """Annotates; the preferences in the order of the instructions."""
    pairs = make_pairs(chosen, store, seed=0)
    annotate(pairs, chosen, prices or Prices(), store, SILENT)
    return [a.preference for a in annotations_of(pairs, chosen, store, "mine")]


def expected(pairs: int = PAIRS) -> list[Any]:
    return [pytest.approx(1 + (1 - CERTAIN if n % 2 else CERTAIN)) for n in range(pairs)]


# ----------------------------------------------------------------------------- what is found


def test_preferences_are_the_models_whatever_the_order(store: Store) -> None:
    toy = ToyAnnotator()
    with serving(toy) as server:
        chosen = choose(server)
        assert run(store, chosen) == expected()
        # One trial question, each pair once.
        assert len(server.seen) == PAIRS + 1
        models_first = sum("good" in one for one, _ in toy.asked[1:])
    assert 4 < models_first < PAIRS - 4
    pairs = make_pairs(chosen, store, 0)
    assert {pair.swapped for pair in pairs} == {True, False}
    [record, *_] = store.annotations().values()
    assert record.annotator == f"{OFFICIAL}:toy"
    raw = json.loads(str(record.raw))
    assert raw["logprobs"]["content"][0]["top_logprobs"][0]["token"] == "m"
    settings = json.loads(record.settings)
    assert settings["base_url"] == chosen.where
    assert settings["swapped"] in (True, False)


def test_the_request_is_alpaca_evals(store: Store) -> None:
    with serving(ToyAnnotator()) as server:
        run(store, choose(server))
        _, headers, body = server.seen[-1]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert {k: v for k, v in body.items() if k != "messages"} == {
        "model": "toy",
        "max_tokens": 1,
        "temperature": 1,
        "top_p": 1.0,
        "logprobs": True,
        "top_logprobs": 5,
    }


def test_annotators_in_words(store: Store) -> None:
    with serving(ToyAnnotator()) as server:
        chosen = choose(server, annotator_config="alpaca_eval_gpt4")
        assert run(store, chosen) == [1.0 if n % 2 else 2.0 for n in range(PAIRS)]
        assert "logprobs" not in server.seen[-1][2]
    [record, *_] = store.annotations().values()
    assert json.loads(str(record.raw)).startswith("[{'model'")


def test_equal_outputs_are_a_draw_and_free(tmp_path: Path) -> None:
    with Store(tmp_path / "same.sqlite") as store, serving(ToyAnnotator()) as server:
        fill(store, 1)
        [response] = store.responses(TASK)
        row = {**json.loads(store.items(TASK)[0].row), "reference_output": response.response}
        store.add_items([ItemRecord(TASK, response.item, 0, json.dumps(row))])
        assert run(store, choose(server)) == [1.5]
        assert server.seen == []
        [record] = store.annotations().values()
        assert record.raw is None


def test_the_key_is_on_no_disk(tmp_path: Path, store: Store) -> None:
    def act(handler: Handler) -> bool:
        if handler.number == 5:
            handler.reply({"error": {"message": f"bad key {KEY}", "code": "invalid_key"}}, 401)
        return handler.number == 5

    with serving(ToyAnnotator(act)) as server:
        with pytest.raises(BadInput) as error:
            run(store, choose(server))
        run(store, choose(server))
    assert KEY not in str(error.value)
    assert "see --annotator-key-env" in str(error.value)
    store.close()
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]


# ------------------------------------------------------------------------- what goes wrong


def test_trouble_on_the_way_costs_nothing_but_time(store: Store) -> None:
    trouble: Counter[tuple[str, str]] = Counter()
    lock = threading.Lock()

    def act(handler: Handler) -> bool:
        pair = shown(handler.content)
        with lock:
            trouble[pair] += 1
            time_of_pair = trouble[pair]
        if handler.number == 1 or time_of_pair > 1:
            return False
        kind = handler.number % 5
        if kind == 0:
            handler.reply({"error": {"message": "slow down"}}, 429, Retry_After="0")
        elif kind == 1:
            handler.reply({"error": {"message": "oops"}}, 500)
        elif kind == 2:
            handler.half({"choices": []})
        elif kind == 3:
            handler.drop()
        else:
            handler.reply({"choices": [{"message": {"content": "m"}, "finish_reason": "stop"}]})
        return True

    with serving(ToyAnnotator(act)) as server:
        assert run(store, choose(server)) == expected()
    assert set(trouble.values()) == {1, 2}


def test_what_was_declined_is_asked_again_and_then_counted(store: Store) -> None:
    asked: Counter[tuple[str, str]] = Counter()

    def act(handler: Handler) -> bool:
        pair = shown(handler.content)
        asked[pair] += 1
        text = " ".join(pair)
        if "good 2 " in f"{text} ":
            error = {"message": "The response was filtered", "code": "content_filter"}
            handler.reply({"error": error}, 400)
            return True
        if "good 4 " in f"{text} " and asked[pair] < 3:
            message = {"role": "assistant", "content": None, "refusal": "I can't."}
            handler.reply({"choices": [{"message": message, "finish_reason": "stop"}]})
            return True
        return False

    with serving(ToyAnnotator(act)) as server:
        chosen = choose(server)
        found = run(store, chosen)
        before = len(server.seen)
        assert run(store, chosen) == found
        assert len(server.seen) == before
    assert found == [None if n == 2 else one for n, one in enumerate(expected())]
    assert sorted(asked.values())[-2:] == [3, 3]
    [null] = [r for r in store.annotations().values() if r.preference is None]
    assert "content filter refused (HTTP 400)" in str(null.raw)


def test_an_answer_without_a_label_is_counted_once(store: Store) -> None:
    toy = ToyAnnotator()

    def act(handler: Handler) -> bool:
        if handler.number != 3:
            return False
        listed = [{"token": "Both", "logprob": -0.1}]
        content = [{**listed[0], "top_logprobs": listed}]
        message = {"role": "assistant", "content": "Both"}
        toy.reply(handler, {"message": message, "logprobs": {"content": content}})
        return True

    toy.before = act
    with serving(toy) as server:
        found = run(store, choose(server))
        assert len(server.seen) == PAIRS + 1
    assert found.count(None) == 1


@pytest.mark.parametrize("silently", [True, False])
def test_an_endpoint_without_logprobs_is_found_before_anything_is_spent(
    store: Store, silently: bool
) -> None:
    toy = ToyAnnotator()

    def act(handler: Handler) -> bool:
        if not silently and "logprobs" in handler.content:
            handler.reply({"error": {"message": "an error occurred"}}, 400)
        else:
            message = {"role": "assistant", "content": "m"}
            toy.reply(handler, {"message": message, "finish_reason": "stop", "logprobs": None})
        return True

    toy.before = act
    with serving(toy) as server:
        with pytest.raises(BadInput, match=r"gives no log-probabilities for 'toy' .* reads text\."):
            run(store, choose(server))
        assert len({shown(body) for _, _, body in server.seen}) == 1
        assert len(server.seen) <= 4
    assert store.annotations() == {}


@pytest.mark.parametrize(
    ("status", "model", "hint"),
    [
        (401, "toy", "set the server's key, see --annotator-key-env"),
        (404, "toy", "check the model's name"),
        (404, "gpt-4-1106-preview", "shut down in 2026"),
        (402, "toy", r"\(HTTP 402: no\)\.$"),
    ],
)
def test_an_endpoint_that_refuses(store: Store, status: int, model: str, hint: str) -> None:
    def act(handler: Handler) -> None:
        handler.reply({"error": {"message": "no"}}, status)

    with serving(act) as server, pytest.raises(BadInput, match=hint):
        run(store, choose(server, annotator=f"openai:{model}"))


def test_an_endpoint_that_is_none(store: Store) -> None:
    with serving(ToyAnnotator()) as server:
        chosen = choose(server)
        in_words = choose(server, annotator_config="alpaca_eval_gpt4")
    with pytest.raises(BadInput, match=r"http://127\.0\.0\.1.* gives no answer at all"):
        run(store, chosen)

    def nonsense(handler: Handler) -> None:
        handler.reply({"choices": [{"message": None}]})

    sentence = "does not answer as the OpenAI protocol has it"
    with serving(nonsense) as server, pytest.raises(BadInput, match=sentence):
        run(store, choose(server, annotator_config="alpaca_eval_gpt4"))

    def down(handler: Handler) -> None:
        handler.reply({"error": {"message": "overloaded"}}, 503)

    with serving(down) as server, pytest.raises(RunFailed, match="without a usable answer"):
        run(store, choose(server))
    assert in_words.name == "alpaca_eval_gpt4:toy"


def test_fields_that_an_endpoint_does_not_take_are_left_out(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def act(handler: Handler) -> bool:
        for field in ("max_tokens", "temperature"):
            if field in handler.content:
                message = f"Unsupported parameter: '{field}'."
                if field == "max_tokens":
                    message += " Use 'max_completion_tokens' instead."
                handler.reply({"error": {"message": message}}, 400)
                return True
        return False

    with serving(ToyAnnotator(act)) as server:
        assert run(store, choose(server)) == expected()
        assert server.seen[-1][2]["max_completion_tokens"] == 1
    assert "takes no temperature" in caplog.text


# --------------------------------------------------------------------------------- resuming


def test_a_withdrawn_key_loses_nothing(store: Store) -> None:
    def act(handler: Handler) -> bool:
        if handler.number > 10:
            handler.reply({"error": {"message": "key withdrawn"}}, 403)
        return handler.number > 10

    toy = ToyAnnotator(act)
    with serving(toy) as server:
        chosen = choose(server)
        with pytest.raises(BadInput, match="key withdrawn"):
            run(store, chosen)
        kept = set(store.annotations())
        assert len(kept) >= 9 - 3  # those under way are cut off
        toy.before = None
        before = len(toy.asked)
        assert run(store, chosen) == expected()
        paid = {p.shown()[1:] for p in make_pairs(chosen, store, 0) if p.key in kept}
        assert not paid & set(toy.asked[before:])


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from bfpo_bench.helpfulness.annotate import annotate, make_pairs
from bfpo_bench.helpfulness.annotator import AnnotatorOptions, choose_annotator
from bfpo_bench.helpfulness.cost import Prices
from bfpo_bench.common.progress import Progress
from bfpo_bench.run.store import Store

store = Store(Path(sys.argv[2]))
options = AnnotatorOptions(annotator="openai:toy", annotator_url=sys.argv[3], concurrency=2)
chosen = choose_annotator(options)
pairs = make_pairs(chosen, store, 0)
annotate(pairs, chosen, Prices(), store, Progress(show=False))
"""


@pytest.mark.slow
def test_after_kill_9_only_what_is_missing_is_asked(tmp_path: Path, store: Store) -> None:
    over = threading.Event()

    def act(handler: Handler) -> bool:
        return handler.number > 12 and over.wait(100)

    toy = ToyAnnotator(act)
    with serving(toy) as server:
        arguments = [str(tmp_path / "site"), str(store.path), server.url]
        process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments])
        # All but the first, a trial, are stored while the next ones are waited for.
        deadline = time.monotonic() + 90
        while len(store.annotations()) < 12 - 1:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        over.set()
        kept = len(store.annotations())
        assert kept == 12 - 1
        toy.before = None
        before = len(toy.asked)
        assert run(store, choose(server)) == expected()
        assert len(toy.asked) - before == PAIRS - kept + 1


def test_another_annotator_stands_beside_the_first(store: Store) -> None:
    with serving(ToyAnnotator()) as server:
        run(store, choose(server))
        other = choose(server, annotator_config="alpaca_eval_gpt4")
        assert set(run(store, other)) == {1.0, 2.0}
        assert run(store, choose(server)) == expected()
    assert len(store.annotations()) == 2 * PAIRS


# ------------------------------------------------------------------------------------- cost


def test_more_than_it_may_cost_is_said_before_the_first_question(store: Store) -> None:
    with serving(ToyAnnotator()) as server:
        chosen = choose(server)
        with pytest.raises(BadInput, match=r"24 pairs .* tokens in all, more than --max-cost 100;"):
            run(store, chosen, Prices(max_cost=100))
        with pytest.raises(BadInput, match=r"0\.\d\d USD in all, more than --max-cost 0\.001"):
            run(store, chosen, Prices(price_in=30, price_out=60, max_cost=0.001))
        assert server.seen == []


def test_the_limit_holds_where_the_endpoint_counts_more_than_was_guessed(store: Store) -> None:
    toy = ToyAnnotator(tokens=499)
    with serving(toy) as server:
        chosen = choose(server)
        with pytest.raises(RunFailed, match=r"--max-cost 3000 is reached: .* are not annotated"):
            run(store, chosen, Prices(max_cost=3000))
        # 500 tokens each; up to 4 under way were promised at a twentieth of that.
        assert 5 <= len(toy.asked) - 1 <= 5 + 2 * 4
        assert len(store.annotations()) == len(toy.asked) - 1
        assert run(store, chosen) == expected()
        assert len(toy.asked) == PAIRS + 2


def test_an_endpoint_that_does_not_count_is_taken_at_the_guess(store: Store) -> None:
    toy = ToyAnnotator()

    def act(handler: Handler) -> bool:
        from tests.helpfulness.toy_annotator import choice

        handler.reply({"choices": [choice(handler.content)]})
        return True

    toy.before = act
    with serving(toy) as server:
        assert run(store, choose(server), Prices(max_cost=2000)) == expected()


@pytest.mark.parametrize(
    ("prices", "sentence"),
    [
        ({"price_in": 1.0}, "USD per million tokens read, and per"),
        ({"max_cost": -1.0}, "--max-cost must be 0 or more, not -1"),
        ({"price_in": float("nan"), "price_out": 1.0}, "--price-in must be 0 or more"),
    ],
)
def test_prices_that_are_none(prices: dict[str, float], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        Prices(**prices)


# ------------------------------------------------------------------------- choosing one


def options(annotator: str, **more: Any) -> AnnotatorOptions:
    return AnnotatorOptions(annotator=annotator, **more)


def test_names_say_configuration_and_model(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_annotator(options(OFFICIAL)).name == OFFICIAL
    assert choose_annotator(options("openai:gpt-4-1106-preview")).name == OFFICIAL
    assert choose_annotator(options("openai:gpt-4.1")).name == f"{OFFICIAL}:gpt-4.1"
    url = "http://localhost:1/v1"
    local = options("local", annotator_url=url, annotator_model="/models/a-judge")
    assert choose_annotator(local).name == f"{OFFICIAL}:a-judge"
    assert choose_annotator(options("openai:x")).where == "https://api.openai.com/v1"


def test_a_running_server_says_which_model_it_has() -> None:
    listed: list[dict[str, str]] = [{"id": "toy"}]
    status = 200

    def act(handler: Handler) -> None:
        handler.reply({"data": listed}, status)

    with serving(act) as server:
        assert choose(server, annotator="local").model == "toy"
        listed.append({"id": "other"})
        with pytest.raises(BadInput, match=r"2 models to choose from \(toy, other\)"):
            choose(server, annotator="local")
        assert choose(server, annotator="local", annotator_model="other").model == "other"
        status = 403
        with pytest.raises(BadInput, match=r"does not list its models \(HTTP 403\)"):
            choose(server, annotator="local")
    with pytest.raises(BadInput, match="no annotator answers at"):
        choose(server, annotator="local")


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (options("openai"), "needs a model's name behind it"),
        (options("openai:x", annotator_model="y"), "leave --annotator-model out"),
        (options(OFFICIAL, annotator_config=OFFICIAL), "names a configuration itself"),
        (options("local"), "needs --annotator-url URL .* or --annotator-model PATH"),
        (options("nobody"), "unknown annotator configuration"),
        (options("opnai:gpt-4.1"), r"unknown annotator 'opnai:gpt-4\.1'; write openai:gpt-4\.1"),
        (options("Local"), "unknown annotator 'Local'; write openai:MODEL .* local for"),
    ],
)
def test_annotators_that_cannot_be_had(wanted: AnnotatorOptions, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        choose_annotator(wanted)


def test_without_key_and_endpoint_it_is_said_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(BadInput, match=r"needs a key for https://api\.openai\.com/v1: set"):
        choose_annotator(options("openai:gpt-4.1"))
    with pytest.raises(BadInput, match="set AZURE_KEY in the environment"):
        choose_annotator(options("openai:gpt-4.1", annotator_key_env="AZURE_KEY"))
    # A server on this machine may do without.
    assert choose_annotator(options("openai:x", annotator_url="http://localhost:1/v1")).server
