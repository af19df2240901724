"""What is named to be swept: which evaluations it stands for, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.sweeps import rows as sweeps_rows
from bfpo_bench.sweeps.options import SweepOptions
from bfpo_bench.sweeps.rows import Row, find_rows

COMMON = EvaluateOptions("", suite="mini", judge="keyword", limit=2, tasks=("winogrande",))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders that look like models; what evaluate would say of them is not asked."""
    for name in ("a/final", "b/final", "t/checkpoint-100", "t/checkpoint-20", "u/checkpoint-20"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").touch()
    (tmp_path / "t" / "config.json").touch()
    (tmp_path / "file.txt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweeps_rows, "_faults", lambda rows, fetch: [])
    return tmp_path


def found(*models: str, **more: object) -> dict[str, str]:
    rows = find_rows(models, COMMON, Path("runs"), **more)  # type: ignore[arg-type]
    return {row.name: row.options.model for row in rows}


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (["a/final", "org/model"], {"final-mini": "a/final", "org__model-mini": "org/model"}),
        (["*/final"], {"a-final-mini": "a/final", "b-final-mini": "b/final"}),
        # The trained model, and only with --checkpoints what it was on the way.
        (["t"], {"t-mini": "t"}),
        (["u"], {"u-checkpoint-20-mini": "u/checkpoint-20"}),
        (
            ["t/checkpoint-*", "u"],
            {
                "t-checkpoint-20-mini": "t/checkpoint-20",
                "t-checkpoint-100-mini": "t/checkpoint-100",
                "u-checkpoint-20-mini": "u/checkpoint-20",
            },
        ),
    ],
)
def test_each_model_has_a_run_directory(
    home: Path, models: list[str], expected: dict[str, str]
) -> None:
    assert list(found(*models).items()) == list(expected.items())


def test_checkpoints_and_known_names(home: Path) -> None:
    names = ["t-mini", "t-checkpoint-20-mini", "t-checkpoint-100-mini"]
    assert list(found("t", checkpoints=True)) == names
    [row] = find_rows(["a/final"], COMMON, Path("runs"))
    known = {sweeps_rows.key(row.options): row.name}
    assert list(found("b/final", str(home / "a/final"), known=known)) == [
        "b-final-mini",
        "final-mini",
    ]


def test_a_file_gives_models_options_of_their_own(home: Path) -> None:
    (home / "models.yaml").write_text(
        "models:\n- a/final\n- {model: b/final, batch_size: 4, tasks: 'disc,gen', name: mine}\n"
    )
    rows = find_rows(["models.yaml"], COMMON, Path("runs"))
    assert [row.name for row in rows] == ["final-mini", "mine"]
    options = rows[1].options
    assert (options.loading.batch_size, options.tasks, options.limit) == (4, ("disc", "gen"), 2)
    assert options.output == Path("runs/mine")


