"""The run of all that needs a GPU, rehearsed on a CPU: every part writes its page, and what the
pages compare agrees."""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import subprocess
import time
from contextlib import redirect_stdout
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import gpu, scoring
from benchmarks.contender import Contender, OutOfTime
from benchmarks.engines import DENSE, HF, OURS, UNSHARED, Setup
from benchmarks.gpu import LONG_TASKS, TASKS, Part
from benchmarks.random_models import make_model
from benchmarks.training_contenders import TRL

HEAVY = (
    *("lm_eval.models.huggingface", "bfpo_bench.engines.hf.engine", "transformers.models.llama"),
    *("trl.trainer.dpo_trainer", "bfpo_bench.training.pairwise.trainer"),
)

Rows = list[dict[str, str]]


def table(page: str) -> Rows:
    """The rows of a page's first table, by column; of two columns of one name the last."""
    lines = page[page.index("\n| ") + 1 :].partition("\n\n")[0].splitlines()
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(head, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def rehearsed(forked: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], str]:
    """The pages by name, and what was printed; each part is a function here, not a process."""
    folder = tmp_path_factory.mktemp("gpu")
    pairs = folder / "pairs.jsonl"
    rows = [
        {
            "prompt": f"how do i clean lamp number {i} " + "with water " * (i % 4),
            "chosen": "gently " * (1 + i % 5),
            "rejected": "i will not say that " * (1 + i % 3),
        }
        for i in range(8)
    ]
    pairs.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    def run(part: Part, seconds: float) -> str:
        more = ["--seconds", "600"] if part.told else []
        code = importlib.import_module(part.module).main([*part.arguments, *more])
        return f"failed with {code}" if code else ""

    printed = io.StringIO()
    asked = ["--model", "tiny", "--device", "cpu", "--without", "vllm", "--pairs", str(pairs)]
    asked += ["--output", str(folder / "pages"), "--models", str(folder / "models")]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(gpu, "run", run)
        assert gpu.main(asked) == 0
    pages = {page.stem: page.read_text("utf-8") for page in (folder / "pages").glob("*.md")}
    return pages, printed.getvalue()


@pytest.mark.slow
def test_every_part_writes_its_page_and_says_so(rehearsed: tuple[dict[str, str], str]) -> None:
    pages, printed = rehearsed
    assert set(pages) == {
        *("scoring-tiny-cpu", "scoring-tiny-cpu-attention", "training-tiny-cpu"),
        "generation-hf-tiny",
    }
    end = printed[printed.index("What became of the parts") :]
    assert "generation on vllm: left out, as vllm is not installed" in end
    for part in ("weights", "scoring", "training", "attention", "generation on hf"):
        assert f"\n{part}: done after " in end
    for name in pages:
        assert f"/{name}.md" in end
    for page in pages.values():
        assert "torch" in page
        assert "--seconds 600" in page
        rows = table(page)
        assert all(row["utilisation"].endswith("%") for row in rows if row.get("utilisation"))
        assert any(row.get("utilisation") for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tasks", "engines"),
    [
        ("scoring-tiny-cpu", TASKS, [HF, OURS]),
        ("scoring-tiny-cpu-attention", LONG_TASKS, [UNSHARED, DENSE, OURS]),
    ],
)
def test_scores_agree(
    rehearsed: tuple[dict[str, str], str], name: str, tasks: tuple[str, ...], engines: list[str]
) -> None:
    rows = table(rehearsed[0][name])
    assert {row["task"].strip("*") for row in rows} >= {*tasks, "all tasks"}
    assert list(dict.fromkeys(row["engine"] for row in rows)) == engines
    for engine in engines[1:]:
        own = [row for row in rows if row["engine"] == engine and row["answers that differ"]]
        assert len(own) == len(tasks) + 1
        for row in own:
            assert float(row["largest difference"]) < 1e-4
            assert row["answers that differ"] == "0"
            assert float(row["asked / computed"]) > 1
            assert float(row["peak MiB"].replace(",", "")) > 100


@pytest.mark.slow
def test_losses_agree(rehearsed: tuple[dict[str, str], str]) -> None:
    page = rehearsed[0]["training-tiny-cpu"]
    rows = {row["trainer"]: row for row in table(page)}
    assert set(rows) == {TRL, "ours dpo", "ours bfpo"}
    assert float(rows["ours dpo"]["largest loss difference"]) < 1e-4
    for row in rows.values():
        assert float(row["peak MiB"].replace(",", "")) > 100
    assert "mlp.down_proj (704,512 parameters)" in page  # 4 x 256 x 688
    assert "8 of pairs.jsonl, 4 per update, 2 at once" in page


@pytest.mark.slow
def test_everybody_has_generated(rehearsed: tuple[dict[str, str], str]) -> None:
    rows = {row[""]: row for row in table(rehearsed[0]["generation-hf-tiny"])}
    assert {
        "generate, static batches",
        "bfpo-bench, engine alone",
        "bfpo-bench, whole path",
    } <= set(rows)
    for name, row in rows.items():
        if "continuous" not in name:  # transformers' own, which needs what a CPU may lack
            assert float(row["tokens/s"].replace(",", "")) > 0, name


