"""A job with a scratch folder that is killed; see tests/run/test_local_store.py."""

import os
import signal
import sys
from pathlib import Path

from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.session import Session
from bfpo_bench.run.store import ItemRecord

run_folder, scratch, *items = sys.argv[1:]
run = RunDirectory(Path(run_folder), {"tasks": {}, "data": {}}, local_scratch=Path(scratch))
store, session = run.open_store(), Session(run)
for item in items:
    if item == "stage":
        with session.timed("prepare"):
            pass
    else:
        store.add_items([ItemRecord("t", item, 0, "{}")])
os.kill(os.getpid(), signal.SIGKILL)
