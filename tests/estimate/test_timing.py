"""`--dry-run` with and without `--measure`: what is asked of whom, and that nothing stays."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.protocol import ScoreRequest
from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.estimate import timing as measuring
from bfpo_bench.estimate.dry_run import dry_run
from bfpo_bench.estimate.timing import SAMPLES, extrapolate, measure, spread
from bfpo_bench.estimate.tokens import judge_work, task_work
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.resolve import resolve
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.tasks.requests import render
from tests.client.fake_server import serving
from tests.engines.openai.toy_openai import Toy
from tests.toy_models import weights_of

QUIET = Progress(show=False)
TASKS = ("hhh_alignment", "bbq_lite", "advbench", "alert")


def options(model: Path, output: Path, **more: Any) -> EvaluateOptions:
    asked = {"suite": "mini", "tasks": TASKS, "judge": "keyword", "backend": "hf", **more}
    return EvaluateOptions(str(model), output=output, **asked)


def planned(asked: EvaluateOptions) -> Any:
    request = resolve(asked)
    return request, render(request.tasks, request.target.chat())


# ----------------------------------------------------------------------- samples


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=5),
    st.integers(1, 40),
    st.integers(0, SAMPLES - 1),
)
def test_a_sample_is_spread_over_all_lists(counts: list[int], size: int, sample: int) -> None:
    found = spread(counts, size, sample)
    assert len(found) == size
    assert all(0 <= index < counts[place] for place, index in found)
    positions = [sum(counts[:place]) + index for place, index in found]
    assert positions == sorted(positions)
    if size <= sum(counts):
        assert len(set(found)) == size


def test_the_samples_are_other_ones() -> None:
    samples = [set(spread([100, 60], 16, sample)) for sample in range(SAMPLES)]
    assert len(set.union(*samples)) == 16 * SAMPLES


@pytest.mark.parametrize("questions", [1, 3, 7, 100])
def test_blocks_hold_whole_questions_from_the_first_to_the_last(questions: int) -> None:
    scores = [ScoreRequest("c", str(n), group=g) for g in range(10) for n in range(3 + g % 2)]
    blocks = [measuring._block(scores, questions, sample) for sample in range(SAMPLES)]
    for block in blocks:
        for group in {request.group for request in block}:
            whole = [request for request in scores if request.group == group]
            assert [request for request in block if request.group == group] == whole
    assert blocks[0][0] == scores[0]
    assert blocks[-1][-1] == scores[-1]
    assert (len(blocks[0]) == len(scores)) == (questions == 100)


def test_extrapolation_in_closed_form() -> None:
    found = extrapolate("judge", "verdicts", 1200, [(2.0, 10), (1.0, 10), (3.0, 10)])
    assert (found.seconds, found.low, found.high) == pytest.approx((240, 120, 360))
    assert "5" in found.note.split("/s")[0]


# ---------------------------------------------------------------------- measure


@pytest.mark.slow
def test_every_stage_is_timed_and_nothing_stays(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = options(
        tiny_llama, tmp_path / "never", judge="harmbench-llama2-13b", judge_model=str(tiny_llama)
    )
    found = measure(*planned(asked), QUIET)
    assert [stage.stage for stage in found] == [
        *("load model", "score", "respond"),
        *("load judge", "judge"),  # of harm
        *("load judge", "judge"),  # of refusals
    ]
    for stage in found:
        assert 0 < stage.low <= stage.seconds <= stage.high
    assert list(tmp_path.iterdir()) == []


def test_the_text_of_a_measured_dry_run(tiny_llama: Path, tmp_path: Path) -> None:
    text = dry_run(options(tiny_llama, tmp_path / "never"), measured=True)
    choices = sum(map(int, re.findall(r"(\d+) choices, about", text)))
    assert re.search(rf"   score: .*; {choices} choices, timed 3 × \d+", text)
    assert re.search(r"   respond: .*; 48 responses at [\d.]+/s", text)
    assert re.search(r"In all about .* \(.* to .*\)\. Nothing was stored\.", text)
    assert "--measure" not in text
    assert list(tmp_path.iterdir()) == []


def test_responses_that_would_take_too_long_are_cut_and_said_so(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "RESPONSE_SECONDS", 0.0)
    found = measure(*planned(options(tiny_llama, tmp_path / "never", tasks=("advbench",))), QUIET)
    respond = next(stage for stage in found if stage.stage == "respond")
    assert respond.note.endswith("cut at 8 of 64 new tokens")
    assert respond.high >= 8 * respond.low
    assert respond.seconds == pytest.approx((respond.low + respond.high) / 2)


def test_a_broken_model_is_found_before_anything_is_paid(tiny_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "broken"))
    with weights_of(folder) as tensors:
        tensors["model.norm.weight"][:] = float("nan")
    for task in ("toxigen", "advbench"):
        with pytest.raises(RunFailed, match="NaN logits in the sample"):
            dry_run(options(folder, tmp_path / "never", tasks=(task,)), measured=True)


def test_a_served_model_is_asked_a_few_requests(tiny_llama: Path, tmp_path: Path) -> None:
    toy = Toy(load_tokenizer(tiny_llama))
    with serving(toy) as server:
        asked = EvaluateOptions(
            *("toy", "mini", tmp_path / "never", ("toxigen", "advbench")),
            judge="keyword",
            backend="openai",
            base_url=server.url,
            tokenizer=str(tiny_llama),
            concurrency=2,
        )
        text = dry_run(asked)
        assert server.seen == []
        assert "target toy: 76 requests to the server, 2 at a time; no memory" in text
        measured = dry_run(asked, measured=True)
        assert len(server.seen) > SAMPLES
    assert "In all about" in measured
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------- workload


def test_tokens_of_a_small_task_are_exact(tiny_llama: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    _, (task,) = planned(options(tiny_llama, tmp_path / "never", tasks=("advbench",)))
    work = task_work(task, tokenizer)
    # The chat template writes the BOS token itself.
    lengths = [len(tokenizer(p.prompt, add_special_tokens=False).input_ids) for p in task.prompts]
    assert (work.requests, work.read, work.generated) == (24, sum(lengths), 24 * 64)
    assert work.longest == max(lengths) + 64


def test_tokens_of_a_classifier_judge(tiny_llama: Path, tmp_path: Path) -> None:
    """Template and prompt as the judge writes them, and a response of the most tokens."""
    from transformers import AutoTokenizer

    from bfpo_bench.judges import ClassifierCard
    from bfpo_bench.judges.protocol import fill

    _, (task,) = planned(options(tiny_llama, tmp_path / "never", tasks=("advbench",)))
    chosen = choose_judge(
        JudgeOptions("harmbench-llama2-13b-standard", judge_model=str(tiny_llama), backend="hf")
    )
    card = chosen.card
    assert isinstance(card, ClassifierCard)
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    parts = {"response": "", "behavior": "", "context": ""}
    asked = [
        fill(card.template, {**parts, "prompt": q, "behavior": fill(card.behavior, {"prompt": q})})
        for q in task.questions
    ]
    lengths = [len(tokenizer(text).input_ids) for text in asked]
    work = judge_work(chosen, [task])
    assert work is not None
    assert work.read == sum(lengths) + 24 * 64
    assert work.longest == max(lengths) + 64
    shorter = replace(card, max_response_tokens=10)
    assert judge_work(replace(chosen, card=shorter), [task]).read == sum(lengths) + 24 * 10  # type: ignore[union-attr]


def test_a_judge_with_three_lines_asks_seven_questions(tiny_llama: Path, tmp_path: Path) -> None:
    _, (task,) = planned(options(tiny_llama, tmp_path / "never", tasks=("advbench",)))
    chosen = choose_judge(
        JudgeOptions("harmbench-llama2-13b", judge_model=str(tiny_llama), backend="hf")
    )
    lines = replace(chosen.card, lines=("a:", "b:", "c:"))  # type: ignore[type-var]
    one, seven = judge_work(chosen, [task]), judge_work(replace(chosen, card=lines), [task])
    assert one is not None
    assert seven is not None
    assert (one.requests, seven.requests) == (24, 7 * 24)


def test_rules_have_no_tokens_and_a_rubric_counts_its_answers(
    tiny_llama: Path, tmp_path: Path
) -> None:
    _, (task,) = planned(options(tiny_llama, tmp_path / "never", tasks=("advbench",)))
    assert judge_work(choose_judge(JudgeOptions("keyword", backend="hf")), [task]) is None
    served = choose_judge(JudgeOptions("openai", judge_url="http://localhost:9/v1", backend="hf"))
    work = judge_work(served, [task])
    assert work is not None
    assert work.requests == 24
    assert work.generated == 24 * served.card.max_tokens  # type: ignore[union-attr]
    text = dry_run(
        options(
            *(tiny_llama, tmp_path / "never"),
            judge="openai",
            judge_url="http://localhost:9/v1",
            tasks=("advbench",),
        )
    )
    assert "judge openai: 24 requests to its server" in text


def test_who_is_not_asked_needs_no_key(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "THEIR_KEY"):
        monkeypatch.delenv(name, raising=False)
    asked = options(
        *(tiny_llama, tmp_path / "never"),
        judge="openai",
        tasks=("advbench",),
        annotator="openai:gpt-4.1",
        annotator_key_env="THEIR_KEY",
    )
    text = dry_run(asked)
    assert "its key is still to be set in OPENAI_API_KEY" in text
    assert "its key is still to be set in THEIR_KEY" in text
    with pytest.raises(BadInput, match=r"judge 'openai' asks .* needs its key"):
        dry_run(asked, measured=True)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-judge")
    resolve(asked, asked=("judge",))
    with pytest.raises(BadInput, match="set THEIR_KEY"):
        resolve(asked)
