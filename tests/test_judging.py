"""Choosing a judge: what is taken over from an evaluation's options, and what is refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from bfpo_bench.errors import BadInput
from bfpo_bench.judging import JudgeOptions, choose_judge
from bfpo_bench.options import EvaluateOptions, LoadingOptions
from bfpo_bench.request import check_request


def test_a_server_for_targets_is_no_backend_of_a_judge() -> None:
    with pytest.raises(BadInput, match="a judge is loaded with --backend hf or vllm"):
        choose_judge(JudgeOptions("wildguard-7b", backend="openai"))


def test_a_run_loads_its_judge_as_it_loads_its_target(tiny_llama: Path) -> None:
    loading = {
        "backend": "hf",
        "dtype": "bfloat16",
        "device": "cpu",
        "batch_size": 7,
        "tensor_parallel_size": 2,
        "data_parallel_size": 3,
        "gpu_memory_utilization": 0.5,
        "trust_remote_code": True,
    }
    assert set(loading) == {field.name for field in fields(LoadingOptions)}
    options = EvaluateOptions(
        *(str(tiny_llama), "mini"),
        tasks=("advbench",),
        judge="harmbench-llama2-13b",
        judge_model=str(tiny_llama),
        **loading,  # type: ignore[arg-type]
    )
    request = check_request(options)
    assert request.judge is not None
    assert request.judge.model is not None
    for name, value in loading.items():
        assert getattr(request.judge.options, name) == value
    engine = request.judge.options.engine_options(request.judge.model)
    for name in loading.keys() - {"backend"}:
        assert getattr(engine, name) == loading[name]
    assert engine == request.target.engine_options  # type: ignore[attr-defined]


def test_a_served_target_leaves_its_judge_to_this_machine() -> None:
    options = EvaluateOptions(
        *("toy", "mini"),
        tasks=("advbench",),
        judge="keyword",
        backend="openai",
        base_url="http://localhost:9/v1",
    )
    request = check_request(options)
    assert request.judge is not None
    assert request.judge.backend in ("hf", "vllm")
