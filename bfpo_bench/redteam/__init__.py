"""Red teaming (Section 4.3): a model's own harmful responses as preference data to train on.

    from bfpo_bench.redteam import RedteamOptions, redteam

    summary = redteam(RedteamOptions(model="sft", prompts="advbench", judge="keyword",
                                     ranker="pairrm", output=Path("pairs.jsonl")))

See docs/redteam.md.
"""

from bfpo_bench.redteam.request import RedteamOptions
from bfpo_bench.redteam.run import redteam
from bfpo_bench.redteam.summary import Summary

__all__ = ["RedteamOptions", "Summary", "redteam"]
