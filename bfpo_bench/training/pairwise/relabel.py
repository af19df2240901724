"""Preferences made anew from what responses are worth: helpful + λ safe.

MoCAN and PeCAN (arXiv 2405.19544): λ is the best one for a constraint, found before the training
(:mod:`~bfpo_bench.training.pairwise.dual`), and DPO on such preferences, with the same β, leads to
the constrained problem's solution. What responses are worth is told by reward models (MoCAN), or by
two models that were aligned before (PeCAN): β times their log-ratio to the reference is the reward
that they were aligned to, up to a constant of each prompt.

The winner is drawn: the first of two responses wins with the probability σ(difference in worth), as
in the authors' code (``dpo.py``, ``dpo_alg2.py``; it is Bradley and Terry's, of which DPO is the
inverse). In PeCAN's that code leaves out β there, by which its policy goes 1/β times as far as the
dual has reckoned; here it is kept. The two responses of every pair, and of all pairs of a prompt,
stand for samples of the reference; the paper draws new ones from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.prefix.self_check import packing_fault
from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.fingerprint import checkpoint_digest
from bfpo_bench.training.data.preferences import Messages
from bfpo_bench.training.data.tokenize import TokenPair
from bfpo_bench.training.identity import base_identity
from bfpo_bench.training.on_policy.ratings import Answered, Rated, Ratings, choose_ratings
from bfpo_bench.training.pairwise.dual import best_multiplier, gather_samples
from bfpo_bench.training.pairwise.reference import reference_file, reference_logprobs
from bfpo_bench.training.prepared import Base, Run
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_parts import HELPFUL_AND_SAFE, RelabelRecipe
from bfpo_bench.training.trainable import find_base, load_model


@dataclass(frozen=True)
class Relabelling:
    """What is to say which response of each pair wins.

    Attributes:
        recipe: the whole one.
        beta: the loss's β.
        answered: each pair's prompt and both responses.
        trained: how many of the pairs, the first of them, are trained on; the others are held out.
        ratings: the rewards, of MoCAN.
        models: those that were aligned before, of PeCAN.
        trust_remote_code: whether their own code may run.
    """

    recipe: Recipe
    wanted: RelabelRecipe
    beta: float
    answered: Sequence[Answered]
    trained: int
    ratings: Ratings | None
    models: Mapping[str, ModelFiles]
    trust_remote_code: bool = False

    def identity(self) -> dict[str, Any]:
        """All that the new preferences depend on besides pairs and recipe."""
        if self.ratings is not None:
            return self.ratings.identity()
        return {name: {"aligned": checkpoint_digest(one)} for name, one in self.models.items()}

    def __str__(self) -> str:
        wanted = self.wanted
        if wanted.multiplier is not None:
            found = f"λ = {wanted.multiplier:g}"
        elif wanted.threshold is not None:
            found = f"the λ by which mean safety is {wanted.threshold:g}"
        else:
            found = f"the λ by which mean safety is {wanted.margin:g} above the reference's"
        by = "two aligned models" if self.models else "rewards"
        if (rounds := self.recipe.rounds) is not None:
            found = (
                f"{found.replace('mean safety', 'mean safety of the policy')}: from "
                f"{rounds.initial:g} on it moves by {rounds.rate:g} · what that lacks"
            )
        return f"winners will be drawn anew by helpful + λ · safe before training ({by}, {found})"

    def made(self, pairs: Sequence[TokenPair], base: Base, run: Run) -> Relabelled:
        """Rates the pairs, finds λ and draws the winners.

        Raises:
            BadInput, RunFailed: something gives no number, or no λ meets the constraint.
        """
        if self.ratings is not None:
            rated = self.ratings.rate(self.answered, run.ratings, run.state, run.progress)
        else:
            rated = self._implicit(pairs, base, run)
        prompts = [prompt for prompt, _ in self.answered]
        found = relabelled(
            *(rated, prompts, self.wanted, self.beta, self.recipe.seed), trained=self.trained
        )
        run.progress.say(f"{found}.")
        return found

    def _implicit(self, pairs: Sequence[TokenPair], base: Base, run: Run) -> Rated:
        reference = np.array(self._logprobs(pairs, base.files, run.provenance, base, run))
        rated: Rated = {}
        for name in HELPFUL_AND_SAFE:
            files = self.models[name]
            provenance = base_identity(self.recipe, files, self.trust_remote_code)
            aligned = np.array(self._logprobs(pairs, files, provenance, base, run))
            worth = self.beta * (aligned - reference)
            rated[name] = [(float(winner), float(loser)) for winner, loser in worth]
        return rated

    def _logprobs(
        self,
        pairs: Sequence[TokenPair],
        files: ModelFiles,
        provenance: Mapping[str, str],
        base: Base,
        run: Run,
    ) -> list[tuple[float, float]]:
        """Of both responses of each pair, by the road of the reference pass and into its cache."""
        precision = self.recipe.precision
        generation = base.beside.while_training
        model = load_model(files, precision, self.trust_remote_code, generation)
        if (fault := packing_fault(model)) is not None:
            raise BadInput(
                f"the model {files.name} cannot tell what packed pairs are worth: {fault}; take "
                "one of another architecture."
            )
        file = reference_file(provenance, model, precision)
        return reference_logprobs(pairs, model, precision, file, run.state, run.progress)


@dataclass(frozen=True)
class Relabelled:
    """New preferences.

    Attributes:
        turned: of each pair, whether its loser wins now.
        multiplier: λ.
        threshold: b of the constraint; None where λ was given.
        reference_safe: E_ref[safe].
        expected_safe: E[safe] under the policy that λ leads to, π_λ.
    """

    turned: list[bool]
    multiplier: float
    threshold: float | None
    reference_safe: float
    expected_safe: float

    def __str__(self) -> str:
        return (
            f"λ is {self.multiplier:.4g}, by which mean safety goes from {self.reference_safe:.4g} "
            f"to {self.expected_safe:.4g}; {sum(self.turned):,} of {len(self.turned):,} pairs are "
            "turned round"
        )

    def record(self) -> dict[str, Any]:
        """What ``training.json`` says of them."""
        counted = {"pairs": len(self.turned), "turned": sum(self.turned)}
        names = ("multiplier", "threshold", "reference_safe", "expected_safe")
        return {name: getattr(self, name) for name in names} | counted

    def of(self, pairs: Sequence[TokenPair]) -> list[TokenPair]:
        """The pairs in their new order."""
        return [
            turned_round(pair) if turned else pair
            for pair, turned in zip(pairs, self.turned, strict=True)
        ]


def turned_round(pair: TokenPair) -> TokenPair:
    """The pair with its loser as the winner."""
    return replace(
        pair,
        chosen=pair.rejected,
        rejected=pair.chosen,
        chosen_safe=pair.rejected_safe,
        rejected_safe=pair.chosen_safe,
        chosen_weights=pair.rejected_weights,
        rejected_weights=pair.chosen_weights,
    )


def relabelled(
    rated: Rated,
    prompts: Sequence[Messages],
    wanted: RelabelRecipe,
    beta: float,
    seed: int,
    trained: int | None = None,
) -> Relabelled:
    """Finds λ and draws who wins.

    Args:
        rated: ``helpful`` and ``safe`` of both responses of each pair.
        prompts: of each pair.
        trained: how many pairs, the first of them, say what λ is; None lets all.

    Raises:
        BadInput: no λ meets the constraint.
    """
    from scipy.special import expit

    helpful, safe = (np.array(rated[name]) for name in HELPFUL_AND_SAFE)
    both = [prompt for prompt in prompts[:trained] for _ in range(2)]
    first = (values[:trained].ravel().tolist() for values in (helpful, safe))
    samples = gather_samples(both, *first)
    reference = samples.mean(samples.safe)
    threshold = wanted.threshold
    if wanted.margin is not None:
        threshold = reference + wanted.margin
    if threshold is not None:
        multiplier = best_multiplier(samples, beta, threshold)
    else:
        multiplier = float(wanted.multiplier or 0)
    worth = helpful + multiplier * safe
    draws = np.random.default_rng(seed).random(len(worth))
    return Relabelled(
        (draws >= expit(worth[:, 0] - worth[:, 1])).tolist(),
        multiplier,
        threshold,
        reference,
        samples.under(multiplier, beta, samples.safe),
    )


def choose_relabelling(
    recipe: Recipe,
    wanted: RelabelRecipe,
    beta: float,
    answered: Sequence[Answered],
    trained: int,
    base: Base,
    trust_remote_code: bool = False,
) -> Relabelling:
    """Finds rewards or models; loads no weights.

    Args:
        answered: each pair's prompt and both responses.
        trained: how many of the pairs, the first of them, are trained on.

    Raises:
        BadInput: one of them cannot be had, or has another tokenizer than the base model.
    """
    ratings = None
    if wanted.rewards:
        prompts, date = [prompt for prompt, _ in answered], recipe.tokens.date
        ratings = choose_ratings(wanted.rewards, prompts, "pairs", trust_remote_code, date)
    vocabulary, models = base.tokenizer.get_vocab(), {}
    for name, place in wanted.models.items():
        try:
            files = find_base(replace(recipe, base=place), trust_remote_code)
        except BadInput as fault:
            raise BadInput(
                f"relabel.models.{name} is to be a model that was aligned before, by `bfpo-bench "
                f"train` with another recipe from the same base, and {fault}"
            ) from fault
        models[name] = files
        if load_tokenizer(files.folder, trust_remote_code).get_vocab() != vocabulary:
            raise BadInput(
                f"relabel.models.{name}, {files.name}, has another tokenizer than the base model "
                f"{base.files.name}; take a model that was trained from this base."
            )
    return Relabelling(recipe, wanted, beta, answered, trained, ratings, models, trust_remote_code)
