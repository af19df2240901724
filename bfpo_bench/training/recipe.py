"""Recipes: everything that a training run is made of; :mod:`~.recipe_file` reads them.

Keys that transformers and TRL have are called as they call them. What breaks a rule is refused when
a recipe is made, by pydantic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.validate import STRICT, Text, Texts
from bfpo_bench.models.chat import DATE, is_date

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]

SMALLEST_FLOAT32 = 2.0**-149
"""Trained weights and their updates are float32: what is less moves nothing."""

VLLM = ("gpu_memory_utilization", "tensor_parallel_size")
"""Options of vLLM where a model is sampled from that is not being trained."""

RENAMED: Mapping[str, Mapping[str, str]] = {
    "": {"save_every": "save_steps"},
    "optimization": {
        "lr": "learning_rate",
        "schedule": "lr_scheduler_type",
        "warmup": "warmup_ratio",
        "pairs_at_once": "per_device_train_batch_size",
        "epochs": "num_train_epochs",
        "updates": "max_steps",
    },
    "rollout": {
        "responses": "num_generations",
        "max_response": "max_completion_length",
        "kl": "beta",
        "clip": "epsilon",
    },
}
"""What keys of version 0.1 are called now, by the part of a recipe that they stand in."""


Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=STRICT)
class EmphasisRecipe:
    """Weights of the segments of a response, where its row has none of its own.

    Attributes:
        words: of the opening.
        weight: of its tokens.
        rest: of the tokens behind it.
    """

    words: Count
    weight: Weight = 1.0
    rest: Weight = 1.0


@dataclass(frozen=True, config=STRICT)
class DataRecipe:
    """One set of rows to train on; :mod:`bfpo_bench.training.data.load` reads it.

    Attributes:
        name: what the set is called in reports.
        pairs: which response wins: ``helpful``, ``safe``, ``naive`` or ``bfpo``; in SFT also
            ``chat`` for conversations, ``attributes`` for both responses of every pair, each with
            its attributes, and ``prompts`` for the best of the base model's own answers;
            on-policy, ``prompts`` or ``chat``.
        files: paths of local files (``.json``, ``.jsonl``, ``.parquet``), read in this order, or
        hub: id of a data set on the hub, with its split and revision (those of ``load.PINNED``
            where None, else the training split of the main branch).
        format: how rows are written, see docs/preferences.md; None finds out.
        limit: records to draw by the seed; None takes all. A smaller limit keeps a part of what a
            larger one keeps.
        share: of all conversations of an SFT that those of this set make up, instead of a limit.
        skip_bad_rows: leave bad rows out (counted and reported) instead of refusing them.
        ignore_fields: fields of its rows that are no part of the conversation, though they look
            like it; see :mod:`bfpo_bench.training.data.columns`.
        all_safe: responses of unknown safety count as safe, as the paper has it for UltraFeedback.
        unsafe_prompts: with rewards: its prompts ask for something unsafe; see ``llama2`` in
            docs/rewards.md.
        emphasis: what weighs more, or less, in its responses; see
            :mod:`bfpo_bench.training.data.segments`.
    """

    name: Text
    pairs: str
    files: Texts = ()
    hub: str | None = None
    split: str | None = None
    revision: str | None = None
    format: str | None = None
    limit: Count | None = None
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    skip_bad_rows: bool = False
    ignore_fields: Texts = ()
    all_safe: bool = False
    unsafe_prompts: bool = False
    emphasis: EmphasisRecipe | None = None

    def __post_init__(self) -> None:
        if bool(self.files) == bool(self.hub):
            raise ValueError(
                f"set {self.name!r} needs either files or a data set on the hub, not both."
            )
        if self.share is not None and (self.limit is not None or self.pairs == "prompts"):
            raise ValueError(
                f"of set {self.name!r}, either 'limit' or 'share' says how much is drawn, and a "
                "'share' is of conversations."
            )


@dataclass(frozen=True, config=STRICT)
class TokenRecipe:
    """Limits in tokens, and the chat template.

    Attributes:
        max_length: prompt and response together.
        max_prompt: longest prompt; longer ones are cut on the left.
        chat_template: None for the base model's own, ``zephyr`` (the format of zephyr-7b-beta and
            of the alignment handbook), or the path of a Jinja file.
        date: YYYY-MM-DD, what a chat template is told that asks for the date; a reward model's too.
    """

    max_length: Count = 1024
    max_prompt: Count = 512
    chat_template: str | None = None
    date: str = DATE

    def __post_init__(self) -> None:
        if self.max_prompt >= self.max_length:
            raise ValueError("'max_prompt' must be from 1 to below 'max_length'.")
        if not is_date(self.date):
            raise ValueError(f"'date' is written YYYY-MM-DD, such as {DATE}.")


@dataclass(frozen=True, config=STRICT)
class LoraRecipe:
    """Low-rank adapters instead of the weights themselves; merged into them at the end."""

    rank: Count = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    dropout: Fraction = 0.0


@dataclass(frozen=True, config=STRICT)
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

    def __post_init__(self) -> None:
        sources = (self.model, self.judge, self.function, self.label)
        if sum(one is not None for one in sources) != 1:
            raise ValueError("a reward comes from one of 'model', 'judge', 'function' and 'label'.")


HELPFUL_AND_SAFE = ("helpful", "safe")


@dataclass(frozen=True, config=STRICT)
class RelabelRecipe:
    """Which response of a pair wins is drawn anew, by helpful + λ safe: MoCAN and PeCAN.

    Attributes:
        rewards: the two of them, by the names ``helpful`` and ``safe``, or
        models: folders or hub ids of two models that were aligned to these from the same base; β
            times their log-ratio to it is the reward.
        multiplier: λ itself; or it is found (with ``rounds``, followed) for
        margin: how much safer on average than the reference the policy is to be, or
        threshold: how safe.
    """

    rewards: dict[str, RewardRecipe] = field(default_factory=dict)
    models: dict[str, Text] = field(default_factory=dict)
    multiplier: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    margin: Annotated[float, Field(allow_inf_nan=False)] | None = None
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None

    def __post_init__(self) -> None:
        told = [set(one) for one in (self.rewards, self.models) if one]
        if told != [set(HELPFUL_AND_SAFE)]:
            raise ValueError(
                "'relabel' needs either 'rewards' or 'models', two of them, called 'helpful' and "
                "'safe': reward models, judges or functions (docs/rewards.md), or the folders of "
                "two models that were trained from the same base."
            )
        if any(one.label is not None for one in self.rewards.values()):
            raise ValueError("the rewards of 'relabel' cannot come from a 'label'.")
        if sum(one is not None for one in (self.multiplier, self.margin, self.threshold)) != 1:
            raise ValueError("'relabel' needs one of 'multiplier', 'margin' and 'threshold'.")


@dataclass(frozen=True, config=STRICT)
class RoundsRecipe:
    """A training that is made several times over, in ``round-1``, ``round-2``, … of the output.

    A preference recipe that relabels (C-DPO) begins every round with the same base, and λ follows
    what the policy of the round before answers; an SFT on the best of its model's own answers
    (RAFT) begins each with the model of the round before.

    Attributes:
        number: of rounds.
        prompts: C-DPO: how many of the pairs' prompts, drawn by the seed, each policy is asked;
            None asks all.
        rate: C-DPO: η, by which λ moves.
        initial: C-DPO: λ of the first round.
        largest: C-DPO: λ beyond which the constraint is taken for one that cannot be met.
    """

    number: Count
    prompts: Count | None = None
    rate: Positive = 1.0
    initial: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    largest: Positive = 100.0


@dataclass(frozen=True, config=STRICT)
class RolloutRecipe:
    """How responses are sampled, and how far on-policy training may go from the reference.

    Attributes:
        num_generations: responses to each prompt; on-policy each is compared with the mean of the
            others.
        max_completion_length: of a response, in tokens.
        beta: on-policy: coefficient of KL(policy ‖ reference) in the reward, summed over a
            response.
        epsilon: on-policy: PPO's clip range of the probability ratio.
        engine: ``hf`` or ``vllm``.
        vllm: options of TRL's for vLLM, without their ``vllm_``: ``mode``,
            ``gpu_memory_utilization``, ``server_base_url``, …; where a finished model is sampled
            from, those of :data:`VLLM` alone.
    """

    num_generations: Annotated[int, Field(ge=2)] = 4
    max_completion_length: Count = 512
    temperature: Positive = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    beta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.05
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.2
    engine: Literal["hf", "vllm"] = "hf"
    vllm: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class OptimizationRecipe:
    """How the weights are moved: AdamW.

    Attributes:
        learning_rate: the highest of the schedule.
        lr_scheduler_type: the schedule.
        warmup_ratio: share of all updates in which the rate rises to the highest.
        pairs_per_update: pairs (SFT: conversations, on-policy: responses) behind one update, over
            all sets and devices.
        per_device_train_batch_size: of those, how many go through one device at a time, at most:
            as many as divide its share.
        num_train_epochs: passes over the data (buffered: over the longest set).
        max_steps: number of updates, instead of `num_train_epochs`.
        max_grad_norm: gradients are scaled down to this norm.
    """

    learning_rate: Positive = 5e-7
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    warmup_ratio: Fraction = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    pairs_per_update: Count = 32
    per_device_train_batch_size: Count = 2
    num_train_epochs: Positive = 1.0
    max_steps: Count | None = None

    def __post_init__(self) -> None:
        if self.learning_rate < SMALLEST_FLOAT32:
            raise ValueError("'learning_rate' must be above 0, also in float32.")


@dataclass(frozen=True, config=STRICT)
class EvalRecipe:
    """Pairs, or in an SFT conversations, that are looked at while training and never trained on: a
    ``share``, or sets of their own.

    Attributes:
        share: of the prompts of every set, drawn by the seed; all of a prompt go together.
        data: sets of their own, as those that are trained on.
        steps: updates between two looks; None looks ten times. The last update is always followed
            by one.
    """

    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    data: tuple[DataRecipe, ...] = ()
    steps: Count | None = None

    def __post_init__(self) -> None:
        if (self.share is None) == (not self.data):
            raise ValueError(
                "'eval' needs either a 'share' of the data or sets of its own, 'data'."
            )


@dataclass(frozen=True, config=STRICT)
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
        relabel: winners are drawn anew, by what responses are worth.
        rewards: on-policy, and for the best of own answers: rewards by name; the built-in
            combinations call theirs ``helpful`` and ``safe``.
        combination: of these, the global reward: a built-in one or ``package.module:function``.
        combination_parameters: its parameters.
        rollout: how responses are sampled, where they are.
        rounds: how often all of it is done, and what moves between; None trains once.
        attributes: SteerLM: what is asked of the model in evaluation, e.g. ``{helpfulness: 1}``.
        mixing: ``buffered`` or ``shuffled``.
        eval: what is held out, and when it is looked at; None holds nothing out.
        layers: name patterns of the layers that are trained; empty trains all.
        precision: ``bf16`` (frozen weights and products in bfloat16, trained weights in float32)
            or ``fp32``.
        report_to: where else to report: ``tensorboard``, ``wandb``, ``trackio``.
        save_minutes: minutes of training between checkpoints to resume from; None keeps none.
        save_steps: updates between checkpoints, besides.
        first: a training that comes before: this one starts from its model, which is also its
            reference. In a file, what it does not say it shares with this one.
        merge: share q of this stage's model in the result, the rest being the first one's; None
            leaves this stage's model as it is.
    """

    method: Text
    data: tuple[DataRecipe, ...]
    base: str | None = None
    kind: Literal["preference", "sft", "reward"] = "preference"
    loss: str | None = None
    loss_parameters: dict[str, Any] = field(default_factory=dict)
    margin: RewardRecipe | None = None
    relabel: RelabelRecipe | None = None
    rewards: dict[str, RewardRecipe] = field(default_factory=dict)
    combination: str | None = None
    combination_parameters: dict[str, Any] = field(default_factory=dict)
    rollout: RolloutRecipe = RolloutRecipe()
    rounds: RoundsRecipe | None = None
    attributes: dict[str, int] = field(default_factory=dict)
    mixing: Literal["buffered", "shuffled"] = "shuffled"
    eval: EvalRecipe | None = None
    tokens: TokenRecipe = TokenRecipe()
    layers: Texts = ()
    lora: LoraRecipe | None = None
    optimization: OptimizationRecipe = OptimizationRecipe()
    precision: Literal["bf16", "fp32"] = "bf16"
    gradient_checkpointing: bool = True
    seed: Annotated[int, Field(ge=0)] = 42
    report_to: Texts = ()
    save_minutes: Positive | None = 15.0
    save_steps: Count | None = None
    first: Recipe | None = None
    merge: Annotated[float, Field(ge=0, le=1)] | None = None

    @property
    def stages(self) -> list[Recipe]:
        """The trainings that a recipe is made of, in their order; the last is itself."""
        return [*(self.first.stages if self.first else []), self]

    def __post_init__(self) -> None:
        for right, rule in _rules(self):
            if not right:
                raise ValueError(f"{rule}.")

    @property
    def every_set(self) -> tuple[DataRecipe, ...]:
        """The sets that are trained on, and then those that are only looked at."""
        return self.data + (self.eval.data if self.eval else ())

    def as_dict(self) -> dict[str, Any]:
        """The whole recipe with every default written out."""
        return dataclasses.asdict(self)


