"""The content of lm-eval's ``results_<date>.json``, as far as a run knows it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bfpo_bench.export.samples import RunSamples


@dataclass
class TaskSummary:
    """What the results file says of a task, gathered while its samples are written.

    Attributes:
        values: metric → its value for each sample.
        hash: over the hashes of all samples.
    """

    task: Any
    samples: int = 0
    values: dict[str, list[Any]] = field(default_factory=dict)
    hash: Any = field(default_factory=hashlib.sha256)

    def add(self, sample: dict[str, Any]) -> None:
        """Counts a sample in."""
        self.samples += 1
        for metric in sample["metrics"]:
            self.values.setdefault(metric, []).append(sample[metric])
        for name in ("doc_hash", "prompt_hash", "target_hash"):
            self.hash.update(sample[name].encode("ascii"))


def results_file(
    run: RunSamples, summaries: dict[str, TaskSummary], when: datetime
) -> dict[str, Any]:
    """Every key that lm-eval 0.4.13 writes; None for what a run does not record.

    The key ``bfpo_bench`` is ours: suite, judge, data and the marks without which the numbers
    must not be read.
    """
    identity = run.content["identity"]
    tasks = {name: summary.task for name, summary in summaries.items()}
    in_order = dict(sorted(tasks.items()))
    return {
        "results": {name: _metrics(name, summary) for name, summary in summaries.items()},
        "group_subtasks": {},
        "configs": {name: dict(task.dump_config()) for name, task in in_order.items()},
        "versions": {name: task.VERSION for name, task in in_order.items()},
        "n-shot": dict.fromkeys(in_order, 0),
        "higher_is_better": {
            name: _directions(task, summaries[name]) for name, task in in_order.items()
        },
        "n-samples": {
            name: {"original": _original(run, name), "effective": summary.samples}
            for name, summary in summaries.items()
        },
        "config": _config(run),
        "git_hash": None,
        "date": when.timestamp(),
        **_environment(run),
        "tokenizer_pad_token": None,
        "tokenizer_eos_token": None,
        "tokenizer_bos_token": None,
        "eot_token_id": None,
        "max_length": identity.get("max_length"),
        "task_hashes": {name: summary.hash.hexdigest() for name, summary in summaries.items()},
        **_tracked(run),
        "bfpo_bench": _ours(run),
    }


def _metrics(name: str, summary: TaskSummary) -> dict[str, Any]:
    from lm_eval.api.metrics import mean, stderr_for_metric

    found: dict[str, Any] = {"name": name, "alias": name, "sample_len": summary.samples}
    aggregations = summary.task.aggregation()
    for metric, values in summary.values.items():
        if len(values) < summary.samples:
            # Some responses are not judged yet, and half an average would pass for a whole one.
            continue
        aggregate = aggregations.get(metric, mean)
        error = stderr_for_metric(aggregate, bootstrap_iters=1)
        found[f"{metric},none"] = aggregate(values)
        found[f"{metric}_stderr,none"] = error(values) if error and len(values) > 1 else "N/A"
    return found


def _directions(task: Any, summary: TaskSummary) -> dict[str, bool]:
    ours = {metric: True for metric in summary.values if metric not in task.aggregation()}
    return {**task.higher_is_better(), **ours}


def _original(run: RunSamples, task: str) -> int | None:
    """How many items the source has; not known before the task has results."""
    if run.results is None or task not in run.results.tasks:
        return None
    return run.results.tasks[task].items


def _config(run: RunSamples) -> dict[str, Any]:
    identity = run.content["identity"]
    revision = identity["model"].get("revision")
    dtype = identity.get("dtype")
    return {
        "model": identity.get("backend"),
        "model_args": {"pretrained": run.model, "dtype": dtype},
        "model_num_parameters": None,
        "model_dtype": f"torch.{dtype}" if dtype else None,
        "model_revision": revision or "main",
        "model_sha": revision or "",
        "batch_size": None,
        "batch_sizes": [],
        "device": None,
        "use_cache": None,
        "limit": identity.get("limit"),
        "bootstrap_iters": 0,
        "gen_kwargs": None,
        "random_seed": identity.get("seed"),
        "numpy_seed": None,
        "torch_seed": None,
        "fewshot_seed": None,
    }


def _environment(run: RunSamples) -> dict[str, Any]:
    environment = run.content.get("environment") or {}
    packages = environment.get("packages") or {}
    lines = [f"{name}: {value}" for name, value in environment.items() if name != "packages"]
    lines += [f"[{name}] {version}" for name, version in packages.items()]
    return {
        "pretty_env_info": "\n".join(lines),
        "transformers_version": packages.get("transformers"),
        "lm_eval_version": packages.get("lm-eval"),
        "upper_git_hash": None,
    }


def _tracked(run: RunSamples) -> dict[str, Any]:
    """What lm-eval's tracker adds."""
    from lm_eval.utils import hash_string, sanitize_model_name

    identity = run.content["identity"]
    system = identity.get("system_prompt")
    sessions = [session.get("seconds") or {} for session in run.content.get("sessions") or []]
    return {
        "model_source": identity.get("backend"),
        "model_name": run.model,
        "model_name_sanitized": sanitize_model_name(run.model),
        "system_instruction": system,
        "system_instruction_sha": hash_string(system) if system else None,
        "fewshot_as_multiturn": True,
        "chat_template": None,
        # The first 16 digits; a run keeps no more of it.
        "chat_template_sha": identity["model"].get("chat_template"),
        "total_evaluation_time_seconds": str(
            round(sum(sum(seconds.values()) for seconds in sessions), 2)
        ),
    }


def _ours(run: RunSamples) -> dict[str, Any]:
    identity = run.content["identity"]
    return {
        "suite": identity["suite"],
        "judge": identity.get("judge"),
        "data": identity.get("data"),
        "weights": identity["model"].get("weights"),
        "unfinished": run.unfinished,
        "marks": None if run.results is None else run.results.marks,
    }
