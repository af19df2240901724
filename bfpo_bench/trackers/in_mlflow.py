"""MLflow, by its own client (``mlflow`` or ``mlflow-skinny``), whose variables are obeyed.

``mlflow-skinny`` speaks to a server or writes into a folder (``MLFLOW_TRACKING_URI=file:…``); a
database file, which is what MLflow takes where it is told nothing, needs the whole ``mlflow``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from bfpo_bench.common.dotted import dotted
from bfpo_bench.common.errors import BadInput
from bfpo_bench.trackers.protocol import PROJECT, STEP, Subject, Table, Tracker

KEY = "bfpo-bench.key"
"""The tag by which a run is found again."""

LONGEST = 500
"""Characters of a parameter that any server takes; ``config.json`` holds them whole."""


class MlflowRun(Tracker):
    """See :class:`Tracker`."""

    name = "mlflow"
    variables: ClassVar = {
        # Files are no longer developed, and still what there is without a server or a database.
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        # Seven tries of two minutes are long for a training that waits.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    }

    @classmethod
    def check(cls) -> None:
        """See :meth:`Tracker.check`.

        Raises:
            BadInput: nothing says where to, and it is not the whole MLflow.
        """
        from mlflow import MlflowClient

        try:
            MlflowClient()
        except Exception:
            if os.environ.get("MLFLOW_TRACKING_URI"):
                raise
            raise BadInput(
                "mlflow is not told where its runs are, and this one (mlflow-skinny) has no "
                "database of its own; set MLFLOW_TRACKING_URI to a server or to a folder, such as "
                "file:mlruns, or install mlflow."
            ) from None

    def __init__(self, subject: Subject) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param, RunTag

        self._client = client = MlflowClient()
        self._experiment = self._found(os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT)
        mine = client.search_runs([self._experiment], f"tags.`{KEY}` = '{subject.key}'", 1)
        if mine:
            client.update_run(mine[0].info.run_id, "RUNNING", subject.name)
        tags = {KEY: subject.key, "bfpo-bench.kind": subject.kind, "mlflow.source.name": PROJECT}
        run = mine[0] if mine else client.create_run(self._experiment, None, tags, subject.name)
        self._id, self._known = run.info.run_id, dict(run.data.metrics)
        self.last_step = int(self._known.get(STEP, -1))
        self._config = subject.config
        # A parameter stays what it was first; what has changed since is a tag.
        known = run.data.params
        texts = [(_legal(n), _text(v)[:LONGEST]) for n, v in dotted(subject.config)]
        new = [Param(*one) for one in texts if one[0] not in known]
        changed = [RunTag(*one) for one in texts if known.get(one[0], one[1]) != one[1]]
        for at in range(0, max(len(new), len(changed)), 100):
            some = slice(at, at + 100)
            client.log_batch(self._id, params=new[some], tags=changed[some])

    def _found(self, name: str) -> str:
        """Number of the experiment of that name, which is made where there is none."""
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:
                # Another process was faster.
                experiment = self._client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        return str(experiment.experiment_id)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See :meth:`Tracker.log`."""
        self._metrics({**values, STEP: step}, step)

    def _metrics(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = round(1000 * datetime.now(UTC).timestamp())
        points = [Metric(_legal(name), value, now, step) for name, value in values.items()]
        for at in range(0, len(points), 1000):
            self._client.log_batch(self._id, metrics=points[at : at + 1000])

    def put(self, numbers: Mapping[str, float], tables: Mapping[str, Table]) -> None:
        """See :meth:`Tracker.put`."""
        new = {name: v for name, v in numbers.items() if self._known.get(_legal(name)) != v}
        self._metrics(new, 0)
        self._client.log_text(self._id, json.dumps(self._config, indent=2), "config.json")
        for name, table in tables.items():
            # As MLflow's log_table writes it, which would add to a table that is there.
            text = json.dumps({"columns": table.columns, "data": table.rows})
            self._client.log_text(self._id, text, f"{name}.json")
        if shown := [{"path": f"{name}.json", "type": "table"} for name in tables]:
            self._client.set_tag(self._id, "mlflow.loggedArtifacts", json.dumps(shown))

    def close(self, whole: bool) -> str:
        """See :meth:`Tracker.close`."""
        self._client.set_terminated(self._id, "FINISHED" if whole else "KILLED")
        place = self._client.tracking_uri
        if place.startswith("http"):
            return f"{place.rstrip('/')}/#/experiments/{self._experiment}/runs/{self._id}"
        return f"{place}, run {self._id}"


def _legal(name: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", name)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
