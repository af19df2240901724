"""Verdicts on a file: stored as they come, taken up again, one process at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation import judge_file as module
from bfpo_bench.evaluation.judge_file import JudgedSamples, judge_samples
from bfpo_bench.imports.json_lines import read_samples
from bfpo_bench.judges import Exchange, Verdict, protocol
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.keyword import KeywordJudge
from bfpo_bench.judges.options import JudgeOptions

SENTENCES = ["I cannot do that.", "Sure, first …", "I'm sorry.", "Here it is:"]


def keyword() -> Any:
    return choose_judge(JudgeOptions("keyword", backend="hf"))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    records = [{"prompt": f"p{i}", "response": SENTENCES[i % 4]} for i in range(10)]
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    """Everything that the keyword judge is asked, in chunks of three."""
    seen: list[Exchange] = []
    judge = KeywordJudge.judge

    def watched(self: Any, items: Sequence[Exchange]) -> list[Verdict]:
        seen.extend(items)
        return judge(self, items)

    monkeypatch.setattr(KeywordJudge, "judge", watched)
    monkeypatch.setattr(protocol, "JUDGE_CHUNK", 3)
    return seen


def test_every_response_gets_its_verdict(file: Path, asked: list[Exchange]) -> None:
    found = judge_samples(file, keyword())
    output = file.with_name("mine.jsonl.verdicts.jsonl")
    assert found == JudgedSamples(
        *("keyword", output),
        n=10,
        harmful=5,
        unknown=0,
        score=50.0,
        stderr=found.stderr,
        gives=("harm", "refusal"),
        refusals=found.refusals,
    )
    said = [row["refusal"] for row in rows(output)]
    assert found.refusals == {name: said.count(name) for name in found.refusals}
    assert found.refusals["full_refusal"] > 0
    assert found.stderr == pytest.approx(100 * (0.25 / 12) ** 0.5)
    written = rows(output)
    assert [row["line"] for row in written] == list(range(1, 11))
    assert [row["harmful"] for row in written] == [False, True] * 5
    assert {row["judge"] for row in written} == {"keyword"}
    assert len({row["key"] for row in written}) == 10
    assert len(asked) == 10


def test_answers_are_judged_without_their_thoughts(tmp_path: Path, asked: list[Exchange]) -> None:
    """And what holds no answer is not judged: its verdict is unknown."""
    path = tmp_path / "mine.jsonl"
    texts = ["<think>I'm sorry.</think>\nSure.", "Use <think> here.", "<think>Hm", " \n", "Sure."]
    path.write_text("\n".join(json.dumps({"prompt": "p", "response": t}) for t in texts))
    found = judge_samples(path, keyword())
    assert (found.n, found.harmful, found.unknown) == (5, 3, 2)
    assert [exchange.response for exchange in asked] == ["Sure.", "Use <think> here."]
    raws = {row["line"]: (row["harmful"], row["raw"]) for row in rows(found.path)}
    assert raws[3] == raws[4] == (None, "no answer")
    assert judge_samples(path, keyword()) == found
    assert len(asked) == 2


def test_again_judges_nothing(file: Path, asked: list[Exchange]) -> None:
    first = judge_samples(file, keyword())
    before = first.path.read_bytes()
    asked.clear()
    assert judge_samples(file, keyword()) == first
    assert (asked, first.path.read_bytes()) == ([], before)


@pytest.mark.parametrize("kept", [0, 1, 100, 700])
def test_what_a_crash_leaves_is_taken_up(file: Path, asked: list[Exchange], kept: int) -> None:
    whole = judge_samples(file, keyword())
    text = whole.path.read_bytes()
    whole.path.write_bytes(text[:kept])
    asked.clear()
    assert judge_samples(file, keyword()) == whole
    assert whole.path.read_bytes() == text
    assert len(asked) == 10 - text[:kept].count(b"\n")


def test_an_interrupt_loses_no_finished_chunk(
    file: Path, asked: list[Exchange], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = KeywordJudge.judge

    def stops(self: Any, items: Sequence[Exchange]) -> list[Verdict]:
        if len(asked) >= 6:
            raise KeyboardInterrupt
        return watched(self, items)

    monkeypatch.setattr(KeywordJudge, "judge", stops)
    with pytest.raises(KeyboardInterrupt):
        judge_samples(file, keyword())
    assert len(rows(file.with_name("mine.jsonl.verdicts.jsonl"))) == 6
    monkeypatch.setattr(KeywordJudge, "judge", watched)
    assert judge_samples(file, keyword()).n == 10
    assert len(asked) == 10


def test_changed_new_and_repeated_lines(file: Path, asked: list[Exchange]) -> None:
    judge_samples(file, keyword())
    asked.clear()
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[4] = json.dumps({"prompt": "p4", "response": "Now I help."})  # was a refusal
    lines += [lines[0], lines[4]]  # the same content at other places
    file.write_text("\n".join(lines), encoding="utf-8")
    found = judge_samples(file, keyword())
    assert asked == [Exchange("p4", "Now I help.")]
    assert (found.n, found.harmful) == (12, 7)
    written = rows(found.path)
    assert sorted(row["line"] for row in written[10:]) == [5, 11, 12]
    keys = {row["line"]: row["key"] for row in written[:4] + written[10:]}
    assert keys[11] == keys[1]
    assert keys[12] == keys[5]


def test_judges_share_the_file(file: Path, asked: list[Exchange], tmp_path: Path) -> None:
    judge_samples(file, keyword())
    card = tmp_path / "mine.yaml"
    card.write_text(
        "kind: keyword\nversion: 1\nsource: me\nlicence: mine\nsearch_chars: 9\nphrases: [sure]\n"
    )
    asked.clear()
    other = choose_judge(JudgeOptions(str(card), backend="hf"))
    found = judge_samples(file, other)
    assert (found.judge, found.n, found.harmful, len(asked)) == ("mine", 10, 7, 10)
    assert judge_samples(file, keyword()).harmful == 5
    assert [row["judge"] for row in rows(found.path)] == ["keyword"] * 10 + ["mine"] * 10


def test_unknown_verdicts_are_not_harmless(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        KeywordJudge,
        "judge",
        lambda _, items: [Verdict(None if "p1" in i.prompt else False, None, "") for i in items],
    )
    found = judge_samples(file, keyword())
    assert (found.n, found.unknown, found.harmful, found.score) == (10, 1, 0, 90.0)


def test_a_mistake_in_the_last_line_shows_before_the_judge_is_opened(
    file: Path, asked: list[Exchange]
) -> None:
    with file.open("a", encoding="utf-8") as handle:
        handle.write('\n{"prompt": "p"}')
    with pytest.raises(BadInput, match="line 11 has no field 'response'"):
        judge_samples(file, keyword())
    assert asked == []
    assert not file.with_name("mine.jsonl.verdicts.jsonl").exists()


def test_a_damaged_line_is_named_not_dropped(file: Path) -> None:
    found = judge_samples(file, keyword())
    text = found.path.read_text(encoding="utf-8")
    found.path.write_text(text.replace('"key"', '"kee"', 2), encoding="utf-8")
    with pytest.raises(BadInput, match="line 1 is no verdict of this program"):
        judge_samples(file, keyword())


@pytest.mark.slow
def test_a_log_of_plain_lm_eval_is_judged_as_evaluate_judges(
    tiny_llama: Path, tmp_path: Path, asked: list[Exchange]
) -> None:
    """lm-eval alone runs our tasks with the chat template; the judge is shown our questions."""
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    from bfpo_bench.suites import TASKS_FOLDER, load_suite
    from bfpo_bench.tasks.requests import load_tasks, render

    names = ["bfpo_advbench", "bfpo_alert"]
    manager = TaskManager(
        include_path=str(TASKS_FOLDER), include_defaults=False, metadata={"mini": True}
    )
    samples = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(tiny_llama), "dtype": "float32"},
        tasks=names,
        task_manager=manager,
        device="cpu",
        limit=4,
        apply_chat_template=True,
        bootstrap_iters=0,
        log_samples=True,
    )["samples"]
    tracker = EvaluationTracker(output_path=str(tmp_path))
    tracker.date_id = "2026-01-01"  # set when results are saved, which comes first in lm-eval
    tracker.general_config_tracker.model_name_sanitized = "tiny"
    suite = load_suite("mini").only(names)
    for task in render(load_tasks(suite), None):
        tracker.save_results_samples(task_name=task.name, samples=samples[task.name])
        (log,) = tmp_path.rglob(f"samples_{task.name}_*.jsonl")
        asked.clear()
        found = judge_samples(log, keyword())
        assert (found.n, found.path.parent) == (4, log.parent)
        assert [item.prompt for item in asked] == task.questions[:4]
        assert [item.response for item in asked] == [
            sample["resps"][0][0] for sample in samples[task.name]
        ]


def test_a_second_process_is_refused(file: Path) -> None:
    code = (
        "import pathlib, sys\n"
        "from bfpo_bench.common.errors import BadInput\n"
        "from bfpo_bench.evaluation.judge_file import judge_samples\n"
        "from bfpo_bench.judges.chosen import JudgeOptions, choose_judge\n"
        "try:\n"
        "    judge_samples(pathlib.Path(sys.argv[1]), choose_judge(JudgeOptions('keyword')))\n"
        "except BadInput as error: print(error)\n"
    )
    with module._locked(file.with_name("mine.jsonl.verdicts.jsonl")):
        done = subprocess.run(
            [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
        )
    assert "another process is writing" in done.stdout


def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(BadInput, match="copy the samples to a folder of yours"):
        module._locked(Path("/proc/none.jsonl")).__enter__()


# ------------------- what is read: samples logs as lm-eval writes them, and other JSON lines


def write(path: Path, *records: Any) -> Path:
    path.write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    return path


def logged(response: Any, doc: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A line as lm-eval 0.4.13 writes it for a generated item."""
    return {
        "doc_id": 0,
        "doc": doc or {"question": "Why?"},
        "target": "",
        "arguments": {"gen_args_0": {"arg_0": "<user>Why?<reply>", "arg_1": {"until": []}}},
        "resps": [response],
        "filtered_resps": response,
        "filter": "none",
        **changes,
    }


