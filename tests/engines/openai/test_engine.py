"""The `openai` engine against a toy server whose numbers are known."""

from __future__ import annotations

import logging
import math
import os
import random
import signal
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bfpo_bench.client import Secret, Server
from bfpo_bench.common.errors import BadInput, BenchError, RunFailed
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import GenerateRequest, NonFiniteLogits, ScoreRequest
from bfpo_bench.engines.openai import dialect as dialect_module
from bfpo_bench.engines.openai.engine import OpenAIEngine, OpenAIOptions
from bfpo_bench.engines.protocol import Score
from bfpo_bench.engines.tokenization import encode, encode_pairs, load_tokenizer
from tests.client.clock import Clock
from tests.client.fake_server import FakeServer, Handler, serving
from tests.engines.asked import TWO_BYTES, answers, sentence
from tests.engines.openai.toy_openai import MODEL, Toy, is_best, logprob, response

KEY = "sk-planted-9f8e7d6c5b4a"
CHAT = GenerateRequest("", Sampling(9), 3, (("user", "Hello"),))


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Any:
    return load_tokenizer(tiny_llama)


def engine_at(server: FakeServer, **options: Any) -> OpenAIEngine:
    key = options.pop("key", None)
    patience = Server(server.url, key, timeout=60, first_delay=0.001, longest_delay=0.002)
    return OpenAIEngine(OpenAIOptions(patience, options.pop("model", MODEL), **options))


def score_requests(count: int, seed: int = 0) -> list[ScoreRequest]:
    rng = random.Random(seed)
    words = partial(sentence, rng, words=TWO_BYTES)
    return [ScoreRequest(words(0, 9), " " + words(1, 4), n) for n in range(count)]


# ------------------------------------------------------------------------ scores


def check_score(tokenizer: Any, request: ScoreRequest, found: Score) -> None:
    """Whether a score is what the toy model thinks of the continuation's own tokens."""
    _, ids = encode_pairs(tokenizer, [(request.context, request.continuation)])[0]
    tokens = [f"token_id:{i}" for i in ids]
    assert found.loglikelihood == pytest.approx(sum(map(logprob, tokens)))
    assert found.is_greedy == all(map(is_best, tokens))


def test_scores_by_ids_are_of_the_tokens_that_other_engines_score(
    tiny_llama: Path, tokenizer: Any
) -> None:
    requests = score_requests(40, seed=1)
    with serving(Toy(tokenizer)) as server:
        found = answers(engine_at(server, tokenizer=tiny_llama).score(requests))
        assert all(isinstance(body["prompt"], list) for _, _, body in server.seen[2:])
    for index, request in enumerate(requests):
        check_score(tokenizer, request, found[index])


def test_contexts_are_cut_to_the_servers_window(tiny_llama: Path, tokenizer: Any) -> None:
    long = ScoreRequest("paint " * 300, "mine", 0)
    toy = Toy(tokenizer)
    toy.window = 128
    with serving(toy) as server:
        engine = engine_at(server, tokenizer=tiny_llama)
        assert engine.max_length == 128
        [[(_, score)]] = engine.score([long])
        context, continuation = encode_pairs(tokenizer, [(long.context, long.continuation)])[0]
        # One token is generated, so 127 are left.
        assert score.cut_tokens == len(context) + len(continuation) - 127
        [[(_, answer)]] = engine.respond([GenerateRequest(long.context, Sampling(28), 0)])
        assert answer.prompt_tokens == 100
        assert answer.cut_tokens == len(encode(tokenizer, long.context)) - 100
        with pytest.raises(BadInput, match=r"too long .* 128 tokens"):
            list(engine_at(server).respond([GenerateRequest(long.context, Sampling(28), 0)]))


# --------------------------------------------------------------------- responses


