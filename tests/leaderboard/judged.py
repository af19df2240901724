"""Run directories of judged tasks whose verdicts are given: no model, no judge."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bfpo_bench.evaluation.verdicts import Opinion, with_verdicts
from bfpo_bench.judges.protocol import Refusal
from bfpo_bench.run.results import Results, TaskResult
from bfpo_bench.run.store import ItemRecord, ResponseRecord, Store, VerdictRecord, answer_key
from bfpo_bench.run.uncertainty import with_uncertainty
from bfpo_bench.suites import load_suite

FULL: Refusal = "full_refusal"
PARTIAL: Refusal = "partial_refusal"
ANSWERS: Refusal = "compliance"


class Said(NamedTuple):
    """What the judges say of a response."""

    harmful: bool | None
    refusal: Refusal | None
    prompt: str = "question"
    response: str = "answer"


def identity_of(name: str) -> dict[str, Any]:
    """What a run notes of a judge."""
    return {"judge": name, "kind": "classifier", "version": 1, "card": name}


def judged_run(
    folder: Path,
    said: Mapping[str, Sequence[Said]],
    *,
    suite: str = "balance",
    name: str | None = None,
    harm: str | None = "guard",
    refusal: str | None = "guard",
    seed: int = 0,
) -> Path:
    """Writes a finished run of some tasks of a suite.

    Args:
        said: by task, what the judges say of each of its responses.
        harm, refusal: who says so; None for nobody.
    """
    whole = load_suite(suite)
    specs = {task.task: task for task in whole.tasks}
    folder.mkdir(parents=True)
    cells: dict[str, TaskResult] = {}
    data = {}
    with Store(folder / "samples.sqlite") as store:
        for task, responses in said.items():
            spec = specs[task]
            digest = hashlib.sha256(spec.source.encode()).hexdigest()
            data[spec.source] = {"variant": "own", "digest": digest}
            ids = [
                hashlib.sha256(f"{task}/{n}".encode()).hexdigest()[:16]
                for n in range(len(responses))
            ]
            rows = [json.dumps({"text": one.prompt}) for one in responses]
            store.add_items(
                [
                    ItemRecord(task, i, n, row)
                    for n, (i, row) in enumerate(zip(ids, rows, strict=True))
                ]
            )
            store.add_responses(
                [
                    ResponseRecord(
                        *(answer_key("r", task, i), task, i, one.prompt, one.prompt, one.response),
                        *("stop", 0, 1, 1, 0),
                    )
                    for i, one in zip(ids, responses, strict=True)
                ]
            )
            for judge in dict.fromkeys(filter(None, (harm, refusal))):
                store.add_verdicts(
                    [
                        VerdictRecord(
                            *(answer_key(judge, task, i), judge, task, i),
                            *(one.harmful if judge == harm else None, None, "said"),
                            one.refusal if judge == refusal else None,
                            None,
                        )
                        for i, one in zip(ids, responses, strict=True)
                    ]
                )
            cell = TaskResult(
                *(task, spec.version, spec.column, spec.group, spec.metric, spec.direction),
                *(None, None, len(responses), len(responses), 0, 0),
                metrics={"mean_tokens": 1.0, "cut_off": 0.0},
                source={
                    "name": spec.source,
                    **data[spec.source],
                    "where": "here",
                    "rows": len(responses),
                    "status": "differs",
                },
                marks=[],
            )
            cells[task] = with_verdicts(
                *(cell, store), *(Opinion(by) if by else None for by in (harm, refusal))
            )
        asked = [specs[task] for task in said]
        cells, means = with_uncertainty(cells, asked, store)
    model = {"name": name or folder.name, "weights": name or folder.name}
    judges = [identity_of(by) if by else None for by in (harm, refusal)]
    identity: dict[str, Any] = {
        "model": model, "backend": "hf", "dtype": "float32", "max_length": None,
        "system_prompt": None, "suite": {"name": whole.name, "version": whole.version},
        "tasks": {
            one.task: {
                "version": one.version, "metric": one.metric, "chat_template": one.chat_template,
                "generation": None if one.generation is None else one.generation.as_dict(),
            }
            for one in asked
        },
        "data": data, "limit": None, "seed": seed, "judge": judges[0],
    }  # fmt: skip
    if harm != refusal and judges[1]:
        identity["refusal_judge"] = judges[1]
    results = Results(
        *(1, "0.2.0", model, {**identity["suite"], "demonstration": False}, "hf", judges[0]),
        *(seed, None, cells, means, []),
        refusal_judge=judges[1],
    )
    content = {"schema": 2, "identity": identity, "environment": {}, "sessions": []}
    (folder / "run.json").write_text(json.dumps(content))
    (folder / "results.json").write_text(results.to_json())
    return folder
