"""A judge and the model behind it, found, identified and opened, wherever verdicts are wanted.

Evaluating and red teaming go through here, and so do judging saved responses, files and labelled
responses, which need no target model, no suite and no data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.open import open_engine
from bfpo_bench.judges import (
    Card,
    ClassifierCard,
    Judge,
    MajorityCard,
    RubricCard,
    load_judge,
)
from bfpo_bench.judges.card_file import HARM
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.clock import told_date
from bfpo_bench.models.config import find_causal_model
from bfpo_bench.models.fingerprint import checkpoint_identity
from bfpo_bench.models.number_format import NumberFormat, go_on_with
from bfpo_bench.models.template_files import read_chat_template
from bfpo_bench.run.marks import ANYWAY, unfit_mark
from bfpo_bench.run.panel import judges_named
from bfpo_bench.suites import PromptKind

LONGEST_JUDGED = 16384
"""Tokens of a judge's input at most; a longer prompt loses its beginning, the rules never do."""


def judging_window(model: ModelFiles) -> int | None:
    """Context window in tokens for what judges or annotates; None takes the model's own."""
    # vLLM keeps room for a context of full length: Llama Guard's 128k would take 16 GiB.
    window = model.config.get("max_position_embeddings") or 0
    return LONGEST_JUDGED if window > LONGEST_JUDGED else None


@dataclass(frozen=True)
class ChosenJudge:
    """A judge whose card was read and whose model, if it needs one, was found.

    Attributes:
        begun: number format of the verdicts that are gone on with; see :meth:`going_on`.
        members: of a majority, the judges that vote.
    """

    options: JudgeOptions
    card: Card
    model: ModelFiles | None
    backend: str
    begun: str | None = None
    members: tuple[ChosenJudge, ...] = ()

    @classmethod
    def majority(cls, options: JudgeOptions, members: Sequence[ChosenJudge]) -> ChosenJudge:
        """What most of these judges say."""
        card = MajorityCard.of([one.card for one in members])
        members = sorted(members, key=lambda one: one.card.name)
        return cls(options, card, None, members[0].backend, members=tuple(members))

    def going_on(self, identity: dict[str, Any] | None) -> ChosenJudge:
        """The judge in the number format of verdicts that are there, where ``auto`` chose.

        Args:
            identity: of the judge that gave them; version 0.1, which kept no format, took the
                checkpoint's.
        """
        if self.members:
            members = [one.going_on(identity) for one in self.members]
            return ChosenJudge.majority(self.options, members)
        identity = among(identity, self.card.name)
        if identity is None or self.model is None:
            return self
        return replace(self, begun=identity.get("dtype", self.model.dtype))

    def giving(self, identity: dict[str, Any] | None) -> ChosenJudge:
        """The judge with the verdicts that it gave when the run was begun.

        A model whose card says more by now goes on as it was, so that nothing is judged twice.

        Args:
            identity: of the judge that the run was begun with.
        """
        if self.members:
            members = [one.giving(identity) for one in self.members]
            return ChosenJudge.majority(self.options, members)
        identity = among(identity, self.card.name)
        if identity is None or self.model is None:
            return self
        assert isinstance(self.card, ClassifierCard)
        return replace(self, card=replace(self.card, gives=tuple(identity.get("gives", HARM))))

    @property
    def refuses(self) -> bool:
        """Whether it says what is refused."""
        return "refusal" in self.card.gives

    def number_format(self, model: ModelFiles) -> NumberFormat:
        """The number format in which its model is loaded."""
        found = self.options.loading.number_format(model)
        return (
            go_on_with(model, found, self.begun) if self.options.loading.dtype == "auto" else found
        )

    def identity(self) -> dict[str, Any]:
        """All that its verdicts depend on; the same as in the ``run.json`` of an evaluation."""
        if isinstance(self.card, MajorityCard):
            return self.card.joined({one.card.name: one.identity() for one in self.members})
        if self.model is None:
            return self.card.identity()
        assert isinstance(self.card, ClassifierCard)
        found = checkpoint_identity(
            self.model,
            templates=bool(self.card.chat_template),
            code=self.options.loading.trust_remote_code,
        )
        return {
            **self.card.identity(weights=found["weights"]),
            **found,
            "backend": self.backend,
            "dtype": self.number_format(self.model).dtype,
            **told_date(self._template, self.options.loading.date),
        }

    @property
    def _template(self) -> str | None:
        """The model's chat template, where the card asks for it."""
        card, model = self.card, self.model
        wanted = model is not None and isinstance(card, ClassifierCard) and card.chat_template
        return read_chat_template(model.folder) if wanted and model else None

    def unfit(self, kind: PromptKind) -> str | None:
        """Why it gives no figure for prompts of a kind: the mark of their cell. None if it does."""
        if kind in self.card.fits or self.options.judge_anyway:
            return None
        return unfit_mark(self.card.name, self.card.fits, kind)

    def anyway(self, kind: PromptKind) -> list[str]:
        """What must be said of a figure that was asked for although the judge is unfit."""
        if kind in self.card.fits:
            return []
        fits = " and ".join(self.card.fits)
        return [f"{ANYWAY}judge {self.card.name} is made for {fits}, and these want {kind}"]

    @contextmanager
    def opened(self, progress: Progress) -> Iterator[Judge]:
        """The judge, its model loaded while the body runs."""
        if self.model is None:
            yield self.card.open()
            return
        dtype, note = self.number_format(self.model)
        if note:
            progress.say(f"Judge {self.card.name}: {note}.")
        max_length = judging_window(self.model)
        options = self.options.loading.engine_options(self.model, max_length=max_length)
        with progress.stage(f"loading judge {self.card.name} ({self.backend})"):
            engine = open_engine(self.backend, replace(options, dtype=dtype))
        try:
            assert isinstance(self.card, ClassifierCard)
            yield self.card.open(engine, self.options.loading.date, self._template)
        finally:
            engine.close()


