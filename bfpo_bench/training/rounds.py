"""A recipe that is trained several times over, each round by what came of the one before.

C-DPO (Liu et al. 2024, arXiv 2403.02475) seeks the policy of highest reward r whose mean cost J_c
is at most d, by descent of the Lagrangian's dual. Of a multiplier λ the best policy is what DPO
makes of preferences by r - λc, from the same reference; its responses say J_c, and
``λ ← [λ + η (J_c - d)]₊`` is the next one. A round is one such training, and costs are negative
safety here: J_c - d is what mean safety lacks of the threshold. What could be read is the paper's
abstract and beginning and what others say of it, not its equations by number, nor its η and its
first λ.

RAFT in rounds (arXiv 2304.06767) is the fine-tuning of :mod:`bfpo_bench.training.on_policy.best`
over again, from the model of the round before, which answers anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from bfpo_bench.common.errors import BadInput, RunFailed, why_unwritable
from bfpo_bench.common.files import link_or_copy, remove
from bfpo_bench.models.checkpoint import ModelFiles, find_model
from bfpo_bench.training.data.load import draw
from bfpo_bench.training.data.preferences import Messages
from bfpo_bench.training.on_policy.multiplier import ProjectedMultiplier
from bfpo_bench.training.on_policy.ratings import Ratings
from bfpo_bench.training.on_policy.samples import Sampler, add_rewards, answered, sampler_of
from bfpo_bench.training.output import RATINGS_OF, RECORD, SAVED, finish_output
from bfpo_bench.training.pairwise.prepare import PreparedPairs
from bfpo_bench.training.prepared import Prepared, Run
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_parts import RolloutRecipe
from bfpo_bench.training.record import identity_entries

TrainOne = Callable[[Recipe, Path], dict[str, Any]]
"""An ordinary training: of a recipe, into a folder; gives ``training.json``."""


@dataclass(frozen=True)
class Asked:
    """How policies are asked what their responses are worth.

    Attributes:
        prompts: those that they answer.
    """

    sampler: Sampler
    ratings: Ratings
    prompts: Sequence[Messages]

    def worth(self, files: ModelFiles, name: str, run: Run) -> dict[str, float]:
        """Mean rewards of a model's responses, by the rewards' names.

        Args:
            name: of the file in the output, without suffix, that keeps the responses.
        """
        path, ratings = run.output / f"{name}.jsonl", run.output / f"{RATINGS_OF}{name}.json"
        samples = self.sampler.sample(files, self.prompts, path, run.state, run.progress)
        said = answered(self.prompts, samples)
        rated = self.ratings.rate(said, ratings, run.state, run.progress)
        if run.state.is_main_process:
            add_rewards(path, rated)
        run.state.wait_for_everyone()
        return {one: fmean(map(fmean, values)) for one, values in rated.items()}


def who_is_asked(prepared: Prepared, trust_remote_code: bool = False) -> Asked | None:
    """How the policies of a recipe's rounds are asked; None where no λ follows what they answer."""
    recipe = prepared.recipe
    if not isinstance(prepared, PreparedPairs) or prepared.relabelling is None:
        return None
    relabelling = prepared.relabelling
    if recipe.rounds is None or relabelling.ratings is None:
        return None
    prompts = dict.fromkeys(prompt for prompt, _ in relabelling.answered[: relabelling.trained])
    return Asked(
        sampler_of(recipe, prepared.base.chat, trust_remote_code),
        relabelling.ratings,
        draw(list(prompts), recipe.rounds.prompts, recipe.seed),
    )


def train_rounds(
    prepared: Prepared, asked: Asked | None, identity: Mapping[str, Any], run: Run, one: TrainOne
) -> dict[str, Any]:
    """Trains the rounds that are not there yet and puts the last one's model into the output.

    Args:
        asked: from :func:`who_is_asked`.
        identity: of the whole.
        one: makes one of the rounds.

    Returns:
        the content of ``training.json``, with all rounds under ``rounds``.

    Raises:
        BadInput: λ runs away.
    """
    recipe = prepared.recipe
    number = recipe.rounds.number if recipe.rounds else 1
    multiplier = None if asked is None else _multiplier(prepared, asked, run)
    base, told, records = recipe.base, list[dict[str, Any]](), list[dict[str, Any]]()
    for name in (f"round-{n}" for n in range(1, number + 1)):
        folder = run.output / name
        run.progress.say(f"{name} of {number}: {_what_moves(multiplier)} …")
        records.append(one(_round(recipe, base, multiplier), folder))
        if asked is None or multiplier is None:
            base = str(folder)
            told.append({"folder": name, "best_of": records[-1].get("best_of")})
            continue
        worth = asked.worth(find_model(str(folder)), name, run)
        means = ", ".join(f"{one} {value:.4g}" for one, value in worth.items())
        run.progress.say(
            f"{name}: λ = {multiplier.value:.4g} has led to responses of mean {means}, where safe "
            f"is to be at least {multiplier.threshold:.4g}."
        )
        told.append(
            {
                "folder": name,
                "multiplier": multiplier.value,
                "threshold": multiplier.threshold,
                **worth,
            }
        )
        if len(told) < number:
            _follow(multiplier, worth["safe"], name, run.output)
    record = {
        **records[-1],
        **identity_entries(recipe, prepared.base.files, identity),
        "notes": [*records[-1]["notes"], *_notes(told, multiplier)],
        "updates": sum(each["updates"] for each in records),
        "seconds": {
            stage: sum(each["seconds"][stage] for each in records)
            for stage in records[-1]["seconds"]
        },
        "rounds": told,
    }
    if run.state.is_main_process:
        _put(run.output / told[-1]["folder"], run.output)
        finish_output(run.output, record)
    run.state.wait_for_everyone()
    return record


