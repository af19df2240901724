"""An annotator behind an OpenAI-compatible endpoint: a trial question, then pair by pair."""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Iterator, Sequence
from typing import Any

from bfpo_bench.client import Caller, GaveUp, Malformed, Refused, Server, ask_all
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.openai.dialect import settle
from bfpo_bench.engines.openai.json_answers import about_the_item
from bfpo_bench.engines.openai.replies import usage
from bfpo_bench.helpfulness.annotator_config import OFFICIAL_MODEL, AnnotatorConfig
from bfpo_bench.helpfulness.answers import Answer, declined, read_choice, read_preference
from bfpo_bench.helpfulness.cost import Budget, guessed_tokens
from bfpo_bench.models.chat import Messages

log = logging.getLogger(__name__)

PATH = "chat/completions"
TRIAL = ("What is the capital of France?", "Paris.", "I do not know.")
LOGPROBS = ("logprobs", "top_logprobs")

DECLINED_WAITS = (5.0, 20.0)
"""Seconds before questions that were declined are asked a second and a third time."""


class ServedAnnotator:
    """An annotator that has answered a first, harmless question.

    Args:
        name: how tables call it.
        model: how the server calls it.

    Raises:
        BadInput: the endpoint refuses, or gives no log-probabilities and the configuration reads
            its answers off them.
        RunFailed: it gives no usable answer.
    """

    def __init__(
        self,
        name: str,
        config: AnnotatorConfig,
        model: str,
        server: Server,
        concurrency: int,
        budget: Budget,
        progress: Progress,
    ) -> None:
        self.name = name
        self.server = server
        self._config = config
        self._model = model
        self._concurrency = concurrency
        self._budget = budget
        self._progress = progress
        self._held_back = 0
        self._body = self._settle()

    def answers(
        self, questions: Sequence[Messages], done: Container[int] = ()
    ) -> Iterator[list[tuple[int, Answer]]]:
        """(index, answer) of each question that is not done, soon after it has come.

        What was declined is asked again after a while, twice. When the budget does not allow
        another question, those under way are waited for, not cut off.

        Raises:
            BadInput: the server refuses to serve us, e.g. because the key was withdrawn.
            RunFailed: it gives no usable answer, however often it is asked, or the limit is
                reached.
        """
        waiting = [n for n in range(len(questions)) if n not in done]
        for wait in (*DECLINED_WAITS, None):
            declined: list[tuple[int, Answer]] = []
            affordable = self._affordable([(n, questions[n]) for n in waiting])
            for batch in ask_all(self.server, affordable, self._ask, self._concurrency):
                declined += [one for one in batch if one[1].declined]
                yield [one for one in batch if not one[1].declined]
            if self._held_back:
                raise self._budget.reached(self._held_back)
            if wait is None or not declined:
                break
            waiting = [n for n, _ in declined]
            self._progress.say(
                f"{len(waiting)} questions were declined; asking again in {wait:.0f} s …"
            )
            time.sleep(wait)
        yield declined

    def _affordable(
        self, questions: Sequence[tuple[int, Messages]]
    ) -> Iterator[tuple[int, Messages]]:
        for place, (n, messages) in enumerate(questions):
            if not self._budget.promise(guessed_tokens(messages, self._config.max_tokens)):
                self._held_back = len(questions) - place
                return
            yield n, messages

    def _ask(self, caller: Caller, messages: Messages) -> Answer:
        """The annotator's answer to one question; runs in a thread."""
        try:
            answer = caller.post(PATH, {**self._body, "messages": messages}, self._read)
        except Refused as error:
            why = about_the_item(error)
            if why is None:
                raise self._explained(error) from None
            why = why.replace("the judge", "the annotator")
            refused = {"refused": f"{why} (HTTP {error.status})"}
            answer = Answer(None, refused, declined=True, read=0)
        # Here, not where answers are handed out: the next question may be too much already.
        guess = guessed_tokens(messages, self._config.max_tokens)
        self._budget.pay(guess, answer.read, answer.written)
        return answer

    def _read(self, reply: Any) -> Answer:
        weighted = self._config.weighted
        choice = read_choice(reply, with_logprobs=weighted)
        counts = usage(reply)
        read, written = counts.get("prompt_tokens"), counts.get("completion_tokens")
        if declined(choice):
            return Answer(None, choice, True, read, written)
        preference = read_preference(self._config.steps, choice)
        return Answer(preference, choice if weighted else choice["text"], False, read, written)

    # ---------------------------------------------------------------- the first question

    def _settle(self) -> dict[str, Any]:
        """The fields that the endpoint takes, found out with one trial question."""
        fields = self._config.fields
        optional: dict[str, Any] = {
            name: fields[name] for name in ("temperature", "top_p") if name in fields
        }
        body = {
            "model": self._model,
            "messages": self._config.messages(*TRIAL),
            **{name: value for name, value in fields.items() if name not in optional},
        }
        try:
            reply, dialect = settle(self.server, PATH, body, optional, self._config.max_tokens)
        except Refused as error:
            if self._config.weighted and self._answers_without_logprobs(body, optional):
                raise self._no_logprobs(f"HTTP {error.status}: {error.message}") from None
            raise self._explained(error) from None
        except GaveUp as error:
            if error.status is None:
                raise BadInput(
                    f"annotator {self.name!r}: {self.server.base_url} gives no answer at all "
                    f"({error.reason}); start the server, or correct --annotator-url."
                ) from None
            raise
        try:
            answer = self._read(reply)
        except Malformed as error:
            if self._config.weighted:
                raise self._no_logprobs(str(error)) from None
            raise BadInput(
                f"annotator {self.name!r}: {self.server.base_url} does not answer as the OpenAI "
                f"protocol has it ({error}); check --annotator-url."
            ) from None
        if answer.preference is None:
            log.warning(
                "%s gave no usable answer to a trial question: it may not suit this annotator",
                self._model,
            )
        for name in optional.keys() - dialect.extras.keys():
            log.warning("%s takes no %s: its annotations can change", self._model, name)
        del body["messages"]
        return {**body, dialect.length: self._config.max_tokens, **dialect.extras}

    def _answers_without_logprobs(self, body: dict[str, Any], optional: dict[str, Any]) -> bool:
        plain = {name: value for name, value in body.items() if name not in LOGPROBS}
        try:
            settle(self.server, PATH, plain, optional, self._config.max_tokens)
        except (Refused, GaveUp):
            return False
        return True

    def _no_logprobs(self, said: str) -> BadInput:
        return BadInput(
            f"{self.server.base_url} gives no log-probabilities for {self._model!r} ({said}), and "
            f"{self._config.name} reads its answers off them; use another endpoint or model, or "
            "--annotator-config alpaca_eval_gpt4, which reads text."
        )

    def _explained(self, error: Refused) -> BadInput:
        hint = "."
        if error.status in (401, 403):
            hint = "; set the server's key, see --annotator-key-env."
        elif error.status == 404 and self._model == OFFICIAL_MODEL:
            hint = "; AlpacaEval's own annotator was shut down in 2026, so name another one."
        elif error.status == 404:
            hint = "; check the model's name, and --annotator-url, which usually ends in /v1."
        return BadInput(
            f"annotator {self.name!r}: {self.server.base_url} refused to have {self._model!r} "
            f"annotate ({error.said}){hint}"
        )
