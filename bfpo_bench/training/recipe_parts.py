"""Parts of a recipe: sets, tokens, rewards, rounds, rollouts, optimization; what each key may be.

Keys that transformers and TRL have are called as they call them. What breaks a rule is refused when
a part is made, by pydantic.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.validate import STRICT, Text, Texts
from bfpo_bench.models.clock import DATE, is_date

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

LARGEST_MULTIPLIER = 1e6
"""Beyond it a multiplier is taken for one that runs away."""

Lambda = Annotated[float, Field(ge=0, le=LARGEST_MULTIPLIER)]

SMALLEST_FLOAT32 = 2.0**-149
"""Trained weights and their updates are float32: what is less moves nothing."""

VLLM = ("gpu_memory_utilization", "tensor_parallel_size", "data_parallel_size", "ray")
"""Options of vLLM where a model is sampled from that is not being trained."""


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
        pairs: which response wins: ``helpful``, ``safe``, ``naive``, ``bfpo`` or ``safedpo``; in
            SFT also ``chat`` for conversations, ``attributes`` for both responses of every pair,
            each with its attributes, and ``prompts`` for the best of the base model's own answers;
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
    alpha: Positive = 32.0
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
    scale: Finite = 1.0
    shift: Finite = 0.0

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
    multiplier: Lambda | None = None
    margin: Finite | None = None
    threshold: Finite | None = None

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
    initial: Lambda = 0.0
    largest: Annotated[Lambda, Field(gt=0)] = 100.0


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
    beta: Weight = 0.05
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
    weight_decay: Weight = 0.0
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
