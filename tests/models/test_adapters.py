"""Adapters on their base: the same model as peft makes of them, and never one by accident."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import bfpo_bench
from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.engines.hf.load import load_causal_model
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.engines.vllm.files import merged_copy
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.resolve import output_folder
from bfpo_bench.evaluation.target import find_target
from bfpo_bench.lm_eval import PackedHF
from bfpo_bench.models.adapters import find_adapter
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.models.fingerprint import checkpoint_identity
from bfpo_bench.run.store import Store
from tests.crash.attempts import Driver
from tests.crash.killing import finish

CPU = torch.device("cpu")


def make_adapter(base: Path, folder: Path, **settings: Any) -> Path:
    """A LoRA with random numbers in both of its matrices, as PEFT saves it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base)
    wanted = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "down_proj"], **settings}
    wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **wanted))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tiny_llama, tmp_path_factory.mktemp("adapters") / "lora")


def edit(path: Path, **settings: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def options(model: Path, adapter: Path | None, **more: Any) -> EvaluateOptions:
    return EvaluateOptions(
        str(model), adapter=None if adapter is None else str(adapter), backend="hf", **more
    )


def test_weights_are_the_sum_of_both(tiny_llama: Path, adapter: Path) -> None:
    """W + α/r · B · A, taken by hand from the two files."""
    base, lora = (
        load_file(tiny_llama / "model.safetensors"),
        load_file(adapter / "adapter_model.safetensors"),
    )
    merged = load_causal_model(tiny_llama, "float32", CPU, adapter=str(adapter)).state_dict()
    assert merged.keys() == base.keys()
    changed = 0
    for name, weight in base.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" in lora:
            a, b = (lora[f"{stem}.lora_{side}.weight"] for side in "AB")
            torch.testing.assert_close(merged[name], weight + 16 / 4 * b @ a)
            assert (merged[name] - weight).abs().max() > 0.01
            changed += 1
        else:
            assert torch.equal(merged[name], weight)
    assert changed == 4


def test_answers_are_those_of_peft(tiny_llama: Path, adapter: Path, tmp_path: Path) -> None:
    """A run with --adapter against the saved merged model, and greedy logits against peft's."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shared: dict[str, Any] = {"suite": "mini", "tasks": ["toxigen", "advbench"], "limit": 4}
    shared |= {"judge": "keyword", "backend": "hf", "dtype": "float32"}
    found = bfpo_bench.evaluate(
        str(tiny_llama), adapter=str(adapter), output=tmp_path / "run", **shared
    )
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama), adapter)
    ids = torch.arange(5, 25).reshape(1, -1)
    merged = load_causal_model(tiny_llama, "float32", CPU, adapter=str(adapter))
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, plain(ids).logits, atol=1e-4, rtol=1e-4)
    whole = tmp_path / "merged"
    plain.merge_and_unload().save_pretrained(whole)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(whole)
    expected = bfpo_bench.evaluate(str(whole), output=tmp_path / "other", **shared)
    # Packed scoring and generation run as they do on the merged model: the very same numbers.
    assert found.tasks == expected.tasks
    assert found.model["name"] == f"{tiny_llama.name}+lora"
    assert found.model["adapter"]
    # As lm-eval's hf takes it, so does bfpo-hf.
    within = PackedHF(str(tiny_llama), peft=str(adapter), dtype="float32", device="cpu")
    name = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(within.model.state_dict()[name], merged.state_dict()[name])
    # Without it, the same model has another name and other answers.
    with pytest.raises(BadInput, match=r"something different: model\.adapter: "):
        bfpo_bench.evaluate(str(tiny_llama), output=tmp_path / "run", **shared)


def test_the_copy_that_vllm_reads(
    tiny_llama: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = load_causal_model(tiny_llama, "bfloat16", CPU, adapter=str(adapter)).state_dict()
    wanted = EngineOptions(
        str(tiny_llama), adapter=str(adapter), dtype="bfloat16", scratch=str(tmp_path / "scratch")
    )
    with merged_copy(wanted) as copied:
        files = find_model(copied.model)
        assert copied.adapter is None
        assert files.dtype == "bfloat16"
        saved = load_file(files.weights[0])
        assert all(torch.equal(saved[name], merged[name]) for name in merged)
        for file in tiny_llama.iterdir():
            if file.suffix != ".safetensors":
                assert (files.folder / file.name).exists(), file.name
    assert list((tmp_path / "scratch").iterdir()) == []
    # A disk on which there is no room for it.
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copy", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
        with (
            pytest.raises(
                RunFailed, match=r"the model with its adapter cannot be written to .*No sp"
            ),
            merged_copy(wanted),
        ):
            pass
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.slow
@pytest.mark.vllm
def test_vllm_and_hf_agree(
    vllm_driver: Driver, tiny_llama: Path, adapter: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"adapter": str(adapter), "dtype": "float32", "suite": "mini"}
    asked |= {"model": str(tiny_llama), "tasks": ["toxigen"], "limit": 3}
    bfpo_bench.evaluate(backend="hf", output=tmp_path / "hf", **asked)
    # A process of its own: vLLM does not start in one where others have imported distutils.
    asked |= {"backend": "vllm", "output": str(tmp_path / "vllm")}
    finish(vllm_driver, asked, fork_engine=True)
    scores = {}
    for backend in ("hf", "vllm"):
        with Store(tmp_path / backend / "samples.sqlite", read_only=True) as store:
            scores[backend] = [s.loglikelihood for s in store.scores("bfpo_toxigen")]
    assert len(scores["hf"]) > 3
    assert scores["vllm"] == pytest.approx(scores["hf"], abs=1e-3)


def test_all_of_an_adapter_counts(tiny_llama: Path, adapter: Path, tmp_path: Path) -> None:
    mine, base = Path(shutil.copytree(adapter, tmp_path / "mine")), find_model(str(tiny_llama))

    def identity() -> dict[str, str]:
        return checkpoint_identity(base, adapter=find_adapter(str(mine), base))

    before = identity()
    assert checkpoint_identity(base) == {k: v for k, v in before.items() if k != "adapter"}
    config = mine / "adapter_config.json"
    modules = json.loads(config.read_text())["target_modules"]
    edit(config, base_model_name_or_path="elsewhere", target_modules=modules[::-1])
    (mine / "README.md").write_text("")
    assert identity() == before
    edit(config, lora_alpha=8)
    alpha = identity()
    assert alpha["adapter"] != before["adapter"]
    tensors = load_file(mine / "adapter_model.safetensors")
    next(iter(tensors.values()))[0, 0] += 1
    save_file(tensors, mine / "adapter_model.safetensors")
    assert identity()["adapter"] not in (alpha["adapter"], before["adapter"])


def test_tokenizer_name_and_place(tiny_llama: Path, adapter: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(adapter, tmp_path / "mine"))
    assert output_folder(options(tiny_llama, mine)) == Path(f"runs/{tiny_llama.name}+mine")
    assert output_folder(options(Path("a/b"), Path("c/d"))) == Path("runs/a__b+c__d")
    target = find_target(options(tiny_llama, mine), "hf")
    assert target.tokenizer == tiny_llama
    assert target.caveats == []
    # One that was saved with the adapter is the one that it was trained with.
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_llama / name, mine / name)
    (mine / "chat_template.jinja").write_text("{{ messages[0]['content'] }} of the adapter")
    target = find_target(options(tiny_llama, mine), "hf")
    assert target.tokenizer == mine
    chat = target.chat()
    assert chat is not None
    named = find_target(options(tiny_llama, mine, tokenizer=str(tiny_llama)), "hf")
    assert named.tokenizer == tiny_llama


def test_tokens_that_were_added_for_the_adapter(tiny_llama: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    rows = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(rows + 3)
    saved = ["embed_tokens", "lm_head"]
    lora = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=saved, task_type="CAUSAL_LM")
    wrapped = get_peft_model(model, lora)
    wrapped.save_pretrained(tmp_path / "grown")
    merged = load_causal_model(tiny_llama, "float32", CPU, adapter=str(tmp_path / "grown"))
    assert merged.config.vocab_size == rows + 3
    expected = wrapped.merge_and_unload().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in merged.state_dict().items())


def test_another_base_is_noticed(
    tiny_llama: Path, adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = Path(shutil.copytree(adapter, tmp_path / "mine"))
    edit(mine / "adapter_config.json", base_model_name_or_path="org/another-7b")
    target = find_target(options(tiny_llama, mine), "hf")
    [caveat] = target.caveats
    assert caveat == (
        f"the adapter mine names org/another-7b as its base and was put on {tiny_llama.name}"
    )
    assert caveat in caplog.text
    # The same name elsewhere is the same model.
    edit(mine / "adapter_config.json", base_model_name_or_path=f"org/{tiny_llama.name}")
    assert find_target(options(tiny_llama, mine), "hf").caveats == []
    tensors = load_file(mine / "adapter_model.safetensors")
    name = next(name for name in tensors if "q_proj.lora_A" in name)
    save_file({**tensors, name: torch.zeros(4, 96)}, mine / "adapter_model.safetensors")
    with pytest.raises(BadInput, match="q_proj of 64 × 96 numbers, where the model has 64 × 64"):
        find_target(options(tiny_llama, mine), "hf")
    # A layer more than the model has; one less than the adapter's settings say.
    moved = {n.replace("layers.1", "layers.7"): t.clone() for n, t in tensors.items()}
    for wrong in ({**tensors, **moved}, {n: t for n, t in tensors.items() if "layers.1" not in n}):
        save_file(wrong, mine / "adapter_model.safetensors")
        with pytest.raises(BadInput, match=r"do not go together: \d of its weights have no count"):
            load_causal_model(tiny_llama, "float32", CPU, adapter=str(mine))
    save_file(tensors, mine / "adapter_model.safetensors")
    edit(mine / "adapter_config.json", target_modules=["c_attn"])
    with pytest.raises(BadInput, match=r"cannot be put on this model \(Target modules .*c_attn"):
        load_causal_model(tiny_llama, "float32", CPU, adapter=str(mine))


def test_what_is_no_adapter(tiny_llama: Path, adapter: Path, tmp_path: Path) -> None:
    base = find_model(str(tiny_llama))
    mine = Path(shutil.copytree(adapter, tmp_path / "mine"))
    with pytest.raises(BadInput, match=r"there is no adapter folder './none'; correct --adapter"):
        find_adapter("./none", base)
    with pytest.raises(BadInput, match=r"holds no adapter \(adapter_config.json: No such file"):
        find_adapter(str(tiny_llama), base)
    edit(mine / "adapter_config.json", peft_type="PREFIX_TUNING")
    with pytest.raises(BadInput, match="kind PREFIX_TUNING, which does not change the weights"):
        find_adapter(str(mine), base)
    edit(mine / "adapter_config.json", peft_type="LORA")
    for absurd in ({"r": 10**9}, {"r": 4, "rank_pattern": {"q_proj": 10**9}}):
        edit(mine / "adapter_config.json", **absurd)
        with pytest.raises(BadInput, match=r"adapter_config\.json names a rank of more than \d+"):
            find_adapter(str(mine), base)
    edit(mine / "adapter_config.json", r=4, rank_pattern={})
    (mine / "adapter_model.safetensors").rename(mine / "adapter_model.bin")
    with pytest.raises(BadInput, match=r"has no adapter_model\.safetensors; save the adapter a"):
        find_adapter(str(mine), base)
    (mine / "adapter_config.json").write_text("{")
    with pytest.raises(BadInput, match=r"the adapter's .*adapter_config\.json is damaged \("):
        find_adapter(str(mine), base)
    served = EvaluateOptions(
        "toy", backend="openai", base_url="http://localhost:9/v1", adapter=str(adapter)
    )
    with pytest.raises(BadInput, match="--adapter is for a model that is loaded here; a server"):
        find_target(served, "openai")


def test_an_adapter_is_never_put_on_unasked(
    tiny_llama: Path, adapter: Path, tmp_path: Path
) -> None:
    """As a model of any kind: alone, with a config.json, and beside weights it may be part of."""
    alone = Path(shutil.copytree(adapter, tmp_path / "alone"))
    told = f"evaluate it with --model {tiny_llama} --adapter {alone} \\(as a judge"
    for file in ("config.json", "tokenizer.json"):
        with pytest.raises(BadInput, match=f"holds an adapter alone; {told}"):
            find_model(str(alone))
        shutil.copy(tiny_llama / file, alone)
    beside = Path(shutil.copytree(tiny_llama, tmp_path / "beside"))
    shutil.copy(adapter / "adapter_config.json", beside)
    with pytest.raises(BadInput, match="a model's weights and an adapter beside them, and nobody"):
        find_model(str(beside))
    (beside / "adapter_config.json").unlink()
    # Its weights without their settings are nothing that is loaded, nor is another layout's copy.
    shutil.copy(adapter / "adapter_model.safetensors", beside)
    shutil.copy(beside / "model.safetensors", beside / "consolidated.safetensors")
    assert checkpoint_identity(find_model(str(beside))) == checkpoint_identity(
        find_model(str(tiny_llama))
    )
