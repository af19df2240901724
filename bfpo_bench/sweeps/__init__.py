"""Many models, one table: each an ordinary evaluation in a run directory of its own."""
