"""What ``--dtype auto`` chooses on CPUs with and without units for a checkpoint's format."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bfpo_bench.common.device import Device, cpu_formats
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.estimate.dry_run import dry_run
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.resolve import begun_identity, resolve
from bfpo_bench.evaluation.run import run_evaluation
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.models.number_format import choose_format, go_on_with, training_advice
from bfpo_bench.rankers.protocol import RankerOptions
from bfpo_bench.training.identity import differences
from tests.judge_card import write_card

AVX512 = "fma avx2 avx512f avx512bw avx512vl avx512_vnni"

Cpu = Callable[[str], None]


@pytest.fixture
def cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cpu:
    """Puts another CPU into the machine, by its flags, and takes a GPU out of it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def put(flags: str, name: str = "flags\t\t") -> None:
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nmodel name\t: bf16 amx_bf16\n{name}: fpu {flags}\n\n" * 2)
        monkeypatch.setattr("bfpo_bench.common.device._CPU", path)

    return put


@pytest.fixture(scope="module")
def narrow(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The fixture model as a checkpoint of either format of 16 bits."""
    found = {}
    for dtype in ("bfloat16", "float16"):
        folder = tmp_path_factory.mktemp(dtype) / "tiny"
        shutil.copytree(tiny_llama, folder)
        config = json.loads((folder / "config.json").read_text())
        config.pop("torch_dtype", None)
        (folder / "config.json").write_text(json.dumps({**config, "dtype": dtype}))
        tensors = load_file(folder / "model.safetensors")
        small = {name: value.to(getattr(torch, dtype)) for name, value in tensors.items()}
        save_file(small, folder / "model.safetensors", metadata={"format": "pt"})
        found[dtype] = folder
    return found


@pytest.mark.parametrize(
    ("flags", "name", "formats"),
    [
        (AVX512, "flags\t\t", set()),  # Cascade Lake
        ("fma avx2 f16c", "flags\t\t", set()),  # f16c converts, it does not multiply
        (f"{AVX512} avx512_bf16", "flags\t\t", {"bfloat16"}),  # Cooper Lake, Zen 4
        (f"{AVX512} avx512_bf16 amx_bf16 avx512_fp16", "flags\t\t", {"bfloat16", "float16"}),
        ("amx_bf16", "flags\t\t", {"bfloat16"}),
        ("fp asimd fphp asimdhp", "Features\t", {"float16"}),  # Neoverse N1
        ("fp asimd fphp asimdhp bf16 i8mm", "Features\t", {"bfloat16", "float16"}),  # Graviton 3
        ("half thumb", "Other", {"bfloat16", "float16"}),  # nobody lists them: no guess
    ],
)
def test_units_by_the_flags_of_the_cpu(cpu: Cpu, flags: str, name: str, formats: set[str]) -> None:
    cpu(flags, name)
    assert cpu_formats() == formats


def test_a_machine_that_lists_no_flags_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, narrow: dict[str, Path]
) -> None:
    monkeypatch.setattr("bfpo_bench.common.device._CPU", tmp_path / "none")
    assert choose_format(find_model(str(narrow["float16"])), device="cpu") == ("float16", None)


def test_auto_takes_float32_without_units(cpu: Cpu, narrow: dict[str, Path]) -> None:
    files = {dtype: find_model(str(folder)) for dtype, folder in narrow.items()}
    cpu(AVX512)
    for dtype, one in files.items():
        for device in ("auto", "cpu"):
            found = choose_format(one, device=device)
            assert found.dtype == "float32"
            assert f"no units for the checkpoint's {dtype}" in str(found.note)
            assert f"--dtype {dtype} does it" in str(found.note)
        assert choose_format(one, device="cuda:1") == (dtype, None)
        asked = choose_format(one, dtype)
        assert asked.dtype == dtype
        assert "--dtype float32 is several times faster here" in str(asked.note)
        assert choose_format(one, "float32") == ("float32", None)
    cpu(f"{AVX512} avx512_bf16")
    assert choose_format(files["bfloat16"]) == ("bfloat16", None)
    assert choose_format(files["float16"]).dtype == "float32"


def test_the_gpu_keeps_the_checkpoints_format(
    cpu: Cpu, narrow: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu(AVX512)
    gpu = Device("cuda", "GPU", 1, 1)
    monkeypatch.setattr("bfpo_bench.models.number_format.find_device", lambda name="auto": gpu)
    assert choose_format(find_model(str(narrow["bfloat16"]))) == ("bfloat16", None)


def test_packed_and_wide_checkpoints_stay_as_they_are(
    cpu: Cpu, narrow: dict[str, Path], tiny_llama: Path, tmp_path: Path
) -> None:
    cpu(AVX512)
    assert choose_format(find_model(str(tiny_llama))) == ("float32", None)
    packed = Path(shutil.copytree(narrow["float16"], tmp_path / "packed"))
    config = json.loads((packed / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (packed / "config.json").write_text(json.dumps(config))
    assert choose_format(find_model(str(packed))) == ("float16", None)


def test_the_whole_memory_decides_and_not_what_is_free(
    cpu: Cpu, narrow: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu(AVX512)
    files = find_model(str(narrow["bfloat16"]))
    tensors = load_file(files.weights[0])
    wide = 4 * sum(value.numel() for value in tensors.values())

    def memory(total: int) -> None:
        device = Device("cpu", "CPU", 0, total)
        monkeypatch.setattr(
            "bfpo_bench.models.number_format.find_device", lambda name="auto": device
        )

    # A tenth is kept for the rest.
    memory(wide * 10 // 9 + 1)
    assert choose_format(files).dtype == "float32"
    two = choose_format(files, copies=2)
    assert two.dtype == "bfloat16"
    assert f"take {2 * wide / 1e9:.1f} GB, too much for a memory of" in str(two.note)
    memory(wide * 10 // 9 - 9)
    assert choose_format(files).dtype == "bfloat16"
    # No advice that could not be followed.
    assert choose_format(files, "bfloat16") == (
        *("bfloat16", "bfloat16 is slow: this CPU has no units for it"),
    )


def test_rankers_choose_alike(cpu: Cpu, narrow: dict[str, Path]) -> None:
    cpu(AVX512)
    files = find_model(str(narrow["float16"]))
    assert RankerOptions(ranker="pairrm").dtype_of(files) == "float32"
    assert RankerOptions(ranker="pairrm", dtype="float16").dtype_of(files) == "float16"


def test_what_a_run_was_begun_in_is_gone_on_with(cpu: Cpu, narrow: dict[str, Path]) -> None:
    files = find_model(str(narrow["bfloat16"]))
    for flags, now, begun in (
        (AVX512, "float32", "bfloat16"),
        (f"{AVX512} amx_bf16", "bfloat16", "float32"),
    ):
        cpu(flags)
        chosen = choose_format(files)
        assert chosen.dtype == now
        found = go_on_with(files, chosen, begun)
        assert found.dtype == begun
        assert f"--dtype auto would take {now} now" in str(found.note)
        # What auto can never have chosen is another run.
        assert [go_on_with(files, chosen, other) for other in ("float16", None, now)] == [
            chosen
        ] * 3


class Said(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(show=False)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_a_run_is_begun_and_gone_on_with(
    cpu: Cpu, narrow: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = write_card(tmp_path, narrow["float16"])
    settings: dict[str, Any] = {
        "model": str(narrow["bfloat16"]), "suite": "mini", "tasks": ("toxigen", "advbench"),
        "limit": 2, "backend": "hf", "device": "cpu", "judge": str(card),
    }  # fmt: skip
    run = tmp_path / "run"
    options = EvaluateOptions(**settings, output=run)

    def dtypes(one: Path) -> tuple[str, str]:
        identity = begun_identity(one, False)
        return identity["dtype"], identity["judge"]["dtype"]

    cpu(AVX512)
    text = dry_run(options)
    assert text.count("parameters in float32; files:") == 2
    assert text.count("loaded in float32: this CPU has no units for the checkpoint's") == 2
    said = Said()
    first = run_evaluation(options, said)
    assert dtypes(run) == ("float32", "float32")
    assert len([line for line in said.lines if "no units for the checkpoint's" in line]) == 2
    # The widened weights are the same numbers: float32 asked for gives the same scores.
    wide = EvaluateOptions(**settings, output=tmp_path / "wide", dtype="float32")
    assert run_evaluation(wide).tasks == first.tasks

    # On a CPU with units, where auto is another now.
    cpu(f"{AVX512} avx512_bf16 avx512_fp16")
    (run / "results.json").unlink()
    assert "loaded in float32, as the run was begun" in dry_run(options)
    assert run_evaluation(options).tasks == first.tasks
    assert dtypes(run) == ("float32", "float32")
    new = EvaluateOptions(**settings, output=tmp_path / "new")
    begun = run_evaluation(new)
    assert dtypes(tmp_path / "new") == ("bfloat16", "float16")

    # And back, as runs of earlier versions come: nothing is asked or judged again.
    cpu(AVX512)
    (tmp_path / "new" / "results.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(
            "bfpo_bench.evaluation.target.LocalTarget.open", lambda *_: pytest.fail("asked")
        )
        patch.setattr(
            "bfpo_bench.judges.chosen.ChosenJudge.opened", lambda *_: pytest.fail("judged")
        )
        assert run_evaluation(new).tasks == begun.tasks
    assert dtypes(tmp_path / "new") == ("bfloat16", "float16")
    # What is asked for is no choice of the machine's: another run.
    with pytest.raises(BadInput, match='dtype: "bfloat16" there, "float32" asked for'):
        run_evaluation(EvaluateOptions(**settings, output=tmp_path / "new", dtype="float32"))
    asked = EvaluateOptions(**settings, output=tmp_path / "asked", dtype="bfloat16")
    assert resolve(asked).identity["dtype"] == "bfloat16"
    assert "bfloat16 is slow: this CPU has no units for it; --dtype float32" in dry_run(asked)


def test_training_is_advised_and_a_rewards_format_is_no_other_training(cpu: Cpu) -> None:
    cpu(AVX512)
    assert "with precision: fp32 a training is several times faster" in str(
        training_advice("bf16", "cpu")
    )
    assert training_advice("fp32", "cpu") is None
    assert training_advice("bf16", "cuda") is None
    cpu(f"{AVX512} avx512_bf16")
    assert training_advice("bf16") is None
    one: dict[str, Any] = {"recipe": {}, "rewards": {"r": {"model": "a", "dtype": "bfloat16"}}}
    two: dict[str, Any] = {"recipe": {}, "rewards": {"r": {"model": "a", "dtype": "float32"}}}
    assert differences(one, two) == []
    two["rewards"]["r"]["model"] = "b"
    assert differences(one, two) == ["rewards"]