def _multiplier(prepared: Prepared, asked: Asked, run: Run) -> ProjectedMultiplier:
    """λ before the first round. For a margin the reference is asked first."""
    relabel, rounds = prepared.recipe.relabel, prepared.recipe.rounds
    assert relabel is not None and rounds is not None  # noqa: PT018  (for the types: who_is_asked)
    threshold = relabel.threshold
    if threshold is None:
        safe = asked.worth(prepared.base.files, "reference", run)["safe"]
        threshold = safe + (relabel.margin or 0.0)
        run.progress.say(
            f"The base model's own responses have a mean safety of {safe:.4g}; the policy's is to "
            f"be at least {threshold:.4g}."
        )
    return ProjectedMultiplier(threshold, rounds.rate, rounds.initial, rounds.largest)


def _round(recipe: Recipe, base: str | None, multiplier: ProjectedMultiplier | None) -> Recipe:
    """The ordinary training that a round is."""
    relabel = recipe.relabel
    if multiplier is not None and relabel is not None:
        relabel = replace(relabel, multiplier=multiplier.value, threshold=None, margin=None)
    # A preference training by itself samples nothing.
    rollout = recipe.rollout if relabel is None else RolloutRecipe()
    return replace(recipe, base=base, first=None, rounds=None, relabel=relabel, rollout=rollout)


def _what_moves(multiplier: ProjectedMultiplier | None) -> str:
    return "from the model before it" if multiplier is None else f"λ = {multiplier.value:.4g}"


def _follow(multiplier: ProjectedMultiplier, safe: float, name: str, output: Path) -> None:
    """Moves λ by what the policy of a round has answered.

    Raises:
        BadInput: it runs away.
    """
    shortfall = multiplier.threshold - safe
    moved = multiplier.moved(shortfall)
    if moved > multiplier.largest:
        raise BadInput(
            f"the multiplier runs away: after {name} it would be {moved:.4g}, above rounds.largest "
            f"({multiplier.largest:g}), and the policy's mean safety of {safe:.4g} still lacks "
            f"{shortfall:.4g} of {multiplier.threshold:.4g}; lower relabel.threshold (or .margin) "
            f"or rounds.rate, or raise rounds.largest, in a new --output (the models so far stay "
            f"in {output})."
        )
    multiplier.update(shortfall)


def _notes(told: Sequence[Mapping[str, Any]], multiplier: ProjectedMultiplier | None) -> list[str]:
    notes = [f"This is the model of the last of {len(told)} rounds; all of them lie beside it."]
    if multiplier is not None and told[-1]["safe"] < multiplier.threshold:
        notes.append(
            f"The constraint is not met: the mean safety of the last round's responses is "
            f"{told[-1]['safe']:.4g}, where {multiplier.threshold:.4g} is asked for."
        )
    return notes


def _put(folder: Path, output: Path) -> None:
    """A round's model as what the output will hold; weights are the same files where they can be.

    Raises:
        RunFailed: the disk does not take it.
    """
    saved = output / SAVED
    try:
        remove(saved)
        saved.mkdir()
        # Chat templates that have names have a folder of their own.
        for file in (*folder.iterdir(), *folder.glob("*/*.jinja")):
            place = saved / file.relative_to(folder)
            if file.is_file() and not file.name.startswith(".") and place != saved / RECORD:
                place.parent.mkdir(exist_ok=True)
                (link_or_copy if file.suffix == ".safetensors" else shutil.copy2)(file, place)
    except OSError as error:
        raise RunFailed(
            f"the model of {folder} cannot be put into {output} ({why_unwritable(error)}); mend "
            "that and run the same command again."
        ) from error
