"""Recipes: everything that a training run is made of; :mod:`~.recipe_file` reads them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from bfpo_bench.models.chat import DATE


@dataclass(frozen=True)
class DataRecipe:
    """One set of rows to train on; :mod:`bfpo_bench.training.data.load` reads it.

    Attributes:
        name: what the set is called in reports.
        pairs: which response wins: ``helpful``, ``safe``, ``naive`` or ``bfpo``; in SFT also
            ``chat`` for conversations and ``attributes`` for both responses of every pair, each
            with its attributes; on-policy, ``prompts`` or ``chat``.
        files: paths of local files (``.json``, ``.jsonl``, ``.parquet``), read in this order, or
        hub: id of a data set on the hub, with its split and revision (those of ``load.PINNED``
            where None, else the training split of the main branch).
        format: how rows are written, see docs/preferences.md; None finds out.
        limit: records to draw by the seed; None takes all. A smaller limit keeps a part of what a
            larger one keeps.
        skip_bad_rows: leave bad rows out (counted and reported) instead of refusing them.
        ignore_fields: fields of its rows that are no part of the conversation, though they look
            like it; see :mod:`bfpo_bench.training.data.columns`.
        all_safe: responses of unknown safety count as safe, as the paper has it for UltraFeedback.
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
    ignore_fields: tuple[str, ...] = ()
    all_safe: bool = False
    unsafe_prompts: bool = False


@dataclass(frozen=True)
class TokenRecipe:
    """Limits in tokens, and the chat template.

    Attributes:
        max_length: prompt and response together.
        max_prompt: longest prompt; longer ones are cut on the left.
        chat_template: None for the base model's own, ``zephyr`` (the format of zephyr-7b-beta and
            of the alignment handbook), or the path of a Jinja file.
        date: YYYY-MM-DD, what a chat template is told that asks for the date; a reward model's too.
    """

    max_length: int = 1024
    max_prompt: int = 512
    chat_template: str | None = None
    date: str = DATE


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
        save_minutes: minutes of training between checkpoints to resume from; None keeps none.
        save_every: updates between checkpoints, besides.
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
    save_minutes: float | None = 15.0
    save_every: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The whole recipe with every default written out."""
        return dataclasses.asdict(self)
