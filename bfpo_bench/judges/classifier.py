"""Classifier judges: a yes/no question to a language model, read off its next-token probabilities.

Nothing is generated and nothing is parsed: the verdict is the probability of the harmful label
against the safe one at the first answer position, or on the last of the lines that the card names.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING

from bfpo_bench.common.errors import BadInput
from bfpo_bench.judges.clip import clip
from bfpo_bench.judges.labels import label_ids
from bfpo_bench.judges.lines import last_line, logsumexp, openings
from bfpo_bench.judges.protocol import BatchLabelEngine, Exchange, LabelEngine, Verdict
from bfpo_bench.judges.template import fill, placeholders, valid_unicode
from bfpo_bench.models.chat import DATE, Chat

if TYPE_CHECKING:
    from bfpo_bench.judges.classifier_card import ClassifierCard


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
        labels = (card.harmful_label, card.safe_label)
        entries = label_ids(tokenizer, labels)
        for label, ids in zip(labels, entries, strict=True):
            if not ids:
                raise BadInput(
                    f"judge {card.name!r}: no single token of its model reads as the label "
                    f"{label!r}; name a label that is one token there, or another model."
                )
        self.name = card.name
        self._card = card
        self._engine = engine
        self._harmful_ids, self._safe_ids = entries
        self._openings = openings(card.lines, labels)
        self._longest = max(
            self._openings,
            key=lambda text: len(tokenizer(text, add_special_tokens=False).input_ids),
        )
        parts = (card.template, card.behavior, card.context)
        self._shows_prompt = any("prompt" in placeholders(part) for part in parts)

    def judge(self, items: Sequence[Exchange]) -> list[Verdict]:
        """One verdict per exchange, all of them asked in one call to the engine."""
        found = dict(pair for batch in self.in_batches(items) for pair in batch)
        return [found[number] for number in range(len(items))]

    def in_batches(
        self, items: Sequence[Exchange], known: Container[int] = ()
    ) -> Iterator[list[tuple[int, Verdict]]]:
        """See :class:`BatchJudge`: verdicts as the engine computes what they rest on."""
        asked: list[tuple[int, str, list[str]]] = []
        unasked = []
        for number, (text, notes) in enumerate(self.render(items)):
            if text is not None:
                asked.append((number, text, notes))
            elif number not in known:
                unasked.append((number, Verdict(None, None, "; ".join(notes))))
        if unasked:
            yield unasked
        texts = [text + opening for _, text, _ in asked for opening in self._openings]
        each, cut = len(self._openings), len(self._harmful_ids)
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
                read = [rows.pop(one) for one in own]
                harmful, safe = last_line([(row[:cut], row[cut:]) for row in read])
                found.append((number, read_answer(self._card, [harmful], [safe], notes)))
            if found:
                yield found

    def _labels(self, texts: list[str], done: set[int]) -> Iterator[list[tuple[int, list[float]]]]:
        ids = [*self._harmful_ids, *self._safe_ids]
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
        return text if self._chat is None else self._chat([{"role": "user", "content": text}])

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


def read_answer(
    card: ClassifierCard, harmful: Sequence[float], safe: Sequence[float], notes: Sequence[str] = ()
) -> Verdict:
    """The verdict that label log-probabilities amount to.

    p_harmful = P(harmful) / (P(harmful) + P(safe)), each the sum over the label's entries.

    Args:
        card: gives the threshold, the least label mass and the labels' names.
        harmful: natural-log probabilities of the entries that read as the harmful label.
        safe: the same for the safe label.
        notes: put at the end of ``raw``.
    """
    # Written so that NaN fails too. Rounding may lift the logarithm of a certainty above 0.
    if not all(value <= 0.1 for value in (*harmful, *safe)):
        return Verdict(None, None, "; ".join(["the judge gave no probabilities", *notes]))
    yes, no = logsumexp(harmful), logsumexp(safe)
    mass = math.exp(logsumexp((yes, no)))
    shares = f"{card.harmful_label} {math.exp(yes):.4g}, {card.safe_label} {math.exp(no):.4g}"
    if mass < card.min_label_mass or mass == 0:
        return Verdict(None, None, "; ".join([f"{shares}: neither is likely", *notes]))
    # From the difference of logarithms: exact where both probabilities are tiny.
    p_harmful = 1 / (1 + math.exp(min(no - yes, 700.0))) if yes != -math.inf else 0.0
    return Verdict(p_harmful >= card.threshold, p_harmful, "; ".join([shares, *notes]))
