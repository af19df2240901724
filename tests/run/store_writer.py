"""A process that is killed in the middle of writing, on a disk that other machines may see; see
tests/run/test_journal.py.
"""

import os
import signal
import sys
from pathlib import Path

from bfpo_bench.run.store import ItemRecord, Store, journal

journal.is_own = lambda folder: False
store = Store(Path(sys.argv[1]))
store.add_items([ItemRecord("t", "before", 0, "{}")])
store._db.execute("PRAGMA cache_size=1")
store._db.execute("BEGIN IMMEDIATE")
for number in range(2000):
    store._db.execute("INSERT INTO items VALUES ('t', ?, 1, ?)", (f"half {number}", "x" * 500))
os.kill(os.getpid(), signal.SIGKILL)
