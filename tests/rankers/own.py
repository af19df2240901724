"""Ranker functions as a user would write them, good and bad."""

from __future__ import annotations


def longer(prompt: str, first: str, second: str) -> int:
    return len(first) - len(second)


def equal(prompt: str, first: str, second: str) -> float:
    return 0.0


def not_a_number(prompt: str, first: str, second: str) -> float:
    return float("nan")


def silent(prompt: str, first: str, second: str) -> None:
    return None


def broken(prompt: str, first: str, second: str) -> float:
    raise KeyError("nothing there")


def of_two(first: str, second: str) -> float:
    return 0.0
