"""lm-eval's ``samples_<task>_<date>.jsonl``, and the ``results_<date>.json`` beside it.

Of our own tasks (``lm_eval --include_path`` with the folder of bfpo-bench's) the items are known by
their ids, scored ones too; of any other task only generated responses can be had.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.validate import Count, validated
from bfpo_bench.imports.answers import Answer, Choice, Log, settings_of
from bfpo_bench.imports.json_lines import chat_of, question_of, read_samples, records
from bfpo_bench.imports.options import ImportOptions
from bfpo_bench.suites import task_names

TOOL = "lm-eval"
_SETTINGS = {"temperature": "temperature", "top_p": "top_p", "max_gen_toks": "max_new_tokens"}
_NAME = re.compile(r"samples_(.+)_\d{4}-\d\d-\d\dT[\d.:-]+")


def read(path: Path, results: Sequence[tuple[Path, dict[str, Any]]], options: ImportOptions) -> Log:
    """The samples of a file.

    Args:
        results: results files and what they hold; one may be of the same evaluation.
    """
    found = _NAME.fullmatch(path.stem)
    task = found[1] if found else path.stem
    about = _of_same(path, task, results)
    config = about.get("config")
    name = about.get("model_name")
    if not isinstance(name, str) and isinstance(config, dict):
        args = config.get("model_args")
        name = args.get("pretrained") if isinstance(args, dict) else None
    ours = task in task_names() and options.task is None and options.prompt_field is None

    def answers() -> Iterator[Answer]:
        if ours:
            for number, record in records(path):
                yield _of_ours(record, f"{path}, line {number}")
            return
        for sample in read_samples(path, options.prompt_field, options.response_field):
            where = f"{path}, line {sample.line}"
            yield Answer(where, sample.exchange.prompt, sample.exchange.response)

    settings = about["configs"][task] if about else {}
    drawn = settings.get("generation_kwargs") if isinstance(settings, dict) else None
    return Log(
        path,
        TOOL,
        task,
        name if isinstance(name, str) else None,
        answers,
        settings_of(drawn, _SETTINGS),
    )


def _of_same(
    path: Path, task: str, results: Sequence[tuple[Path, dict[str, Any]]]
) -> dict[str, Any]:
    """The results that samples belong to: of the same folder and date, or the only ones there are.

    Empty where nobody knows.
    """
    of_task = [(place, content) for place, content in results if task in content["configs"]]
    date = path.stem.rpartition("_")[2]
    beside = [
        (place, content)
        for place, content in of_task
        if place.parent == path.parent and place.stem.rpartition("_")[2] == date
    ]
    found = [content for _, content in beside or of_task]
    return found[0] if len(found) == 1 else {}


def _of_ours(record: dict[str, Any], where: str) -> Answer:
    """A sample of one of our tasks: item, row, and what was asked and answered."""
    try:
        doc = dict(record["doc"])
        item = str(doc.pop("item_id"))
        position = validated(Count, record["doc_id"], f"{where}, doc_id")
        asked = record["arguments"]
        if isinstance(asked, dict):  # as it is written, and not as lm-eval has it in memory
            asked = [list(args.values()) for args in asked.values()]
        given = record["filtered_resps"]
        if isinstance(given[0], str):
            question, prompt = question_of(doc), asked[0][0]
            if (chat := chat_of(prompt)) is not None:
                prompt = "\n\n".join(f"{role}: {text}" for role, text in chat)
            if not isinstance(prompt, str):
                raise TypeError(f"what was asked is {prompt!r:.60}")
            return Answer(
                *(where, prompt if question is None else question, given[0], prompt),
                thought=_thought(record),
                item=item,
                position=position,
                row=doc,
            )
        choices = tuple(
            Choice(str(context), str(text), float(value), greedy in (True, "True"))
            for (context, text, *_), (value, greedy) in zip(asked, given, strict=True)
        )
        metrics = {name: float(record[name]) for name in record["metrics"]}
        if any(map(math.isnan, (*metrics.values(), *(one.loglikelihood for one in choices)))):
            raise ValueError("a number in it is none")
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise BadInput(
            f"{where} is no sample that lm-eval 0.4.13 has logged of one of bfpo-bench's tasks "
            f"({error!r}); log it again with --log_samples."
        ) from error
    return Answer(
        *(where, "", None),
        item=item,
        position=position,
        row=doc,
        choices=choices,
        metrics=metrics,
    )


def _thought(record: dict[str, Any]) -> str | None:
    thought = record.get("thought")
    if thought is not None and not isinstance(thought, str):
        raise TypeError(f"its thought is {thought!r:.60}")
    return thought
