"""``python -m benchmarks.real_model``."""

from benchmarks.real_model import main

raise SystemExit(main())