def texts(path: Path, *fields: str | None) -> list[tuple[int, int, str, str]]:
    return [
        (s.line, s.index, s.exchange.prompt, s.exchange.response)
        for s in read_samples(path, *fields)
    ]


def test_plain_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_bytes(
        b'\xef\xbb\xbf{"prompt": "a", "response": "b\\u2028c"}\r\n\n{"prompt": "", "response": ""}'
    )
    assert texts(file) == [(1, 0, "a", "b\u2028c"), (3, 0, "", "")]


def test_named_fields_may_lie_deeper(tmp_path: Path) -> None:
    file = write(tmp_path / "f", {"ask": {"text": "q"}, "out": "r", "prompt": "other"})
    assert texts(file, "ask.text", "out") == [(1, 0, "q", "r")]


def test_a_number_in_a_field_counts_in_a_list(tmp_path: Path) -> None:
    """As chats are kept: the messages in a list, the answer in the last of them or in choices."""
    chat = [{"content": "be kind"}, {"content": "q"}]
    line = {"messages": chat, "body": {"choices": [{"text": "r"}]}, "0": {"text": "a key"}}
    file = write(tmp_path / "f", line)
    for field in ("messages.1.content", "messages.-1.content"):
        assert texts(file, field, "body.choices.0.text") == [(1, 0, "q", "r")]
    assert texts(file, "0.text", "body.choices.0.text") == [(1, 0, "a key", "r")]
    for field in ("messages.2.content", "messages.-3.content", "messages.x"):
        with pytest.raises(BadInput, match=f"has no field '{field}'. Name another with --prompt"):
            texts(file, field, "body.choices.0.text")


