"""Recipes: everything that a training run is made of, as a few lines of YAML.

A recipe is checked as a whole before anything is loaded; an unknown key is told with the nearest
known one. ``extends: NAME`` takes another recipe and changes what is written below it, so that the
rows of a table differ where their recipes differ.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from bfpo_bench.errors import BadInput, unknown_name
from bfpo_bench.training.recipe_rules import broken_rule
from bfpo_bench.training.records import PreferenceSet
from bfpo_bench.typed import typed

FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class DataRecipe:
    """One preference set; see :class:`bfpo_bench.training.records.PreferenceSet`.

    Attributes:
        name: what the set is called in reports.
        pairs: which response wins: ``helpful``, ``safe``, ``naive`` or ``bfpo``; in SFT also
            ``chat`` for conversations and ``attributes`` for both responses of every pair, each
            with its attributes; on-policy, ``prompts`` or ``chat``.
        files: paths of local files, or
        hub: id of a data set on the hub, with its split and revision (the pinned ones if None).
        format: how rows are written, see docs/preferences.md; None finds out.
        limit: records to draw at random; None takes all.
        skip_bad_rows: leave bad rows out (counted and reported) instead of refusing them.
        all_safe: responses of unknown safety count as safe.
        unsafe_prompts: on-policy: its prompts ask for something unsafe; see ``llama2`` in
            docs/rewards.md.
    """

    name: str
    pairs: str
    files: tuple[str, ...] = ()
    hub: str | None = None
    split: str | None = None
    revision: str | None = None
    format: str | None = None
    limit: int | None = None
    skip_bad_rows: bool = False
    all_safe: bool = False
    unsafe_prompts: bool = False

    def as_set(self, seed: int) -> PreferenceSet:
        """What the readers take; `seed` draws the part that ``limit`` leaves."""
        return PreferenceSet(
            name=self.name,
            files=tuple(map(Path, self.files)),
            hub=self.hub,
            split=self.split,
            revision=self.revision,
            format=self.format,
            limit=self.limit,
            seed=seed,
            skip_bad_rows=self.skip_bad_rows,
            all_safe=self.all_safe,
        )


@dataclass(frozen=True)
class TokenRecipe:
    """Limits in tokens, and the chat template.

    Attributes:
        max_length: prompt and response together.
        max_prompt: longest prompt; longer ones are cut on the left.
        chat_template: None for the base model's own, ``zephyr`` (the format of zephyr-7b-beta and
            of the alignment handbook), or the path of a Jinja file.
    """

    max_length: int = 1024
    max_prompt: int = 512
    chat_template: str | None = None


@dataclass(frozen=True)
class LoraRecipe:
    """Low-rank adapters instead of the weights themselves; merged into them at the end."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0


@dataclass(frozen=True)
class RewardRecipe:
    """Where a reward of responses comes from: one of ``model``, ``judge``, ``function``, ``label``.

    Attributes:
        model: folder or hub id of a reward model (sequence classification).
        revision: commit of a hub model.
        objective: which output of the model: a name or number; needed where it has several.
        judge: judge card by name or path; the reward is the probability that a response is safe.
        judge_model: weights for the judge instead of the card's.
        judge_url: server of a judge that asks one.
        verdict: take the judge's verdict, 1 for safe and 0 for harmful, not its probability.
        function: ``package.module:function`` of prompts and responses.
        parameters: keyword arguments of the function.
        label: ``safe``: 1 or 0 as the pairs' own labels say (for a margin only).
        scale: the reward is multiplied by it,
        shift: and this is added then.
    """

    model: str | None = None
    revision: str | None = None
    objective: str | None = None
    judge: str | None = None
    judge_model: str | None = None
    judge_url: str | None = None
    verdict: bool = False
    function: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    label: Literal["safe"] | None = None
    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class RolloutRecipe:
    """How on-policy training samples from the policy, and how far it may go from the reference.

    Attributes:
        responses: sampled to each prompt; each is compared with the mean of the others.
        max_response: its length at most, in tokens.
        kl: coefficient of KL(policy ‖ reference) in the reward, summed over a response.
        clip: PPO's clip range of the probability ratio.
        engine: ``hf`` or ``vllm``.
        vllm: options of TRL's for vLLM, without their ``vllm_``: ``mode``,
            ``gpu_memory_utilization``, ``server_base_url``, …
    """

    responses: int = 4
    max_response: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    kl: float = 0.05
    clip: float = 0.2
    engine: Literal["hf", "vllm"] = "hf"
    vllm: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizationRecipe:
    """How the weights are moved: AdamW.

    Attributes:
        learning_rate: the highest of the schedule.
        schedule: ``cosine``, ``linear``, ``constant`` or ``constant_with_warmup``.
        warmup: share of all updates in which the rate rises to the highest.
        pairs_per_update: pairs (SFT: conversations, on-policy: responses) behind one update, over
            all sets and devices.
        pairs_at_once: of those, how many go through one device at a time.
        epochs: passes over the data (buffered: over the longest set).
        updates: number of updates, instead of `epochs`.
        max_grad_norm: gradients are scaled down to this norm.
    """

    learning_rate: float = 5e-7
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    pairs_per_update: int = 32
    pairs_at_once: int = 2
    epochs: float = 1.0
    updates: int | None = None


