"""Weights & Biases, by its own client. Its variables (``WANDB_MODE`` …) and files are obeyed.

Texts that it collects by itself are left at home: what is printed, the command line, source code,
the list of packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.trackers.protocol import PROJECT, STEP, Subject, Table, Tracker

WAIT = 30.0
"""Seconds to wait for the server before a run is begun."""

SEND = 300.0
"""Seconds to wait in the end, until all is sent."""


class WandbRun(Tracker):
    """See :class:`Tracker`. Its process (wandb-core) ends with this one, also when it is killed."""

    name = "wandb"

    @classmethod
    def check(cls) -> None:
        """See :meth:`Tracker.check`.

        Raises:
            BadInput: nobody is logged in.
        """
        import wandb
        from wandb.sdk.lib import wbauth

        settings = wandb.setup(settings=wandb.Settings(silent=True)).settings
        if settings.mode in ("offline", "dryrun", "disabled"):
            return
        host = settings.base_url
        if not wbauth.authenticate_session(
            host=host, source=PROJECT, prompt=False, update_session=False
        ):
            raise BadInput(
                f"wandb has no API key for {host}; run `wandb login`, set WANDB_API_KEY, or keep "
                "what is reported on this disk with WANDB_MODE=offline."
            )

    def __init__(self, subject: Subject) -> None:
        import wandb

        usual = wandb.setup(settings=wandb.Settings(silent=True)).settings
        training = subject.kind == "train"
        self._run = wandb.init(
            project=usual.project or PROJECT,
            id=subject.key,
            resume="allow",
            name=subject.name,
            job_type=subject.kind,
            config=dict(subject.config),
            allow_val_change=True,
            # One that a program has open stays its own.
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_save_requirements=False,
                x_disable_meta=True,
                x_disable_stats=not training,
                init_timeout=WAIT,
                finish_timeout=usual.finish_timeout or SEND,
                finish_timeout_raises=True,
            ),
        )
        if training:
            self._run.define_metric(STEP)
            self._run.define_metric("*", step_metric=STEP, step_sync=True)
        self.last_step = int(self._run.summary.get(STEP) or -1) if self._run.resumed else -1

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See :meth:`Tracker.log`."""
        self._run.log({**values, STEP: step})

    def put(self, numbers: Mapping[str, float], tables: Mapping[str, Table]) -> None:
        """See :meth:`Tracker.put`."""
        import wandb

        self._run.summary.update(dict(numbers))
        shown: dict[str, Any] = {
            name: wandb.Table(columns=table.columns, data=table.rows, allow_mixed_types=True)
            for name, table in tables.items()
        }
        if shown:
            self._run.log(shown)

    def close(self, whole: bool) -> str:
        """See :meth:`Tracker.close`."""
        run = self._run
        if run.disabled:
            where = "nobody: WANDB_MODE is disabled"
        elif run.offline:
            folder = Path(run.dir).parent
            if folder.is_relative_to(Path.cwd()):
                folder = folder.relative_to(Path.cwd())
            where = f"`wandb sync {folder}` sends it"
        else:
            where = str(run.url)
        run.finish(exit_code=0 if whole else 1)
        return where
