"""From a recipe to tokens: everything that is checked and counted before a model is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.hf.load import outline
from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.config import find_causal_model
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.data.load import load_set, usable
from bfpo_bench.training.data.preferences import LoadedSet, digest, make_pairs
from bfpo_bench.training.data.sampler import Schedule
from bfpo_bench.training.data.tokenize import Limits, TokenCounts, TokenPair, tokenize_pairs
from bfpo_bench.training.pairwise.loss_by_name import Loss, check_loss, load_loss
from bfpo_bench.training.pairwise.margin import MarginReward, choose_margin, label_margins
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.saving import Beside, beside, check_ids
from bfpo_bench.training.trainable import choose_weights

TEMPLATES = Path(__file__).parent.parent / "templates"


@dataclass(frozen=True)
class PreparedSet:
    """A set as it goes into training.

    Attributes:
        loaded: its records, and what became of its rows.
        tokens: a pair for each record.
        counts: tokens, and what was cut.
        digest: of its pairs' texts and labels.
    """

    loaded: LoadedSet
    tokens: list[TokenPair]
    counts: TokenCounts
    digest: str


@dataclass(frozen=True)
class Prepared:
    """A preference training ready to run.

    Attributes:
        template: chat template of the recipe, or None for the tokenizer's own.
        beside: what is saved with the weights.
        margin: what is to rate the pairs before they are trained on; None where nothing is.
    """

    recipe: Recipe
    base: ModelFiles
    tokenizer: Any
    template: str | None
    sets: list[PreparedSet]
    loss: Loss
    beside: Beside
    margin: MarginReward | None = None

    @property
    def pairs(self) -> list[TokenPair]:
        """All pairs, set after set: what a schedule's indices count through."""
        return [pair for one in self.sets for pair in one.tokens]

    def schedule(self, rank: int = 0, world: int = 1) -> Schedule:
        """Which pairs one process sees, and when.

        Raises:
            BadInput: an update cannot be split into equal parts.
        """
        recipe = self.recipe.optimization
        sizes = tuple(len(one.tokens) for one in self.sets)
        epochs = recipe.num_train_epochs
        if recipe.max_steps is not None:
            buffered = self.recipe.mixing == "buffered"
            passed = max(sizes) * len(sizes) if buffered else sum(sizes)
            epochs = recipe.max_steps * recipe.pairs_per_update / passed
        share = max(1, recipe.pairs_per_update // world)
        # The fewest batches that are small enough and split the share evenly.
        accumulation = next(
            n
            for n in range(1, share + 1)
            if share % n == 0 and (share // n <= recipe.per_device_train_batch_size or n == share)
        )
        return Schedule(
            self.recipe.mixing,
            sizes,
            recipe.pairs_per_update,
            epochs=epochs,
            seed=self.recipe.seed,
            rank=rank,
            world=world,
            accumulation=accumulation,
        )


def prepare(recipe: Recipe, progress: Progress, trust_remote_code: bool = False) -> Prepared:
    """Finds the base model, reads and tokenises the data, loads and tries the loss.

    Raises:
        BadInput: something of it cannot be had or does not go together.
    """
    loss = load_loss(recipe.loss or "", recipe.loss_parameters)
    base = find_base(recipe, trust_remote_code)
    model = trained_outline(recipe, base, trust_remote_code)
    template = read_template(recipe)
    tokenizer = load_tokenizer(base.folder, trust_remote_code)
    ends = ChatTemplate(tokenizer, template, recipe.tokens.date).ends
    kept = beside(base, model, tokenizer, template, ends, trust_remote_code)
    sets, every_pair = [], []
    for wanted in recipe.data:
        loaded = load_set(wanted, recipe.seed)
        pairs = make_pairs(wanted.pairs, loaded.records)
        if recipe.margin is not None and recipe.margin.label is not None:
            pairs = label_margins(recipe.margin, pairs)
        broken: dict[int, str] = {}
        with progress.stage(f"tokenise {wanted.name}", len(pairs), unit="pairs"):
            tokens, counts = tokenize_pairs(
                pairs,
                tokenizer,
                template=template,
                date=recipe.tokens.date,
                limits=Limits(recipe.tokens.max_length, recipe.tokens.max_prompt),
                progress=partial(_set, progress, len(pairs)),
                broken=broken,
            )
        pairs = usable(pairs, broken, wanted.name, wanted.skip_bad_rows)
        loaded = replace(loaded, bad=[*loaded.bad, *broken.values()])
        for sentence in loaded.bad[:5]:
            progress.say(f"left out: {sentence}")
        every_pair += pairs
        used = (ids for pair in tokens for ids in (pair.prompt, pair.chosen, pair.rejected))
        check_ids(model, tokenizer, used, wanted.name)
        sets.append(PreparedSet(loaded, tokens, counts, digest(pairs)))
    margin = None
    if recipe.margin is not None:
        margin = choose_margin(recipe.margin, every_pair, trust_remote_code, recipe.tokens.date)
    prepared = Prepared(recipe, base, tokenizer, template, sets, loss, kept, margin)
    every = prepared.pairs
    check_loss(
        recipe.loss or "",
        loss,
        safety=all(None not in (p.chosen_safe, p.rejected_safe) for p in every),
        margin=margin is not None or all(p.margin is not None for p in every),
    )
    prepared.schedule()
    return prepared


def find_base(recipe: Recipe, trust_remote_code: bool = False) -> ModelFiles:
    """The model that training starts from."""
    if recipe.base is None:
        raise BadInput("no base model is given; name one with --model, or 'base' in the recipe.")
    return find_causal_model(recipe.base, None, "hf", trust_remote_code)


def trained_outline(recipe: Recipe, base: ModelFiles, trust_remote_code: bool = False) -> Any:
    """The base model without its weights, with what the recipe does not train frozen.

    Raises:
        BadInput: a pattern of the recipe selects no layer.
    """
    return choose_weights(outline(base.folder, trust_remote_code), recipe)


def read_template(recipe: Recipe) -> str | None:
    """Text of the recipe's chat template; None when it has none of its own."""
    wanted = recipe.tokens.chat_template
    if wanted is None:
        return None
    bundled = TEMPLATES / f"{wanted}.jinja"
    try:
        path = bundled if Path(wanted).name == wanted and bundled.is_file() else Path(wanted)
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(sorted(path.stem for path in TEMPLATES.glob("*.jinja")))
        raise BadInput(
            f"the chat template {wanted} cannot be read ({error}); name a bundled one ({names}) "
            "or the path of a Jinja file."
        ) from error


def _set(progress: Progress, total: int, done: int) -> None:
    progress.set(done, total)
