"""The methods that the tour and the study compare, by the name of their toy recipe."""

from __future__ import annotations

METHODS = ("dpo-h", "dpo-s", "dpo", "ipo", "bfpo", "morl")