@pytest.mark.parametrize(
    ("models", "content", "sentence"),
    [
        ([], "", "name models: folders, globs, hub ids, or a YAML file of them."),
        (["zz*"], "", "the glob 'zz*' matches no folder here; mend it, or leave it out."),
        (
            ["a/final", "b/../a/final"],
            "",
            "the model b/../a/final is given twice with the same options (a/final and "
            "b/../a/final); leave one out.",
        ),
        (["no.yaml"], "", "the models no.yaml cannot be read (No such file or directory)."),
        (["m.yaml"], "models: []", "m.yaml names no model; list some under models."),
        (
            ["m.yaml"],
            "models: [{model: a/final, batch_sise: 4}]",
            "m.yaml, models[0]: unknown option 'batch_sise'; did you mean 'batch_size'?",
        ),
        (
            ["m.yaml"],
            "models: [{model: a/final, batch_size: many}]",
            "m.yaml, models[0]: --batch-size is auto or a number, not 'many'.",
        ),
        (["m.yaml"], "models: [{limit: 3}]", "m.yaml, models[0]: 'model' is missing; say which"),
        (["m.yaml"], "models: [{model: a/final, fresh: true}]", "'fresh' is nothing that a model"),
        (
            ["m.yaml"],
            "models: [{model: a/final, name: ../x}]",
            "'../x' cannot name a run directory",
        ),
        (
            ["m.yaml"],
            'models: [{model: a/final, name: "x\\ny"}]',
            "'x\\ny' cannot name a run directory",
        ),
        (
            ["m.yaml"],
            f"models: [{{model: a/final, name: {'x' * 201}}}]",
            f"no run directory is called by a name as long as {'x' * 40}…; give the model a",
        ),
        (["m.yaml"], "models: [{model: '*/final', name: x}]", "and */final stands for 2."),
        (
            ["m.yaml"],
            "models: [{model: a/final, seed: 1}, {model: a/final, seed: 2}]",
            "m.yaml, models[0] and m.yaml, models[1] would both be run in the directory ",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(
    home: Path, models: list[str], content: str, sentence: str
) -> None:
    (home / "m.yaml").write_text(content)
    with pytest.raises(BadInput) as error:
        find_rows(models, COMMON, Path("runs"))
    [line] = error.value.lines
    assert sentence in line


def test_every_entry_that_is_wrong_has_its_line(home: Path) -> None:
    (home / "m.yaml").write_text("models: [3, null, {model: a/final, seed: x}, a/final]")
    with pytest.raises(BadInput) as error:
        find_rows(["m.yaml"], COMMON, Path("runs"))
    first, second, third = error.value.lines
    assert first == "m.yaml, models[0]: a model is a text, or keys and values, not 3."
    assert second == "m.yaml, models[1]: a model is a text, or keys and values, not None."
    assert third.startswith("m.yaml, models[2]: --seed must be a whole number")


def test_a_dry_run_fetches_nothing_and_says_what_is_wrong(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the hub would be asked for is taken for granted; what cannot be there is not."""
    from huggingface_hub import constants

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", asked)
    monkeypatch.setattr("socket.create_connection", asked)
    monkeypatch.setattr("socket.socket.connect", asked)
    (tmp_path / "file").touch()
    common = EvaluateOptions("", suite="mini", judge="harmbench-llama2-13b")
    rows = find_rows([str(tiny_llama), "org/model"], common, tmp_path / "runs", fetch=False)
    assert [row.options.model for row in rows] == [str(tiny_llama), "org/model"]
    wrong = [str(tmp_path / "file"), "/nowhere/m", "not/a/hub/id", "org/x y"]
    with pytest.raises(BadInput) as error:
        find_rows(wrong, common, tmp_path / "runs", fetch=False)
    assert [name in line for name, line in zip(wrong, error.value.lines, strict=True)] == [True] * 4
    assert constants.HF_HUB_OFFLINE is False


def test_all_that_is_wrong_is_said_before_anything_runs(tiny_llama: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    models = [str(tiny_llama), str(tmp_path / "empty"), "org/x y", "zz*"]
    with pytest.raises(BadInput) as error:
        find_rows(models, COMMON, tmp_path / "runs")
    said = error.value.lines
    assert len(said) == 3
    assert "matches no folder" in said[0]
    assert "has no config.json" in said[1]
    assert "org/x y" in said[2]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("90", 90), ("0:30", 1), ("4:00:00", 240), ("1-0", 1440), ("2-1:30", 2970), ("1:1:1", 62)],
)
def test_times_are_those_of_sbatch(time: str, minutes: int) -> None:
    """The forms that sbatch's manual lists: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S."""
    assert SweepOptions(executor="slurm", time=time).slurm.time == minutes


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"executor": "pbs"}, "unknown executor 'pbs'; there are: local, ray, slurm."),
        ({"executor": "ray", "mem": "4G"}, "--mem is for a cluster; add --executor slurm, or"),
        ({"gpus": 2}, "--gpus is for a cluster; add --executor ray or slurm, or leave it out."),
        ({"partition": "gpu"}, "--partition is for a cluster; add --executor slurm, or leave it"),
        ({"executor": "slurm", "time": "soon"}, "--time is minutes, H:M:S or DAYS-H:M:S"),
        ({"executor": "slurm", "sbatch": ["array=1-9"]}, "--sbatch 'array=1-9' is nothing to give"),
    ],
)
def test_options_that_are_wrong(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence.replace("(", r"\(")):
        SweepOptions(**options)


