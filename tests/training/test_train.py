"""Whole trainings from a recipe to a checkpoint, as ``bfpo-bench train`` runs them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import bfpo_bench
from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.training import tracked
from bfpo_bench.training import train as road
from bfpo_bench.training.dry_run import dry_run
from bfpo_bench.training.pairwise import reference
from bfpo_bench.training.pairwise.packing import response_logprobs
from bfpo_bench.training.pairwise.prepare import prepare_pairs
from bfpo_bench.training.pairwise.trainer import PreferenceTrainer
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_file import load_recipe
from bfpo_bench.training.recipe_parts import EvalRecipe
from bfpo_bench.training.train import train
from tests.training.conftest import Mine, during, losses, plain_logprob

Get = Callable[..., Recipe]

COMMON = (
    *("layers=[mlp.down_proj]", "tokens={max_length: 512, max_prompt: 256}"),
    "optimization.per_device_train_batch_size=2",
)


@pytest.fixture
def get(mine: Mine) -> Get:
    """Makes a preference recipe, with changes; paths are relative to a new working folder."""

    def make(*changes: str, **more: Any) -> Recipe:
        return mine("preference", *COMMON, *changes, **more)

    return make


BFPO = ("loss=bfpo", "loss_parameters={tau: 0.3, alpha: 0.5, b1: 3}")
LABELS = {(True, False): 1.0, (True, True): 0.5, (False, False): -0.5, (False, True): -1.0}
"""BFPO's, of the safety of winner and loser: Eq. 14 of the paper with these parameters."""


