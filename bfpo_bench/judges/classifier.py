"""Classifier judges: a yes/no question to a language model, read off its next-token probabilities.

Nothing is generated and nothing is parsed: the verdict is the probability of the harmful label
against the safe one at the first answer position, or on one of the lines that the card names. Where
another line says whether the response refuses, both verdicts come of one pass.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.batches import in_order
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.foreign import place_of
from bfpo_bench.common.validate import STRICT, Text
from bfpo_bench.judges.answers import MAX_LINES, MAX_QUESTIONS, Answers, Line
from bfpo_bench.judges.card_file import HARM, Count, Gives, Kinds, card_identity, checked
from bfpo_bench.judges.clip import clip
from bfpo_bench.judges.labels import logsumexp, reading
from bfpo_bench.judges.protocol import (
    PLACEHOLDERS,
    BatchLabelEngine,
    Exchange,
    Judge,
    LabelEngine,
    Verdict,
    fill,
    placeholders,
    valid_unicode,
)
from bfpo_bench.models.chat import Chat
from bfpo_bench.models.clock import DATE
from bfpo_bench.suites import PROMPT_KINDS

# Raised whenever the code behind a card changes so that the same card gives other verdicts.
IMPLEMENTATION = 1

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=STRICT)
class ClassifierCard:
    """A classifier judge as its YAML card describes it. No model is loaded.

    Attributes:
        name: the card's file name without ``.yaml``.
        model: hub id or folder of the judge's weights.
        revision: hub revision; ``None`` takes the newest.
        template: the judge's input, with ``{response}`` and any of ``{prompt}``, ``{behavior}``,
            ``{context}``. Every other brace is plain text.
        behavior, context: what stands for those placeholders; may hold ``{prompt}``.
        harmful_label, safe_label: the two answers, compared without case and white space.
        lines: where the label does not come at once: what stands before it on each line of the
            answer, or a :class:`Line`. A verdict that no line gives is the last one's.
        strip: take the white space around prompt and response away.
        max_response_tokens: a response is judged by its first so many tokens of the judge.
        chat_template: pass the filled template as a user's message through the judge's own chat
            template; ``"turns"``: the prompt as the user's and the filled template as the
            assistant's.
        add_special_tokens: let the tokenizer put its special tokens around the input.
        min_label_mass: the verdict is unknown when the two labels together are less likely.
        threshold: harmful, or refused, from this P(yes) / (P(yes) + P(no)) on.
        fits: kinds of prompts whose responses it can judge.
        gives: which verdicts.
    """

    kind: ClassVar[str] = "classifier"

    name: str
    version: Count
    source: Text
    licence: Text
    model: Text
    template: Text
    harmful_label: Text
    safe_label: Text
    revision: str | None = None
    behavior: str = ""
    context: str = ""
    lines: Annotated[tuple[Text | Line, ...], Field(max_length=MAX_LINES)] = ()
    strip: bool = False
    max_response_tokens: Count = 512
    chat_template: bool | Literal["turns"] = False
    add_special_tokens: bool = True
    min_label_mass: Share = 0.5
    threshold: Share = 0.5
    fits: Kinds = PROMPT_KINDS
    gives: Gives = HARM

    def __post_init__(self) -> None:
        used = placeholders(self.template)
        if "response" not in used:
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise ValueError(f"'template' must hold {{response}} (the placeholders are {known}).")
        for key, part in (("behavior", self.behavior), ("context", self.context)):
            if part and key not in used:
                raise ValueError(f"put {{{key}}} into the template or drop {key!r}.")
            if key in used and not part.strip():
                raise ValueError(f"{key!r} is missing; add it.")
            if placeholders(part) - {"prompt"}:
                raise ValueError(f"the only placeholder in {key!r} is {{prompt}}.")
        if reading(self.harmful_label) == reading(self.safe_label):
            raise ValueError("'safe_label' must differ from harmful_label.")
        for kind in self.gives:
            if sum(line.gives == kind for line in self.answers.lines) != 1:
                raise ValueError(
                    f"one of the 'lines', and one alone, must give the {kind} verdict."
                )
        if len(self.answers.openings) > MAX_QUESTIONS:
            raise ValueError(
                f"'lines' can be written in so many ways that {len(self.answers.openings)} "
                f"questions had to be asked of a response, and {MAX_QUESTIONS} are the most."
            )

    @cached_property
    def answers(self) -> Answers:
        """The ways in which the judge can answer."""
        own = (self.harmful_label, self.safe_label)
        lines = [line if isinstance(line, Line) else Line(line) for line in self.lines]
        lines = lines or [Line("")]
        given = {line.gives for line in lines}
        rest = [kind for kind in self.gives if kind not in given]
        if rest and lines[-1].gives is None:
            lines[-1] = replace(lines[-1], gives=rest[0])
        lines = [replace(line, labels=line.labels or own) for line in lines]
        return Answers([replace(line, means=line.means or line.labels[:1]) for line in lines])

    @classmethod
    def read(cls, path: Path, fields: dict[str, Any]) -> ClassifierCard:
        """Checks the fields of a card file.

        Raises:
            BadInput: a field is missing, unknown or not right.
        """
        # A rendered chat template already holds the special tokens.
        told = {"add_special_tokens": not fields.get("chat_template"), **fields}
        card = checked(cls, path, told)
        return dataclasses.replace(
            card, model=_beside(path, card.model), revision=card.revision or None
        )

    def identity(self, weights: str | None = None) -> dict[str, Any]:
        """Everything that could change a verdict, as plain JSON values.

        Args:
            weights: fingerprint of the loaded weights. It takes the place of the
                model's name, so that a folder may be moved and a hub model that moved is noticed.
        """
        told_apart = dataclasses.asdict(self)
        for key in ("name", "source", "licence", "model", "revision", "fits", "gives"):
            del told_apart[key]
        # A card that gives harm alone is what it was before there were other verdicts.
        told_apart["lines"] = [
            line.text if isinstance(line, Line) and line.plain else line for line in self.lines
        ]
        if "refusal" in self.gives:
            told_apart["gives"] = [line.gives for line in self.answers.lines]
        content = json.dumps(told_apart, sort_keys=True, default=dataclasses.asdict)
        identity = card_identity(self, IMPLEMENTATION, content)
        identity["labels"] = [self.harmful_label, self.safe_label]
        if weights is None:
            return identity | {"model": self.model, "revision": self.revision}
        return identity | {"weights": weights}

    def verdict(self, said: Sequence[Mapping[str, float]], notes: Sequence[str] = ()) -> Verdict:
        """What label log-probabilities amount to; see :meth:`Answers.verdict`."""
        return self.answers.verdict(said, self.gives, self.min_label_mass, self.threshold, notes)

    def open(
        self, engine: LabelEngine | None = None, date: str = DATE, template: str | None = None
    ) -> Judge:
        """The judge itself, on an engine that holds this card's model.

        Args:
            date: what the clock of the model's chat template says.
            template: that template; None takes the tokenizer's.

        Raises:
            BadInput: the engine's tokenizer has no entry for a label, or lacks what the card needs.
            ValueError: no engine was given.
        """
        if engine is None:
            raise ValueError(f"judge {self.name!r} is a model: open it with an engine")
        return ClassifierJudge(self, engine, date, template)


def _beside(card: Path, model: str) -> str:
    """A model path that starts with ``.`` or ``~`` made absolute; the former is the card's side."""
    if model.startswith("~"):
        return str(Path(model).expanduser())
    if model.startswith("."):
        return str(place_of(card.parent / model))
    return model


