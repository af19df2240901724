"""A judge and the model behind it, found, identified and opened, wherever verdicts are wanted.

Evaluating and red teaming go through here, and so do judging saved responses, files and labelled
responses, which need no target model, no suite and no data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic.dataclasses import dataclass as checked

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.options import Help, Options
from bfpo_bench.common.progress import Progress
from bfpo_bench.common.validate import STRICT
from bfpo_bench.engines.open import open_engine
from bfpo_bench.engines.options import Loading
from bfpo_bench.judges import Card, ClassifierCard, Judge, RubricCard, load_judge
from bfpo_bench.judges.card_file import HARM
from bfpo_bench.models.chat import read_chat_template, told_date
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.config import find_causal_model
from bfpo_bench.models.fingerprint import checkpoint_identity
from bfpo_bench.models.number_format import NumberFormat, go_on_with
from bfpo_bench.run.marks import ANYWAY, unfit_mark
from bfpo_bench.suites import PromptKind

LONGEST_JUDGED = 16384
"""Tokens of a judge's input at most; a longer prompt loses its beginning, the rules never do."""


def judging_window(model: ModelFiles) -> int | None:
    """Context window in tokens for what judges or annotates; None takes the model's own."""
    # vLLM keeps room for a context of full length: Llama Guard's 128k would take 16 GiB.
    window = model.config.get("max_position_embeddings") or 0
    return LONGEST_JUDGED if window > LONGEST_JUDGED else None


JudgeName = Annotated[str | None, Help("Judge card, by name or path, or judgezoo:NAME.")]
JudgeModel = Annotated[
    str | None,
    Help("Folder or hub id of the judge's weights; a served model's name. [default: the card's]"),
]
JudgeUrl = Annotated[
    str | None, Help("Server of a judge such as openai, up to /v1. [default: the card's]")
]
JudgeAnyway = Annotated[
    bool, Help("Figures also where the judge is not made for the kind of prompts.")
]


@checked(frozen=True, config=STRICT)
class JudgeOptions(Options):
    """What a user can ask of a judge."""

    judge: JudgeName = None
    judge_model: JudgeModel = None
    judge_url: JudgeUrl = None
    judge_anyway: JudgeAnyway = False
    loading: Loading = Loading()


@checked(frozen=True, config=STRICT)
class RefusalOptions(Options):
    """What a user can ask of the judge that says whether responses refuse."""

    refusal_judge: Annotated[
        str | None,
        Help(
            "Judge card that says what is refused. [default: the judge, where it does; else the "
            "suite's]"
        ),
    ] = None
    refusal_judge_model: Annotated[str | None, Help("As --judge-model, of the refusal judge.")] = (
        None
    )
    refusal_judge_url: Annotated[str | None, Help("As --judge-url, of the refusal judge.")] = None

    def of_judge(self, name: str | None, other: JudgeOptions) -> JudgeOptions:
        """The same as options of a judge.

        Args:
            name: of the judge, where the user names none.
            other: those of the judge beside it.
        """
        return JudgeOptions.of(
            other,
            judge=self.refusal_judge or name,
            judge_model=self.refusal_judge_model,
            judge_url=self.refusal_judge_url,
        )


@checked(frozen=True, config=STRICT)
class JudgesOptions(JudgeOptions):
    """What a user can ask of the judges of responses that are there."""

    refusal: RefusalOptions = RefusalOptions()


@dataclass(frozen=True)
class ChosenJudge:
    """A judge whose card was read and whose model, if it needs one, was found.

    Attributes:
        begun: number format of the verdicts that are gone on with; see :meth:`going_on`.
    """

    options: JudgeOptions
    card: Card
    model: ModelFiles | None
    backend: str
    begun: str | None = None

    def going_on(self, identity: dict[str, Any] | None) -> ChosenJudge:
        """The judge in the number format of verdicts that are there, where ``auto`` chose.

        Args:
            identity: of the judge that gave them; version 0.1, which kept no format, took the
                checkpoint's.
        """
        if identity is None or self.model is None or identity.get("judge") != self.card.name:
            return self
        return replace(self, begun=identity.get("dtype", self.model.dtype))

    def giving(self, identity: dict[str, Any] | None) -> ChosenJudge:
        """The judge with the verdicts that it gave when the run was begun.

        A model whose card says more by now goes on as it was, so that nothing is judged twice.

        Args:
            identity: of the judge that the run was begun with.
        """
        if identity is None or self.model is None or identity.get("judge") != self.card.name:
            return self
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


def choose_judge(
    options: JudgeOptions,
    asked: bool = True,
    gives: Literal["harm", "refusal"] | None = "harm",
) -> ChosenJudge:
    """Finds a judge and its model. Loads no weights.

    Args:
        asked: whether it will be; else its server may lack a key.
        gives: the verdict that it has to give; None takes any judge.

    Raises:
        BadInput: one sentence for the first thing that cannot be had.
    """
    assert options.judge is not None
    card = load_judge(options.judge)
    if gives is not None and gives not in card.gives:
        raise BadInput(_says_nothing(card, gives))
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
