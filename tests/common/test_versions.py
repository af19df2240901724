from __future__ import annotations

from importlib import metadata

import pytest

import bfpo_bench
from bfpo_bench.common.versions import versions_of


def test_versions_are_those_of_the_code_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editable install goes on saying which version it was made from."""
    asked: list[str] = []

    def installed(name: str) -> str:
        asked.append(name)
        return "0.0.1"

    pyyaml = metadata.version("pyyaml")
    assert versions_of(["not-there", "pyyaml"]) == {"pyyaml": pyyaml}
    monkeypatch.setattr(metadata, "version", installed)
    found = versions_of(["pyyaml", "bfpo-bench"])
    assert list(found.items()) == [("pyyaml", "0.0.1"), ("bfpo-bench", bfpo_bench.__version__)]
    assert asked == ["pyyaml"]
