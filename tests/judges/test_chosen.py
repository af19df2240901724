"""Choosing a judge: what is taken over from an evaluation's options, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.options import Loading
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.resolve import resolve
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.options import JudgeOptions


def test_a_server_for_targets_is_no_backend_of_a_judge() -> None:
    with pytest.raises(BadInput, match="hf or vllm; one that a server holds is named by --j"):
        choose_judge(JudgeOptions("wildguard-7b", backend="openai"))


def test_a_run_loads_its_judge_as_it_loads_its_target(tiny_llama: Path) -> None:
    loading = {
        "backend": "hf",
        "dtype": "bfloat16",
        "device": "cpu",
        "batch_size": 7,
        "tensor_parallel_size": 2,
        "data_parallel_size": 3,
        "ray": "auto",
        "gpu_memory_utilization": 0.5,
        "trust_remote_code": True,
        "date": "2025-03-09",
    }
    assert set(loading) == {field.name for field in fields(Loading)}
    options = EvaluateOptions(
        *(str(tiny_llama), "mini"),
        tasks=("advbench",),
        judge="harmbench-llama2-13b",
        judge_model=str(tiny_llama),
        **loading,  # type: ignore[arg-type]
    )
    request = resolve(options)
    assert request.judges.harm is not None
    assert request.judges.harm.model is not None
    for name, value in loading.items():
        assert getattr(request.judges.harm.options.loading, name) == value
    engine = request.judges.harm.options.loading.engine_options(request.judges.harm.model)
    for name in loading.keys() - {"backend", "date"}:
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
    request = resolve(options)
    assert request.judges.harm is not None
    assert request.judges.harm.backend in ("hf", "vllm")


CARD = """\
kind: classifier
version: 1
source: this test
licence: Apache-2.0
model: ./model
harmful_label: "yes"
safe_label: "no"
chat_template: {chat}
template: "{{prompt}} {{response}} harmful?"
"""


@pytest.mark.parametrize("chat", [True, False])
def test_all_that_a_verdict_depends_on_is_in_a_judges_identity(
    tiny_llama: Path, tmp_path: Path, chat: bool
) -> None:
    model = Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    card = tmp_path / "mine.yaml"
    card.write_text(CARD.format(chat=str(chat).lower()))
    options = JudgeOptions(str(card), backend="hf")
    chosen = choose_judge(options)
    first = chosen.identity()

    def changed(now: dict[str, object]) -> list[str]:
        return [part for part in {**first, **now} if first.get(part) != now.get(part)]

    assert changed(choose_judge(replace(options, dtype="bfloat16")).identity()) == ["dtype"]
    assert changed(replace(chosen, backend="vllm").identity()) == ["backend"]
    # What only decides how fast it goes is no part of it, nor is where the model lies.
    assert changed(choose_judge(replace(options, batch_size=3, device="cpu")).identity()) == []
    model.rename(tmp_path / "moved")
    moved = choose_judge(replace(options, judge_model=str(tmp_path / "moved")))
    assert changed(moved.identity()) == []
    config = json.loads((tmp_path / "moved" / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 100.0
    (tmp_path / "moved" / "config.json").write_text(json.dumps(config))
    assert changed(moved.identity()) == ["settings"]
    (tmp_path / "moved" / "chat_template.jinja").write_text("another")
    # The model's own template counts where the card asks through it.
    assert changed(moved.identity()) == ["settings", *(["templates"] if chat else [])]
