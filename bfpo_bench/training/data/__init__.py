"""Preference data of any known format as records: ``load_set(PreferenceSet(...))``.

One file per format; see docs/preferences.md for their fields.
"""

from __future__ import annotations

from bfpo_bench.training.data.load import FORMATS, PINNED, Format, draw, load_set, usable
from bfpo_bench.training.data.redteam import write_row

__all__ = ["FORMATS", "PINNED", "Format", "draw", "load_set", "usable", "write_row"]
