"""Measurements of this project against others, each to be run as ``python -m benchmarks.NAME``."""
