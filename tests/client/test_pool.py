"""Many questions at a time: complete, in place, bounded, and quick to stop."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfpo_bench.client import Caller, GaveUp, Malformed, Refused, Server, ask, ask_all, pool
from tests.client.fake_server import Handler, serving


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def crew() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("bfpo-remote")]


def has_gone_home() -> bool:
    """Whether no thread is left, once each has had the time that a busy machine may need."""
    for thread in crew():
        thread.join(30)
    return not crew()


def server_at(url: str, tries: int = 4) -> Server:
    return Server(url, None, timeout=60, tries=tries, first_delay=0.001, longest_delay=0.002)


def patient_server_at(url: str) -> Server:
    """Never times out before a test has decided."""
    return Server(url, None, timeout=120, tries=1)


def double(caller: Caller, number: int) -> int:
    def read(reply: object) -> int:
        if not isinstance(reply, dict) or reply.get("of") != number:
            raise Malformed("not my answer")
        return int(reply["twice"])

    return caller.post("double", {"number": number}, read)


@pytest.fixture(scope="module")
def moody() -> Iterator[str]:
    """Doubles numbers; takes its time, and fails each number up to three times first."""
    chance = random.Random(0)
    moods: dict[int, int] = {}
    lock = threading.Lock()

    def act(handler: Handler) -> None:
        number = handler.content["number"]
        answer = {"of": number, "twice": 2 * number}
        with lock:
            left = moods.setdefault(number, chance.randint(0, 3))
            moods[number] = left - 1
            if left == 0:
                del moods[number]
            fault, pause = chance.randrange(5), chance.random() * 0.01
        time.sleep(pause)
        if left == 0:
            handler.reply(answer)
        elif fault == 0:
            handler.drop()
        elif fault == 1:
            handler.half(answer)
        elif fault == 2:
            handler.reply(b"", 429, Retry_After="0")
        elif fault == 3:
            handler.reply({"of": number + 1, "twice": 0})
        else:
            handler.reply(b"{", 200)

    with serving(act) as server:
        yield server.url


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(0, 10**6), unique=True, max_size=40),
    st.integers(1, 20),
)
def test_answers_are_complete_and_in_place_whatever_their_order(
    moody: str, numbers: list[int], limit: int
) -> None:
    found = [p for b in ask_all(server_at(moody), enumerate(numbers), double, limit) for p in b]
    assert len(found) == len(numbers)
    assert dict(found) == {place: 2 * number for place, number in enumerate(numbers)}


def test_no_more_than_the_limit_at_a_time_and_no_more_than_a_window_read_ahead() -> None:
    lock, full = threading.Lock(), threading.Event()
    inside = most_inside = 0
    read = answered = most_ahead = 0

    def act(handler: Handler) -> None:
        nonlocal inside, most_inside, answered
        with lock:
            inside += 1
            most_inside = max(most_inside, inside)
            if inside == 5:
                full.set()
        # The first ones wait for each other; a sixth would have its time to come.
        full.wait(30)
        time.sleep(0.003)
        with lock:
            inside -= 1
            answered += 1
        handler.reply({"of": handler.content["number"], "twice": 0})

    def numbers() -> Iterator[tuple[int, int]]:
        nonlocal read, most_ahead
        for number in range(200):
            read += 1
            most_ahead = max(most_ahead, read - answered)
            yield number, number

    with serving(act) as server:
        answers = [a for b in ask_all(server_at(server.url), numbers(), double, 5) for a in b]
    assert len(answers) == 200
    assert most_inside == 5
    # One in hand and one in the queue for each of five.
    assert most_ahead <= 10


def test_answers_are_handed_out_while_others_are_waited_for() -> None:
    release = threading.Event()

    def act(handler: Handler) -> None:
        number = handler.content["number"]
        if number == 0:
            release.wait(60)
        handler.reply({"of": number, "twice": 2 * number})

    with serving(act) as server:
        batches = ask_all(patient_server_at(server.url), enumerate(range(9)), double, 4)
        first = next(batches)
        assert 0 < len(first) < 9
        assert 0 not in dict(first)
        release.set()
        rest = [pair for batch in batches for pair in batch]
    assert dict(first + rest) == {number: 2 * number for number in range(9)}


def test_what_is_answered_is_handed_out_before_a_failure_is_raised() -> None:
    all_else_is_kept, over = threading.Event(), threading.Event()

    def act(handler: Handler) -> None:
        number = handler.content["number"]
        if number == 20:
            all_else_is_kept.wait(60)
            handler.reply({"error": "no"}, 400)
        elif number == 21:
            # One of the two threads is at 20: the other is done with all that came before.
            all_else_is_kept.set()
            over.wait(60)
        else:
            handler.reply({"of": number, "twice": 2 * number})

    found: list[tuple[int, int]] = []
    with serving(act) as server:
        stream = ask_all(patient_server_at(server.url), enumerate(range(22)), double, 2)
        with pytest.raises(Refused):
            found.extend(pair for batch in stream for pair in batch)
        over.set()
    assert dict(found) == {number: 2 * number for number in range(20)}


def test_an_interrupt_or_a_failure_stops_everything_at_once() -> None:
    release = threading.Event()
    waited_out: list[int] = []

    def act(handler: Handler) -> None:
        number = handler.content["number"]
        if number == 0:
            handler.reply(b"", 400)
            return
        if number == 1008:
            press_ctrl_c()
        if not release.wait(120):
            waited_out.append(number)

    with serving(act) as server:
        patient = patient_server_at(server.url)
        with pytest.raises(Refused):
            list(ask_all(patient, enumerate(range(40)), double, 8))
        assert has_gone_home()
        stream = ask_all(patient, ((n, n + 1001) for n in range(40)), double, 8)
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        assert has_gone_home()
        # Eight questions were under way each time; nobody stayed for an answer.
        assert waited_out == []
        release.set()


def test_waiting_for_another_try_stops_too() -> None:
    def act(handler: Handler) -> None:
        handler.reply(b"", 503, Retry_After="600")
        if handler.number == 2:
            press_ctrl_c()

    with serving(act) as server:
        stream = ask_all(server_at(server.url), [(0, 0), (1, 1)], double, 2)
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        assert has_gone_home()
        assert len(server.seen) == 2


@pytest.mark.parametrize("place", ["waiting", "reading"])
def test_what_is_answered_is_handed_out_before_an_interrupt(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of four tasks is answered, then Ctrl-C comes, then nothing more."""
    monkeypatch.setattr(pool, "HAND_OUT_SECONDS", 60.0)  # nothing is handed out before that
    taken, ended = threading.Event(), threading.Event()

    def act(handler: Handler) -> None:
        number = handler.content["number"]
        if number == 0:
            handler.reply({"of": 0, "twice": 0})
            return
        if number == 1 and taken.wait(60):
            press_ctrl_c()
        ended.wait(60)

    def numbers() -> Iterator[tuple[int, int]]:
        yield from enumerate(range(4))
        # There is room for a fifth: the first answer has been taken.
        if place == "reading":
            press_ctrl_c()
        taken.set()
        yield 4, 4

    with serving(act) as server:
        stream = ask_all(patient_server_at(server.url), numbers(), double, 2)
        found: list[tuple[int, int]] = []
        try:
            with pytest.raises(KeyboardInterrupt):
                found.extend(answer for batch in stream for answer in batch)
        finally:
            ended.set()
        assert found == [(0, 0)]
        assert has_gone_home()


def test_one_question() -> None:
    with serving(lambda handler: handler.reply({"of": 4, "twice": 8})) as server:
        assert ask(server_at(server.url), lambda caller: double(caller, 4)) == 8
        with pytest.raises(GaveUp, match="not my answer"):
            ask(server_at(server.url, tries=2), lambda caller: double(caller, 5))
