"""From a ranker's name to the ranker. Loads no weights and contacts nobody."""

from __future__ import annotations

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.rankers.protocol import ChosenRanker, RankerOptions

KINDS = ("pairrm", "reward:PATH", "openai:MODEL", "length", "package.module:function")


def choose_ranker(options: RankerOptions) -> ChosenRanker:
    """Finds a ranker.

    Raises:
        BadInput: no such ranker, or its model, server or function cannot be had.
    """
    kind, colon, rest = options.ranker.partition(":")
    if kind != "openai" and options.ranker_url is not None:
        raise BadInput(
            f"ranker {options.ranker!r} asks no server; leave --ranker-url out or name one that "
            "does, openai:MODEL."
        )
    if colon and not rest.strip():
        raise BadInput(
            f"ranker {options.ranker!r} breaks off after its colon; give one of {', '.join(KINDS)}."
        )
    if options.ranker == "length":
        from bfpo_bench.rankers.length import LengthRanker

        return LengthRanker()
    if kind == "pairrm":
        from bfpo_bench.rankers.pairrm import choose_pairrm

        return choose_pairrm(options, rest or None)
    if kind == "reward" and rest:
        from bfpo_bench.rankers.reward import choose_reward

        return choose_reward(options, rest)
    if kind == "openai" and rest:
        from bfpo_bench.rankers.chat_model import choose_served

        return choose_served(options, rest)
    if colon:
        from bfpo_bench.rankers.function import choose_function

        return choose_function(options.ranker)
    raise unknown_name("ranker", options.ranker, KINDS)