@pytest.mark.slow
def test_held_out_pairs_are_looked_at_and_not_trained_on(get: Get) -> None:
    from transformers import AutoModelForCausalLM

    recipe = get(*BFPO, "eval={share: 0.4, steps: 2}", "optimization.num_train_epochs=2")
    record = train(recipe, Path("out"), device="cpu")
    [one] = prepare_pairs(recipe, Progress(show=False)).sets
    assert len(one.held_out) + len(one.tokens) == 12
    assert min(len(one.held_out), len(one.tokens)) > 2
    [data] = record["data"]
    assert (data["pairs"], data["held_out"]) == (len(one.tokens), len(one.held_out))
    said = dry_run(recipe, Path("x"), Progress(show=False))
    assert f"; {len(one.held_out)} of the pairs are held out" in said

    seen = [entry for entry in record["curves"] if "eval_loss" in entry]
    last = record["updates"]
    assert [entry["step"] for entry in seen] == [*range(2, last, 2), last]
    # By the ordinary forward of the base and of the model that was saved.
    models = [AutoModelForCausalLM.from_pretrained(path) for path in (recipe.base, "out")]
    squares, right = [], []
    for pair in one.held_out:
        with torch.no_grad():
            chosen, rejected = (
                [float(plain_logprob(model, pair.prompt, response)) for model in models]
                for response in (pair.chosen, pair.rejected)
            )
        ratio = (chosen[1] - chosen[0]) - (rejected[1] - rejected[0])
        label = LABELS[bool(pair.chosen_safe), bool(pair.rejected_safe)]
        squares.append((ratio - label / 0.3) ** 2)
        right.append(ratio * label > 0)
    assert seen[-1]["eval_loss"] == pytest.approx(sum(squares) / len(squares), rel=1e-3)
    assert seen[-1]["eval_rewards/accuracies"] == pytest.approx(sum(right) / len(right))

    # The rest is trained on as if there were nothing else, and a file of one's own changes nothing.
    lines = Path("pairs.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = {tuple(pair.prompt) for pair in one.held_out}
    every = prepare_pairs(get(*BFPO), Progress(show=False)).sets[0].tokens
    for name, inside in (("rest", False), ("held", True)):
        some = (
            line
            for line, p in zip(lines, every, strict=True)
            if (tuple(p.prompt) in prompts) is inside
        )
        Path(f"{name}.jsonl").write_text("\n".join(some), encoding="utf-8")
    own = replace(recipe.data[0], name="held", files=("held.jsonl",))
    rest = replace(
        recipe,
        data=(replace(recipe.data[0], files=("rest.jsonl",)),),
        eval=EvalRecipe(data=(own,), steps=2),
    )
    again = train(rest, Path("again"), device="cpu")
    assert losses(again) == losses(record)
    looked = [entry["eval_loss"] for entry in again["curves"] if "eval_loss" in entry]
    assert looked == pytest.approx([entry["eval_loss"] for entry in seen], rel=1e-4)


@pytest.mark.parametrize(
    ("share", "sentence"),
    [
        (1e-6, r"eval.share 1e-06 holds out none of 12 pairs; raise it, or name sets of their own"),
        (1 - 1e-6, r"leaves none of the 12 pairs of set 'one' to train on; lower it"),
    ],
)
def test_a_share_that_leaves_nothing_is_refused(get: Get, share: float, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        prepare_pairs(get(f"eval.share={share:.7f}"), Progress(show=False))


@pytest.mark.slow
def test_what_is_written_and_that_it_loads(get: Get, tiny_llama: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    recipe = get("tokens.chat_template=zephyr", "report_to=[]", "save_steps=2")
    record = train(recipe, Path("out"), device="cpu")
    out = Path("out")
    assert {path.name for path in out.iterdir()} == {
        *("README.md", "chat_template.jinja", "config.json", "generation_config.json"),
        *("model.safetensors", "tokenizer.json", "tokenizer_config.json", "training.json"),
    }
    base, trained = (AutoModelForCausalLM.from_pretrained(path) for path in (tiny_llama, out))
    theirs = dict(base.named_parameters())
    changed = {n for n, p in trained.named_parameters() if not torch.equal(p, theirs[n])}
    assert changed == {f"model.layers.{i}.mlp.down_proj.weight" for i in range(2)}
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert "<|assistant|>" in tokenizer.chat_template
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], return_dict=False)
    assert trained.generate(torch.tensor([asked]), max_new_tokens=3).shape[1] <= len(asked) + 3

    assert json.loads((out / "training.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(record)
    )
    assert record["updates"] == len(losses(record)) == 3
    assert record["trained_parameters"] == sum(theirs[name].numel() for name in changed)
    assert record["processes"] == 1
    assert record["recipe"]["loss"] == "dpo"
    assert record["recipe"]["optimization"]["learning_rate"] == 1e-3
    [data] = record["data"]
    assert (data["name"], data["pairs"], data["left_out"], data["cut"]) == ("one", 12, 0, 0)
    assert {"torch", "transformers"} <= set(record["versions"])
    # The policy begins as the reference: every pair costs log 2.
    assert losses(record)[0] == pytest.approx(0.693147, abs=1e-5)

    card = (out / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nbase_model: ")
    assert f"| one | 12 | {data['tokens']} | 0 |" in card
    assert f"The last logged loss is {losses(record)[-1]:.4f}." in card
    again = card.partition("```yaml\n")[2].partition("```")[0]
    Path("again.yaml").write_text(again, encoding="utf-8")
    assert load_recipe("again.yaml") == recipe


def test_a_base_with_other_settings_is_another_base(get: Get, tiny_llama: Path) -> None:
    train(get(), Path("first"), device="cpu")
    base = Path(shutil.copytree(tiny_llama, "edited"))
    config = json.loads((base / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 100.0
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match=r"already, with another base settings; name another"):
        train(get(base=base), Path("first"), device="cpu")
    # Its reference is its own: log 2 for every pair, not what the other base thinks of them.
    record = train(get(base=base), Path("second"), device="cpu")
    assert losses(record)[0] == pytest.approx(0.693147, abs=1e-5)
    config["transformers_version"] = "another"
    (base / "config.json").write_text(json.dumps(config))
    assert train(get(base=base), Path("second"), device="cpu") == json.loads(json.dumps(record))


@pytest.mark.slow
def test_three_methods_pay_for_one_pass_and_hold_one_model(
    get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed, loaded = [], []

    def count(model: Any, packed: Any, *more: Any) -> Any:
        passed.append(len(packed.order) // 2)
        return response_logprobs(model, packed, *more)

    def load(*arguments: Any) -> Any:
        loaded.append(load_model(*arguments))
        return loaded[-1]

    load_model = road.load_model
    monkeypatch.setattr(reference, "response_logprobs", count)
    monkeypatch.setattr(road, "load_model", load)
    record = train(
        get("loss=simpo", "method=simpo", "loss_parameters={}"), Path("simpo"), device="cpu"
    )
    assert "rewards/accuracies" in record["curves"][0]
    assert passed == []  # it reads no reference, so none is paid for
    for method, seed in (("dpo", 1), ("ipo", 2), ("bfpo", 3)):
        recipe = get(f"loss={method}", f"method={method}", f"seed={seed}")
        record = train(recipe, Path(method), device="cpu")
        assert record["method"] == method
    assert sum(passed) == 12
    # The reference is the policy before its first update; there never is another model.
    assert len(loaded) == 4


def test_segments_count_by_their_weights_from_a_recipe_to_the_loss(get: Get) -> None:
    from transformers import AutoModelForCausalLM

    emphasis = "data.0.emphasis={words: 2, weight: 3, rest: 0.5}"
    simpo = ("loss=simpo", "loss_parameters={beta: 1, gamma: 0}")
    recipe = get(*simpo, emphasis, "optimization.pairs_per_update=12", "optimization.max_steps=1")
    record = train(recipe, Path("out"), device="cpu")
    model = AutoModelForCausalLM.from_pretrained(recipe.base)

    def mean(prompt: list[int], response: list[int], weights: list[float] | None) -> float:
        assert weights is not None
        assert set(weights) == {3, 0.5}
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
        each = logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None])[:, 0]
        return float((each * torch.tensor(weights)).sum()) / sum(weights)

    [one] = prepare_pairs(recipe, Progress(show=False)).sets
    expected = []
    for pair in one.tokens:
        chosen = mean(pair.prompt, pair.chosen, pair.chosen_weights)
        expected.append(chosen - mean(pair.prompt, pair.rejected, pair.rejected_weights))
    value = -torch.tensor(expected).sigmoid().log().mean()
    assert losses(record)[0] == pytest.approx(value.item(), rel=1e-4)
    # Another emphasis is another training.
    with pytest.raises(BadInput, match="out holds a finished training already, with another recip"):
        train(get(*simpo, "optimization.pairs_per_update=12"), Path("out"), device="cpu")


@pytest.mark.slow
def test_a_training_that_was_killed_ends_as_one_that_was_not(
    get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = get("optimization.num_train_epochs=2", "save_steps=2", "optimization.warmup_ratio=0")
    whole = train(recipe, Path("whole"), device="cpu")

    def killed() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        during(3, killed, patch)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, Path("cut"), device="cpu")
    with pytest.raises(BadInput, match="unfinished training with another recipe; go on with"):
        train(get("optimization.num_train_epochs=3", "save_steps=2"), Path("cut"), device="cpu")
    resumed = train(recipe, Path("cut"), device="cpu")
    assert len(losses(whole)) == 6
    assert losses(resumed) == losses(whole)
    assert (
        Path("cut/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    )


def test_a_checkpoint_that_one_node_does_not_see(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(road, "claim_output", lambda *_: Path("checkpoint-8"))
    with pytest.raises(RunFailed, match=r"checkpoint-8, from which the training goes on; put --"):
        train(get(), Path("out"), device="cpu")


def test_a_finished_training_is_read(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = get("optimization.max_steps=1")
    record = train(recipe, Path("out"), device="cpu")
    monkeypatch.setattr(road, "load_model", None)
    assert train(recipe, Path("out"), device="cpu") == json.loads(json.dumps(record))
    changes = [*COMMON, "optimization.max_steps=1"]
    same = bfpo_bench.train("mine.yaml", "out", recipe.base, changes, device="cpu")
    assert same["started"] == record["started"]
    with pytest.raises(BadInput, match="finished training already, with another recipe"):
        train(get("optimization.max_steps=2"), Path("out"), device="cpu")


def test_the_seed_decides_adapters(get: Get) -> None:
    """In both parts: where they begin, and what dropout leaves out."""
    changes = (
        "lora={rank: 2, dropout: 0.2}",
        "optimization.max_steps=2",
        "optimization.warmup_ratio=0",
    )
    one, same, other = (
        train(get(*changes, f"seed={seed}"), Path(name), device="cpu")
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    assert losses(one) == losses(same)
    one_file, same_file, other_file = (
        Path(name, "model.safetensors").read_bytes() for name in ("one", "same", "other")
    )
    assert one_file == same_file
    assert one_file != other_file
    assert losses(one) != losses(other)


def test_what_can_be_known_is_told_before_the_folder_is_claimed(get: Get) -> None:
    for start in (
        lambda: train(get("layers=[mlp.down_prj]"), Path("out"), device="cpu"),
        lambda: dry_run(get("layers=[mlp.down_prj]"), Path("out"), Progress(False)),
    ):
        with pytest.raises(BadInput, match=r"selects none of the layers; did you mean 'mlp\.down_"):
            start()
    with pytest.raises(BadInput, match="there is no device 'cdua' on this machine; it has cpu"):
        train(get(), Path("out"), device="cdua")
    assert not Path("out").exists()


def test_a_certain_gpu_is_chosen_by_the_environment(
    get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(road, "torch_device", torch.device)
    with pytest.raises(BadInput, match=r"for cuda:1 set CUDA_VISIBLE_DEVICES=1 and give --device"):
        train(get(), Path("out"), device="cuda:1")
    assert not Path("out").exists()


def test_an_architecture_that_cannot_be_packed(get: Get, tiny_llama: Path) -> None:
    """BLOOM counts positions inside the model (ALiBi)."""
    from transformers import BloomConfig, BloomForCausalLM

    shutil.copytree(tiny_llama, "bloom")
    for path in Path("bloom").glob("*.safetensors"):
        path.unlink()
    size = json.loads(Path("bloom/config.json").read_text())["vocab_size"]
    config = BloomConfig(vocab_size=size, hidden_size=32, n_layer=1, n_head=2)
    BloomForCausalLM(config).save_pretrained("bloom")
    with pytest.raises(BadInput, match="BloomForCausalLM cannot be trained with packed pairs: "):
        train(get("layers=[]", base=Path("bloom")), Path("out"), device="cpu")


def test_a_checkpoint_that_lacks_weights(get: Get, tiny_llama: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_llama, "holes")
    [file] = Path("holes").glob("*.safetensors")
    weights = load_file(file)
    del weights["model.norm.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(BadInput, match=r"1 weights of the model in .*holes are missing"):
        train(get(base=Path("holes")), Path("out"), device="cpu")


def test_a_model_or_template_that_is_not_there(get: Get) -> None:
    with pytest.raises(
        BadInput, match=r"template nope.jinja cannot be read .*; name a bundled one .zephyr"
    ):
        train(get("tokens.chat_template=nope.jinja"), Path("out"), device="cpu")
    with pytest.raises(BadInput, match="no base model is given"):
        dry_run(replace(get(), base=None), Path("out"), Progress(show=False))


def test_a_full_gpu(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(PreferenceTrainer, "training_step", full)
    with pytest.raises(RunFailed, match=r"memory does not suffice for a training step; lower opt"):
        train(get(), Path("out"), device="cpu")


def test_a_tracker_that_is_not_installed(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracked, "find_spec", lambda name: None)
    for start in (
        lambda: train(get("report_to=trackio"), Path("out"), device="cpu"),
        lambda: dry_run(get("report_to=trackio"), Path("out"), Progress(False)),
    ):
        with pytest.raises(BadInput, match=r"names trackio, which is not installed; install it"):
            start()
    assert not Path("out").exists()
    with pytest.raises(BadInput, match=r"unknown report_to 'wandbb'.*wandb"):
        train(get("report_to=[wandbb]"), Path("out"), device="cpu")


def test_a_dry_run_counts_what_training_would_do(get: Get, tiny_llama: Path) -> None:
    text = dry_run(get(), Path("out"), Progress(False))
    shapes = json.loads((tiny_llama / "config.json").read_text())
    trained = shapes["num_hidden_layers"] * shapes["hidden_size"] * shapes["intermediate_size"]
    assert "one: 12 pairs" in text
    assert "3 updates of 4 pairs, 2 at once" in text
    assert f"{trained:,} of " in text
    assert "learning_rate: 0.001" in text
    adapters = dry_run(get("lora={rank: 4}"), Path("out"), Progress(False))
    # Two matrices beside each down_proj.
    rank = 4 * (shapes["hidden_size"] + shapes["intermediate_size"]) * shapes["num_hidden_layers"]
    assert f"{rank:,} of " in adapters
    assert not Path("out").exists()
