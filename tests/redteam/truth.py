"""The toy world's truth as a ranker; docs/redteam.md shows it as an example of one's own."""

from __future__ import annotations

from bfpo_bench.toy_world.ground_truth import helpfulness


def prefer(prompt: str, first: str, second: str) -> float:
    return helpfulness(prompt, first) - helpfulness(prompt, second)
