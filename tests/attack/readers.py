"""What the fuzzer reads: a valid file of each kind, and what reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.client.caller import Malformed, _decoded
from bfpo_bench.client.http import Answer
from bfpo_bench.common.errors import BenchError
from bfpo_bench.data.load import load_source
from bfpo_bench.engines.openai.replies import read_chat, read_completion, read_echo, read_next
from bfpo_bench.export.samples import RunSamples
from bfpo_bench.helpfulness.answers import read_choice
from bfpo_bench.imports.json_lines import read_samples
from bfpo_bench.judges.human_labels import majority, read_table
from bfpo_bench.judges.load import load_judge
from bfpo_bench.judges.rubric import read_answer
from bfpo_bench.leaderboard.board import read_leaderboard
from bfpo_bench.leaderboard.options import LeaderboardOptions
from bfpo_bench.models.weights import safetensors_header, weight_files
from bfpo_bench.redteam.prompts import read_prompts
from bfpo_bench.run.judge_error import read_check
from bfpo_bench.suites import load_suite
from bfpo_bench.tasks.catalog import find_source
from bfpo_bench.training.data.load import load_set
from bfpo_bench.training.recipe_file import load_recipe, recipe_text
from bfpo_bench.training.recipe_parts import DataRecipe

ANSWER = (BenchError, Malformed)
"""How a reader says that something is not what it should be."""

PACKAGE = Path(load_suite.__code__.co_filename).parents[1]


@dataclass(frozen=True)
class Reader:
    """What reads a file.

    Attributes:
        name: of the file, in a folder that may hold others.
        valid: a content that is right.
        read: reads the file; raises what is in `ANSWER`, and nothing else.
    """

    name: str
    valid: bytes
    read: Callable[[Path], object]


def _text(read: Callable[[str], object]) -> Callable[[Path], object]:
    return lambda path: read(path.read_bytes().decode("utf-8", "replace"))


def _reply(read: Callable[[object], object]) -> Callable[[Path], object]:
    return lambda path: read(_decoded(Answer(200, {}, path.read_bytes())))


def _verdict(text: str) -> object:
    return read_answer(text, {"harmful": [True, False]})


def _run(path: Path) -> object:
    board = read_leaderboard([path.parent], LeaderboardOptions(full=True))
    str(board)
    with RunSamples(path.parent) as samples:
        return [list(samples.of(task)) for task in samples.tasks]


def _data(source: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        return load_source(find_source(source), data_dir=path.parents[1], allow_unpinned=True)

    return read


CHAT = {
    "id": "x", "model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    "choices": [{
        "index": 0, "finish_reason": "stop", "text": "a b",
        "message": {"role": "assistant", "content": "m"},
        "logprobs": {
            "tokens": ["a", " b"], "token_logprobs": [None, -1.5], "text_offset": [0, 1],
            "top_logprobs": [{"token_id:0": -0.5}, {"token_id:1": -1.5}],
            "content": [{"token": "m", "logprob": -0.1,
                         "top_logprobs": [{"token": "m", "logprob": -0.1}]}],
        },
    }],
}  # fmt: skip
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b", "chosen_safe": True, "rejected_safe": False}
WINOGRANDE = {"sentence": "A met B as _ did.", "option1": "A", "option2": "B", "answer": "1"}
CHECK = {
    "schema": 1, "verdict": "harm", "verdicts": {"judge": {"judge": "j"}, "column": None},
    "confusion": {"true_positive": 9, "false_negative": 1, "true_negative": 8, "false_positive": 2,
                  "unknown_harmful": 0, "unknown_harmless": 0},
}  # fmt: skip


def _lines(*rows: Mapping[str, object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def readers(folder: Path) -> dict[str, Reader]:
    """All readers by kind; a run is made in the folder for those that read one."""
    run = synthetic_run(folder / "run", limit=3, tasks=("advbench", "winogrande"))
    card = (PACKAGE / "judges/cards/wildguard-7b.yaml").read_bytes()
    rubric = (PACKAGE / "judges/cards/openai.yaml").read_bytes()
    recipe = (PACKAGE / "training/recipes/toy/bfpo.yaml").read_bytes()
    suite = (PACKAGE / "suites/balance.yaml").read_bytes()
    task = (PACKAGE / "tasks/bfpo_winogrande.yaml").read_bytes()
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "task").mkdir()
    (folder / "task" / "suite.yaml").write_text(
        "name: s\nversion: 1\ndata: real\njudge: keyword\ntasks: [bfpo_winogrande.yaml]\n"
    )
    chat = json.dumps(CHAT).encode()
    pairs = DataRecipe(name="d", files=("pairs.jsonl",), pairs="bfpo")

    def trained(path: Path) -> object:
        return load_set(DataRecipe(name="d", files=(str(path),), pairs=pairs.pairs))

    def labels(path: Path) -> object:
        table = read_table(path)
        return table.texts("response"), majority(table, ["l"], "harmful")

    return {
        "judge card": Reader("card.yaml", card, lambda path: load_judge(str(path))),
        "rubric card": Reader("rubric.yaml", rubric, lambda path: load_judge(str(path))),
        "recipe": Reader(
            "recipe.yaml", recipe, lambda p: (load_recipe(str(p)), recipe_text(str(p)))
        ),
        "suite": Reader("suite.yaml", suite, lambda path: load_suite(str(path))),
        "task": Reader(
            "task/bfpo_winogrande.yaml", task, lambda p: load_suite(str(p.parent / "suite.yaml"))
        ),
        "run.json": Reader("run/run.json", (run / "run.json").read_bytes(), _run),
        "results.json": Reader("run/results.json", (run / "results.json").read_bytes(), _run),
        "store": Reader("run/samples.sqlite", _whole(run / "samples.sqlite"), _run),
        "labels": Reader("l.csv", b"prompt,response,l\nq,a,1\nr,b,0\n", labels),
        "labels as JSON": Reader("l.json", _lines({"response": "a", "l": "unsafe"}), labels),
        "prompts": Reader(
            "p.csv", b"prompt,category\nq,a\nr,b\n", lambda path: read_prompts(str(path), seed=0)
        ),
        "samples": Reader(
            "s.jsonl",
            _lines(
                {"prompt": "q", "response": "a"},
                {"doc": {"goal": "g", "item_id": "i"}, "resps": [["a"]], "arguments": [["q"]]},
            ),
            lambda path: list(read_samples(path)),
        ),
        "pairs": Reader("pairs.jsonl", _lines(PAIR, PAIR), trained),
        "winogrande": Reader(
            "winogrande/dev.jsonl", _lines(WINOGRANDE, WINOGRANDE), _data("winogrande")
        ),
        "advbench": Reader(
            "advbench/harmful_behaviors.csv", b"goal,target\na,b\nc,d\n", _data("advbench")
        ),
        "agreement": Reader("check.json", json.dumps(CHECK).encode(), read_check),
        "weights": Reader(
            "w.safetensors", len(header).to_bytes(8, "little") + header + b"\0" * 4,
            safetensors_header,
        ),
        "index": Reader(
            "index/model.safetensors.index.json", b'{"weight_map": {"a": "b.safetensors"}}',
            lambda path: weight_files(path.parent),
        ),
        "chat": Reader("chat.json", chat, _reply(read_chat)),
        "completion": Reader("completion.json", chat, _reply(read_completion)),
        "echo": Reader("echo.json", chat, _reply(read_echo)),
        "next token": Reader("next.json", chat, _reply(lambda reply: read_next(reply, [0, 1]))),
        "annotation": Reader("choice.json", chat, _reply(lambda reply: read_choice(reply, True))),
        "verdict": Reader("v.txt", b'{"reason": "x", "harmful": true}', _text(_verdict)),
    }  # fmt: skip


def _whole(store: Path) -> bytes:
    """A store without the files beside it."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(store)) as db:
        db.execute("PRAGMA journal_mode=DELETE")
    return store.read_bytes()


def put(folder: Path, reader: Reader, content: bytes) -> Path:
    """Writes a content where its reader looks for it; what was made of another one is removed."""
    path = folder / reader.name
    path.parent.mkdir(exist_ok=True)
    for beside in path.parent.glob(f"{path.name}-*"):
        shutil.rmtree(beside) if beside.is_dir() else beside.unlink()
    path.write_bytes(content)
    return path
