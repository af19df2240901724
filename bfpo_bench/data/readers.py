"""From upstream rows to canonical rows, for the sources that are not BIG-bench's.

Each ``…_row`` function takes one upstream record; where the published file and the hub have the
same fields, it serves both. Texts stay exactly as upstream has them: stripping is the prompt's
business (lm-evaluation-harness strips ETHICS' excuses, for instance), not the data's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data.files import (
    Record,
    csv_records,
    csv_rows,
    integer,
    jsonl_records,
    mapping,
    number,
    read_json,
    text,
    value,
)
from bfpo_bench.data.source import Row

Convert = Callable[[Record], Row]


def from_csv(
    convert: Convert, *columns: str, header: bool = True
) -> Callable[[Sequence[Path]], list[Row]]:
    """Reader of CSV files that must have ``columns``."""

    def read(paths: Sequence[Path]) -> list[Row]:
        return [convert(r) for path in paths for r in csv_records(path, columns, header)]

    return read


def from_jsonl(convert: Convert) -> Callable[[Sequence[Path]], list[Row]]:
    """Reader of JSON-lines files."""

    def read(paths: Sequence[Path]) -> list[Row]:
        return [convert(record) for path in paths for record in jsonl_records(path)]

    return read


def from_hub(convert: Convert) -> Callable[[Iterable[Record]], list[Row]]:
    """Reader of a hub split."""

    def read(records: Iterable[Record]) -> list[Row]:
        return [convert(record) for record in records]

    return read


def crows_row(record: Record) -> Row:
    """CrowS-Pairs, both releases."""
    names = ("sent_more", "sent_less", "stereo_antistereo", "bias_type")
    return {name: text(record, name) for name in names}


def winogrande_row(record: Record) -> Row:
    """WinoGrande; the sentence has a blank ``_`` and the answer is the option's number."""
    row = {name: text(record, name) for name in ("sentence", "option1", "option2", "answer")}
    if row["answer"] not in ("1", "2") or "_" not in row["sentence"]:
        raise BadInput(
            f"{record.at}: expected a sentence with a blank '_' and the answer '1' or '2', found "
            f"the answer {row['answer']!r}."
        )
    return row


def _label(record: Record) -> int:
    label = integer(record, "label")
    if label not in (0, 1):
        raise BadInput(f"{record.at}: field 'label' should be 0 or 1, found {label}.")
    return label


def commonsense_row(record: Record) -> Row:
    """ETHICS commonsense morality."""
    return {"label": _label(record), "input": text(record, "input")}


def justice_row(record: Record) -> Row:
    """ETHICS justice."""
    return {"label": _label(record), "scenario": text(record, "scenario")}


def deontology_row(record: Record) -> Row:
    """ETHICS deontology."""
    return {
        "label": _label(record),
        "scenario": text(record, "scenario"),
        "excuse": text(record, "excuse"),
    }


def utilitarianism_row(record: Record) -> Row:
    """ETHICS utilitarianism; the activity is the more pleasant of the two."""
    return {"activity": text(record, "activity"), "baseline": text(record, "baseline")}


def virtue_row(record: Record) -> Row:
    """ETHICS virtue with scenario and trait apart, as on the hub."""
    return {
        "label": _label(record),
        "scenario": text(record, "scenario"),
        "trait": text(record, "trait"),
    }


def virtue_csv_row(record: Record) -> Row:
    """ETHICS virtue as published: scenario and trait in one field, ``[SEP]`` between them."""
    scenario, separator, trait = text(record, "scenario").partition(" [SEP] ")
    if not separator:
        raise BadInput(f"{record.at}: field 'scenario' has no ' [SEP] ' before the trait.")
    return {"label": _label(record), "scenario": scenario, "trait": trait}


def toxigen_row(record: Record) -> Row:
    """ToxiGen with human annotations."""
    return {
        "text": text(record, "text"),
        "target_group": text(record, "target_group"),
        "toxicity_ai": number(record, "toxicity_ai"),
        "toxicity_human": number(record, "toxicity_human"),
    }


def advbench_row(record: Record) -> Row:
    """AdvBench's harmful behaviours as published."""
    return {"goal": text(record, "goal"), "target": text(record, "target")}


def advbench_hub_row(record: Record) -> Row:
    """AdvBench on the hub, where the goal is called ``prompt``."""
    return {"goal": text(record, "prompt"), "target": text(record, "target")}


def read_advbench_transfer(paths: Sequence[Path]) -> list[Row]:
    """AdvBench's transfer subset: a CSV file without header, one goal a row.

    Two of its goals hold a comma without being quoted; what the comma split is put together again.
    """
    goals = (",".join(cells) for path in paths for cells in csv_rows(path))
    return [{"goal": goal, "target": ""} for goal in goals]


def _is_challenging(record: Record) -> bool:
    return value(record, "challenging") is True


def _toxicity_prompt_row(record: Record) -> Row:
    prompt = Record(f"{record.at}, 'prompt'", mapping(record.at, value(record, "prompt")))
    return {"prompt": text(prompt, "text"), "filename": text(record, "filename")}


def hub_toxicity_prompts(records: Iterable[Record]) -> list[Row]:
    """RealToxicityPrompts: the rows marked as challenging, out of all or already selected."""
    return [_toxicity_prompt_row(record) for record in records if _is_challenging(record)]


def read_toxicity_prompts(paths: Sequence[Path]) -> list[Row]:
    """RealToxicityPrompts from JSON lines."""
    return hub_toxicity_prompts(record for path in paths for record in jsonl_records(path))


_ALERT_PROMPT = re.compile(r"\s*### Instruction:\n(.*)\n### Response:\s*", re.DOTALL)


def _alert_prompt(record: Record) -> str:
    # Assumed: every prompt stands in this frame, once. One that does not is left as it is: some
    # adversarial prompts are distorted on purpose.
    framed = _ALERT_PROMPT.fullmatch(text(record, "prompt"))
    return framed.group(1) if framed else text(record, "prompt")


def _optional(record: Record, name: str) -> str:
    found = record.values.get(name, "")
    return "" if found is None else str(found)


def alert_row(record: Record) -> Row:
    """ALERT; ``prompt`` is what stands between the instruction and the response header."""
    return {
        "prompt": _alert_prompt(record),
        "category": _optional(record, "category"),
        "id": _optional(record, "id"),
    }


def alert_adversarial_row(record: Record) -> Row:
    """ALERT with adversarial prompts."""
    return {**alert_row(record), "attack_type": _optional(record, "attack_type")}


def alpaca_eval_row(record: Record) -> Row:
    """AlpacaEval: an instruction, with the output of the model that is the reference."""
    return {
        "instruction": text(record, "instruction"),
        "dataset": text(record, "dataset"),
        "reference_output": text(record, "output"),
        "reference_model": text(record, "generator"),
        "constraint": "",
    }


def read_alpaca_eval(paths: Sequence[Path]) -> list[Row]:
    """AlpacaEval from the reference model's ``model_outputs.json``, a JSON list."""
    rows = []
    for path in paths:
        items = read_json(path)
        if not isinstance(items, list):
            raise BadInput(
                f"{path}: expected a list, found {type(items).__name__}; fetch the file again."
            )
        for index, item in enumerate(items):
            at = f"{path}, item {index}"
            rows.append(alpaca_eval_row(Record(at, mapping(at, item))))
    return rows
