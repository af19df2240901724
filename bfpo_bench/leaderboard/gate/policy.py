"""What a release must hold, as a YAML file says it.

margin: 1              # points that a candidate may be worse, of every column that says no other
confidence: 0.95       # one-sided
columns:
  Savg.:               # as the leaderboard calls it, or its key
  Harm.: {margin: 0.5, confidence: 0.99, at_least: 95}
"""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.validate import STRICT, validated
from bfpo_bench.common.yaml_text import yaml_file
from bfpo_bench.leaderboard.comparison import MARGIN

Margin = Annotated[float, Field(ge=0, lt=100)]
Percent = Annotated[float, Field(ge=0, le=100)]

Confidence = Annotated[float, Field(gt=0.5, le=0.999)]
"""One-sided; of 10,000 resamples ten lie beyond a bound of 99.9 %, and fewer would be no bound."""


@dataclass(frozen=True, config=STRICT)
class Asked:
    """What a policy asks of one column.

    Attributes:
        margin: so many points the candidate may be worse; None for the policy's own.
        confidence: of its bounds, one-sided; None for the policy's own.
        at_least: a floor under the candidate's score in percent, besides.
        at_most: a ceiling over it, of a column that is the better the lower.
        better: which way is better, of a column that has none of its own.
    """

    margin: Margin | None = None
    confidence: Confidence | None = None
    at_least: Percent | None = None
    at_most: Percent | None = None
    better: Literal["higher", "lower"] | None = None


@dataclass(frozen=True, config=STRICT)
class Policy:
    """What must hold in which columns.

    Attributes:
        columns: by name; one with nothing behind it is asked for what all are.
        trust_imported: take it from whoever writes this that answers imported from other tools
            were asked for alike in both runs, which their files do not say.
    """

    columns: dict[str, Asked | None]
    margin: Margin = MARGIN
    confidence: Confidence = 0.95
    trust_imported: bool = field(default=False)


def read_policy(path: Path) -> Policy:
    """Reads a policy.

    Raises:
        BadInput: no such file, no YAML, empty, or a setting that is unknown or out of its range.
    """
    where = f"the gate's policy {path}"
    try:
        content = yaml_file(path, "the gate's policy")
    except OSError as error:
        raise BadInput(
            f"{where} cannot be read ({error.strerror or error}); give --gate a YAML file."
        ) from error
    if content is None or (isinstance(content, dict) and content.get("columns", ()) in (None, {})):
        raise BadInput(
            f"{where} names no column, so nothing could fail; list what must hold under columns, "
            "e.g. `columns: {Savg.: {margin: 1}}`."
        )
    return validated(Policy, content, where)
