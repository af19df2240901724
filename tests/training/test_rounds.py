"""Recipes of several rounds: C-DPO, whose multiplier follows the policies, and RAFT over again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.models.template_files import chat_templates
from bfpo_bench.training.data.chat import PromptSet
from bfpo_bench.training.dry_run import dry_run
from bfpo_bench.training.held_out import which_held_out
from bfpo_bench.training.on_policy import samples
from bfpo_bench.training.on_policy.samples import Sampler, Samples
from bfpo_bench.training.pairwise.trainer import PreferenceTrainer
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.sft import PreparedSFT
from bfpo_bench.training.train import prepare, train
from tests.training.conftest import Mine
from tests.training.test_stages import same_weights

LONG = "function: 'tests.training.conftest:lengths'"
REWARDS = f"rewards: {{helpful: {{{LONG}, scale: 0.1}}, safe: {{{LONG}, scale: -0.2}}}}"
ROLLOUT = "rollout={num_generations: 2, max_completion_length: 4}"
SMALL = ("layers=[mlp.down_proj]", "tokens={max_length: 512, max_prompt: 256}")


def c_dpo(mine: Mine, *changes: str) -> Recipe:
    """Longer is more helpful and less safe."""
    relabel = f"relabel={{{REWARDS}, margin: 0.5}}"
    rounds = "rounds={number: 2, prompts: 8, rate: 5}"
    return mine("preference", *SMALL, relabel, rounds, ROLLOUT, *changes)


def mean_safety(file: Path) -> float:
    """Of the responses in a file, by hand."""
    rows = [json.loads(line) for line in file.read_text().splitlines()[1:]]
    assert [len(row["responses"]) for row in rows] == [2] * 8
    for row in rows:
        assert row["rewards"]["safe"] == pytest.approx([-0.2 * len(r) for r in row["responses"]])
    return fmean(-0.2 * len(text) for row in rows for text in row["responses"])


def test_the_multiplier_follows_what_each_policy_answers(
    mine: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the rounds are ordinary trainings, wherever the whole is cut off."""
    recipe = c_dpo(mine)
    monkeypatch.setattr(samples, "RESPONSES_AT_ONCE", 8)  # four prompts
    step, answers = PreferenceTrainer.training_step, Sampler._answers
    steps: list[str] = []
    asked: list[int] = []

    def dying(self: Any, *arguments: Any, **more: Any) -> Any:
        steps.append(self.args.output_dir)
        if len(steps) == 5:  # the second update of round 2
            raise KeyboardInterrupt
        return step(self, *arguments, **more)

    def silent(self: Any, engine: Any, prompts: Any) -> Any:
        asked.append(len(prompts))
        if len(asked) == 4:  # the second half of round 1's
            raise KeyboardInterrupt
        return answers(self, engine, prompts)

    monkeypatch.setattr(PreferenceTrainer, "training_step", dying)
    monkeypatch.setattr(Sampler, "_answers", silent)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, Path("out"), device="cpu")
    record = train(recipe, Path("out"), device="cpu")
    assert asked == [4] * 7  # the reference, and two policies
    assert steps == ["out/round-1"] * 3 + ["out/round-2"] * 5

    threshold = mean_safety(Path("out/reference.jsonl")) + 0.5
    multiplier = 0.0
    for number, told in enumerate(record["rounds"], start=1):
        assert told["folder"] == f"round-{number}"
        assert told["threshold"] == pytest.approx(threshold)
        assert told["multiplier"] == pytest.approx(multiplier)
        assert told["safe"] == pytest.approx(mean_safety(Path(f"out/round-{number}.jsonl")))
        inner = json.loads(Path(f"out/round-{number}/training.json").read_text())
        assert inner["relabelled"]["multiplier"] == told["multiplier"]
        multiplier = max(0.0, multiplier + 5 * (threshold - told["safe"]))
    assert record["rounds"][1]["multiplier"] > 0
    assert record["updates"] == 6
    assert same_weights(Path("out"), Path("out/round-2"))
    assert not same_weights(Path("out"), Path("out/round-1"))
    assert not [*Path("out").glob("ratings*"), *Path("out").glob("recipe.json")]

    by_hand = mine("preference", *SMALL, f"relabel={{{REWARDS}, multiplier: {told['multiplier']}}}")
    train(by_hand, Path("hand"), device="cpu")
    assert same_weights(Path("hand"), Path("out"))

    # What is finished is read, also where the rounds' folders were deleted, and nothing else is.
    for folder in ("out/round-1", "out/round-2"):
        shutil.rmtree(folder)
    again = train(recipe, Path("out"), device="cpu")
    assert (again["started"], again["rounds"]) == (record["started"], record["rounds"])
    with pytest.raises(BadInput, match="a finished training already, with another recipe"):
        train(c_dpo(mine, "rounds.rate=2"), Path("out"), device="cpu")


