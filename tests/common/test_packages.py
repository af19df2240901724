"""What is not installed is found out, however that is."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.packages import find_spec
from bfpo_bench.engines.cluster import check_installed
from bfpo_bench.engines.open import choose_backend, vllm_installed


class Hook:
    """An import hook that lets nobody have a package; most return nothing, this one raises."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in ("ray", "vllm"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize("how", ["hook", "none", "odd"])
def test_a_package_that_cannot_be_had(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ray", "vllm"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        if how == "none":
            monkeypatch.setitem(sys.modules, name, None)
        if how == "odd":  # a stand-in that says nothing of itself
            module = type(sys)(name)
            monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "meta_path", [Hook(), *sys.meta_path])
    assert find_spec("ray") is None
    assert not vllm_installed()
    with pytest.raises(BadInput, match=r"pip install 'bfpo-bench\[vllm\]'"):
        choose_backend("vllm")
    with pytest.raises(BadInput, match=r"pip install 'bfpo-bench\[ray\]'"):
        check_installed("copies need Ray", "leave the option out")


def test_a_module_whose_package_is_missing() -> None:
    assert find_spec("no_such_package.module") is None
    assert find_spec("pytest") is not None
