"""Options: members by their own names, errors that name the option, the commands made of them."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from pydantic.dataclasses import dataclass
from typer.testing import CliRunner

from bfpo_bench.cli.command import command_app, takes
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.options import Count, Help, Options, Place, named, one_of, split
from bfpo_bench.common.validate import STRICT
from bfpo_bench.engines.options import Loading
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.judges.options import JudgeOptions


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Engine(Options):
    kind: Annotated[str, one_of("kind", ("fast", "exact")), Help("Which.")] = "exact"
    batch: Annotated[Count | None, Help("How many.", flag="batch-size")] = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Task(Options):
    name: Annotated[str, Help("Its name.")]
    output: Annotated[Place | None, Help("Where to.")] = None
    tags: Annotated[tuple[str, ...], split(","), Help("By comma.", given=str | None)] = ()
    force: Annotated[bool, Help("Whatever is there.")] = False
    engine: Engine = Engine()


def test_a_member_is_given_whole_or_by_the_names_of_its_options() -> None:
    assert Task(name="a", batch=3) == Task(name="a", engine=Engine(batch=3))  # type: ignore[call-arg]
    assert replace(Task(name="a", engine=Engine(batch=3)), kind="fast").engine == Engine(
        kind="fast", batch=3
    )
    assert list(named(Task)) == ["name", "output", "tags", "force", "kind", "batch"]
    assert Task(name="a", output="x", tags="b, c,").output == Path("x")  # type: ignore[arg-type]
    assert Task(name="a", tags="b, c,").tags == Task(name="a", tags=["b", "c"]).tags == ("b", "c")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "the options: 'name' is missing; add it."),
        ({"name": 3}, "--name must be a text, not 3."),
        ({"name": "a", "batch": 0}, "--batch must be at least 1, not 0."),
        ({"name": "a", "batch": "5"}, "--batch must be a whole number, not '5'."),
        ({"name": "a", "batch": True}, "--batch must be a whole number, not True."),
        ({"name": "a", "kind": "fats"}, "unknown kind 'fats'; did you mean 'fast'?"),
        ({"name": "a", "bach": 2}, "unknown option 'bach'; did you mean 'batch'?"),
        ({"name": "a", "output": 3}, "--output must be a path, not 3."),
        (
            {"name": "a", "output": " "},
            "--output: an empty text is no path (a variable of the shell that is not set?); give "
            "one, or leave the option out.",
        ),
        ({"name": "a", "tags": 3}, "--tags must be a list, not 3."),
        ({"name": "a", "force": "yes"}, "--force must be true or false, not 'yes'."),
        (
            {"name": "a", "tags": " , "},
            "--tags: ' , ' names nothing; leave the option out for all.",
        ),
    ],
)
def test_a_mistake_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        Task(**given)
    assert str(caught.value) == sentence


def test_a_command_has_the_options_of_its_model_and_its_own() -> None:
    app, seen = command_app(), []

    @app.command()
    @takes(Task, first=("kind",), without=("force",))
    def run(
        options: Task, dry: Annotated[bool, typer.Option("--dry", help="Only look.")] = False
    ) -> None:
        """Runs it."""
        seen.append((options, dry))

    def call(*arguments: str) -> Any:
        return CliRunner().invoke(app, arguments, env={"COLUMNS": "100"})

    shown = call("--help").output
    assert "Runs it." in shown
    assert "--force" not in shown
    places = [shown.index(f" --{name} ") for name in ("kind", "name", "output", "tags", "dry")]
    assert places == sorted(places)
    assert "Its name.  [required]" in shown
    assert "Which.  [default: exact]" in shown
    assert call("--name", "a", "--tags", "b,c", "--batch-size", "2", "--dry").exit_code == 0
    assert call("--name", "a").exit_code == 0
    assert seen == [
        (Task(name="a", tags=("b", "c"), engine=Engine(batch=2)), True),
        (Task(name="a"), False),
    ]
    assert call().exit_code == 2
    assert isinstance(call("--name", "a", "--batch-size", "0").exception, BadInput)
    assert isinstance(call("--name", "a", "--output", "").exception, BadInput)
    assert call("--name", "a", "--output", ".").exit_code == 0
    assert seen[-1][0].output == Path()
    assert "--output PATH" in shown


def test_what_options_share_is_taken_over() -> None:
    options = EvaluateOptions("m", judge_model="x", loading=Loading(dtype="float32"))
    judge = JudgeOptions.of(options, judge="keyword")
    assert judge == JudgeOptions("keyword", judge_model="x", loading=Loading(dtype="float32"))
    shared = {field.name for field in fields(JudgeOptions)}
    assert shared <= {field.name for field in fields(EvaluateOptions)}


@pytest.mark.parametrize("kind", [EvaluateOptions, JudgeOptions, Loading])
def test_every_option_has_help(kind: type[Options]) -> None:
    for name, field in named(kind).items():
        [*_, told] = [one for one in field.metadata if isinstance(one, Help)]
        assert told.text.endswith((".", "]", ")")), name


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu0", "", "CUDA"])
def test_a_device_that_nobody_has(name: str) -> None:
    with pytest.raises(BadInput, match=r"there is no device .*; give auto, cpu, cuda, or cuda:1"):
        Loading(device=name)
    assert Loading(device="cuda:1").device == "cuda:1"


def test_options_of_evaluate_in_python() -> None:
    assert EvaluateOptions("m", suite=Path("my.yaml")).suite == "my.yaml"  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="unknown option 'loading'"):
        EvaluateOptions("m", loading={"device": "cpu"})  # type: ignore[arg-type]
    assert EvaluateOptions("m", loading=Loading(device="cpu")).loading.device == "cpu"