def test_requests_carry_their_own_settings() -> None:
    drawn = GenerateRequest("a", Sampling(9, 0.7, 0.95, ("\n\n",)), (5 << 31) + 3)
    chat = GenerateRequest("…", Sampling(4), 8, (("system", "Be kind."), ("user", "Hello")))
    with serving(Toy()) as server:
        found = answers(engine_at(server).respond([drawn, chat]))
        bodies = {path: body for path, _, body in server.seen}
        text, talk = bodies["/v1/completions"], bodies["/v1/chat/completions"]
    neutral = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    drawing = {"temperature": 0.7, "top_p": 0.95, "max_tokens": 9, "stop": ["\n\n"], "seed": 3}
    assert text == {"model": MODEL, "prompt": "a", **drawing, **neutral}
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    drawing = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 4, "seed": 8}
    assert talk == {"model": MODEL, "messages": messages, **drawing, **neutral}
    assert found[0].text == response("a", 3)
    assert found[1].text == response(messages, 8)
    assert (found[1].tokens, found[1].prompt_tokens) == (2, 7)


def test_a_server_is_asked_only_what_it_takes(caplog: pytest.LogCaptureFixture) -> None:
    request = GenerateRequest("", Sampling(9, 0.7), 3, (("user", "Hello"),))
    toy = Toy()
    toy.unknown = {"top_k", "min_p", "repetition_penalty", "seed"}
    with serving(toy) as server, caplog.at_level(logging.WARNING):
        engine = engine_at(server)
        assert len(answers(engine.respond([request] * 3))) == 3
        # One try for each field that is not taken, the trial that works, three requests.
        assert len(server.seen) == 1 + 4 + 1 + 3
    assert "no seed" in caplog.text


def test_newer_names_of_the_length_limit_are_found() -> None:
    def act(handler: Handler) -> None:
        if handler.content and "max_tokens" in handler.content:
            message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            handler.reply({"error": {"message": message}}, 400)
        else:
            Toy()(handler)

    with serving(act) as server:
        answers(engine_at(server).respond([CHAT]))
        assert server.seen[-1][2]["max_completion_tokens"] == 9


def test_a_providers_filter_makes_an_empty_response() -> None:
    def act(handler: Handler) -> None:
        if handler.content and "bad" in str(handler.content.get("messages")):
            handler.reply({"error": {"message": "filtered", "code": "content_filter"}}, 400)
        else:
            Toy()(handler)

    prompts = [
        GenerateRequest("", Sampling(9), 3, (("user", word),)) for word in ("good", "bad", "good")
    ]
    with serving(act) as server:
        found = answers(engine_at(server).respond(prompts))
    assert [found[i].finish for i in range(3)] == ["stop", "content_filter", "stop"]
    assert found[1].text == ""


# ------------------------------------------------------------------------ judges


def test_label_logprobs(tiny_llama: Path, tokenizer: Any) -> None:
    with serving(Toy(tokenizer)) as server:
        engine = engine_at(server, tokenizer=tiny_llama)
        for _ in range(2):
            found = engine.label_logprobs(["is it", "borrow"], [7, 30])
            assert found == [[logprob("7"), logprob("30")]] * 2
        # Models, one trial, two prompts twice.
        assert len(server.seen) == 6
        assert server.seen[-1][2]["prompt"] in [encode(tokenizer, t) for t in ("is it", "borrow")]
        assert engine.label_logprobs([], [7]) == []
        with pytest.raises(BadInput) as caught:
            engine_at(server).label_logprobs(["is it"], [7])
    assert str(caught.value) == (
        "a classifier judge on a server needs the served model's tokenizer: its labels are tokens, "
        "and its questions are measured in them; give its folder."
    )


def test_judges_need_a_server_that_names_tokens(tiny_llama: Path, tokenizer: Any) -> None:
    toy = Toy(tokenizer)
    toy.unknown = {"return_tokens_as_token_ids", "logprob_token_ids"}
    with serving(toy) as server, pytest.raises(BadInput, match="cannot serve a classifier judge"):
        engine_at(server, tokenizer=tiny_llama).label_logprobs(["is it"], [7])


# --------------------------------------------------- servers that cannot, or will not


def refuse(status: int, message: str) -> Callable[[Handler], None]:
    def act(handler: Handler) -> None:
        if handler.path == "/v1/completions":
            handler.reply({"error": {"message": message}}, status)
        else:
            Toy()(handler)

    return act


