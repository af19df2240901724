"""Preference training: what is checked and counted before, and the trainer over packed pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from transformers import TrainingArguments

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.prefix.self_check import packing_fault
from bfpo_bench.training.data.limits import Limits
from bfpo_bench.training.data.load import load_set, usable
from bfpo_bench.training.data.preferences import Messages, Pair, Paired, digest, pair_up
from bfpo_bench.training.data.tokenize import TokenCounts, TokenPair, tokenize_pairs
from bfpo_bench.training.held_out import check_some, trained_on_too, where, which_held_out
from bfpo_bench.training.on_policy.ratings import Answered, Ratings, choose_ratings
from bfpo_bench.training.pairwise.loss_by_name import (
    check_loss,
    load_loss,
    needs_reference,
    strength,
    takes_unpaired,
)
from bfpo_bench.training.pairwise.losses import Loss
from bfpo_bench.training.pairwise.margins import both_answers, label_margins
from bfpo_bench.training.pairwise.mismatched import mismatched_pairs
from bfpo_bench.training.pairwise.reference import reference_file, reference_logprobs
from bfpo_bench.training.pairwise.relabel import Relabelled, Relabelling, choose_relabelling
from bfpo_bench.training.pairwise.trainer import PreferenceTrainer
from bfpo_bench.training.prepared import (
    Prepared,
    Run,
    left_out,
    open_base,
    tell_left_out,
)
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.record import set_entry
from bfpo_bench.training.saving import check_ids

SIDES = {"chosen": "desirable", "rejected": "undesirable"}
"""What a response is called that stands alone."""


@dataclass(frozen=True)
class PairSet:
    """A set as it goes into training.

    Attributes:
        tokens: the pairs that are trained on.
        held_out: those that are only looked at.
        counts: tokens, and what was cut.
        rows: number of rows found.
        bad: a sentence for each row that was left out.
        digest: of its pairs' texts and labels.
        paired: what its rule kept, swapped and dropped.
    """

    name: str
    tokens: list[TokenPair]
    held_out: list[TokenPair]
    counts: TokenCounts
    rows: int
    bad: list[str]
    digest: str
    paired: Paired


@dataclass(frozen=True)
class PreparedPairs(Prepared):
    """A preference training ready to run.

    Attributes:
        answered: prompt and both responses of each pair.
        margin: what is to rate them before they are trained on; None where nothing is.
        margins: what it has found, pair by pair.
        relabelling: what is to draw winners anew; None where nothing is.
        relabelled: what it has drawn.
        notes: see :class:`Prepared`.
    """

    sets: list[PairSet]
    loss: Loss
    answered: Sequence[Answered] = ()
    margin: Ratings | None = None
    margins: Sequence[float] | None = None
    relabelling: Relabelling | None = None
    relabelled: Relabelled | None = None
    notes: Sequence[str] = ()

    unit = "pairs"
    first_stage = "reference"
    memory_advice = (
        "lower optimization.per_device_train_batch_size or tokens.max_length, set "
        "gradient_checkpointing: true, or train fewer layers"
    )

    @property
    def pairs(self) -> list[TokenPair]:
        """All pairs: set after set what is trained on, which a schedule's indices count through,
        and then what is held out."""
        pairs = [pair for one in self.sets for pair in one.tokens]
        pairs += [pair for one in self.sets for pair in one.held_out]
        if self.relabelled is not None:
            return self.relabelled.of(pairs)
        if self.margins is None:
            return pairs
        return [replace(p, margin=margin) for p, margin in zip(pairs, self.margins, strict=True)]

    @property
    def sizes(self) -> list[int]:
        """See :class:`Prepared`; sets that are only looked at come last and are none of these."""
        return [len(one.tokens) for one in self.sets[: len(self.recipe.data)]]

    def mismatched(self, pairs: Sequence[TokenPair]) -> list[TokenPair]:
        """Responses to other prompts, of a loss that needs them; what is held out comes last."""
        trained, size = sum(self.sizes), self.recipe.tokens.max_length
        found = mismatched_pairs(self.loss, pairs[:trained], self.recipe.seed, size)
        held_out = pairs[trained:]
        return found + mismatched_pairs(self.loss, held_out, self.recipe.seed, size, others=pairs)

    def reward_identities(self) -> dict[str, Any]:
        """See :class:`Prepared`."""
        found = self.margin or self.relabelling
        return {} if found is None else found.identity()

    def entries(self) -> list[dict[str, Any]]:
        """See :class:`Prepared`."""
        return [
            set_entry(
                one.name,
                len(one.tokens),
                one.rows,
                one.bad,
                one.counts.prompt_tokens + one.counts.response_tokens,
                one.digest,
                cut=one.counts.cut,
                swapped=one.paired.swapped,
                dropped=one.paired.dropped,
                **({"held_out": len(one.held_out)} if self.recipe.eval else {}),
            )
            for one in self.sets
        ]

    def describe(self) -> list[str]:
        """See :class:`Prepared`."""
        lines = [
            f"{one.name}: {one.counts}{left_out(one.bad)}; by the rule {data.pairs}: {one.paired}"
            + (f"; {len(one.held_out)} of the pairs are held out" if one.held_out else "")
            for one, data in zip(self.sets, self.recipe.every_set, strict=True)
        ]
        if any(pair.unpaired for pair in self.pairs):
            good, bad = (sum(bool(getattr(one, side)) for one in self.pairs) for side in SIDES)
            lines.append(f"{good:,} desirable and {bad:,} undesirable responses")
        lines += ["margins will be rated before training"] if self.margin else []
        return [*lines, *([str(self.relabelling)] if self.relabelling else []), *self.notes]

    def rated(self, run: Run) -> Self:
        """With the margins, or with winners drawn anew."""
        if self.relabelling is not None:
            return replace(self, relabelled=self.relabelling.made(self.pairs, self.base, run))
        if self.margin is None:
            return self
        rates = self.margin.rate(self.answered, run.ratings, run.state, run.progress)
        [rated] = rates.values()
        return replace(self, margins=[winner - loser for winner, loser in rated])

    def found(self) -> dict[str, Any]:
        """See :class:`Prepared`."""
        return {} if self.relabelled is None else {"relabelled": self.relabelled.record()}

    def make_ready(self, model: Any) -> None:
        """See :class:`Prepared`."""
        if (fault := packing_fault(model)) is not None:
            raise BadInput(
                f"{type(model).__name__} cannot be trained with packed pairs: {fault}; take a base "
                "model of another architecture."
            )
        super().make_ready(model)

    @contextmanager
    def trainer(
        self, model: Any, settings: dict[str, Any], callbacks: list[Any], run: Run
    ) -> Iterator[PreferenceTrainer]:
        """See :class:`Prepared`; the reference pass comes first, for losses that need it."""
        schedule = self.schedule(run.state.process_index, run.state.num_processes)
        pairs, precision = self.pairs, self.recipe.precision
        file = reference_file(run.provenance, model, precision)
        mismatched = self.mismatched(pairs)
        reference = None
        if needs_reference(self.loss):
            every = [*pairs, *mismatched]
            reference = reference_logprobs(every, model, precision, file, run.state, run.progress)
        yield PreferenceTrainer(
            model,
            TrainingArguments(**settings),
            pairs,
            reference,
            list(schedule),
            self.loss,
            strength(self.loss),
            self.held_out(range(sum(self.sizes), len(self.pairs)), run.state),
            mismatched,
            callbacks=callbacks,
        )


def prepare_pairs(
    recipe: Recipe, progress: Progress, trust_remote_code: bool = False
) -> PreparedPairs:
    """Finds the base model, reads and tokenises the data, loads and tries the loss.

    Raises:
        BadInput: something of it cannot be had or does not go together.
    """
    loss = load_loss(recipe.loss or "", recipe.loss_parameters)
    base = open_base(recipe, trust_remote_code)
    sets: list[PairSet] = []
    trained_on: list[Pair] = []
    looked_at: list[Pair] = []
    asked: dict[Messages, list[int]] = {}
    for wanted in recipe.every_set:
        loaded = load_set(wanted, recipe.seed)
        paired = pair_up(wanted.pairs, loaded.records)
        pairs = paired.pairs
        _check_unpaired(recipe, loss, pairs)
        if recipe.margin is not None and recipe.margin.label is not None:
            pairs = label_margins(recipe.margin, pairs)
        broken: dict[int, str] = {}
        with progress.stage(f"tokenise {wanted.name}", len(pairs), unit="pairs"):
            tokens, counts = tokenize_pairs(
                pairs,
                base.tokenizer,
                template=base.template,
                date=recipe.tokens.date,
                limits=Limits(recipe.tokens.max_length, recipe.tokens.max_prompt),
                progress=partial(progress.set, total=len(pairs)),
                broken=broken,
            )
        pairs = usable(pairs, broken, wanted.name, wanted.skip_bad_rows)
        bad = [*loaded.bad, *broken.values()]
        tell_left_out(bad, progress)
        # Cut for a longer response, a prompt is the same one: it goes by its tokens of the first.
        known = zip(pairs, tokens, strict=True)
        whole = [asked.setdefault(pair.prompt, ids.prompt) for pair, ids in known]
        held = which_held_out(recipe, wanted, whole, "pairs")
        trained_on += where(held, False, pairs)
        looked_at += where(held, True, pairs)
        used = (ids for pair in tokens for ids in (pair.prompt, pair.chosen, pair.rejected))
        check_ids(base.outline, base.tokenizer, used, wanted.name)
        sets.append(
            PairSet(
                wanted.name,
                where(held, False, tokens),
                where(held, True, tokens),
                counts,
                loaded.rows,
                bad,
                digest(pairs),
                paired,
            )
        )
    check_some(recipe, len(looked_at), len(trained_on), "pairs")
    margin = relabelling = None
    answered = both_answers(trained_on + looked_at)
    if recipe.margin is not None and recipe.margin.label is None:
        rewards, prompts = {"margin": recipe.margin}, [prompt for prompt, _ in answered]
        date = recipe.tokens.date
        margin = choose_ratings(rewards, prompts, "pairs", trust_remote_code, date)
    if recipe.relabel is not None:
        relabelling = choose_relabelling(
            *(recipe, recipe.relabel, strength(loss), answered, len(trained_on), base),
            trust_remote_code=trust_remote_code,
        )
    apart: dict[str, list[Messages]] = {}
    for pair in looked_at:
        apart.setdefault(pair.source, []).append(pair.prompt)
    notes = trained_on_too(recipe, apart, {pair.prompt for pair in trained_on}, "pairs")
    prepared = PreparedPairs(
        *(recipe, base, sets, loss, answered, margin), relabelling=relabelling, notes=notes
    )
    every = prepared.pairs
    if takes_unpaired(loss):
        _check_both_kinds(recipe, trained_on)
    prepared.mismatched(every)  # or says why it cannot be had
    name, margins = (
        recipe.loss or "",
        margin is not None or all(p.margin is not None for p in every),
    )
    check_loss(name, loss, margin=margins)
    unlabelled = (p.source for p in every if None in (p.chosen_safe, p.rejected_safe))
    if (source := next(unlabelled, None)) is not None:
        try:
            check_loss(name, loss, safety=False, margin=margins)
        except BadInput as fault:
            raise BadInput(f"set {source!r}: {fault}") from fault
    prepared.schedule()
    return prepared


def _check_unpaired(recipe: Recipe, loss: Loss, pairs: Sequence[Pair]) -> None:
    """Asks for pairs where the training cannot do with one response.

    Raises:
        BadInput: it cannot.
    """
    alone = [pair for pair in pairs if pair.unpaired]
    if not alone:
        return
    wants = None
    if not takes_unpaired(loss):
        wants = f"the loss {recipe.loss} compares two responses"
    elif recipe.margin is not None or recipe.relabel is not None:
        wants = f"'{'margin' if recipe.margin else 'relabel'}' rates two responses"
    if wants is not None:
        raise BadInput(
            f"{wants} to a prompt, and {len(alone)} of {len(pairs)} rows of set "
            f"{alone[0].source!r} have one alone (first: {alone[0].where}); take loss: kto without "
            "'margin' and 'relabel', or a set of pairs."
        )


def _check_both_kinds(recipe: Recipe, pairs: Sequence[Pair]) -> None:
    """Asks for desirable and undesirable responses.

    Raises:
        BadInput: one of them is missing.
    """
    for side, kind in SIDES.items():
        if not any(getattr(pair, side) for pair in pairs):
            raise BadInput(
                f"none of the {len(pairs)} responses is {kind}, and the loss {recipe.loss} learns "
                "from both kinds; add rows of that label (desirable ones alone are for kind: sft)."
            )
