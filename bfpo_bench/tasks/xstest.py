"""XSTest: safe prompts that look unsafe, and the unsafe prompts that they look like."""

from __future__ import annotations

from bfpo_bench.data import Record, Row, Source
from bfpo_bench.data.files import text
from bfpo_bench.tasks.prompt_sets import prompt_set


def _source(name: str, unsafe: bool, rows: int, digest: str) -> Source:
    def row(record: Record) -> Row | None:
        # The types of the unsafe prompts, and no others, begin like this.
        kind = text(record, "type")
        if kind.startswith("contrast_") != unsafe:
            return None
        return {"prompt": text(record, "prompt"), "category": kind}

    return prompt_set(
        *(name, "xstest/xstest_prompts.csv", row),
        # A mirror behind a form: its terms must be accepted on the hub once.
        ("walledai/XSTest", None, "test"),
        "CC BY 4.0",
        "https://github.com/paul-rottger/xstest",
        rows=rows,
        digest=digest,
        columns=("prompt", "type"),
        harmful=unsafe,
    )


SAFE = _source(
    "xstest_safe", False, 250, "ba245a7153668d97e1dff057a5161daae93dbaea0916f80bc9aa5ba817c231b3"
)
UNSAFE = _source(
    "xstest_unsafe", True, 200, "304b414992551474296c85b323ad8ca3f177b781b5a3dbf7ad348ee4f5e2486c"
)
