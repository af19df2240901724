"""A run as logs of inspect_ai, one ``.eval`` file per task, for ``inspect view`` and its Python.

The layout is that of inspect_ai 0.3.285 (its ``EvalRecorder`` and ``EvalLog``, log schema 2):
a ZIP of ``_journal/start.json``, ``samples/<id>_epoch_<n>.json``, ``summaries.json`` and
``header.json``. It is written by hand, for inspect_ai cannot be installed beside datasets, which
wants an older fsspec. What it has no field for lies under the key ``bfpo_bench`` of its metadata,
so that ``bfpo-bench import`` makes the same run of it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from bfpo_bench.common.files import atomic_folder
from bfpo_bench.export.inspect_samples import EPOCH, OURS, sample_content, summary_of
from bfpo_bench.export.place import folder_of
from bfpo_bench.export.samples import RunSamples
from bfpo_bench.export.tables import json_line
from bfpo_bench.run.results import TaskResult
from bfpo_bench.run.store.records import REFUSALS

SCHEMA = 2
"""inspect_ai's ``LOG_SCHEMA_VERSION``."""

OWN_SCHEMA = 1
"""Of what stands under the key ``bfpo_bench``."""

START, HEADER, SUMMARIES = "_journal/start.json", "header.json", "summaries.json"
SAMPLES = "samples/"

_NO_TIME = (1980, 1, 1, 0, 0, 0)


def write_inspect(run: RunSamples, output: Path | None, force: bool) -> tuple[Path, int]:
    """Writes a log of every task that has samples; returns their folder and how many samples."""
    folder = folder_of(run.path, "inspect", output)
    count = 0
    with atomic_folder(folder, force) as temporary:
        for task in run.tasks:
            count += _Log(run, task).write(temporary)
    return folder, count