def alter(change: Callable[[dict[str, Any]], Any]) -> Callable[[Handler], None]:
    """A server whose completions are changed on their way out."""

    def act(handler: Handler) -> None:
        send = handler.reply

        def changed(content: Any, status: int = 200, **headers: str) -> None:
            if "choices" in content:
                change(content)
            send(content, status, **headers)

        handler.reply = changed  # type: ignore[method-assign]
        Toy()(handler)

    return act


def only_generated(reply: dict[str, Any]) -> None:
    """As llama.cpp's server does: `echo` is overlooked."""
    for values in (listed := reply["choices"][0]["logprobs"]):
        listed[values] = listed[values][-1:]


@pytest.mark.parametrize(
    ("act", "seen"),
    [
        (refuse(404, "This is a chat model"), "HTTP 404, 'This is a chat model'"),
        (refuse(400, "echo is not supported"), "HTTP 400, 'echo is not supported'"),
        (refuse(500, "Unsupported param: echo"), "Unsupported param: echo"),
        (refuse(501, ""), "HTTP 501"),
        (alter(only_generated), r"log-probabilities of 1 tokens for a prompt of \d+"),
        (alter(lambda r: r["choices"][0].pop("logprobs")), "logprobs is no JSON object"),
        (
            alter(lambda r: r["choices"][0]["logprobs"].update(token_logprobs=[0.0] * 17)),
            "all 0|different lengths",
        ),
    ],
)
def test_a_server_without_logprobs_is_found_out_by_a_trial(
    monkeypatch: pytest.MonkeyPatch,
    tiny_llama: Path,
    act: Callable[[Handler], None],
    seen: str,
) -> None:
    monkeypatch.setattr(dialect_module, "PROBE_TRIES", 2)
    with serving(act) as server:
        with pytest.raises(BadInput, match=seen) as caught:
            engine_at(server, tokenizer=tiny_llama).check(score_requests(500), [])
        assert str(caught.value).startswith(
            f"{server.url} gives no log-probabilities of a prompt (asked for completions with echo "
            "and logprobs, got: "
        )
        assert "--tasks gen" in str(caught.value)
        assert len(server.seen) <= 5


def test_servers_that_take_no_token_ids(tiny_llama: Path) -> None:
    toy = Toy(load_tokenizer(tiny_llama))

    def act(handler: Handler) -> None:
        if handler.content and isinstance(handler.content.get("prompt"), list):
            handler.reply({"error": {"message": "prompt must be a string"}}, 400)
        else:
            toy(handler)

    with serving(act) as server, pytest.raises(BadInput) as caught:
        engine_at(server, tokenizer=tiny_llama).check(score_requests(1), [])
    assert str(caught.value) == (
        f"{server.url} takes no prompt as token ids (HTTP 400: prompt must be a string); only "
        "the generative tasks can run against it (--tasks gen); for the others serve the model "
        "with vLLM, or use --backend hf or vllm."
    )


def test_scoring_needs_the_served_models_tokenizer() -> None:
    with serving(Toy()) as server, pytest.raises(BadInput) as caught:
        engine_at(server).check(score_requests(1), [])
    assert str(caught.value) == (
        f"scoring with {server.url} needs the served model's tokenizer, so that the very tokens "
        "are scored that other backends score; give its folder or hub id with --tokenizer, or run "
        "the generative tasks alone with --tasks gen."
    )


def test_the_tokenizer_must_be_the_servers(tiny_llama: Path, tokenizer: Any) -> None:
    from bfpo_bench.toy_world.fit import build_tokenizer

    with serving(Toy(build_tokenizer(vocab_size=600))) as server:
        engine = engine_at(server, tokenizer=tiny_llama)
        with pytest.raises(BadInput, match=r"tokenizer given is not that of 'toy'"):
            list(engine.score(score_requests(3)))


