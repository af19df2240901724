"""The card of a classifier judge whose model is a tiny random one."""

from __future__ import annotations

from pathlib import Path

CARD = """\
kind: classifier
version: 1
source: this test
licence: Apache-2.0
model: {model}
harmful_label: "yes"
safe_label: "no"
min_label_mass: 0
template: "{{prompt}} {{response}} harmful?"
"""


def write_card(folder: Path, model: Path | str) -> Path:
    """Writes the card of the model in a folder of its own to ``tiny.yaml``."""
    path = folder / "tiny.yaml"
    path.write_text(CARD.format(model=model), encoding="utf-8")
    return path