class ClassifierJudge:
    """A classifier card with its model behind it (see ``ClassifierCard.open``)."""

    def __init__(
        self,
        card: ClassifierCard,
        engine: LabelEngine,
        date: str = DATE,
        template: str | None = None,
    ) -> None:
        tokenizer = engine.tokenizer
        if not getattr(tokenizer, "is_fast", False):
            raise BadInput(
                f"judge {card.name!r}: its model's tokenizer reports no character offsets; "
                "add its tokenizer.json (the fast tokenizer) to the model."
            )
        if card.chat_template and not (template or tokenizer.chat_template):
            raise BadInput(
                f"judge {card.name!r} asks for chat_template, but its model's tokenizer has "
                "none; set chat_template: false in the card."
            )
        instead = f"set chat_template: false in the card {card.name!r}, or take another model"
        self._chat = Chat(tokenizer, template, date, instead) if card.chat_template else None
        # A template that writes BOS, after blanks even, is given no second one.
        bos = tokenizer.bos_token if self._chat else None
        written = self._chat([{"role": "user", "content": "?"}]) if self._chat and bos else ""
        self._special = card.add_special_tokens and not (bos and bos in written)
        own = (card.harmful_label, card.safe_label)
        self._ids = card.answers.entries(tokenizer, own, card.name)
        self.name = card.name
        self._card = card
        self._engine = engine
        self._answers = card.answers
        self._longest = max(
            self._answers.openings,
            key=lambda text: len(tokenizer(text, add_special_tokens=False).input_ids),
        )
        parts = (card.template, card.behavior, card.context)
        self._shows_prompt = card.chat_template == "turns" or any(
            "prompt" in placeholders(part) for part in parts
        )

    def judge(self, items: Sequence[Exchange]) -> list[Verdict]:
        """One verdict per exchange, all of them asked in one call to the engine."""
        return in_order(self.in_batches(items), len(items))

    def in_batches(
        self, items: Sequence[Exchange], known: Container[int] = ()
    ) -> Iterator[list[tuple[int, Verdict]]]:
        """Verdicts as the engine computes what they rest on; see
        :class:`bfpo_bench.common.batches.Batched`."""
        asked: list[tuple[int, str, list[str]]] = []
        unasked = []
        for number, (text, notes) in enumerate(self.render(items)):
            if text is not None:
                asked.append((number, text, notes))
            elif number not in known:
                unasked.append((number, Verdict(None, None, "; ".join(notes))))
        if unasked:
            yield unasked
        texts = [text + opening for _, text, _ in asked for opening in self._answers.openings]
        each = len(self._answers.openings)
        done = {place for place in range(len(texts)) if asked[place // each][0] in known}
        rows: dict[int, list[float]] = {}
        for batch in self._labels(texts, done) if len(done) < len(texts) else ():
            rows.update(batch)
            found = []
            for place in dict.fromkeys(place // each for place, _ in batch):
                own = range(place * each, (place + 1) * each)
                if not all(one in rows for one in own):
                    continue
                number, _, notes = asked[place]
                said = [self._by_label(rows.pop(one)) for one in own]
                found.append((number, self._card.verdict(said, notes)))
            if found:
                yield found

    def _by_label(self, row: Sequence[float]) -> dict[str, float]:
        """Natural-log probability of each label, from those of all entries."""
        values = iter(row)
        each = {label: [next(values) for _ in ids] for label, ids in self._ids.items()}
        return {label: _total(some) for label, some in each.items()}

    def _labels(self, texts: list[str], done: set[int]) -> Iterator[list[tuple[int, list[float]]]]:
        ids = [one for some in self._ids.values() for one in some]
        if isinstance(self._engine, BatchLabelEngine):
            yield from self._engine.label_batches(texts, ids, self._special, done)
        else:
            yield list(enumerate(self._engine.label_logprobs(texts, ids, self._special)))

    def render(self, items: Sequence[Exchange]) -> list[tuple[str | None, list[str]]]:
        """The judge's input for each exchange, with notes on what was cut from it.

        The response is clipped as the card says. Where the input is still longer than the model's
        context, the prompt loses its beginning (the response continues its end); the rules and the
        answer's place never do. ``None`` where even an empty prompt leaves it too long.
        """
        if not items:
            return []
        tokenizer, card = self._engine.tokenizer, self._card
        room = self._engine.max_length - 1  # one position is the answer's
        wanted = [self._clean(item.response) for item in items]
        responses = clip(tokenizer, wanted, card.max_response_tokens, keep="start")
        asked = [self._clean(item.prompt) if self._shows_prompt else "" for item in items]
        # A prompt of more tokens than the context cannot fit; dropping that part first keeps the
        # exact fitting below from tokenizing a megabyte again and again.
        prompts = clip(tokenizer, asked, max(room, 1), keep="end")
        texts = [self._fill(p, r) for p, r in zip(prompts, responses, strict=True)]
        questions: list[tuple[str | None, list[str]]] = []
        for i, size in enumerate(self._count(texts)):
            text: str | None = texts[i]
            notes = []
            if responses[i] != wanted[i]:
                notes.append(f"response clipped to {card.max_response_tokens} tokens")
            if size > room:
                text, prompts[i] = self._fit(prompts[i], responses[i], size - room, room)
            if text is None:
                notes = [f"too long for the judge's context of {self._engine.max_length} tokens"]
            elif prompts[i] != asked[i]:
                lost = len(asked[i]) - len(prompts[i])
                notes.append(f"prompt cut: its first {lost} characters do not fit")
            questions.append((text, notes))
        return questions

    def _fit(self, prompt: str, response: str, excess: int, room: int) -> tuple[str | None, str]:
        """The input with just enough of the prompt's beginning dropped, and the prompt left."""
        tokenizer = self._engine.tokenizer
        left = len(tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])
        while prompt:
            # Tokens merge across the prompt's borders, so one cut may leave a token too many.
            left -= excess
            prompt = clip(tokenizer, [prompt], left, keep="end")[0] if left > 0 else ""
            text = self._fill(prompt, response)
            excess = self._count([text])[0] - room
            if excess <= 0:
                return text, prompt
        return None, prompt

    def _fill(self, prompt: str, response: str) -> str:
        card = self._card
        values = {
            "prompt": prompt,
            "behavior": fill(card.behavior, {"prompt": prompt}),
            "context": fill(card.context, {"prompt": prompt}),
            "response": response,
        }
        text = fill(card.template, values)
        if self._chat is None:
            return text
        if card.chat_template == "turns":
            turns = (("user", prompt), ("assistant", text))
            return self._chat([{"role": role, "content": said} for role, said in turns])
        return self._chat([{"role": "user", "content": text}])

    def _clean(self, text: str) -> str:
        text = valid_unicode(text)
        return text.strip() if self._card.strip else text

    def _count(self, texts: list[str]) -> list[int]:
        """Tokens of each input with the longest opening of an answer behind it."""
        encoded = self._engine.tokenizer(
            [text + self._longest for text in texts],
            add_special_tokens=self._special,
            verbose=False,
        )
        return [len(ids) for ids in encoded["input_ids"]]


def _total(values: Sequence[float]) -> float:
    # Written so that NaN fails too. Rounding may lift the logarithm of a certainty above 0.
    return logsumexp(values) if all(value <= 0.1 for value in values) else math.nan