def test_an_unknown_model_is_named_with_its_nearest(tiny_llama: Path) -> None:
    with serving(Toy()) as server:
        engine = engine_at(server, model="toys", tokenizer=tiny_llama)
        with pytest.raises(BadInput) as caught:
            engine.check(score_requests(3), [])
        assert str(caught.value) == f"unknown model at {server.url} 'toys'; did you mean 'toy'?"
        with pytest.raises(BadInput, match="'toys'; did you mean 'toy'"):
            engine.check([], [CHAT])


def test_servers_of_another_protocol() -> None:
    def act(handler: Handler) -> None:
        if handler.path == "/v1/chat/completions":
            handler.reply({"reply": "Hello there"})
        else:
            Toy()(handler)

    with serving(act) as server, pytest.raises(BadInput) as caught:
        engine_at(server).check([], [CHAT])
    assert f"{server.url}/chat/completions does not answer by the OpenAI protocol (" in str(
        caught.value
    )
    assert str(caught.value).endswith("; check --base-url.")


def test_a_model_without_chat_template_runs_on_plain_prompts() -> None:
    message = "default chat template is no longer allowed, so you must provide a chat template"

    def act(handler: Handler) -> None:
        if handler.path == "/v1/chat/completions":
            handler.reply({"error": {"message": message}}, 400)
        else:
            Toy()(handler)

    with serving(act) as server, pytest.raises(BadInput, match="--chat-template never"):
        engine_at(server).check([], [GenerateRequest("", Sampling(), 0, (("user", "Hello"),))])


def test_nothing_but_nan_is_noticed(tiny_llama: Path, tokenizer: Any) -> None:
    """vLLM's server fails to write such log-probabilities, but responds without them."""
    message = "Out of range float values are not JSON compliant"

    def act(handler: Handler) -> None:
        if handler.content and handler.content.get("logprobs"):
            handler.reply({"error": {"message": message}}, 400)
        else:
            toy(handler)

    toy = Toy(tokenizer)
    requests = score_requests(3)
    prompts = [GenerateRequest("", Sampling(), 0, (("user", "Hello"),))] * 3
    with serving(act) as server:
        engine = engine_at(server, tokenizer=tiny_llama)
        found = answers(engine.score(requests, {0}))
        assert list(found) == [1]
        assert math.isnan(found[1].loglikelihood)
        with pytest.raises(NonFiniteLogits) as caught:
            list(engine.respond(prompts, {0}))
        assert caught.value.index == 1
        for scores, some in ((requests, []), ([], prompts)):
            with pytest.raises(RunFailed, match="NaN"):
                engine.check(scores, some)
        with pytest.raises(RunFailed) as failed:
            engine.label_logprobs(["is it"], [7])
        assert str(failed.value) == (
            f"the log-probabilities of 'toy' at {server.url} are NaN or infinite; its weights "
            "are damaged or its numbers overflow (serve it in float32 or bfloat16)."
        )


def test_nan_in_the_middle_is_a_score_that_is_no_number(tiny_llama: Path, tokenizer: Any) -> None:
    toy = Toy(tokenizer)
    broken = encode(tokenizer, "it is yours")

    def act(handler: Handler) -> None:
        if handler.content and handler.content["prompt"] == broken:
            handler.reply({"error": {"message": "values are not JSON compliant"}}, 400)
        else:
            toy(handler)

    requests = [ScoreRequest("it is", more, 0) for more in (" mine", " yours")]
    with serving(act) as server:
        found = answers(engine_at(server, tokenizer=tiny_llama).score(requests))
    assert [math.isnan(found[i].loglikelihood) for i in (0, 1)] == [False, True]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_says_where_to_put_it(status: int) -> None:
    with (
        serving(lambda handler: handler.reply(b"", status)) as server,
        pytest.raises(BadInput, match="OPENAI_API_KEY"),
    ):
        engine_at(server)


def test_nobody_there_is_said_at_once() -> None:
    with serving(Toy()) as server:
        pass
    with pytest.raises(BadInput) as caught:
        engine_at(server)
    assert str(caught.value).startswith(f"no server answers at {server.url} (")
    assert str(caught.value).endswith("); start it, or correct --base-url.")


