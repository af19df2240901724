"""A checkpoint is loaded whole, or one sentence says what is wrong with it."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.hf.load import load_causal_model, torch_device
from bfpo_bench.engines.open import open_engine
from bfpo_bench.engines.protocol import EngineOptions
from tests.toy_models import weights_of

CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_llama, tmp_path / "model")


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")


def test_a_whole_checkpoint(folder: Path) -> None:
    model = load_causal_model(folder, "auto", CPU)
    stored = load_file(folder / "model.safetensors")
    for name, tensor in model.state_dict().items():
        if name in stored:
            assert torch.equal(tensor, stored[name])
    assert not model.training


def test_generation_settings_that_contradict_each_other_are_no_news(folder: Path) -> None:
    """None of them is used; what a model asks for beyond the suite is a mark of the results."""
    from transformers import GenerationConfig
    from transformers.utils import logging as library

    settings = {"do_sample": False, "temperature": 0.6, "top_p": 0.9, "eos_token_id": 2}
    (folder / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    said: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, keeping = logging.getLogger("transformers"), Keeping()
    logger.addHandler(keeping)
    try:
        # transformers says a thing once only.
        library.warning_once.cache_clear()
        model = load_causal_model(folder, "auto", CPU)
        assert said == []
        library.warning_once.cache_clear()
        GenerationConfig.from_pretrained(str(folder))
        assert "generation flags are not valid" in said[0]
    finally:
        logger.removeHandler(keeping)
    assert model.generation_config.temperature == 0.6


def test_weights_that_are_not_there(folder: Path) -> None:
    with weights_of(folder) as weights:
        del weights["model.layers.1.mlp.down_proj.weight"]
    with pytest.raises(
        BadInput, match=r"1 weights .* are missing .*layers\.1\.mlp\.down_proj.*save it again"
    ):
        load_causal_model(folder, "auto", CPU)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_hidden_layers": 9}, "are missing or have another shape"),
        ({"vocab_size": 77}, "cannot be loaded|another shape"),
        ({"model_type": "bert"}, "are missing|cannot be loaded"),
        ({"model_type": "no-such-thing"}, "cannot be loaded as a causal language model"),
    ],
)
def test_a_config_of_another_model(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    configure(folder, **changes)
    with pytest.raises(BadInput, match=sentence):
        load_causal_model(folder, "auto", CPU)
    # The engine says the same, whatever lm-eval looks at first.
    with pytest.raises(BadInput, match=sentence):
        open_engine("hf", EngineOptions(str(folder), device="cpu"))


def test_weights_that_are_not_used_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    configure(folder, num_hidden_layers=1)
    load_causal_model(folder, "auto", CPU)
    assert "are not used, e.g. model.layers.1" in caplog.text


def test_a_checkpoint_with_its_own_code(folder: Path) -> None:
    configure(
        folder,
        model_type="mine",
        auto_map={"AutoConfig": "code.Mine", "AutoModelForCausalLM": "code.MineForCausalLM"},
    )
    (folder / "code.py").write_text("raise SystemExit('was run')", encoding="utf-8")
    with pytest.raises(BadInput, match="which --trust-remote-code would run"):
        load_causal_model(folder, "auto", CPU)


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "nonsense"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(BadInput, match=f"there is no device '{name}' on this machine"):
        torch_device(name)


def test_the_cpu_is_always_there() -> None:
    assert torch_device("cpu") == CPU