def test_a_log_of_lm_eval(tmp_path: Path) -> None:
    file = write(tmp_path / "f", logged(["one", "two"]), logged(["three"]))
    assert texts(file) == [
        (1, 0, "<user>Why?<reply>", "one"),
        (1, 1, "<user>Why?<reply>", "two"),
        (2, 0, "<user>Why?<reply>", "three"),
    ]
    assert texts(file, "doc.question")[0] == (1, 0, "Why?", "one")
    assert texts(file, None, "filter")[0] == (1, 0, "<user>Why?<reply>", "none")


def test_our_own_tasks_show_the_judge_what_evaluate_shows(tmp_path: Path) -> None:
    file = write(
        tmp_path / "f",
        logged(["r"], {"goal": "Do it", "target": "Sure", "item_id": "ab"}),
        logged(["r"], {"prompt": "Say it", "category": "", "item_id": "cd"}),
        logged(["r"], {"prompt": "No id, so not ours"}),
    )
    assert [prompt for _, _, prompt, _ in texts(file)] == [
        "Do it. ",
        "Say it",
        "<user>Why?<reply>",
    ]


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"prompt": "a"}, "line 1 has no field 'response'; there are prompt. Name another with"),
        (
            {"prompt": "a", "response": 3},
            "field 'response' is int, a text is needed. Name another with --response-field",
        ),
        ({"prompt": None, "response": ""}, "field 'prompt' is NoneType, a text is needed"),
        ([1], "line 1 is no object with fields"),
        (logged([["-1.5", "False"]]), "logs no generated responses"),
        (logged([]), "logs no generated responses"),
        (logged(["r"], arguments={}), "has no field 'gen_args_0.arg_0'"),
        (logged(["r"], arguments=[]), "does not say what was asked"),
    ],
)
def test_lines_that_are_not_right(record: Any, sentence: str, tmp_path: Path) -> None:
    file = write(tmp_path / "f", record)
    with pytest.raises(BadInput) as caught:
        texts(file)
    assert sentence in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the samples file "),
        (b"", " is empty; give one JSON object per line"),
        (b"\n \n", "is empty"),
        (b"{", "line 1 is not JSON"),
        (b"[\n", "a JSON array? write one object per line"),
        (b'{"prompt": "\xe9"}', "is not UTF-8 text (invalid continuation byte); save it as UTF-8"),
    ],
)
def test_files_that_are_not_right(data: bytes, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        texts(file)
    assert sentence in str(caught.value)
    with pytest.raises(
        BadInput, match=r"the samples file .* cannot be read \(Is a .*\); give a file of JSON lines"
    ):
        texts(tmp_path)
