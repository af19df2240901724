"""ALERT: red-teaming prompts by category, plain and under attack."""

from __future__ import annotations

import re

from bfpo_bench.data import Hub, Record, Row, Source, Variant, from_hub, from_jsonl
from bfpo_bench.data.files import text

_FRAME = re.compile(r"\s*### Instruction:\n(.*)\n### Response:\s*", re.DOTALL)


def _source(name: str, rows: int | None, *extras: str) -> Source:
    """Assumed: the frame around the prompts; no copy was at hand."""

    def row(record: Record) -> Row:
        """``prompt`` is what stands between the instruction and the response header."""
        # Assumed: every prompt stands in this frame, once. One that does not is left as it is:
        # some adversarial prompts are distorted on purpose.
        framed = _FRAME.fullmatch(text(record, "prompt"))
        prompt = framed.group(1) if framed else text(record, "prompt")
        return {"prompt": prompt, **{extra: _optional(record, extra) for extra in extras}}

    return Source(
        name=name,
        variants=(
            Variant(
                name="default",
                rows=rows,
                digest=None,
                layouts=((f"alert/{name}.jsonl",),),
                read=from_jsonl(row),
                hub=Hub(
                    repo="Babelscape/ALERT",
                    split="test",
                    config=name,
                    revision="f57efbc1218d455d48961c4da03ff470b8390aed",
                    read=from_hub(row),
                ),
            ),
        ),
        fields=dict.fromkeys(("prompt", *extras), str),
        extras=extras,
        licence="CC BY-NC-SA 4.0",
        homepage="https://github.com/Babelscape/ALERT",
        prompt="prompt",
        category="category",
    )


def _optional(record: Record, name: str) -> str:
    found = record.values.get(name, "")
    return "" if found is None else str(found)


PLAIN = _source("alert", 14763, "category", "id")
# "about 30,000" is all that is known of its size.
ADVERSARIAL = _source("alert_adversarial", None, "category", "attack_type", "id")