class _Log:
    """The log of one task."""

    def __init__(self, run: RunSamples, task: str) -> None:
        self.run, self.task = run, task
        self.settings = run.tasks[task]
        self.cell = run.results.tasks.get(task) if run.results is not None else None
        self.created = run.date.isoformat(timespec="seconds")
        identity = json.dumps(run.content["identity"], sort_keys=True)
        self.id = sha256(f"{identity}\0{task}".encode()).hexdigest()[:22]

    def write(self, folder: Path) -> int:
        """Writes it into a folder, where it has any samples; returns how many."""
        path = folder / self._name()
        ids, summaries = [], []
        usage: Counter[str] = Counter()
        values: dict[str, list[Any]] = {}
        with ZipFile(path, "w", ZIP_DEFLATED) as log:
            _put(log, START, {"version": SCHEMA, "eval": self._spec(), "plan": _PLAN})
            for sample in self.run.of(self.task):
                content = sample_content(sample, self.run.model)
                _put(log, f"{SAMPLES}{content['id']}_epoch_{EPOCH}.json", content)
                ids.append(content["id"])
                # As text: of many samples they are all that is held at once.
                summaries.append(json_line(summary_of(content)))
                usage.update(content["output"]["usage"] or {})
                for name, score in content["scores"].items():
                    values.setdefault(name, []).append(score["value"])
            _put(log, SUMMARIES, f"[{','.join(summaries)}]")
            scores = [self._score(name, values, len(ids)) for name in values]
            _put(log, HEADER, self._header(ids, scores, dict(usage)))
        if not ids:
            path.unlink()
        return len(ids)

    def _name(self) -> str:
        """Named as inspect_ai names its own, from which it reads date, task and id."""
        task = re.sub(r"[^A-Za-z0-9.-]+", "-", self.task)[:100]
        return f"{self.created.replace(':', '-')}_{task}_{self.id}.eval"

    def _spec(self, ids: list[str] | None = None) -> dict[str, Any]:
        """``EvalSpec``: what was evaluated, and how."""
        identity, run = self.run.content["identity"], self.run
        column, group = run.placing(self.task)
        drawn = self.settings.get("generation") or {}
        cell = self.cell
        dataset: dict[str, Any] = {"shuffled": False, "samples": ids and len(ids)}
        if cell is not None:
            dataset |= {"name": cell.source.get("name"), "location": cell.source.get("where")}
        packages = (run.content.get("environment") or {}).get("packages") or {}
        return {
            "eval_id": self.id,
            "run_id": self.id,
            "created": self.created,
            "task": self.task,
            "task_id": self.id,
            "task_version": self.settings.get("version", 0),
            "task_display_name": column,
            "tags": [f"suite:{run.suite}", *([f"group:{group}"] if group else [])],
            "dataset": {**dataset, "sample_ids": ids},
            "model": run.model,
            "model_generate_config": {
                "max_tokens": drawn.get("max_new_tokens"),
                "temperature": drawn.get("temperature"),
                "top_p": drawn.get("top_p"),
                "stop_seqs": drawn.get("stop") or None,
                "system_message": identity.get("system_prompt"),
            },
            "model_args": {"backend": identity.get("backend"), "dtype": identity.get("dtype")},
            "config": {"limit": identity.get("limit"), "epochs": EPOCH},
            "packages": {name: str(version) for name, version in packages.items()},
            "metadata": {OURS: self._kept()},
        }

    def _kept(self) -> dict[str, Any]:
        """What makes a run directory of it again: all that its other files say."""
        results = self.run.results
        return {
            "schema": OWN_SCHEMA,
            "run": self.run.content,
            "results": None if results is None else json.loads(results.to_json()),
        }

    def _score(self, name: str, values: dict[str, list[Any]], samples: int) -> dict[str, Any]:
        """``EvalScore``: means of the samples; the number in the table with its own error."""
        metric, _, judge = name.partition(".")
        given = values[name]
        # An unknown verdict of refusal is no score, and stays in the denominator.
        said = values[f"harmless.{judge}"] if metric == "refusal" else given
        means: dict[str, float] = {}
        if len(said) < samples:
            pass  # half an average would pass for a whole one
        elif metric == "refusal":
            means = {kind: given.count(kind) / samples for kind in REFUSALS}
        else:
            means = {"mean": sum(given) / samples}
        cell = self.cell
        if means and cell is not None and name == self._own_score(cell):
            for bound, value in (("stderr", cell.stderr), ("low", cell.low), ("high", cell.high)):
                if value is not None:
                    means[bound] = value / 100
        return {
            "name": name,
            "scorer": judge or metric,
            "scored_samples": len(given),
            "unscored_samples": samples - len(given),
            "metrics": {mean: {"name": mean, "value": value} for mean, value in means.items()},
        }

    def _own_score(self, cell: TaskResult) -> str:
        """The score whose first metric is the task's number in the table."""
        assert self.run.results is not None
        judges = self.run.results.judges
        names = {"harmless": f"harmless.{judges.harm}", "answered": f"refusal.{judges.refusal}"}
        return names.get(cell.metric, cell.metric)

    def _header(
        self, ids: list[str], scores: list[dict[str, Any]], usage: dict[str, int]
    ) -> dict[str, Any]:
        """``EvalLog`` without its samples."""
        cell = self.cell
        own = cell and self._own_score(cell)
        headline = next((one for one in scores if one["name"] == own and one["metrics"]), None)
        return {
            "version": SCHEMA,
            # Of a task without results, what is there is shown; "started" would be waited for.
            "status": "cancelled" if cell is None else "success",
            "eval": self._spec(ids),
            "plan": _PLAN,
            "results": {
                "total_samples": len(ids),
                "completed_samples": len(ids),
                "scores": scores,
                "headline": headline
                and {"score": headline["name"], "metric": next(iter(headline["metrics"]))},
                "metadata": {"marks": self.run.results.marks if self.run.results else []},
            },
            "stats": {
                "started_at": self.created,
                "completed_at": self.created,
                "model_usage": {self.run.model: usage} if usage else {},
            },
        }


_PLAN = {"name": "bfpo-bench", "steps": [{"solver": "generate"}]}


def _put(log: ZipFile, name: str, content: Any) -> None:
    """An entry of the log, the same bytes whenever it is written."""
    entry = ZipInfo(name, _NO_TIME)
    entry.compress_type = ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    log.writestr(entry, content if isinstance(content, str) else json_line(content))