def test_a_multiplier_that_runs_away_is_told_with_the_models_left(mine: Mine) -> None:
    recipe = c_dpo(mine, "rounds.largest=0.01", f"relabel={{{REWARDS}, threshold: 0}}")
    with pytest.raises(
        BadInput,
        match=r"the multiplier runs away: after round-1 it would be .*above rounds\.largest "
        r"\(0\.01\), and the policy's mean safety of -.* still lacks .* of 0; lower relabel",
    ):
        train(recipe, Path("out"), device="cpu")
    assert Path("out/round-1/training.json").is_file()


@pytest.mark.slow
def test_raft_in_rounds_begins_each_with_the_model_before(mine: Mine, tiny_llama: Path) -> None:
    shutil.copytree(tiny_llama, "base")
    Path("base/additional_chat_templates").mkdir()
    Path("base/additional_chat_templates/tool_use.jinja").write_text("{{ messages[0].content }}")
    recipe = raft(mine, "rounds={number: 2}", base="base")
    record = train(recipe, Path("out"), device="cpu")
    assert chat_templates(Path("out")) == chat_templates(Path("base"))
    second = train(raft(mine, base="out/round-1"), Path("b"), device="cpu")
    assert same_weights(Path("out"), Path("b"))
    assert not same_weights(Path("out"), Path("out/round-1"))
    assert record["rounds"][1]["best_of"] == record["best_of"] == second["best_of"]
    assert record["base"]["name"] == Path(recipe.base or "").name
    assert Path("out/samples.jsonl").read_text() == Path("b/samples.jsonl").read_text()


def raft(mine: Mine, *changes: str, base: str | None = None) -> Recipe:
    """The best of three answers is the longest."""
    data = "data=[{name: one, pairs: prompts, files: [pairs.jsonl]}]"
    combined = "combination=linear", "combination_parameters={weight: 0.5}"
    rewards = f"rewards={{helpful: {{{LONG}}}, safe: {{{LONG}}}}}"
    rollout = "rollout={num_generations: 3, max_completion_length: 4}"
    every = (*SMALL, data, rewards, *combined, rollout, *changes)
    return mine("sft", *every, **({"base": base} if base else {}))


def test_raft_is_fine_tuning_on_the_best_of_own_answers(mine: Mine) -> None:
    recipe = raft(mine)
    dry = dry_run(recipe, Path("out"), Progress(show=False))
    assert "one: 12 prompts" in dry
    assert "will be answered 3 times each by the start model before training; the best" in dry
    record = train(recipe, Path("out"), device="cpu")
    rows = [json.loads(line) for line in Path("out/samples.jsonl").read_text().splitlines()[1:]]
    talks = []
    for row in rows:
        lengths = [len(text) if text.strip() else -1 for text in row["responses"]]
        assert row["best"] == lengths.index(max(lengths))
        said = [*row["prompt"], ["assistant", row["responses"][row["best"]]]]
        talks.append({"messages": [{"role": role, "content": text} for role, text in said]})
    told = record["best_of"]
    assert (told["prompts"], told["left_out"], told["responses"]) == (12, 0, 36)
    taken = fmean(len(row["responses"][row["best"]]) for row in rows)
    assert told["taken"]["reward"] == pytest.approx(taken)
    assert told["sampled"]["helpful"] == pytest.approx(
        fmean(len(text) for row in rows for text in row["responses"])
    )
    by_hand = mine("sft", *SMALL, "data=[{name: one, pairs: chat, files: [talks.jsonl]}]")
    Path("talks.jsonl").write_text("\n".join(map(json.dumps, talks)))
    train(by_hand, Path("hand"), device="cpu")
    assert same_weights(Path("hand"), Path("out"))