@dataclass(frozen=True)
class Recipe:
    """A training run.

    Attributes:
        method: the row's name in tables: ``bfpo``, ``dpo-h``, …
        kind: ``preference`` (pairwise losses), ``sft`` or ``reward`` (on-policy).
        base: folder or hub id of the model that training starts from and that is the reference.
        data: the sets.
        loss: a built-in loss, or ``package.module:function``.
        loss_parameters: its parameters.
        margin: reward whose difference between the two responses is the margin of MODPO.
        rewards: on-policy: rewards by name; the built-in combinations call theirs ``helpful`` and
            ``safe``.
        combination: on-policy: global reward, a built-in one or ``package.module:function``.
        combination_parameters: its parameters.
        rollout: on-policy: how responses are sampled.
        attributes: SteerLM: what is asked of the model in evaluation, e.g. ``{helpfulness: 1}``.
        mixing: ``buffered`` or ``shuffled``.
        layers: name patterns of the layers that are trained; empty trains all.
        precision: ``bf16`` (frozen weights and products in bfloat16, trained weights in float32)
            or ``fp32``.
        report_to: where else to report: ``tensorboard``, ``wandb``, ``trackio``.
        save_every: updates between checkpoints to resume from; None keeps none.
    """

    method: str
    data: tuple[DataRecipe, ...]
    base: str | None = None
    kind: Literal["preference", "sft", "reward"] = "preference"
    loss: str | None = None
    loss_parameters: dict[str, Any] = field(default_factory=dict)
    margin: RewardRecipe | None = None
    rewards: dict[str, RewardRecipe] = field(default_factory=dict)
    combination: str | None = None
    combination_parameters: dict[str, Any] = field(default_factory=dict)
    rollout: RolloutRecipe = RolloutRecipe()
    attributes: dict[str, int] = field(default_factory=dict)
    mixing: Literal["buffered", "shuffled"] = "shuffled"
    tokens: TokenRecipe = TokenRecipe()
    layers: tuple[str, ...] = ()
    lora: LoraRecipe | None = None
    optimization: OptimizationRecipe = OptimizationRecipe()
    precision: Literal["bf16", "fp32"] = "bf16"
    gradient_checkpointing: bool = True
    seed: int = 42
    report_to: tuple[str, ...] = ()
    save_every: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The whole recipe with every default written out."""
        return dataclasses.asdict(self)


def recipe_names() -> list[str]:
    """Recipes that come with the package, as ``folder/name``."""
    return sorted(
        path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.glob("*/*.yaml")
    )


def load_recipe(name: str, changes: Sequence[str] = (), base: str | None = None) -> Recipe:
    """Reads a recipe by name or path.

    Args:
        name: a bundled recipe's name (``mistral/bfpo``), or the path of a YAML file.
        changes: ``key=value`` with dots for nested keys, the value in YAML:
            ``optimization.learning_rate=1e-6``, ``layers=[mlp.down_proj]``, ``data.0.limit=100``.
        base: model to start from, instead of the recipe's.

    Raises:
        BadInput: no such recipe, or something in it is not right.
    """
    content = _read(name)
    for change in changes:
        _change(content, change)
    if base is not None:
        content["base"] = base
    recipe: Recipe = typed(Recipe, content, f"recipe {name}")
    if (rule := broken_rule(recipe)) is not None:
        raise BadInput(f"recipe {name}: {rule}.")
    return recipe


def _read(name: str, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    path = _path(name, seen[-1].parent if seen else None)
    if path in seen:
        raise BadInput(f"{seen[-1]}: 'extends' goes round in a circle; take one of them out.")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise BadInput(
            f"there is no recipe {str(path)!r} ({error.strerror}); give the path of a YAML file or "
            f"one of {', '.join(recipe_names())}."
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        why = str(getattr(error, "problem", None) or error or type(error).__name__)
        raise BadInput(
            f"the recipe {path}{where} is no YAML that can be read ({why.splitlines()[0]}); mend "
            "it."
        ) from error
    if not isinstance(content, dict):
        raise BadInput(f"{path} holds no recipe: its keys and values are missing.")
    parent = content.pop("extends", None)
    if parent is None:
        return content
    return _merge(_read(str(parent), (*seen, path)), content)


def _path(name: str, beside: Path | None) -> Path:
    if name in recipe_names():
        return FOLDER / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        return (beside / name if beside else Path(name)).resolve()
    raise unknown_name("recipe", name, recipe_names())


class _Loader(yaml.SafeLoader):
    """YAML in which ``5e-7`` is a number, as everywhere else (YAML 1.1 wants ``5.0e-7``)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        # A function's parameters belong to that function, and rewards to what combines them.
        whole = key in ("loss_parameters", "combination_parameters", "rewards")
        mergeable = isinstance(below, dict) and isinstance(value, dict) and not whole
        merged[key] = _merge(below, value) if mergeable else value  # type: ignore[arg-type]
    return merged


def _change(content: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"--set {change!r} is not of the form key=value.")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise BadInput(f"--set {change!r}: the value is not YAML; mend it.") from error
    at: Any = content
    *path, last = key.strip().split(".")
    for part in path:
        if isinstance(at, list):
            at = _entry(at, part, change)
            continue
        if not isinstance(at.get(part), dict | list):
            at[part] = {}
        at = at[part]
    if isinstance(at, list):
        _entry(at, last, change)
        at[int(last)] = value
    else:
        at[last] = value


def _entry(entries: list[Any], part: str, change: str) -> Any:
    if not part.isdigit() or int(part) >= len(entries):
        raise BadInput(f"--set {change!r}: {part!r} is none of entries 0 to {len(entries) - 1}.")
    return entries[int(part)]
