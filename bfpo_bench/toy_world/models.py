"""The tiny models of the demo, made on the spot: models to evaluate and train, and a judge.

All are ordinary Hugging Face folders that transformers and vLLM load like any other model. On one
machine the same seed gives the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bfpo_bench.common.progress import Progress
from bfpo_bench.judges import ClassifierCard, load_judge
from bfpo_bench.judges.card_file import read_fields
from bfpo_bench.judges.load import CARDS
from bfpo_bench.toy_world.fit import Shape, build_tokenizer, fit, new_llama
from bfpo_bench.toy_world.made_once import make_once
from bfpo_bench.toy_world.samples import JUDGE_CARDS, fixed_parts, samples_of

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True)
class Plan:
    """How a model is made.

    Attributes:
        steps: updates of 32 samples; 0 leaves the first weights.
        rate: highest learning rate.
        examples: most that are drawn; they come up again.
        spread: standard deviation of the first weights; 0.2 makes the scores of a model that is not
            trained differ clearly from text to text.
    """

    shape: Shape
    steps: int
    rate: float = 0.0
    examples: int = 8000
    spread: float = 0.02


SMALL = Shape(vocabulary=900)
"""A fifth of a million parameters: enough for this world, and quick."""

PLANS: Mapping[str, Plan] = {
    "target": Plan(Shape(width=128, heads=4), 250, 4e-3),
    "judge": Plan(Shape(), 500, 6e-3),
    "base": Plan(SMALL, 400, 8e-3, examples=10000),
    "start": Plan(SMALL, 400, 8e-3, examples=10000),
    "random": Plan(Shape(), 0, spread=0.2),
}
"""``target`` talks the world's language and has not made up its mind: it answers most harmless
requests, about half of the harmful ones and more of those that press it (``TARGET_MIX``), and goes
on with plain sentences kindly or rudely.

``judge`` answers in HarmBench's own formats and in WildGuard's, for toy texts only. Its folder also
holds its card ``toy.yaml`` (WildGuard's, for it gives both verdicts, of harm and of refusal), so
that ``load_judge(folder / "toy.yaml")`` is all it takes to judge with it.

``base`` stands in for a pretrained model that trainings start from. It has read dialogues in which
somebody nearly always answers, harm or not, and facts; it has no manners yet. ``start`` has read
the same but answers as after fine-tuning (``TARGET_MIX``): one training in the place of two, which
the study starts from.

``random`` is not trained at all.
"""

JUDGE_CARD_FILE = "toy.yaml"

_BATCH = 32


def make_model(
    name: str,
    folder: str | Path,
    seed: int = 0,
    *,
    steps: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Makes one of :data:`PLANS`.

    Args:
        folder: the model's folder. One that was made with the same settings is left as it is.
        seed: decides texts, first weights and order.
        steps: updates instead of the plan's.

    Returns:
        The folder.

    Raises:
        BadInput: the folder holds something else.
    """
    plan = PLANS[name]
    steps = plan.steps if steps is None else steps
    shape, bars = plan.shape, progress or Progress(show=False)
    cards = {card: _classifier(card) for card in JUDGE_CARDS} if name == "judge" else {}

    def build(target: Path) -> None:
        import torch

        tokenizer = build_tokenizer(
            texts=[card.template + card.behavior for card in cards.values()],
            whole=sorted({part for card in cards.values() for part in fixed_parts(card)}),
            vocab_size=shape.vocabulary,
            context=shape.context,
        )
        # Without a trace in the caller's random state.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = new_llama(tokenizer, shape, spread=plan.spread)
        if steps:
            count = min(plan.examples, steps * _BATCH)
            samples = samples_of(name, tokenizer, cards, seed, count)
            with bars.stage(f"train the {name} model", steps, unit="updates"):
                fit(
                    model,
                    samples,
                    steps=steps,
                    batch=_BATCH,
                    rate=plan.rate,
                    seed=seed,
                    progress=lambda done, all, loss: bars.set(done, all, f"loss {loss:.3f}"),
                )
        _save(target, model, tokenizer)
        if cards:
            _write_card(target / JUDGE_CARD_FILE, "wildguard-7b")

    formats = {card: found.identity()["card"] for card, found in cards.items()}
    settings = {"model": name, "seed": seed, **asdict(plan), "steps": steps, "cards": formats}
    return make_once(folder, settings, build)


def _classifier(name: str) -> ClassifierCard:
    card = load_judge(name)
    if not isinstance(card, ClassifierCard):
        raise TypeError(f"judge {name!r} is no classifier")
    return card


def _save(folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Writes an ordinary Hugging Face folder."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # saving takes milliseconds
    try:
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
    finally:
        if bars:
            logging.enable_progress_bar()


def _write_card(path: Path, name: str) -> None:
    """A bundled card with the toy judge in the place of its model."""
    import yaml

    fields = {
        **read_fields(CARDS / f"{name}.yaml"),
        "model": ".",
        "source": f"Toy judge of bfpo-bench, trained on the spot on generated texts, in the format "
        f"of {name}. Its verdicts mean something on texts of the toy world only.",
        "licence": "Apache-2.0, like the project",
    }
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
