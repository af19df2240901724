"""Recipes: bundled ones are the paper's, and what is wrong in one is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.pairwise.loss_by_name import load_loss
from bfpo_bench.training.recipe import RENAMED
from bfpo_bench.training.recipe_file import as_yaml, load_recipe, recipe_names

MINIMAL = """
method: mine
base: some/model
loss: dpo
data: [{name: one, pairs: helpful, files: [a.jsonl]}]
"""


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_every_row_of_the_paper_has_its_recipe() -> None:
    rows = ["sft", "dpo-h", "dpo-s", "dpo", "ipo", "bfpo", "bfpo-no-buffer", "bfpo-no-shift"]
    assert {f"mistral/{row}" for row in rows} <= set(recipe_names())
    assert {f"zephyr-redteam/{row}" for row in ("dpo", "ipo", "bfpo")} <= set(recipe_names())
    rivals = [
        "safedpo",
        "bso",
        "midpo-safe",
        "midpo-helpful",
        "simpo",
        "cpo",
        "orpo",
        "kto",
        "equilibrate",
    ]
    rivals += ["mocan", "pecan", "repo", "cvar", "multiplicative"]
    where = ("mistral", "zephyr-redteam", "toy")
    assert {f"{one}/{rival}" for one in where for rival in rivals} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_bundled_recipes_are_whole(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert load_recipe(write(tmp_path, as_yaml(recipe.as_dict()))) == recipe
    if recipe.kind == "preference":
        load_loss(recipe.loss or "", recipe.loss_parameters)


@pytest.mark.parametrize("name", ["dpo-h", "dpo-s", "dpo", "ipo", "bfpo"])
def test_settings_are_the_papers(name: str) -> None:
    """FACTS.md, section 3: settings."""
    recipe = load_recipe(f"mistral/{name}")
    assert recipe.layers == ("mlp.down_proj",)
    assert recipe.optimization.learning_rate == 5e-7
    assert recipe.optimization.lr_scheduler_type == "cosine"
    assert recipe.optimization.warmup_ratio == 0.1
    assert recipe.optimization.num_train_epochs == 1
    assert (recipe.tokens.max_length, recipe.tokens.max_prompt) == (1024, 512)
    assert recipe.precision == "bf16"
    assert recipe.seed == 42
    assert {d.limit for d in recipe.data} == {30000}
    scale = recipe.loss_parameters.get("beta", recipe.loss_parameters.get("tau"))
    assert scale == 0.01


def test_bfpo_is_told_from_its_ablations() -> None:
    whole, no_buffer, no_shift = (
        load_recipe(f"mistral/{name}") for name in ("bfpo", "bfpo-no-buffer", "bfpo-no-shift")
    )
    assert whole.mixing == "buffered"
    assert whole.loss_parameters == {"tau": 0.01, "alpha": 0.5, "b1": 3}
    assert no_buffer.mixing == "shuffled"
    assert no_buffer.loss_parameters == whole.loss_parameters
    # 32 pairs of each of the two sets, against 32 of both together.
    assert whole.optimization.pairs_per_update == 2 * no_buffer.optimization.pairs_per_update
    assert no_shift.loss_parameters == {"tau": 0.01, "alpha": 0.0, "b1": 3}
    assert no_shift.mixing == "buffered"


def test_changes_reach_nested_keys(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, MINIMAL),
        [
            "optimization.learning_rate=3e-4",
            "data.0.limit=7",
            "layers=[mlp.down_proj]",
            "lora.rank=4",
            "loss_parameters.beta=0.2",
        ],
        base="another/model",
    )
    assert recipe.optimization.learning_rate == 3e-4
    assert recipe.data[0].limit == 7
    assert recipe.layers == ("mlp.down_proj",)
    assert recipe.lora is not None
    assert recipe.lora.rank == 4
    assert recipe.loss_parameters == {"beta": 0.2}
    assert recipe.base == "another/model"


def test_a_recipe_extends_a_file_beside_it(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL + "loss_parameters: {beta: 0.3}\n", "base.yaml")
    child = write(tmp_path, "extends: base.yaml\nloss: ipo\nloss_parameters: {tau: 0.4}\n")
    recipe = load_recipe(child)
    assert recipe.loss == "ipo"
    # The parameters of one loss are not those of another.
    assert recipe.loss_parameters == {"tau": 0.4}
    assert recipe.method == "mine"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            MINIMAL + "optimisation: {}",
            "unknown setting in recipe .*'optimisation'; did you mean 'optimization'",
        ),
        (MINIMAL + "optimization: {learning_rat: 1}", "did you mean 'learning_rate'"),
        (MINIMAL + "optimization: {learning_rate: fast}", "must be a number, not 'fast'"),
        (MINIMAL + "optimization: {learning_rate: 0}", "learning_rate must be more than 0"),
        (MINIMAL + "optimization: {learning_rate: 1e-46}", "above 0, also in float32"),
        (MINIMAL + "optimization: {learning_rate: .inf}", "must be a finite number"),
        (MINIMAL + "optimization: {warmup_ratio: 2}", "warmup_ratio must be less than 1"),
        (
            MINIMAL + "optimization: {lr_scheduler_type: cosin}",
            "unknown choice for .*mean 'cosine'",
        ),
        (MINIMAL + "optimization: {pairs_per_update: 1.5}", "must be a whole number"),
        (MINIMAL + "mixing: bufered", "did you mean 'buffered'"),
        (MINIMAL + "precision: fp16", "unknown choice for .*precision: 'fp16'"),
        (MINIMAL + "gradient_checkpointing: 1", "must be true or false"),
        (MINIMAL + "layers: 5", "must be a list"),
        (MINIMAL + "tokens: {max_prompt: 4000}", "below 'max_length'"),
        (MINIMAL + "eval: {}", "either a 'share' of the data or sets of its own"),
        (MINIMAL + "eval: {share: 1}", "eval, share must be less than 1"),
        (
            MINIMAL.replace(
                "loss: dpo", "kind: sft\neval: {data: [{name: h, pairs: prompts, files: [a]}]}"
            ),
            "'eval.data' of an SFT are conversations, not prompts",
        ),
        (MINIMAL.replace("a.jsonl]", "a], share: 0.5"), "a 'share' belongs to an SFT set that has"),
        (
            MINIMAL.replace("loss: dpo", "kind: sft").replace(
                "a.jsonl]", "a], share: 0.5, limit: 2"
            ),
            "either 'limit' or 'share' says how much is drawn",
        ),
        (MINIMAL + "lora: {rank: 0}", "rank must be at least 1, not 0"),
        (MINIMAL + "lora: {alpha: .inf}", "lora, alpha must be a finite number, not inf"),
        (MINIMAL + "optimization: {weight_decay: .nan}", "weight_decay must be a finite number"),
        (MINIMAL + "margin: {function: m.f, scale: .nan}", "margin, scale must be a finite number"),
        (MINIMAL + "margin: {function: m.f, shift: -.inf}", "margin, shift must be a finite num"),
        (
            MINIMAL + "relabel: {models: {helpful: a, safe: b}, multiplier: 1e7}",
            "relabel, multiplier must be at most 1000000, not 10000000.0",
        ),
        (MINIMAL + "rounds: {number: 2, largest: 1e300}", "largest must be at most 1000000"),
        (MINIMAL + "lora: {dropout: 1}", "lora, dropout must be less than 1"),
        (MINIMAL + "rollout: {beta: 0.1}", "'rollout' belongs to kind: reward"),
        (MINIMAL + "combination_parameters: {a: 1}", "'combination_parameters' belong to a 'com"),
        (MINIMAL.replace("a.jsonl]", "a], unsafe_prompts: true"), "'unsafe_prompts' belongs to"),
        (MINIMAL.replace("loss: dpo", "kind: sft\nmixing: buffered"), "are always 'shuffled'"),
        (
            MINIMAL.replace("loss: dpo", "kind: sft\nloss_parameters: {tau: 1}"),
            "'loss_parameters' belong to kind: preference",
        ),
        (MINIMAL.replace("pairs: helpful", "pairs: helpfull"), "did you mean 'helpful'"),
        (MINIMAL.replace("pairs: helpful", "pairs: chat"), "'pairs' in set 'one': 'chat'; there"),
        (
            MINIMAL.replace(
                "loss: dpo", "kind: reward\nrewards: {a: {function: m.f}}\ncombination: linear"
            ),
            "unknown value of 'pairs' in set 'one': 'helpful'; there are: chat, prompts",
        ),
        (
            MINIMAL.replace("pairs: helpful", "pairs: helpful, format: sharegtp"),
            "unknown format of preference data 'sharegtp'; did you mean 'sharegpt'",
        ),
        (MINIMAL.replace(", files: [a.jsonl]", ""), "either files or a data set on the hub"),
        (MINIMAL.replace("a.jsonl]", "a], limit: 0"), r"data\[0\], limit must be at least 1"),
        (MINIMAL + "save_steps: 0", "save_steps must be at least 1"),
        (MINIMAL.replace("loss: dpo", ""), "needs a 'loss'"),
        (MINIMAL.replace("method: mine", ""), "'method' is missing"),
        (MINIMAL + "kind: sft", "has no 'loss'"),
        ("method: a\nloss: dpo\ndata: []", "at least one set"),
        ("method: a\nloss: dpo\ndata: 3", "must be a list"),
        ("method: a\nloss: dpo\ndata: [3]", "must be keys and values"),
        (MINIMAL + "extends: mine.yaml", "goes round in a circle"),
        *(
            (MINIMAL + f"{part}: {{{old}: 1}}" if part else MINIMAL + f"{old}: 1", f"'{new}' now")
            for part, names in RENAMED.items()
            for old, new in names.items()
        ),
        ("a: [", "is no YAML that can be read"),
        ("method: a\nmethod: b", "the field 'method' is there twice"),
        ("just text", "holds no recipe"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        load_recipe(write(tmp_path, text))


def test_buffered_needs_equal_parts(tmp_path: Path) -> None:
    two = "data: [{name: a, pairs: bfpo, files: [a]}, {name: b, pairs: bfpo, files: [b]}]"
    text = f"method: m\nloss: bfpo\nmixing: buffered\n{two}\noptimization: {{pairs_per_update: 7}}"
    with pytest.raises(BadInput, match="as many pairs from each of 2 sets"):
        load_recipe(write(tmp_path, text))
    same = text.replace("name: b,", "name: a,").replace(": 7", ": 8")
    with pytest.raises(BadInput, match="two sets have the same 'name'"):
        load_recipe(write(tmp_path, same))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mistral/bfpp", "unknown recipe 'mistral/bfpp'; did you mean 'mistral/bfpo'"),
        ("nowhere/my.yaml", "there is no recipe"),
    ],
)
def test_a_recipe_that_is_not_there(name: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        load_recipe(name)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("seed", "not of the form key=value"),
        ("data.9.limit=1", "'9' is none of entries 0 to 0"),
        ("seed=[", "the value is not YAML"),
        ("optimization.lr=1", "'lr' is called 'learning_rate' now"),
        ("lr=1", "'lr' is called 'optimization.learning_rate' now"),
        ("learning_rate=1", "did you mean 'optimization.learning_rate'"),
        ("optimization.weight=1", "did you mean 'weight_decay' or 'data.N.emphasis.weight'"),
        ("extends=toy/dpo", "a recipe extends another in its file alone"),
    ],
)
def test_a_change_that_is_none(tmp_path: Path, change: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        load_recipe(write(tmp_path, MINIMAL), [change])


def test_one_change_may_stand_alone(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, MINIMAL), "seed=31").seed == 31
