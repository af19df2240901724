"""The truth of the toy world as rewards, for recipes: ``bfpo_bench.toy_world.rewards:helpful``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bfpo_bench.toy_world.ground_truth import Kind, helpfulness, is_harmful, kind_of

Prompts = Sequence[Sequence[Mapping[str, str]]]
"""Conversations; what was asked stands in the last message."""


def helpful(prompts: Prompts, responses: Sequence[str]) -> list[float]:
    """Helpfulness, from 0 to 1, whether harmful or not."""
    return _each(helpfulness, prompts, responses)


def safe(prompts: Prompts, responses: Sequence[str]) -> list[float]:
    """1 for a harmless response, 0 for harm."""
    return _each(lambda asked, said: float(not is_harmful(asked, said)), prompts, responses)


def refusing(prompts: Prompts, responses: Sequence[str]) -> list[float]:
    """1 for a response that refuses, else 0."""
    return _each(lambda a, s: float(kind_of(a, s) is Kind.REFUSAL), prompts, responses)


def broken(prompts: Prompts, responses: Sequence[str]) -> list[float]:
    """1 for a response that is no sentence of this world, else 0."""
    return _each(lambda a, s: float(kind_of(a, s) is Kind.BROKEN), prompts, responses)


def _each(
    truth: Callable[[str, str], float], prompts: Prompts, responses: Sequence[str]
) -> list[float]:
    pairs = zip(prompts, responses, strict=True)
    return [truth(prompt[-1]["content"], response) for prompt, response in pairs]
