"""On-policy training on the toy world's truth, from a recipe to a checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.toy_world.datasets import REGIMES, write_sets
from bfpo_bench.training import train as road
from bfpo_bench.training.dry_run import dry_run
from bfpo_bench.training.on_policy import rloo as on_policy
from bfpo_bench.training.on_policy.global_reward import load_combination
from bfpo_bench.training.on_policy.rloo import GlobalReward, prepare_on_policy, rollout_settings
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_file import load_recipe
from bfpo_bench.training.recipe_parts import RolloutRecipe
from bfpo_bench.training.train import train

SMALL = [
    "data.0.limit=50",
    "data.1.limit=100",
    "rollout.max_completion_length=32",
    "optimization.pairs_per_update=48",
    "optimization.per_device_train_batch_size=48",
    "optimization.learning_rate=5e-3",
    "optimization.lr_scheduler_type=constant",
    "optimization.warmup_ratio=0",
]

NewRecipe = Callable[..., Recipe]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Preference sets of the toy world."""
    return write_sets(tmp_path_factory.mktemp("sets"), REGIMES["balanced"], seed=0)


@pytest.fixture
def new_recipe(toy_target: Path, sets: dict[str, Path]) -> NewRecipe:
    """Makes toy recipes from the undecided toy model and sets of its world, with changes."""
    files = [f"data.{n}.files=[{sets[name]}]" for n, name in enumerate(("helpfulness", "safety"))]

    def make(name: str, *changes: str) -> Recipe:
        return load_recipe(f"toy/{name}", [*files, *SMALL, *changes], base=str(toy_target))

    return make


def curve(record: dict[str, Any], name: str) -> list[float]:
    return [entry[name] for entry in record["curves"] if name in entry]


@pytest.mark.slow
def test_the_weight_says_which_objective_rises(new_recipe: NewRecipe, tmp_path: Path) -> None:
    """Helpfulness alone makes the model more helpful and less safe, safety alone the reverse."""
    ends = {}
    for weight in (0, 1):
        recipe = new_recipe(
            "morl", f"combination_parameters.weight={weight}", "optimization.max_steps=12"
        )
        record = train(recipe, tmp_path / f"weight-{weight}", device="cpu")
        reward = curve(record, "reward")
        assert len(reward) == 12
        assert sum(reward[-3:]) / 3 > sum(reward[:2]) / 2 + 0.1
        # What is maximised, E[reward] - kl · KL, is at least what it was at first, when KL was 0:
        # KL is at most the gain in reward over the coefficient.
        tokens = curve(record, "completions/mean_length")
        divergence = [k * n for k, n in zip(curve(record, "kl"), tokens, strict=True)]
        assert abs(divergence[0]) < 1e-3
        assert 0 < divergence[-1] < (1 - reward[0]) / recipe.rollout.beta
        ends[weight] = {
            name: sum(curve(record, f"objectives/{name}")[-3:]) / 3 for name in ("helpful", "safe")
        }
        start = {name: curve(record, f"objectives/{name}")[0] for name in ("helpful", "safe")}
    assert ends[0]["helpful"] > start["helpful"] > ends[1]["helpful"]
    assert ends[0]["safe"] < start["safe"] < ends[1]["safe"]
    assert ends[0]["helpful"] - ends[1]["helpful"] > 0.4
    assert ends[1]["safe"] - ends[0]["safe"] > 0.25
    _is_a_finished_checkpoint(tmp_path / "weight-1")


