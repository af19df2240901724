"""A process that writes two items at a time where there are no locks, until it is killed."""

import sys
import time
from pathlib import Path

from bfpo_bench.run.store import ItemRecord, Store, journal

journal.has_locks = lambda folder: False
with Store(Path(sys.argv[1])) as store:
    for number in range(10_000):
        both = (ItemRecord("t", f"{number} {half}", number, "x" * 9000) for half in "ab")
        store.add_items(both)
        print(number, flush=True)
        time.sleep(0.005)