def test_what_a_gpu_is_asked() -> None:
    """Eight minutes in all, one set of weights in one format, everything on the GPU."""
    options = gpu._parser().parse_args([])
    every = gpu.parts(options)
    assert sum(part.seconds for part in every) <= 60 * options.minutes == 480
    assert [part.name for part in every][:3] == ["weights", "scoring", "training"]
    for part in every:
        words = " ".join(part.arguments)
        assert "--model 7b" in words
        assert ("--dtype bfloat16" in words) != ("--bf16" in words)
        assert "--device cuda" in words or not part.told
    assert all(len(str(part.arguments)) < 2000 for part in every)


def test_what_is_not_installed_is_left_out_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Part] = []

    def run(part: Part, seconds: float) -> str:
        # What a part has left of its time is the next one's.
        assert part.seconds <= seconds <= 480
        ran.append(part)
        return "ran out of time" if part.name == "training" else ""

    monkeypatch.setattr(gpu, "run", run)
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: 0.0))
    asked = ["--without", "trl", "vllm", "--output", str(tmp_path)]
    assert gpu.main(asked) == 1
    assert [part.name for part in ran] == [
        *("weights", "scoring", "training", "attention", "generation on hf")
    ]
    assert "--without-trl" in ran[2].arguments
    assert "lm-eval vllm" not in ran[1].arguments
    said = capsys.readouterr().out
    assert "training: ran out of time after 0 s" in said
    assert "generation on vllm: left out, as vllm is not installed" in said
    ran.clear()
    assert gpu.main([*asked, "--only", "attention"]) == 0
    assert [part.name for part in ran] == ["weights", "attention"]


def test_a_part_that_takes_too_long_or_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.run(Part("late", "timeit", 5, ()), 15) == "no time was left"
    monkeypatch.setattr(gpu, "GRACE", 0.0)
    sleeping = ("-n1", "-r1", "-s", "import time", "time.sleep(60)")
    begin = time.monotonic()
    assert gpu.run(Part("slow", "timeit", 1, sleeping, told=False), 1.0) == "ran out of time"
    assert time.monotonic() < begin + 30
    failing = Part("bad", "timeit", 1, ("--nonsense",), told=False)
    assert gpu.run(failing, 30.0) == "failed (exit code 2, see above)"


def _never(pipe: Connection, setup: object) -> None:
    pipe.send("ready")
    pipe.recv()
    time.sleep(600)


@pytest.mark.usefixtures("forked")
def test_a_contender_that_is_late_is_left_out(tmp_path: Path) -> None:
    late = Contender("late", _never, None, time.monotonic() + 60)
    assert late.ready == "ready"
    late._until = time.monotonic() + 0.1
    with pytest.raises(OutOfTime, match="'late' has run out of time"):
        late.ask("anything")
    late.close()
    setup = Setup(OURS, tmp_path, "cpu", "float32", "4", 2**32, ("a", "b"))
    assert scoring._one_after_another([setup], [], 1, time.monotonic()) == ({}, {})


def test_models_of_a_shape_share_their_weights(tmp_path: Path) -> None:
    one, other = (make_model("tiny", tmp_path, texts, "float32") for texts in (["a b"], ["a c d"]))
    assert one != other
    [mine], [theirs] = ([*folder.glob("*.safetensors")] for folder in (one, other))
    assert mine.samefile(theirs)
    assert not (one / "config.json").samefile(other / "config.json")


def test_the_script_finds_what_was_packed(tmp_path: Path) -> None:
    """With a python that says what it is asked to do."""
    (tmp_path / "benchmarks").mkdir()
    shutil.copy(Path(gpu.__file__).with_suffix(".sh"), tmp_path / "benchmarks")
    (tmp_path / ".gpu" / "wheels").mkdir(parents=True)
    (tmp_path / ".gpu" / "wheels" / "trl-1.whl").touch()
    (tmp_path / ".gpu" / "data").mkdir()
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\necho "data $BFPO_DATA_DIR path $PYTHONPATH"\n')
    python.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k != "BFPO_DATA_DIR"}
    done = subprocess.run(
        [str(tmp_path / "benchmarks" / "gpu.sh"), "--output", "pages"],
        env={**environment, "PYTHON": str(python), "PYTHONPATH": "mine"},
        capture_output=True,
        text=True,
        check=True,
    )
    installed, _, run, where = done.stdout.splitlines()
    assert installed.startswith("-m pip install -q --no-index --no-deps")
    assert installed.endswith(".gpu/wheels/trl-1.whl")
    assert run == "-m benchmarks.gpu --output pages"
    site = installed.split("--target ")[1].split()[0]
    assert where == f"data {tmp_path}/.gpu/data path {tmp_path}:{site}:mine"


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_options_are_the_parts_own(device: str) -> None:
    """Every part's program reads what it is given; where the page goes is read for all."""
    options = gpu._parser().parse_args(["--device", device, "--output", "o", "--pairs", "p"])
    for part in gpu.parts(options):
        if part.told:
            module = importlib.import_module(part.module)
            found, others = module._parser().parse_known_args(part.arguments)
            assert (found.model, found.device) == ("7b", device)
            assert others in (["--output", "o"], ["--output", "o", "--suffix=-attention"])
