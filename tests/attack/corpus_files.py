"""Files that a user names: each kind of hostile content, by each door that such a file comes in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.attack.attempt import Case
from tests.attack.texts import NOT_TABLES, NOT_YAML

SUITE = "name: s\nversion: 1\ntasks: [{task: ./it.yaml, column: A}]\n"
RECIPE = "extends: toy/sft\ndata: [{name: d, files: [%s]}]\n"
CHECK = "judges check --labels {good}/labels.csv --label-column l"
KEYWORD = "--judge keyword"

YAMLS: dict[str, str] = {
    "judge card": f"{CHECK} --judge {{here}}/it.yaml",
    "judge card for samples": "judge --samples {good}/samples.jsonl --judge {here}/it.yaml",
    "recipe": "train --recipe {here}/it.yaml --model {good}/model --output {out}/m --dry-run",
    "recipe to print": "recipes {here}/it.yaml",
    "suite": "tasks --suite {here}/it.yaml",
    "suite to run": f"evaluate --model {{good}}/model --suite {{here}}/it.yaml {KEYWORD} --dry-run",
    "task": "tasks --suite {here}/suite.yaml",
    "annotator": "evaluate --model {good}/model --suite mini --tasks alpaca --annotator openai:m "
    "--annotator-config {here}/it.yaml --dry-run",
}  # fmt: skip
"""A command that reads it.yaml, by what that should be."""

TABLES: dict[str, tuple[str, str]] = {
    "labels": (
        "it.csv",
        f"judges check --labels {{here}}/it.csv --label-column l {KEYWORD} --label-means harmful",
    ),
    "labels as JSON lines": (
        "it.jsonl",
        f"judges check --labels {{here}}/it.jsonl --label-column l {KEYWORD}",
    ),
    "prompts": (
        "it.csv",
        f"redteam --model {{good}}/model --prompts {{here}}/it.csv {KEYWORD} --ranker length "
        "--output {out}/pairs.jsonl --device cpu",
    ),
    "samples": ("it.jsonl", f"judge --samples {{here}}/it.jsonl {KEYWORD}"),
    "rows to train on": (
        "it.jsonl",
        "train --recipe {here}/recipe.yaml --model {good}/model --output {out}/m --dry-run",
    ),
    "Parquet to train on": (
        "it.parquet",
        "train --recipe {here}/recipe.yaml --model {good}/model --output {out}/m --dry-run",
    ),
    "data of a benchmark": (
        "advbench/harmful_behaviors.csv",
        "data check --data-dir {here} --source advbench",
    ),
    "data of another benchmark": (
        "winogrande/dev.jsonl",
        "data check --data-dir {here} --source winogrande",
    ),
    "AlpacaEval's annotations": (
        "it.json",
        "helpfulness import {good}/run --annotations {here}/it.json",
    ),
    "agreement of a judge": (
        "it.json",
        "leaderboard {good}/run --judge-check {here}/it.json",
    ),
}
"""A file of data, and a command that reads it."""

PLACES: tuple[str, ...] = (
    f"{CHECK} --judge {{long}}.yaml",
    f"judges check --labels {{long}} --label-column l {KEYWORD}",
    "tasks --suite {long}.yaml",
    "recipes {long}.yaml",
    "data check --data-dir {long}",
    f"redteam --model {{good}}/model --prompts {{long}} {KEYWORD} --ranker length "
    "--output {out}/p.jsonl",
    f"evaluate --model {{long}} --suite mini {KEYWORD} --dry-run",
    f"evaluate --model ~nobody/m --suite mini {KEYWORD} --dry-run",
    f"judge --samples {{long}} {KEYWORD}",
    "leaderboard {good}/run --output {long} --format csv",
    "compare {good}/run {good}/run --output {long} --format csv",
    "export {good}/run --format csv --output {long}",
    "export {good}/run --format csv --output {good}/run/results.json --force",
    "leaderboard {good}/run --format html --output /dev/null",
    "train --method bfpo --model {long}",
)
"""Commands with a name that is too long for any file, or another where nothing can be."""

NO_FILE: dict[str, Callable[[Path], object]] = {
    "nothing there": lambda place: None,
    "a folder": lambda place: place.mkdir(),
    "a link to itself": lambda place: place.symlink_to(place.name),
    "a pipe": lambda place: os.mkfifo(place),
    "an endless device": lambda place: place.symlink_to("/dev/zero"),
}
"""What may stand where a file should."""


def _filled(here: Path, name: str, make: Callable[[Path], object]) -> None:
    """What a door needs beside the hostile file, and that."""
    (here / "suite.yaml").write_text(SUITE)
    (here / "recipe.yaml").write_text(RECIPE % name)
    place = here / name
    place.parent.mkdir(exist_ok=True)
    make(place)


def _case(door: str, what: str, name: str, line: str, make: Callable[[Path], object]) -> Case:
    return Case(f"{door}: {what}", line, lambda here: _filled(here, name, make))


def _written(content: bytes) -> Callable[[Path], object]:
    return lambda place: place.write_bytes(content)


RIGHT = {("prompts", "NUL in a cell")}
"""Contents that are what a door takes."""

EVERY = "BFPO_ATTACK" in os.environ
"""Whether each content goes in by each door: 500 cases, and more than a minute."""


def cases() -> Iterator[Case]:
    """Each content by two doors, and so each door with several contents."""
    for line in PLACES:
        yield Case(f"no place: {line.partition(' ')[0]}", line.replace("{long}", "y" * 5_000))
    yamls = {door: ("it.yaml", line) for door, line in YAMLS.items()}
    for doors, contents in ((yamls, NOT_YAML), (TABLES, NOT_TABLES)):
        made = NO_FILE | {what: _written(content) for what, content in contents.items()}
        for number, (what, make) in enumerate(made.items()):
            for place, (door, (name, line)) in enumerate(doors.items()):
                chosen = (place - number) % len(doors) in (0, len(doors) // 2)
                if (EVERY or chosen) and (door, what) not in RIGHT:
                    yield _case(door, what, name, line, make)
