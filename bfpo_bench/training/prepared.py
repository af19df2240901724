"""What a training of any kind is before it begins; where the kinds differ, each says itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from accelerate import PartialState

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.foreign import MIB, foreign_text
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.data.sampler import Schedule
from bfpo_bench.training.held_out import LOOKS, HeldOut
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.saving import Beside, beside
from bfpo_bench.training.trainable import find_base, leave_nothing_to_chance, trained_outline

TEMPLATES = Path(__file__).parent / "templates"

TOLD = 5
"""Bad rows of a set that are said; the record names more."""


@dataclass(frozen=True)
class Base:
    """The model that a training starts from.

    Attributes:
        files: its checkpoint.
        outline: the model without its weights, with what the recipe does not train frozen.
        tokenizer: its own.
        template: chat template to train with, or None for the tokenizer's own.
        chat: that template at work.
        beside: what is saved with the weights.
    """

    files: ModelFiles
    outline: Any
    tokenizer: Any
    template: str | None
    chat: ChatTemplate
    beside: Beside


def open_base(
    recipe: Recipe,
    trust_remote_code: bool = False,
    template_to_save: Callable[[str, Any], str] | None = None,
) -> Base:
    """Finds the model that a recipe starts from; loads no weights.

    Args:
        template_to_save: makes it of the template that is trained with and the tokenizer; None
            saves the one that is trained with.

    Raises:
        BadInput: it cannot be had, be trained by this recipe, or be saved in the end.
    """
    files = find_base(recipe, trust_remote_code)
    model = trained_outline(recipe, files, trust_remote_code)
    template = saved = read_template(recipe)
    tokenizer = load_tokenizer(files.folder, trust_remote_code)
    chat = ChatTemplate(tokenizer, template, recipe.tokens.date)
    if template_to_save is not None:
        saved = template_to_save(template or tokenizer.chat_template, tokenizer)
    kept = beside(files, model, tokenizer, saved, chat.ends, trust_remote_code)
    return Base(files, model, tokenizer, template, chat, kept)


def read_template(recipe: Recipe) -> str | None:
    """Text of the recipe's chat template; None when it has none of its own."""
    wanted = recipe.tokens.chat_template
    if wanted is None:
        return None
    bundled = TEMPLATES / f"{wanted}.jinja"
    try:
        path = bundled if Path(wanted).name == wanted and bundled.is_file() else Path(wanted)
        return foreign_text(path, MIB)
    except (OSError, ValueError) as error:
        names = ", ".join(sorted(path.stem for path in TEMPLATES.glob("*.jinja")))
        raise BadInput(
            f"the chat template {wanted} cannot be read ({error}); name a bundled one ({names}) "
            "or the path of a Jinja file."
        ) from error


@dataclass(frozen=True)
class Run:
    """Where a training runs.

    Attributes:
        output: folder of the checkpoint.
        ratings: file of what rewards have said of known responses.
        provenance: the base model, from :func:`~bfpo_bench.training.identity.base_identity`.
        checkpoint: what it goes on from; None where it begins.
        state: this process among all.
    """

    output: Path
    ratings: Path
    provenance: Mapping[str, str]
    checkpoint: Path | None
    state: PartialState
    progress: Progress