def _is_a_finished_checkpoint(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(folder)
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert "PPO, which TRL no longer has" in record["notes"][0]
    assert "PPO, which TRL no longer has" in (folder / "README.md").read_text(encoding="utf-8")
    assert [one["pairs"] for one in record["data"]] == [50, 100]


@pytest.mark.slow
def test_the_multiplier_rises_and_an_interrupted_training_goes_on(
    new_recipe: NewRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = new_recipe(
        "lagrangian",
        "combination_parameters.threshold=1.5",  # no policy satisfies it
        "optimization.max_steps=4",
        "optimization.pairs_per_update=16",
        "save_steps=2",
    )
    whole = train(recipe, tmp_path / "whole", device="cpu")
    multiplier = curve(whole, "multiplier")
    safe = curve(whole, "objectives/safe")
    assert len(multiplier) == 4
    before = 1.0
    for value, mean_safe in zip(multiplier, safe, strict=True):
        step = 0.5 * before * (1.5 - mean_safe)
        assert value == pytest.approx(min(before * torch.tensor(step).exp().item(), 5), rel=1e-4)
        assert value > before or value == 5
        before = value

    class Killed(Exception):
        pass

    calls = 0
    rate = GlobalReward.__call__

    def dying(self: GlobalReward, *args: Any, **kwargs: Any) -> list[float]:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Killed
        return rate(self, *args, **kwargs)

    monkeypatch.setattr(GlobalReward, "__call__", dying)
    with pytest.raises(Killed):
        train(recipe, tmp_path / "killed", device="cpu")
    monkeypatch.undo()
    again = train(recipe, tmp_path / "killed", device="cpu")
    for name in ("multiplier", "reward", "kl", "loss"):
        assert curve(again, name) == pytest.approx(curve(whole, name), rel=1e-3, abs=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama2", "maxmin", "bilinear", "rbr", "repo"])
def test_every_combination_trains(new_recipe: NewRecipe, tmp_path: Path, name: str) -> None:
    recipe = new_recipe(
        name,
        "optimization.max_steps=1",
        "optimization.pairs_per_update=8",
        "lora.rank=2",
        "layers=[down_proj]",
        "precision=bf16",
    )
    record = train(recipe, tmp_path / "out", device="cpu")
    assert record["trained_parameters"] == 2 * 2 * (128 + 256)
    assert len(curve(record, "reward")) == 1


def test_the_dry_run_counts_prompts_and_rewards(new_recipe: NewRecipe, tmp_path: Path) -> None:
    recipe = new_recipe("morl", "optimization.max_steps=7")
    text = dry_run(recipe, tmp_path / "o", Progress(show=False))
    assert "helpfulness: 50 prompts" in text
    assert "7 updates of 48 responses, 4 to each of 12 prompts, 48 at once" in text
    assert "beside the policy: 1, about" in text  # the reference
    prepared = prepare_on_policy(new_recipe("morl", "optimization.max_steps=null"), Progress(False))
    assert prepared.updates == round(150 * 4 / 48)


def test_prompts_begin_with_bos_where_the_template_writes_it(
    new_recipe: NewRecipe, tmp_path: Path
) -> None:
    """As in evaluation."""
    (tmp_path / "bare.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    bare = (f"tokens.chat_template={tmp_path / 'bare.jinja'}",)
    for count, changes in ((1, ()), (0, bare)):
        prepared = prepare_on_policy(new_recipe("morl", *changes), Progress(show=False))
        tokenizer = prepared.sampling_tokenizer
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": "Hi"}], add_generation_prompt=True
        )["input_ids"]
        assert ids.count(tokenizer.bos_token_id) == count
        assert tokenizer.padding_side == "left"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["combination_parameters={}"], "linear needs the parameter 'weight'"),
        (["rewards.safe.function='bfpo_bench.toy_world.rewards:save'"], "did you mean 'safe'"),
        (["rewards.safe.function='{own}:short'"], "returned 1 numbers for 2 responses"),
        (
            ["rollout.vllm.modus=server"],
            "unknown option of TRL's vLLM: 'modus'; did you mean 'mode'",
        ),
        (["data.0.pairs=bfpo"], "unknown value of 'pairs'"),
        (["loss=dpo"], "a recipe of kind reward has no 'loss'"),
        (["rewards={}"], "'rewards' go together with kind: reward"),
        (["combination=null"], "'combination' goes together with kind: reward"),
        (["kind=sft", "combination=null"], "SFT sets with pairs: prompts"),
        (
            ["rewards.safe={}"],
            "a reward comes from one of 'model', 'judge', 'function' and 'label'",
        ),
        (["rewards.safe={label: safe}"], "new responses have no 'label'"),
        (["rollout.num_generations=1"], "num_generations must be at least 2, not 1"),
        (["rollout.num_generations=5"], "it must be a multiple of 'num_generations'"),
        (["rollout.beta=-1"], "rollout, beta must be at least 0"),
        (["rollout.epsilon=1"], "epsilon must be less than 1"),
        (["rollout.temperature=0"], "temperature must be more than 0"),
        (["rollout.top_p=0"], "top_p must be more than 0"),
        (["rollout.max_completion_length=0"], "max_completion_length must be at least 1"),
        (["lora={dropout: 0.1}"], "'dropout' of lora would part the policy from its own"),
        (
            ["eval={share: 0.1}"],
            "a recipe of kind reward has no 'eval', for its 'reward'",
        ),
        (["mixing=buffered"], "prompts are always 'shuffled'"),
        (["margin={label: safe}"], "a 'margin' belongs to a preference recipe"),
        (
            ["attributes={safety: 1}"],
            "'attributes' and SFT sets with pairs: attributes go together",
        ),
    ],
)
def test_what_is_wrong_is_said_before_any_weight_is_loaded(
    new_recipe: NewRecipe, changes: list[str], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        prepare_on_policy(
            new_recipe("morl", *(c.format(own=__name__) if "{own}" in c else c for c in changes)),
            Progress(show=False),
        )


def short(prompts: list[Any], responses: list[str]) -> list[float]:
    return [1.0]


def test_an_update_is_split_into_whole_groups(new_recipe: NewRecipe) -> None:
    prepared = prepare_on_policy(
        new_recipe("morl", "optimization.per_device_train_batch_size=5"), Progress(show=False)
    )
    assert prepared.batches() == (4, 12)
    assert prepared.batches(processes=3) == (4, 4)
    with pytest.raises(
        BadInput, match="48 responses cannot be split equally over 5 processes into whole"
    ):
        prepared.batches(processes=5)
    with pytest.raises(
        BadInput, match=r"over 8 processes into whole groups of 4 to a prompt; .* a multiple of 32"
    ):
        prepared.batches(processes=8)


def test_vllms_options_are_trls() -> None:
    settings = rollout_settings(
        RolloutRecipe(engine="vllm", vllm={"mode": "server", "server_port": 9000})
    )
    assert settings["use_vllm"]
    assert (settings["vllm_mode"], settings["vllm_server_port"]) == ("server", 9000)


def test_vllm_that_is_not_there(
    new_recipe: NewRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = new_recipe("morl", "rollout.engine=vllm")
    monkeypatch.setattr(road, "vllm_installed", lambda: False)
    with pytest.raises(BadInput, match=r"rollout\.engine is vllm, which is not installed"):
        train(recipe, tmp_path / "out", device="cpu")
    on_policy._rloo_trainer(vllm=False)
    with pytest.raises(BadInput, match="TRL was loaded without vLLM for an earlier training"):
        on_policy._rloo_trainer(vllm=True)


def test_a_combination_that_overflows() -> None:
    combination = load_combination("linear", {"weight": 0.5}, ["helpful", "safe"])
    rates = {
        "helpful": lambda prompts, responses: [3e38] * len(responses),
        "safe": lambda prompts, responses: [3e38] * len(responses),
    }
    reward = GlobalReward(rates, combination, responses=2)
    said = [[{"role": "user", "content": "?"}]] * 2
    noted: dict[str, float] = {}
    found = reward(said, said, unsafe_prompt=[False] * 2, log_metric=noted.__setitem__)
    assert found == pytest.approx([3e38, 3e38])
    assert noted["objectives/safe"] == pytest.approx(float("inf"))
    steep = load_combination("rbr", {"weights": {"safe": 1e3}}, ["helpful", "safe"])
    with pytest.raises(RunFailed, match="combination rbr makes rewards that are not numbers"):
        GlobalReward(rates, steep, 2)(said, said, [False] * 2, noted.__setitem__)


def test_memory_that_does_not_suffice(
    new_recipe: NewRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> list[float]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(GlobalReward, "__call__", full)
    recipe = new_recipe("morl", "optimization.max_steps=1", "optimization.pairs_per_update=8")
    with pytest.raises(
        RunFailed,
        match="memory does not suffice for a training step; lower optimization",
    ):
        train(recipe, tmp_path / "out", device="cpu")
    shutil.rmtree(tmp_path / "out")
