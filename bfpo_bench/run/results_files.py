"""The files in a run that hold the results by judges other than the run's own."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path

from bfpo_bench.common.errors import BadInput
from bfpo_bench.run.results import read_results


def results_file(judge: str) -> str:
    """Name of the file with the results by a judge other than the run's own.

    Names that not every file system holds and tells apart (``a:b`` and ``a-b``, ``A`` and ``a``)
    get the beginning of their hash behind a character that stands in no other file's name.
    """
    if re.fullmatch(r"[a-z0-9_.-]{1,100}", judge):
        return f"results-{judge}.json"
    digest = hashlib.sha256(judge.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"results-{re.sub(r'[^A-Za-z0-9_.-]', '-', judge)[:100]}~{digest}.json"


def results_files(run: Path, judge: str) -> list[Path]:
    """The files with a judge's results, the newest layout first: version 0.1 named them otherwise.

    Raises:
        BadInput: its file is damaged.
    """
    path, older = (run / name for name in (results_file(judge), _older_name(judge)))
    held = [(path, read_results(path))] if path.exists() else []
    if older != path:
        # One that is damaged may be another judge's.
        with suppress(BadInput):
            held.append((older, read_results(older)))
    return [one for one, results in held if (results.judge or {}).get("judge") == judge]


def _older_name(judge: str) -> str:
    return "results-" + re.sub(r"[^\w.-]", "-", judge) + ".json"
