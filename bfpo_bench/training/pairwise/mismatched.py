"""Responses to other prompts: what tells how far the policy has gone from the reference.

KTO (Ethayarajh et al. 2024, arXiv 2402.01306, Section 4.1) measures every response against a
reference point, KL(π ‖ π_ref) as the policy is now. Nobody samples from the policy for it: it is
estimated by the mean of log π(y'|x)/π_ref(y'|x) over prompts x with responses y' to others, in
every micro-batch. The paper and TRL take the next one's response there. Here each row gets a
response drawn once by the seed from among all others, so that the reference model has to see it
only once, and a micro-batch may be a single row.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.tokenize import TokenPair
from bfpo_bench.training.pairwise.loss_by_name import reads
from bfpo_bench.training.pairwise.losses import Loss


def mismatched_pairs(
    loss: Loss,
    pairs: Sequence[TokenPair],
    seed: int,
    longest: int,
    others: Sequence[TokenPair] | None = None,
) -> list[TokenPair]:
    """Each row's prompt with a response to another prompt, which stands as the chosen one.

    Args:
        loss: what it is for; where that does not read the divergence there are none.
        seed: of the draw.
        longest: tokens of prompt and response together; a response is cut at its end.
        others: rows that responses are drawn from; None for these.

    Raises:
        BadInput: all rows have one prompt.
    """
    if not reads(loss, "divergence"):
        return []
    others = others or pairs
    if all(other.prompt == others[0].prompt for other in others):
        raise BadInput(
            "the loss measures responses against the divergence of the policy from the reference, "
            "which responses to other prompts tell, and all rows have the same prompt; add others."
        )
    rng = random.Random(seed)
    found = []
    for pair in pairs:
        other = pair
        while other.prompt == pair.prompt:
            other = others[int(rng.random() * len(others))]
        both = (other.chosen, other.chosen_weights), (other.rejected, other.rejected_weights)
        responses = [one for one in both if one[0]]
        ids, weights = responses[int(rng.random() * len(responses))]
        room = longest - len(pair.prompt)
        drawn = replace(pair, chosen=ids[:room], chosen_weights=weights and weights[:room])
        found.append(replace(drawn, rejected=[], rejected_weights=None, margin=None))
    return found
