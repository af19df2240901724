"""The declared sources: where each is had, how many rows it has, and the digest of its rows.

Row counts are those that the paper's printed percentages fit, or the publisher's own. Digests were
computed from whole published copies; a source without one says so. What could not be confirmed
against the hub itself is marked "assumed".

Hub ids and configurations are those of lm-evaluation-harness 0.4's stock tasks, except where these
cannot be loaded any more. A revision is named where no digest would notice that the data moved.
"""

from __future__ import annotations

from bfpo_bench.data.declared_prompts import PROMPTS
from bfpo_bench.data.declared_scored import SCORED
from bfpo_bench.data.source import Source

SOURCES: dict[str, Source] = {source.name: source for source in (*SCORED, *PROMPTS)}
"""Every declared source by name, in the order of the paper's columns."""
