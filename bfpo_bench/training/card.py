"""The model card of a trained checkpoint."""

from __future__ import annotations

import json
from typing import Any

import yaml


def model_card(record: dict[str, Any]) -> str:
    """Markdown for the ``README.md`` beside the weights.

    Args:
        record: content of ``training.json``.
    """
    sets = "\n".join(
        f"| {one['name']} | {one['pairs']:,} | {one.get('tokens', '')} | {one.get('cut', '')} |"
        for one in record["data"]
    )
    losses = [entry["loss"] for entry in record["curves"] if "loss" in entry]
    ends = f"The last logged loss is {losses[-1]:.4f}." if losses else ""
    notes = "".join(f"\n{note}\n" for note in record["notes"])
    # Through JSON, because YAML would write tuples as tagged ones.
    recipe = json.loads(json.dumps(record["recipe"]))
    plain = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    return f"""---
base_model: {record["base"]["name"]}
library_name: transformers
tags: [bfpo-bench, {record["method"]}]
---

# {record["method"]} on {record["base"]["name"]}

Trained by bfpo-bench: {record["updates"]:,} updates of {record["trained_parameters"]:,} parameters
in {record["seconds"]["training"]:.0f} s. {ends}
`training.json` holds the recipe, digests of data and weights, versions and learning curves.
{notes}
| set | items | tokens | cut to fit |
|---|---|---|---|
{sets}

## Recipe

```yaml
{plain}```
"""
