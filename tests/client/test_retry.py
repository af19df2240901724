"""When a server is asked again: closed forms and RFC 9110's examples."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from bfpo_bench.client.retry import backoff, retry_after, worth_another_try


@pytest.mark.parametrize("attempt", [1, 2, 3, 6, 7, 20, 5000])
def test_backoff_doubles_up_to_a_limit_and_varies(attempt: int) -> None:
    whole = min(60.0, 2.0 ** min(attempt - 1, 60))
    drawn = [backoff(attempt, 1.0, 60.0) for _ in range(200)]
    assert whole / 2 <= min(drawn) < max(drawn) <= whole


def test_waiting_leaves_seeded_random_numbers_alone() -> None:
    import random

    random.seed(7)
    expected = random.random()
    random.seed(7)
    backoff(3, 1.0, 60.0)
    assert random.random() == expected


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120), ("0", 0), ("1.5", 1.5), ("-3", 0), ("", None), ("soon", None)],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}) == seconds


@pytest.mark.parametrize("value", ["inf", "nan", "1e999", "Fri, 99 Foo 2026 25:00:00 GMT"])
def test_retry_after_that_is_no_time(value: str) -> None:
    assert retry_after({"retry-after": value}) is None


def test_retry_after_as_a_date_counts_by_the_servers_clock() -> None:
    headers = {
        "retry-after": "Fri, 31 Dec 1999 23:59:59 GMT",
        "date": "Fri, 31 Dec 1999 23:59:29 GMT",
    }
    assert retry_after(headers) == 30
    assert retry_after({"retry-after": headers["retry-after"]}) == 0
    soon = formatdate(time.time() + 40, usegmt=True)
    assert retry_after({"retry-after": soon}) == pytest.approx(40, abs=2)


def test_which_failures_are_worth_another_try() -> None:
    again = [status for status in range(100, 600) if worth_another_try(status)]
    assert again == [408, 429, 500, *range(502, 600)]