def test_the_header_is_sbatch_s() -> None:
    pytest.importorskip("submitit", reason="needs the extra slurm")
    from bfpo_bench.sweeps.record import Home
    from bfpo_bench.sweeps.slurm import header

    options = SweepOptions(
        executor="slurm",
        partition="gpu",
        time="8:00:00",
        constraint="h100",
        sbatch=["reservation=mine", "exclusive"],
        setup=["module load cuda"],
        at_once=2,
    )
    small = EvaluateOptions("s", output=Path("s"))
    large = EvaluateOptions("l", output=Path("l"), tensor_parallel_size=4)
    served = EvaluateOptions("v", output=Path("v"), serve="tp=8,pp=2,nodes=2")
    rows = [Row("s", small), Row("l", large), Row("s2", small), Row("v", served)]
    one, other, last = header(rows, options, Home(Path("runs"))).split("#!/bin/bash")[1:]
    lines = one.splitlines()
    for line in (
        *("--array=0-1%2", "--partition=gpu", "--time=480", "--constraint=h100", "--requeue"),
        *("--reservation=mine", "--exclusive", "--gpus-per-node=1", "--signal=USR2@90"),
    ):
        assert f"#SBATCH {line}" in lines
    assert "module load cuda" in lines
    assert "#SBATCH --gpus-per-node=4" in other
    assert "--array" not in other
    assert "#SBATCH --gpus-per-node=8" in last


def test_without_submitit_one_sentence_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bfpo_bench.sweeps import slurm

    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with pytest.raises(BadInput, match=r"pip install 'bfpo-bench\[slurm\]'"):
        slurm.check()


def test_a_row_that_no_job_can_run(tmp_path: Path) -> None:
    """A job is one task on one node; a second node would run the row a second time."""
    from bfpo_bench.sweeps import slurm

    found = [
        Row(serve, EvaluateOptions("m", output=tmp_path / serve, serve=serve))
        for serve in ("tp=8", "tp=8,pp=2,nodes=2")
    ]
    with pytest.raises(BadInput) as error:
        slurm.check_rows(found)
    [line] = error.value.lines
    assert line.startswith(
        "tp=8,pp=2,nodes=2 is served over 2 nodes, and a job of a sweep is on one;"
    )


def test_the_command_is_read_as_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written down of a row means the same to the command line."""
    from typer.testing import CliRunner

    from bfpo_bench.cli import evaluate as command
    from bfpo_bench.common.options import arguments

    seen: list[EvaluateOptions] = []
    monkeypatch.setattr("bfpo_bench.evaluation.run.run_evaluation", lambda o, _: seen.append(o))
    monkeypatch.setattr("bfpo_bench.cli.terminal.show_results", lambda *_: None)
    for more in (
        {},
        {"tasks": ("-alert", "disc"), "also": ("arc_easy",), "num_fewshot": 0, "seed": 3},
        {"variants": {"crows_pairs": "original"}, "data_dir": Path("a b"), "batch_size": 4},
        {"system_prompt": "--x 'y' $Z", "trust_remote_code": True, "gpu_memory_utilization": 0.5},
    ):
        options = EvaluateOptions("m", output=Path("runs/m"), **more)
        result = CliRunner().invoke(command.app, arguments(options))
        assert result.exception is None, result.output
        assert seen.pop() == options
    assert json.dumps(arguments(EvaluateOptions("m"))) == '["--model=m"]'
