"""Settings within settings by names with dots."""

from __future__ import annotations

from bfpo_bench.common.dotted import dotted


def test_names_have_dots_and_what_is_empty_stays() -> None:
    settings = {"model": {"name": "zephyr", "parts": {"a": [1], "b": {}}}, "seed": None, 1: {}}
    found = [("model.name", "zephyr"), ("model.parts.a", [1]), ("model.parts.b", {})]
    assert list(dotted(settings)) == [*found, ("seed", None), ("1", {})]  # type: ignore[arg-type]
    assert dict(dotted({"x": 1}, "y")) == {"y.x": 1}
