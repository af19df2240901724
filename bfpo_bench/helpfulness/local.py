"""An annotator that is loaded here, by the engines that also run targets and judges.

AlpacaEval 2's weighted configurations have the annotator write one token and weigh the labels by
its log-probabilities. These are what an engine tells of given tokens: nothing is generated, and no
label is missed because five others are likelier. Answers in words are generated.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.protocol import Engine, GenerateRequest
from bfpo_bench.engines.tokenization import encode_many
from bfpo_bench.helpfulness.annotator_config import AnnotatorConfig
from bfpo_bench.helpfulness.answers import Answer, read_preference
from bfpo_bench.helpfulness.served import TRIAL
from bfpo_bench.models.chat import Chat, Messages, TemplateFault
from bfpo_bench.tasks.requests import request_seed

LEAST_MASS = 0.01
"""Probability of all labels together below which there is no usable answer: the annotator was about
to write something else."""

Batch = list[tuple[int, Answer]]


class LocalAnnotator:
    """An annotator's model at work.

    Args:
        name: how tables call it.
        chat: writes questions as the model's chat template has it.

    Raises:
        BadInput: the model has no token for a label, or its template cannot write a question.
    """

    def __init__(self, name: str, config: AnnotatorConfig, engine: Engine, chat: Chat) -> None:
        self._config = config
        self._engine = engine
        self._chat = chat
        self._labels = label_tokens(engine, config.labels) if config.labels else {}
        for label in config.labels:
            if label not in self._labels.values():
                raise BadInput(
                    f"annotator {name!r}: no single token of its model reads as the label "
                    f"{label!r}; name another model, or take --annotator-config "
                    "alpaca_eval_gpt4, which reads words."
                )
        try:
            chat.write(config.messages(*TRIAL))
        except TemplateFault as fault:
            raise BadInput(
                f"annotator {name!r}: its model's chat template {fault}; name another model with "
                "--annotator-model."
            ) from fault

    def answers(self, questions: Sequence[Messages], done: Container[int] = ()) -> Iterator[Batch]:
        """(index, answer) of each question, as the engine computes them.

        Args:
            questions: all there are: an engine makes its batches of all of them.
            done: indices of questions whose answers are known; they may come again.
        """
        written = [self._written(question) for question in questions]
        asked = [n for n, text in enumerate(written) if isinstance(text, str)]
        if refused := [
            (n, text)
            for n, text in enumerate(written)
            if isinstance(text, Answer) and n not in done
        ]:
            yield refused
        texts = [str(written[n]) for n in asked]
        known = {place for place, n in enumerate(asked) if n in done}
        if len(known) == len(asked):
            return
        for batch in self._ask(texts, known):
            yield [(asked[place], answer) for place, answer in batch]

    def _written(self, question: Messages) -> str | Answer:
        """A question as the model sees it, or why it is not asked."""
        try:
            text = self._chat.write(question)
        except TemplateFault as fault:
            return Answer(None, {"refused": f"the chat template {fault}"})
        [tokens] = encode_many(self._engine.tokenizer, [text], add_special_tokens=False)
        window = self._engine.max_length
        if len(tokens) + self._config.max_tokens > window:
            why = f"too long for the annotator's context of {window} tokens"
            return Answer(None, {"refused": why})
        return text

    def _ask(self, texts: list[str], known: set[int]) -> Iterator[Batch]:
        if self._config.labels:
            ids = list(self._labels)
            for rows in self._engine.label_batches(texts, ids, False, known):
                yield [(place, self._weighted(row)) for place, row in rows]
            return
        fields = self._config.fields
        sampling = Sampling(self._config.max_tokens, fields["temperature"], fields["top_p"])
        requests = [
            GenerateRequest(
                text, sampling, request_seed(0, "annotator", text), special_tokens=False
            )
            for text in texts
        ]
        for responses in self._engine.respond(requests, known):
            said = [(place, response.text) for place, response in responses]
            steps = self._config.steps
            yield [(n, Answer(read_preference(steps, {"text": text}), text)) for n, text in said]

    def _weighted(self, logprobs: Sequence[float]) -> Answer:
        """The answer that log-probabilities of the labels' tokens amount to, in AlpacaEval's shape.

        As if the model had written the likeliest label, and the server had named them all.
        """
        # Written so that NaN fails too. Rounding may lift the logarithm of a certainty above 0.
        if not all(value <= 0.1 for value in logprobs):
            return Answer(None, {"refused": "the model gave no probabilities"})
        named = zip(self._labels.values(), logprobs, strict=True)
        top = [
            {"token": label, "logprob": value}
            for label, value in sorted(named, key=lambda one: -one[1])
            if value > -math.inf
        ]
        text = top[0]["token"] if top else ""
        content = [{**top[0], "top_logprobs": top}] if top else []
        choice = {
            "finish_reason": "length",
            "index": 0,
            "logprobs": {"content": content},
            "message": {"content": text, "role": "assistant"},
            "text": text,
        }
        likely = math.fsum(map(math.exp, logprobs)) >= LEAST_MASS
        return Answer(read_preference(self._config.steps, choice) if likely else None, choice)


def label_tokens(engine: Engine, labels: Sequence[str]) -> dict[int, str]:
    """The vocabulary's entries that read as one of the labels, to the letter, with that label."""
    tokenizer = engine.tokenizer
    ids = sorted(set(tokenizer.get_vocab().values()))
    alone = [[one] for one in ids]
    # The Rust decoder does the whole vocabulary in one call; going through Python costs seconds.
    fast = getattr(tokenizer, "is_fast", False)
    decode = tokenizer.backend_tokenizer.decode_batch if fast else tokenizer.batch_decode
    texts = decode(alone, skip_special_tokens=False)
    return {one: text for one, text in zip(ids, texts, strict=True) if text in labels}