def _rules(recipe: Recipe) -> list[tuple[bool, str]]:
    """What must be right together, and a clause to say so."""
    kind, r, o = recipe.kind, recipe.rollout, recipe.optimization
    pairwise, on_policy = kind == "preference", kind == "reward"
    named, looked_at = {d.pairs for d in recipe.data}, recipe.every_set[len(recipe.data) :]
    best_of = kind == "sft" and "prompts" in named
    rewarded = on_policy or best_of
    sampled = best_of or recipe.rounds is not None
    return [
        (bool(recipe.data), "'data' must name at least one set"),
        (recipe.merge is None or recipe.first is not None, "'merge' mixes with a 'first' stage"),
        (not pairwise or recipe.loss is not None, "a preference recipe needs a 'loss'"),
        (pairwise or recipe.loss is None, f"a recipe of kind {kind} has no 'loss'"),
        (recipe.margin is None or pairwise, "a 'margin' belongs to a preference recipe"),
        (
            recipe.eval is None or not on_policy,
            "a recipe of kind reward has no 'eval', for its 'reward' is always that of responses "
            "that it was not trained on yet; for other prompts, evaluate the model",
        ),
        (
            kind != "sft" or "prompts" not in {d.pairs for d in looked_at},
            "'eval.data' of an SFT are conversations, not prompts",
        ),
        (
            all(d.share is None for d in recipe.data)
            or (
                kind == "sft"
                and sum(d.share or 0.0 for d in recipe.data) < 1
                and any(d.share is None for d in recipe.data)
            ),
            "a 'share' belongs to an SFT set that has others without one beside it, and all shares "
            "together are below 1",
        ),
        (
            all(d.share is None for d in looked_at),
            "sets of 'eval' have a 'limit', and no 'share'",
        ),
        (recipe.relabel is None or pairwise, "'relabel' belongs to a preference recipe"),
        (
            recipe.relabel is None or recipe.margin is None,
            "'margin' is of the pairs as they are and 'relabel' makes others; leave one out",
        ),
        (
            rewarded == bool(recipe.rewards),
            "'rewards' go together with kind: reward, or with SFT sets with pairs: prompts",
        ),
        (
            rewarded == bool(recipe.combination),
            "'combination' goes together with kind: reward, or with SFT sets with pairs: prompts",
        ),
        *_round_rules(recipe, best_of),
        (
            (kind == "sft" and "attributes" in named) == bool(recipe.attributes),
            "'attributes' and SFT sets with pairs: attributes go together",
        ),
        (
            all(m.label is None for m in recipe.rewards.values()),
            "new responses have no 'label'; only a 'margin' can come from it",
        ),
        (
            not on_policy or recipe.lora is None or not recipe.lora.dropout,
            "on-policy, 'dropout' of lora would part the policy from its own samples; leave it out",
        ),
        (
            not on_policy or o.pairs_per_update % r.num_generations == 0,
            "'pairs_per_update' counts responses, so it must be a multiple of 'num_generations'",
        ),
        (not on_policy or recipe.mixing == "shuffled", "prompts are always 'shuffled'"),
        (kind != "sft" or recipe.mixing == "shuffled", "conversations are always 'shuffled'"),
        (pairwise or not recipe.loss_parameters, "'loss_parameters' belong to kind: preference"),
        (
            on_policy or sampled or r == RolloutRecipe(),
            "'rollout' belongs to kind: reward, to SFT sets with pairs: prompts, and to 'rounds'",
        ),
        (
            not sampled or (r.beta, r.epsilon) == (RolloutRecipe.beta, RolloutRecipe.epsilon),
            "'beta' and 'epsilon' of 'rollout' belong to kind: reward",
        ),
        (
            not sampled or not set(r.vllm) - set(VLLM),
            f"where a finished model is sampled from, 'vllm' takes {' and '.join(VLLM)} alone",
        ),
        (
            rewarded or not recipe.combination_parameters,
            "'combination_parameters' belong to a 'combination'",
        ),
        (
            rewarded or not any(d.unsafe_prompts for d in recipe.data),
            "'unsafe_prompts' belongs to kind: reward, or to SFT sets with pairs: prompts",
        ),
        (
            all(d.emphasis is None or not (on_policy or d.pairs == "prompts") for d in recipe.data),
            "an 'emphasis' weighs responses that are there, and prompts have none",
        ),
        (
            len({d.name for d in recipe.every_set}) == len(recipe.every_set),
            "two sets have the same 'name'",
        ),
        (
            recipe.mixing != "buffered" or o.pairs_per_update % max(1, len(recipe.data)) == 0,
            f"'buffered' takes as many pairs from each of {len(recipe.data)} sets: "
            "'pairs_per_update' must be a multiple",
        ),
    ]