def test_no_list_of_models_is_no_hindrance() -> None:
    def act(handler: Handler) -> None:
        if handler.path == "/v1/models":
            handler.reply(b"<html>", 404 if handler.number == 1 else 200)
        else:
            Toy()(handler)

    with serving(act) as server:
        for _ in range(2):
            engine = engine_at(server)
            assert engine.max_length >= 1 << 20
            asked = [GenerateRequest("a", Sampling(), n) for n in range(3)]
            assert len(answers(engine.respond(asked))) == 3


# ---------------------------------------------------------------------- mishaps


class Moody(Toy):
    """Fails every request up to three times, each time in another way, and answers at leisure."""

    def __init__(self, seed: int, tokenizer: Any) -> None:
        super().__init__(tokenizer)
        self.chance = random.Random(seed)
        self.left: dict[str, int] = {}
        self.lock = threading.Lock()

    def __call__(self, handler: Handler) -> None:
        with self.lock:
            name = str(handler.content)
            left = self.left.setdefault(name, self.chance.randint(0, 3))
            self.left[name] = left - 1
            fault, pause = self.chance.randrange(7), self.chance.random() * 0.01
        time.sleep(pause)
        if left <= 0 or handler.content is None:
            super().__call__(handler)
        elif fault == 0:
            handler.drop()
        elif fault == 1:
            handler.reply({"error": {"message": "slow down"}}, 429, Retry_After="0")
        elif fault == 2:
            handler.reply(b"", 503)
        elif fault == 3:
            handler.half({"choices": [{"text": "x" * 100}]})
        elif fault == 4:
            handler.reply(b'{"choices": [{"text": "cut o')
        elif fault == 5:
            handler.reply({"choices": [{"text": None, "logprobs": None}]})
        else:
            handler.reply({"choices": []})


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 2**32), st.integers(1, 24), st.sets(st.integers(0, 29)))
def test_answers_of_a_failing_server_are_complete_and_in_place(
    tiny_llama: Path, tokenizer: Any, seed: int, concurrency: int, done: set[int]
) -> None:
    # What the trial requests see is another test's matter.
    toy = Toy(tokenizer)
    moody = Moody(seed, tokenizer)
    scores = score_requests(30, seed)
    prompts = [
        GenerateRequest(f"p{n}", Sampling(5), n, (("user", f"p{n}"),) if n % 2 else None)
        for n in range(30)
    ]
    with serving(lambda handler: toy(handler)) as server:
        engine = engine_at(server, tokenizer=tiny_llama, concurrency=concurrency)
        engine.check(scores, prompts)
        toy = moody
        scored = answers(engine.score(scores, done))
        responses = answers(engine.respond(prompts, done))
    assert set(scored) == set(responses) == set(range(30)) - done
    for index, score in scored.items():
        check_score(tokenizer, scores[index], score)
    for index, answer in responses.items():
        said = [{"role": "user", "content": f"p{index}"}]
        asked = said if index % 2 else encode(tokenizer, f"p{index}")
        assert answer.text == response(asked, index)


def test_nothing_is_asked_when_everything_is_known() -> None:
    with serving(Toy()) as server:
        engine = engine_at(server)
        assert list(engine.score(score_requests(5), range(5))) == []
        assert list(engine.respond([GenerateRequest("a", Sampling(), 0)], {0})) == []
        assert len(server.seen) == 1


# --------------------------------------------------------------------- the key


def rendered(error: BaseException | None) -> str:
    """All that any tool could print of an error: with locals, and with what it hides."""
    text = ""
    while error is not None:
        one = traceback.TracebackException.from_exception(error, capture_locals=True, compact=False)
        text += "".join(one.format()) + repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__
    return text


def echo_key(handler: Handler) -> None:
    """A server that quotes the key wherever it can."""
    sent = handler.headers["Authorization"]
    where = handler.number % 4
    if where == 0:
        handler.reply({"error": {"message": f"wrong: {sent}", "code": sent}}, 400)
    elif where == 1:
        handler.reply({"error": {"message": f"busy: {sent}", "code": sent}}, 429)
    elif where == 2:
        handler.reply({"error": sent})
    else:
        handler.reply(sent.encode(), 302, Location=f"http://far.example/?{sent}")


