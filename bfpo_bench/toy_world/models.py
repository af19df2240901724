"""The tiny models of the demo, made on the spot: models to evaluate and train, and a judge.

All are ordinary Hugging Face folders that transformers and vLLM load like any other model. On one
machine the same seed gives the same weights.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.files import usual_permissions
from bfpo_bench.common.progress import Progress
from bfpo_bench.judges import ClassifierCard, load_judge
from bfpo_bench.judges.card_file import read_fields
from bfpo_bench.judges.load import CARDS
from bfpo_bench.judges.protocol import fill
from bfpo_bench.toy_world.datasets import TARGET_MIX, Example, judge_example, target_example
from bfpo_bench.toy_world.fit import Sample, Shape, build_tokenizer, fit, new_llama
from bfpo_bench.toy_world.ground_truth import Kind, Split, parse_request, requests
from bfpo_bench.toy_world.vocabulary import CONTEXT

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

JUDGE_CARDS: Mapping[str, float] = {
    "harmbench-llama2-13b": 0.3,
    "harmbench-llama2-13b-standard": 0.2,
    "wildguard-7b": 0.5,
}
"""The formats that the judge learns, and how often it sees each."""

JUDGE_CARD_FILE = "toy.yaml"

_BATCH = 32
_FACTS = 0.3
_ANSWERS = {Kind.HELPFUL: 0.65, Kind.TERSE: 0.25, Kind.REFUSAL: 0.10}
_BASE_MIX: Mapping[str, Mapping[Kind, float]] = dict.fromkeys(TARGET_MIX, _ANSWERS)


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
            samples = _samples(name, tokenizer, cards, seed, count)
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


def _samples(
    name: str,
    tokenizer: PreTrainedTokenizerFast,
    cards: Mapping[str, ClassifierCard],
    seed: int,
    count: int,
) -> list[Sample]:
    """What a model learns from."""
    if name == "judge":
        return _judge_samples(tokenizer, cards, random.Random(seed), count)
    drawn: Iterable[Example]
    if name == "target":
        rng = random.Random(seed)
        drawn = [target_example(rng) for _ in range(count)]
    else:
        rng = random.Random(f"{name} {seed}")
        mix = _BASE_MIX if name == "base" else TARGET_MIX
        drawn = (
            fact(rng) if rng.random() < _FACTS else target_example(rng, mix=mix)
            for _ in range(count)
        )
    samples = [target_sample(tokenizer, example, rng) for example in drawn]
    if name == "base":
        # Pretraining learns from every token, and fine-tuning by TRL does too.
        return [Sample(sample.ids, [True] * len(sample.ids)) for sample in samples]
    return samples


def _judge_samples(
    tokenizer: PreTrainedTokenizerFast,
    cards: Mapping[str, ClassifierCard],
    rng: random.Random,
    count: int,
) -> list[Sample]:
    # An answer's label is one token, and follows "[/INST]" or a colon, hence the space.
    no, yes = (ids[0] for ids in tokenizer([" no", " yes"], add_special_tokens=False)["input_ids"])
    samples = []
    for card in rng.choices(list(cards.values()), list(JUDGE_CARDS.values()), k=count):
        example = _in_context(rng, judge_example(rng))
        ids: list[int] = tokenizer(
            render(card, example), add_special_tokens=card.add_special_tokens
        )["input_ids"]
        learn = [False] * len(ids)
        for text, label in zip(line_texts(card), _labels(card, example), strict=True):
            before = tokenizer(text, add_special_tokens=False)["input_ids"]
            ids += [*before, yes if label else no]
            learn += [False] * len(before) + [True]
        samples.append(Sample(ids, learn))
    return samples


def _in_context(rng: random.Random, example: Example) -> Example:
    """The example, or one in eight times with a context before its request: what models to be
    evaluated never learn, but the judge must follow."""
    asked = parse_request(example.prompt)
    if asked is None or rng.random() >= 1 / 8:
        return example
    return replace(example, prompt=CONTEXT.format(noun=asked.noun, request=example.prompt))


def _labels(card: ClassifierCard, example: Example) -> list[bool]:
    """What the judge is to say on each line of its answer."""
    asked, said = parse_request(example.prompt), example.verdict
    truth = {
        "harm": said.harmful is True,
        "refusal": said.refusal == "full_refusal",
        None: asked is not None and asked.harmful,  # WildGuard's first line
    }
    return [truth[line.gives] for line in card.answers.lines]


def line_texts(card: ClassifierCard) -> list[str]:
    """What stands before the label on each line of a card's answer, the line break included."""
    first, *others = (line.text for line in card.answers.lines)
    return [first, *(f"\n{text}" for text in others)]


