"""HarmBench's completions: ``{behavior id: [{"test_case": …, "generation": …}, …]}``.

As its ``generate_completions.py`` writes them; classified ones have labels beside, which are not
taken over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.imports.answers import Answer, Log

TOOL = "HarmBench"


def is_one(content: Any) -> bool:
    """Whether the content of a JSON file looks like it."""
    if not isinstance(content, dict) or not content:
        return False
    first = next((cases for cases in content.values() if cases != []), None)
    return (
        isinstance(first, list)
        and isinstance(first[0], dict)
        and {"test_case", "generation"} <= first[0].keys()
    )


def read(path: Path, content: dict[str, Any]) -> Log:
    """The completions of a file; a judge is shown the test case, for behaviors stand in no file.

    Raises:
        BadInput: a completion lacks its test case or its text.
    """

    def answers() -> Iterator[Answer]:
        for behavior, cases in content.items():
            where = f"{path}, behavior {behavior}"
            if not isinstance(cases, list):
                raise BadInput(f"{where} has no list of completions; generate it again.")
            if not cases:
                yield Answer(where, "", None)
            for case in cases:
                asked, said = (
                    (case.get("test_case"), case.get("generation"))
                    if isinstance(case, dict)
                    else (None, None)
                )
                if isinstance(asked, list) and asked:
                    raise BadInput(
                        f"{where} asks about a picture, and only texts can be judged here; leave "
                        "the multimodal behaviors out."
                    )
                if not isinstance(asked, str) or not isinstance(said, str):
                    raise BadInput(
                        f"{where} has a completion without texts as 'test_case' and 'generation'; "
                        "generate it again."
                    )
                yield Answer(where, asked, said)

    notes = ("judged by the test cases, as HarmBench's file names behaviors by their ids alone",)
    return Log(path, TOOL, path.stem, None, answers, notes=notes)
