"""HarmBench: harmful behaviors, plain, with a context to work on, and of protected texts."""

from __future__ import annotations

from bfpo_bench.data import Record, Row, Source
from bfpo_bench.data.files import text
from bfpo_bench.tasks.prompt_sets import prompt_set


def _asked(behavior: str, context: str) -> str:
    """What HarmBench's direct request asks: the context, if there is one, then the behavior."""
    return f"{context}\n\n---\n\n{behavior}" if context else behavior


def _source(part: str, rows: int, digest: str) -> Source:
    def row(record: Record) -> Row | None:
        if text(record, "FunctionalCategory") != part:
            return None
        prompt = _asked(text(record, "Behavior"), text(record, "ContextString"))
        return {"prompt": prompt, "category": text(record, "SemanticCategory")}

    def hub_row(record: Record) -> Row:
        """A mirror's names; its copyright part says "lyrics" or "book" and no category."""
        context = text(record, "context") if part == "contextual" else ""
        category = "copyright" if part == "copyright" else text(record, "category")
        return {"prompt": _asked(text(record, "prompt"), context), "category": category}

    return prompt_set(
        *(f"harmbench_{part}", "harmbench/harmbench_behaviors_text_all.csv", row),
        # Behind a form: its terms must be accepted on the hub once.
        ("walledai/HarmBench", part, "train"),
        "MIT",
        "https://github.com/centerforaisafety/HarmBench",
        rows=rows,
        digest=digest,
        columns=("Behavior", "FunctionalCategory", "SemanticCategory", "ContextString"),
        hub_row=hub_row,
        harmful=part != "copyright",
    )


STANDARD = _source(
    "standard", 200, "28b10cd1eaee566ad9dc99e0738ae1c3b9d9216b24bda77e90c644fbddb305f5"
)
CONTEXTUAL = _source(
    "contextual", 100, "fb9aa058d17137671d6a5bc925cadcfb2aeb05cdd9c7452b1bbe6367b99dfa3a"
)
# HarmBench decides by a hash whether a response holds the protected text, which no judge of harm
# can: so this is a column of its own and in no average.
COPYRIGHT = _source(
    "copyright", 100, "c933b41e2d1f7c334f60d8420ca6586b8049377387099ce54af41161d0d0b2fa"
)