@dataclass(frozen=True)
class Prepared(ABC):
    """A training that is checked and counted, before its model is loaded."""

    recipe: Recipe
    base: Base

    unit: ClassVar[str]
    """What an update is made of."""
    memory_advice: ClassVar[str]
    """What to do where a GPU's memory does not suffice."""
    first_stage: ClassVar[str] = "loading"
    """What the time before the first update is for."""

    @property
    @abstractmethod
    def sizes(self) -> list[int]:
        """How many there are in each set."""

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of the row should know."""
        return ()

    @property
    def updates(self) -> int:
        """Number of updates."""
        return self.schedule().updates

    @property
    def group(self) -> int:
        """How many of an update belong together in one process."""
        return 1

    def batches(self, processes: int = 1) -> tuple[int, int]:
        """How many go through one device at a time, and such batches in an update of a process.

        Raises:
            BadInput: an update cannot be split into equal parts.
        """
        o = self.recipe.optimization
        share, rest = divmod(o.pairs_per_update, processes)
        if rest or share % self.group:
            whole = f" into whole groups of {self.group} to a prompt" if self.group > 1 else ""
            raise BadInput(
                f"an update of {o.pairs_per_update} {self.unit} cannot be split equally over "
                f"{processes} processes{whole}; make optimization.pairs_per_update a multiple of "
                f"{processes * self.group}."
            )
        most = o.per_device_train_batch_size
        at_once = max(n for n in range(1, share + 1) if share % n == 0 and n <= most)
        return at_once, share // at_once

    def schedule(self, rank: int = 0, world: int = 1) -> Schedule:
        """Which of the data one process sees, and when.

        Raises:
            BadInput: an update cannot be split into equal parts.
        """
        return recipe_schedule(self.recipe, self.sizes, rank, world, self.batches(world)[1])

    def held_out(self, items: Sequence[int], state: PartialState) -> HeldOut | None:
        """What one process looks at, and when; None where there is nothing, as when a model has
        answered none of the prompts that are held out.

        Args:
            items: numbers of what is held out, among all.
        """
        if self.recipe.eval is None or not items:
            return None
        return HeldOut(
            items,
            self.batches(state.num_processes)[0],
            self.recipe.eval.steps or -(-self.updates // LOOKS),
            state.process_index,
            state.num_processes,
        )

    def reward_identities(self) -> dict[str, Any]:
        """What the rewards that are trained on depend on, by name."""
        return {}

    @abstractmethod
    def entries(self) -> list[dict[str, Any]]:
        """What ``training.json`` says of each set.

        See :func:`bfpo_bench.training.record.set_entry`.
        """

    @abstractmethod
    def describe(self) -> list[str]:
        """Lines of a dry run on sets and rewards."""

    def rated(self, run: Run) -> Self:
        """With what must be known before the model is in memory."""
        return self

    def found(self) -> dict[str, Any]:
        """What of that belongs into ``training.json``, by its name there."""
        return {}

    def make_ready(self, model: Any) -> None:
        """Checks the loaded model, and lets it compute in training as it does in evaluation.

        Raises:
            BadInput: it cannot be trained in this way.
        """
        leave_nothing_to_chance(model)

    @abstractmethod
    def trainer(
        self, model: Any, settings: dict[str, Any], callbacks: list[Any], run: Run
    ) -> AbstractContextManager[Any]:
        """The trainer; what it needs is open while the body runs.

        Args:
            model: loaded and ready, its weights chosen.
            settings: arguments of transformers' TrainingArguments that all kinds share.
        """


def recipe_schedule(
    recipe: Recipe, sizes: Sequence[int], rank: int = 0, world: int = 1, accumulation: int = 1
) -> Schedule:
    """What one process sees, and when: the same updates by any number of processes.

    Args:
        sizes: of the sets.
        accumulation: batches that each process splits its share of an update into.

    Raises:
        BadInput: an update cannot be split into equal parts.
    """
    o = recipe.optimization
    epochs = o.num_train_epochs
    if o.max_steps is not None:
        passed = max(sizes) * len(sizes) if recipe.mixing == "buffered" else sum(sizes)
        epochs = o.max_steps * o.pairs_per_update / passed
    return Schedule(
        recipe.mixing,
        tuple(sizes),
        o.pairs_per_update,
        epochs=epochs,
        seed=recipe.seed,
        rank=rank,
        world=world,
        accumulation=accumulation,
    )


def tell_left_out(bad: Sequence[str], progress: Progress) -> None:
    """Says which rows are left out, the first of them."""
    for sentence in bad[:TOLD]:
        progress.say(f"left out: {sentence}")


def left_out(bad: Sequence[str]) -> str:
    """How many rows are left out, as the end of a dry run's line."""
    return f", {len(bad)} rows left out" if bad else ""