def _round_rules(recipe: Recipe, best_of: bool) -> list[tuple[bool, str]]:
    rounds, relabel = recipe.rounds, recipe.relabel
    if rounds is None:
        return []
    return [
        (
            best_of or relabel is not None,
            "'rounds' belong to 'relabel' (C-DPO), or to SFT sets with pairs: prompts (RAFT)",
        ),
        (
            relabel is None or bool(relabel.rewards),
            "'rounds' ask what new responses are worth: 'relabel' needs 'rewards', not 'models'",
        ),
        (
            relabel is None or relabel.multiplier is None,
            "'rounds' move the multiplier: give 'relabel' a 'threshold' or a 'margin' instead, and "
            "'initial' to 'rounds'",
        ),
        (
            not best_of or rounds == RoundsRecipe(rounds.number),
            "of 'rounds', an SFT takes 'number' alone",
        ),
        (rounds.initial < rounds.largest, "of 'rounds', 'initial' must be below 'largest'"),
        (recipe.merge is None, "'merge' mixes two stages, and 'rounds' are of one"),
    ]


def renamed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as version 0.1 wrote it, with today's keys."""
    found: dict[str, Any] = {RENAMED[""].get(key, key): value for key, value in content.items()}
    for part, names in RENAMED.items():
        if isinstance(found.get(part), Mapping):
            found[part] = {names.get(key, key): value for key, value in found[part].items()}
    return found