def among(identity: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
    """The identity of a judge of that name: this one, or that of one of the judges that vote."""
    if identity is None or identity.get("judge") == name:
        return identity
    of = identity.get("of")
    return of.get(name) if isinstance(of, dict) else None


def choose_judge(
    options: JudgeOptions,
    asked: bool = True,
    gives: Literal["harm", "refusal"] | None = "harm",
    several: bool = False,
) -> ChosenJudge:
    """Finds a judge and its model. Loads no weights.

    Args:
        asked: whether it will be; else its server may lack a key.
        gives: the verdict that it has to give; None takes any judge.
        several: whether it may be the majority of several.

    Raises:
        BadInput: one sentence for the first thing that cannot be had.
    """
    assert options.judge is not None
    card = load_judge(options.judge)
    if gives is not None and gives not in card.gives:
        raise BadInput(_says_nothing(card, gives))
    if isinstance(card, MajorityCard):
        if not several:
            names = ", ".join(one.name for one in card.cards)
            raise BadInput(
                f"one judge is needed here, and {len(card.cards)} are named ({names}); name one, "
                "and run the command again for each of the others."
            )
        return ChosenJudge.majority(
            options, [choose_judge(one, asked, None) for one in _one_by_one(options, card)]
        )
    card = point_judge(card, options.judge_model, options.judge_url, asked)
    backend = options.loading.chosen_backend()
    if backend == "openai":
        raise BadInput(
            "a judge is loaded with --backend hf or vllm; one that a server holds is named by "
            "--judge openai with --judge-url."
        )
    model = None
    if isinstance(card, ClassifierCard):
        model = find_causal_model(
            options.judge_model or card.model,
            card.revision,
            backend,
            options.loading.trust_remote_code,
        )
    return ChosenJudge(options, card, model, backend)


def _one_by_one(options: JudgeOptions, card: MajorityCard) -> list[JudgeOptions]:
    """The options of each of several judges: model and server are those of the one that has such.

    Raises:
        BadInput: several of them have, so that nobody knows which is meant.
    """
    assert options.judge is not None
    found = []
    for name in judges_named(options.judge):
        wishes: dict[str, str | None] = {}
        kind = type(load_judge(name))
        for option, takers in (
            ("judge_model", (ClassifierCard, RubricCard)),
            ("judge_url", (RubricCard,)),
        ):
            if getattr(options, option) is None:
                continue
            those = [other.name for other in card.cards if isinstance(other, takers)]
            if len(those) != 1:
                whose = ", ".join(those) or "none of them"
                raise BadInput(
                    f"--{option.replace('_', '-')} is of one judge, and of those named it could be "
                    f"that of {whose}; write model and base_url into cards of your own."
                )
            if not issubclass(kind, takers):
                wishes[option] = None
        found.append(JudgeOptions.of(options, judge=name, **wishes))
    return found


def _says_nothing(card: Card, of: Literal["harm", "refusal"]) -> str:
    if of == "harm":
        return (
            f"judge {card.name!r} says what is refused and nothing of harm; name it with "
            "--refusal-judge, and another with --judge."
        )
    return (
        f"judge {card.name!r} says nothing of refusals; name one that does, such as keyword or "
        "wildguard-7b."
    )


def point_judge(card: Card, model: str | None, url: str | None, asked: bool = True) -> Card:
    """A judge's card with the user's choice of model and server. Contacts nobody.

    Args:
        model: what --judge-model says: a folder or hub id, or a served model's name.
        url: what --judge-url says.
        asked: whether the judge will be; else its server may lack a key.

    Raises:
        BadInput: this judge takes no such choice, or its server needs a key that is not set.
    """
    if isinstance(card, RubricCard):
        card = card.at(model, url)
        card.server(asked)  # for its complaint about the key
        return card
    if url is not None:
        raise BadInput(
            f"judge {card.name!r} asks no server; leave --judge-url out or name a judge that does, "
            "such as openai."
        )
    if model is not None and not isinstance(card, ClassifierCard):
        raise BadInput(
            f"judge {card.name!r} takes no model of yours; leave --judge-model out or name another "
            "judge."
        )
    return card