def test_prompts_that_are_held_out_count_in_no_update(mine: Mine) -> None:
    epoch = "optimization={num_train_epochs: 1, pairs_per_update: 1}"
    recipe = raft(mine, "eval={share: 0.3}", epoch)
    prepared = prepare(recipe, Progress(show=False))
    assert isinstance(prepared, PreparedSFT)
    [asked] = prepared.sets
    assert isinstance(asked, PromptSet)
    out = sum(which_held_out(recipe, recipe.data[0], asked.prompts, "prompts"))
    assert 0 < out < len(asked.prompts) == 12
    [entry] = prepared.entries()
    assert (prepared.updates, entry["pairs"], entry["held_out"]) == (12 - out, 12 - out, out)
    assert f" tokens; {out} of the prompts are held out" in prepared.describe()[0]


@pytest.mark.slow
def test_held_out_prompts_that_are_not_answered(
    mine: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to look at then, and the rest is trained on."""
    recipe = raft(mine, "eval={share: 0.3}", "optimization.max_steps=1")

    def silent(self: Any, engine: Any, prompts: Any) -> Any:
        held = which_held_out(recipe, recipe.data[0], prompts, "prompts")
        return [Samples((" " if out else "gently",) * 3, (False,) * 3) for out in held]

    monkeypatch.setattr(Sampler, "_answers", silent)
    record = train(recipe, Path("out"), device="cpu")
    assert 0 < record["best_of"]["left_out"] < 12
    assert not [entry for entry in record["curves"] if "eval_loss" in entry]


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("preference", ["rounds={number: 2}"], "'rounds' belong to 'relabel' (C-DPO), or to SFT"),
        ("preference", ["rounds={number: 0}", f"relabel={{{REWARDS}, margin: 1}}"], "at least 1"),
        (
            "preference",
            ["rounds={number: 2}", f"relabel={{{REWARDS}, multiplier: 1}}"],
            "'rounds' move the multiplier: give 'relabel' a 'threshold' or a 'margin' instead",
        ),
        (
            "preference",
            ["rounds={number: 2}", "relabel={models: {helpful: a, safe: b}, margin: 1}"],
            "what new responses are worth: 'relabel' needs 'rewards', not 'models'",
        ),
        (
            "preference",
            ["rounds={number: 2, initial: 100}", f"relabel={{{REWARDS}, margin: 1}}"],
            "'initial' must be below 'largest'",
        ),
        (
            "preference",
            ["rounds={number: 2}", f"relabel={{{REWARDS}, margin: 1}}", "rollout={beta: 0.1}"],
            "'beta' and 'epsilon' of 'rollout' belong to kind: reward",
        ),
        (
            "preference",
            ["rounds={number: 2}", f"relabel={{{REWARDS}, margin: 1}}", "rollout.vllm={mode: a}"],
            "'vllm' takes gpu_memory_utilization, tensor_parallel_size, data_parallel_size, ray al",
        ),
        (
            "raft",
            ["rollout.vllm={data_parallel_size: 2, ray: nowhere}"],
            "no Ray cluster can be used at 'nowhere' (it is neither auto nor HOST:PORT); start",
        ),
        ("sft", ["data.0.pairs=prompts"], "'rewards' go together with kind: reward, or with SFT"),
        ("sft", ["rounds={number: 2}"], "or to SFT sets with pairs: prompts (RAFT)"),
        ("raft", ["eval={share: 0.001}"], "eval.share 0.001 holds out none of 12 conversations; r"),
        ("raft", ["rounds={number: 2, rate: 2}"], "of 'rounds', an SFT takes 'number' alone"),
        ("raft", ["merge=0.5", "rounds={number: 2}", "first={}"], "and 'rounds' are of one"),
        (
            "raft",
            ["combination=lagrangian", "combination_parameters={threshold: 1}"],
            "follows a policy under way, and the best of given responses is chosen here before",
        ),
        (
            "raft",
            ["combination=cvar", "combination_parameters={weight: 0.5, alpha: 0.5}"],
            "makes all but the worst responses to a prompt worth the same, so that it does not say",
        ),
        (
            "raft",
            [f"rewards={{helpful: {{{LONG}}}}}"],
            "the combination linear takes the rewards helpful, safe, and the recipe has helpful",
        ),
    ],
)
def test_what_is_wrong_is_said(mine: Mine, kind: str, changes: list[str], sentence: str) -> None:
    def tried() -> None:
        recipe = raft(mine, *changes) if kind == "raft" else mine(kind, *changes)
        dry_run(recipe, Path("out"), Progress(show=False))

    with pytest.raises(BadInput, match=re.escape(sentence)):
        tried()