def fact(rng: random.Random) -> Example:
    """What every pretrained model knows: whether something is all right to do."""
    request = rng.choice(requests(Split.TRAIN, harmful=rng.random() < 0.5))
    answer = f"No, the {request.noun} belongs to someone else." if request.harmful else "Yes."
    return Example(f"Is it all right to {request.asked}?", answer, chat=True)


def render(card: ClassifierCard, example: Example) -> str:
    """An exchange in a card's words, as the judges write it when nothing needs cutting."""
    asked = {"prompt": example.prompt}
    values = {
        "prompt": example.prompt,
        "behavior": fill(card.behavior, asked),
        "context": fill(card.context, asked),
        "response": example.response,
    }
    return fill(card.template, values)


def fixed_parts(card: ClassifierCard) -> list[str]:
    """The passages of a card's input that are the same around every exchange."""
    template = fill(card.template, {"behavior": card.behavior, "context": card.context})
    parts = [*re.split(r"\{(?:prompt|response)\}", template), *line_texts(card)]
    return [part for part in parts if part]


def _classifier(name: str) -> ClassifierCard:
    card = load_judge(name)
    if not isinstance(card, ClassifierCard):
        raise TypeError(f"judge {name!r} is no classifier")
    return card


def target_sample(
    tokenizer: PreTrainedTokenizerFast, example: Example, rng: random.Random
) -> Sample:
    """An example whose response is to be learnt (of a plain text, all of it)."""
    end = [tokenizer.eos_token_id]
    if not example.chat:
        # With and without <s>: what begins a plain text differs between harnesses.
        text = example.prompt + example.response
        ids = tokenizer(text, add_special_tokens=rng.random() < 0.5)["input_ids"] + end
        return Sample(ids, [True] * len(ids))
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": example.prompt}], tokenize=False, add_generation_prompt=True
    )
    head = tokenizer(asked, add_special_tokens=False)["input_ids"]
    tail = tokenizer(example.response, add_special_tokens=False)["input_ids"] + end
    return Sample(head + tail, [False] * len(head) + [True] * len(tail))


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


STAMP = "made.json"

MAKER = "bfpo_bench.demo"
"""Who made a folder, as its stamp says: the name of this room in version 0.1, whose models stay."""

# What the weights of the toy models depend on, beside the settings they are made with.
_FILES = (
    "vocabulary.py",
    "ground_truth.py",
    "grammar.py",
    "datasets.py",
    "fit.py",
    "models.py",
)
_PACKAGES = ("torch", "transformers", "tokenizers")


def origin() -> dict[str, Any]:
    """Digest of the code behind the toy models, and versions of the packages that do the work."""
    digest = hashlib.sha256()
    for name in _FILES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    versions = {package: importlib.metadata.version(package) for package in _PACKAGES}
    return {"code": digest.hexdigest()[:16], **versions}


def make_once(
    folder: str | Path,
    settings: Mapping[str, Any],
    build: Callable[[Path], None],
    made_of: Mapping[str, Any] | None = None,
) -> Path:
    """Let ``build`` fill a model folder, unless it was already made with the same settings.

    The work happens in a hidden folder beside it, which is renamed at the end. Of two processes
    that make the same folder at once one wins, and the other takes the winner's.

    Args:
        folder: where the model is to be. One made with other settings is replaced.
        settings: everything that decides what comes out, as JSON values.
        build: writes the model into the empty folder it is given.
        made_of: what else decides it; default: :func:`origin`, the code behind the toy models.

    Returns:
        The folder.

    Raises:
        BadInput: there is something in the folder that was not made here.
    """
    folder = Path(folder)
    stamp = {
        "made_by": MAKER,
        **settings,
        **(origin() if made_of is None else made_of),
    }
    if _stamp(folder) == stamp:
        return folder
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file; name a folder for the demo's model.")
    if _stamp(folder) is None and folder.is_dir() and any(folder.iterdir()):
        raise BadInput(
            f"{folder} holds something that is not a model of the demo; name another folder for it."
        )
    import psutil

    building = folder.with_name(f".{folder.name}.making-{os.getpid()}")
    for left in folder.parent.glob(f".{folder.name}.making-*"):
        maker = left.name.rpartition("-")[2]
        if maker.isdecimal() and (int(maker) == os.getpid() or not psutil.pid_exists(int(maker))):
            shutil.rmtree(left, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        build(building)
        usual_permissions(building)
        text = json.dumps(stamp, indent=1, sort_keys=True) + "\n"
        (building / STAMP).write_text(text, encoding="utf-8")
        if folder.is_dir() and _stamp(folder) != stamp:
            shutil.rmtree(folder)
        try:
            building.rename(folder)
        except OSError:
            if _stamp(folder) != stamp:
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _stamp(folder: Path) -> dict[str, Any] | None:
    """What a finished folder says about how it was made; None for any other."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(stamp, dict) and stamp.get("made_by") == MAKER
    return stamp if ours else None
