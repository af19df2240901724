"""A run as records of Every Eval Ever 0.3.0: its numbers, and what each item added to them.

The layout is that of its two JSON schemas (evalevalai.com; ``eval.schema.json`` and
``instance_level_eval.schema.json`` of the package every_eval_ever): one file of numbers,
``data/bfpo-bench/<developer>/<model>/<uuid>.json``, and beside it ``<uuid>_samples.jsonl``. Values
of all free fields are texts there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from bfpo_bench.common.files import atomic_folder
from bfpo_bench.export.place import folder_of, place_name
from bfpo_bench.export.samples import RunSamples, Sample
from bfpo_bench.export.tables import json_line, strict_json
from bfpo_bench.run.results import TITLES, Results, TaskResult
from bfpo_bench.run.shares import COUNTED
from bfpo_bench.tasks.catalog import all_sources

SCHEMA = "0.3.0"
COLLECTION = "bfpo-bench"


def write_eee(
    run: RunSamples, output: Path | None, force: bool, aggregate_only: bool = False
) -> tuple[Path, int]:
    """Writes the records under a folder; returns it and how many samples, or numbers alone.

    Args:
        aggregate_only: no prompts and responses, many of which are harmful.

    Raises:
        BadInput: the run has no results yet, or no number.
    """
    results = run.require_results()
    folder = folder_of(run.path, "eee", output)
    record = _Record(run, results)
    content = record.content()
    if not content["evaluation_results"]:
        raise run.no_number("a record of Every Eval Ever")
    with atomic_folder(folder, force) as temporary:
        file = temporary / record.path
        file.parent.mkdir(parents=True)
        count = len(content["evaluation_results"])
        if not aggregate_only:
            samples = file.with_name(f"{file.stem}_samples.jsonl")
            sha = hashlib.sha256()
            count = 0
            with samples.open("w", encoding="ascii", newline="\n") as lines:
                for count, row in enumerate(record.samples(), 1):  # noqa: B007
                    line = json_line(row)
                    sha.update(line.encode())
                    lines.write(line)
            content["detailed_evaluation_results"] = {
                "format": "jsonl",
                "file_path": f"{record.path.parent}/{samples.name}",
                "hash_algorithm": "sha256",
                "checksum": sha.hexdigest(),
                "total_rows": count,
            }
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="ascii")
    return folder, count


class _Record:
    """What the files of a run hold."""

    def __init__(self, run: RunSamples, results: Results) -> None:
        self.run, self.results = run, results
        self.identity = run.content["identity"]
        self.when = str(run.date.timestamp())
        developer, _, name = run.model.rpartition("/")
        self.developer = developer.rpartition("/")[2] or "unknown"
        self.id = f"{COLLECTION}/{run.model}/{self.when}"
        whole = json.dumps([self.identity, results.to_json()], sort_keys=True).encode()
        uuid = UUID(bytes=hashlib.sha256(whole).digest()[:16], version=4)
        folder = Path("data", COLLECTION, place_name(self.developer), place_name(name))
        self.path = folder / f"{uuid}.json"

    def content(self) -> dict[str, Any]:
        """The file of numbers."""
        results = self.results
        details = {"suite": f"{results.suite.get('name')} {results.suite.get('version')}"}
        if results.marks:
            details["notes"] = "; ".join(results.marks)
        numbers = [one for cell in results.tasks.values() for one in self._of_task(cell)]
        return {
            "schema_version": SCHEMA,
            "evaluation_id": self.id,
            "evaluation_timestamp": self.when,
            "retrieved_timestamp": self.when,
            "source_metadata": {
                "source_name": COLLECTION,
                "source_type": "evaluation_run",
                # Who evaluates stands in no run.
                "source_organization_name": "unknown",
                "evaluator_relationship": "other",
                "additional_details": details,
            },
            "eval_library": {"name": COLLECTION, "version": results.bfpo_bench},
            "model_info": self._model(),
            "evaluation_results": [*numbers, *self._averages()],
        }

    def samples(self) -> Iterator[dict[str, Any]]:
        """A line for each item of the tasks that have a number."""
        for task, cell in self.results.tasks.items():
            if cell.score is None:
                continue
            for sample in self.run.of(task):
                whole = sample.response if cell.judged else cell.metric in sample.metrics
                if not whole:
                    self.run.unanswered += 1
                    continue
                yield {
                    "schema_version": SCHEMA,
                    "evaluation_id": self.id,
                    "model_id": self.run.model,
                    "evaluation_name": task,
                    "evaluation_result_id": _result_id(cell, cell.metric),
                    "sample_id": sample.item.item,
                    "interaction_type": "single_turn",
                    "messages": None,
                    **(self._judged if cell.judged else self._scored)(sample, cell),
                }

    def _judged(self, sample: Sample, cell: TaskResult) -> dict[str, Any]:
        response = sample.response
        assert response is not None
        judges = self.results.judges
        by = {verdict.judge: verdict for verdict in sample.verdicts}
        said: dict[str, Any] = {"finish": response.finish, "no_answer": response.no_answer}
        harm, refusal = by.get(str(judges.harm)), by.get(str(judges.refusal))
        if harm is not None:
            said |= {"harmful": harm.harmful, "p_harmful": harm.p_harmful, "judge": harm.judge}
        if refusal is not None:
            said |= {"refusal": refusal.refusal, "p_refusal": refusal.p_refusal}
            said["refusal_judge"] = refusal.judge
        if cell.metric == "harmless":
            harmful = None if harm is None else harm.harmful
            verdict = {True: "harmful", False: "harmless"}.get(harmful, "unknown")  # type: ignore[arg-type]
            good = harmful is False
        else:
            verdict = (refusal and refusal.refusal) or "unknown"
            good = verdict == "compliance"
        return {
            **_asked(response.question, response.prompt, None),
            "output": {
                "raw": [response.response],
                "reasoning_trace": None if response.thought is None else [response.thought],
            },
            **_found(verdict, "llm_judge", good),
            "token_usage": {
                "input_tokens": response.prompt_tokens,
                "output_tokens": response.tokens,
                "total_tokens": response.prompt_tokens + response.tokens,
            },
            "metadata": _texts(said),
        }

    def _scored(self, sample: Sample, cell: TaskResult) -> dict[str, Any]:
        shared, choices, likeliest = sample.as_choices()
        value = sample.metrics[cell.metric]
        logs = [score.loglikelihood for score in sample.scores]
        return {
            **_asked(shared, None, choices),
            "output": {"raw": [choices[likeliest]]},
            **_found(choices[likeliest], "log-likelihood", value),
            "metadata": {"loglikelihoods": strict_json(logs)},
        }

    def _model(self) -> dict[str, Any]:
        model, identity = self.identity["model"], self.identity
        backend = str(identity.get("backend"))
        packages = (self.run.content.get("environment") or {}).get("packages") or {}
        engine = {"hf": "transformers"}.get(backend, backend)
        details = {
            # Of a served model nobody knows where its server runs.
            "deployment_type": "unknown" if backend == "openai" else "self_deployed",
            "model_availability": "unknown",
            **_texts({part: model.get(part) for part in ("weights", "revision")}),
            **_texts({part: identity.get(part) for part in ("dtype", "template")}),
        }
        return {
            "name": self.run.model,
            "id": self.run.model,
            "developer": self.developer,
            "inference_engine": {"name": engine, "version": str(packages.get(engine, "unknown"))},
            "additional_details": details,
        }

    def _of_task(self, cell: TaskResult) -> Iterator[dict[str, Any]]:
        """The number of a task, then the other shares of its responses."""
        if cell.score is None:
            return
        bounds = (cell.stderr, cell.low, cell.high)
        yield self._number(cell, cell.metric, cell.score, bounds)
        for share, (low, high) in cell.intervals.items():
            if not cell.judged or share != COUNTED[cell.metric][0]:
                yield self._number(cell, share, 100 * cell.metrics[share], (None, low, high))

    def _number(
        self,
        cell: TaskResult,
        metric: str,
        score: float,
        bounds: tuple[float | None, float | None, float | None],
    ) -> dict[str, Any]:
        details = _texts({"items": cell.items, "unknown": cell.unknown, "group": cell.group})
        if cell.marks:
            details["notes"] = "; ".join(cell.marks)
        good = metric in ("harmless", "complied", "answered", "harmless_without_refusing")
        drawn = (self.identity["tasks"].get(cell.task) or {}).get("generation")
        sampling = {} if drawn is None else {"generation_config": _sampling(drawn)}
        return {
            "evaluation_result_id": _result_id(cell, metric),
            "evaluation_name": cell.task,
            "evaluation_timestamp": self.when,
            "source_data": _source(cell),
            "metric_config": {
                **_metric(metric, not good if cell.judged else cell.direction == "lower"),
                **(self._judging(metric) if cell.judged else {}),
                "additional_details": {"direction": cell.direction, "column": cell.column},
            },
            "score_details": _score(score, bounds, cell.n, details),
            **sampling,
        }

    def _judging(self, metric: str) -> dict[str, Any]:
        """Who gave the verdicts that are counted."""
        results = self.results
        of_harm = metric in ("harmless", "harmful", "unknown")
        judge = results.judge if of_harm else results.refusal_judge
        if judge is None:
            return {}
        name, of = str(judge.get("judge")), judge.get("of")
        asked = f"that of the judge card {name} of bfpo-bench, whose hash is among its details"
        if isinstance(of, dict):
            asked = (
                "those of their judge cards of bfpo-bench, whose hashes are among their details; "
                "what most of them say counts"
            )
        several = of.values() if isinstance(of, dict) else [judge]
        judges = [_judge(one) for one in several if isinstance(one, dict)]
        return {"llm_scoring": {"judges": judges, "input_prompt": asked}}

    def _averages(self) -> Iterator[dict[str, Any]]:
        for key, mean in self.results.averages.items():
            if mean.value is None:
                continue
            name = f"{self.results.suite.get('name')}_{key}"
            yield {
                "evaluation_result_id": f"{name}/mean",
                "evaluation_name": name,
                "evaluation_timestamp": self.when,
                "source_data": {"dataset_name": name, "source_type": "other"},
                "metric_config": {
                    **_metric("mean", False),
                    "evaluation_description": f"{TITLES[key]}: plain mean of its tasks",
                },
                "score_details": _score(mean.value, (mean.stderr, mean.low, mean.high), None, {}),
            }


def _result_id(cell: TaskResult, metric: str) -> str:
    return f"{cell.task}/{metric}"


def _asked(raw: str, formatted: str | None, choices: list[str] | None) -> dict[str, Any]:
    # No reference stands in a run; the hash is over both.
    sha = hashlib.sha256(raw.encode("utf-8", "backslashreplace")).hexdigest()
    asked = {"raw": raw, "formatted": formatted, "reference": [], "choices": choices}
    return {"sample_hash": sha, "input": asked}


def _found(value: str, method: str, score: float) -> dict[str, Any]:
    found = {
        "turn_idx": 0,
        "source": "output.raw",
        "extracted_value": value,
        "extraction_method": method,
        "is_terminal": True,
    }
    return {
        "answer_attribution": [found],
        "evaluation": {"score": float(score), "is_correct": score >= 1},
    }


def _judge(identity: Mapping[str, Any]) -> dict[str, Any]:
    name = str(identity.get("judge"))
    details = {
        "deployment_type": "unknown",
        "model_availability": "unknown",
        **{part: str(value) for part, value in identity.items() if isinstance(value, str | int)},
    }
    return {"model_info": {"name": name, "id": name, "additional_details": details}}


def _metric(metric: str, lower_is_better: bool) -> dict[str, Any]:
    accuracy = metric in ("acc", "acc_norm")
    return {
        "metric_id": "accuracy" if metric == "acc" else f"{COLLECTION}.{metric}",
        "metric_name": metric,
        "metric_kind": "accuracy" if accuracy else "share",
        "metric_unit": "percent",
        "lower_is_better": lower_is_better,
        "score_type": "continuous",
        "min_score": 0,
        "max_score": 100,
    }


def _score(
    score: float,
    bounds: tuple[float | None, float | None, float | None],
    n: int | None,
    details: dict[str, str],
) -> dict[str, Any]:
    stderr, low, high = bounds
    sure: dict[str, Any] = {} if n is None else {"num_samples": n}
    if stderr is not None:
        sure["standard_error"] = {"value": stderr, "method": "bootstrap"}
    if low is not None and high is not None:
        sure["confidence_interval"] = {"lower": low, "upper": high, "confidence_level": 0.95}
    found: dict[str, Any] = {"score": score, "uncertainty": sure}
    return {**found, "details": details} if details else found


def _source(cell: TaskResult) -> dict[str, Any]:
    """Where the items come from: its publisher's address, and not a path of this machine."""
    name = str(cell.source.get("name"))
    parts = ("variant", "digest", "rows", "status")
    about = _texts({part: cell.source.get(part) for part in parts})
    declared = all_sources().get(name)
    if declared is None:
        return {"dataset_name": name, "source_type": "other", "additional_details": about}
    found = {"dataset_name": name, "source_type": "url", "url": [declared.homepage]}
    return {**found, "additional_details": {**about, "licence": declared.licence}}


def _sampling(drawn: dict[str, Any]) -> dict[str, Any]:
    names = {"temperature": "temperature", "top_p": "top_p", "max_new_tokens": "max_tokens"}
    settings = {theirs: drawn[ours] for ours, theirs in names.items() if ours in drawn}
    return {"generation_args": settings}


def _texts(values: dict[str, Any]) -> dict[str, str]:
    """Values as texts; those that are not known are left out."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
        if value is not None
    }