def mishaps(clock: Clock | None = None) -> dict[str, Callable[[Handler], None]]:
    def lag(handler: Handler) -> None:
        """Says nothing until the client has lost its patience, which is after 60 seconds."""
        if clock is not None:
            clock.ahead += 120
        handler.rfile.read(1)

    return {
        "quoting": echo_key,
        "dropping": Handler.drop,
        "failing": lambda handler: handler.reply(b"", 500),
        "refusing": lambda handler: handler.reply(b"no", 401),
        "cutting": lambda handler: handler.half({"choices": []}),
        "babbling": lambda handler: handler.reply(handler.headers["Authorization"].encode()),
        "lagging": lag,
    }


@pytest.mark.parametrize("mishap", mishaps())
def test_the_key_is_never_seen(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tiny_llama: Path,
    tokenizer: Any,
    mishap: str,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(dialect_module, "PROBE_TRIES", 2)
    prompts = [GenerateRequest("", Sampling(), 0, (("user", "Hello"),))]
    clock, raised = Clock(monkeypatch), []
    toy: Callable[[Handler], None] = Toy(tokenizer)
    with caplog.at_level(logging.DEBUG), serving(lambda handler: toy(handler)) as server:
        patience = Server(
            server.url,
            Secret.from_environment("OPENAI_API_KEY"),
            timeout=60,
            tries=4,
            first_delay=0.001,
            longest_delay=0.002,
        )
        options = OpenAIOptions(patience, MODEL, tiny_llama)
        engine = OpenAIEngine(options)
        engine.check(score_requests(1), prompts)
        fresh = OpenAIEngine(options)
        assert server.seen[-1][1]["authorization"] == f"Bearer {KEY}"
        toy = mishaps(clock)[mishap]
        for attempt in (
            lambda: list(engine.score(score_requests(3))),
            lambda: list(engine.respond(prompts)),
            lambda: fresh.check(score_requests(3), []),
            lambda: fresh.check([], prompts),
            lambda: OpenAIEngine(options),
        ):
            try:
                attempt()
            except BenchError as error:
                raised.append(rendered(error))
    assert len(raised) >= 4
    shown = "".join(
        [*raised, caplog.text, *capfd.readouterr()]
        + [f"{x!r}{x}{getattr(x, '__dict__', '')}" for x in (engine, options, patience)]
        + [repr(options.identity())]
    )
    assert "Hello" in shown, "locals are rendered"
    assert KEY not in shown
    assert KEY[3:] not in shown
    assert not [record for record in caplog.records if record.name.startswith("httpx")]


def test_an_interrupted_question_does_not_show_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames that Ctrl-C hits are not those that hold the request's headers."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    release = threading.Event()
    waits: list[bool] = []

    def act(handler: Handler) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        waits.append(release.wait(60))

    with serving(act) as server:
        with pytest.raises(KeyboardInterrupt) as caught:
            engine_at(server, key=Secret.from_environment("OPENAI_API_KEY"))
        assert waits == [], "the answer was not waited for"
        release.set()
    shown = rendered(caught.value)
    assert "Secret(***)" in shown
    assert KEY not in shown


def test_a_failed_run_names_the_address_and_the_last_error(
    tiny_llama: Path, tokenizer: Any
) -> None:
    toy: Callable[[Handler], None] = Toy(tokenizer)
    with serving(lambda handler: toy(handler)) as server:
        engine = engine_at(server, tokenizer=tiny_llama)
        engine.check(score_requests(1), [])
        toy = mishaps()["failing"]
        with pytest.raises(RunFailed) as caught:
            list(engine.score(score_requests(3)))
    assert str(caught.value) == (
        f"{server.url}/completions was asked 10 times without a usable answer (last: HTTP 500); "
        "check the server, then run the same command again to go on."
    )
