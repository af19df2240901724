"""The YAML card of a classifier judge: what it is asked, in which words it answers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.validate import STRICT, Text, Texts
from bfpo_bench.judges.card_file import Count, Kinds, checked
from bfpo_bench.judges.classifier import ClassifierJudge
from bfpo_bench.judges.labels import reading
from bfpo_bench.judges.lines import MAX_LINES
from bfpo_bench.judges.protocol import PROMPT_KINDS, Judge, LabelEngine
from bfpo_bench.judges.template import PLACEHOLDERS, placeholders
from bfpo_bench.models.chat import DATE

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
            answer. The verdict is the last line's; see ``bfpo_bench.judges.lines``.
        strip: take the white space around prompt and response away.
        max_response_tokens: a response is judged by its first so many tokens of the judge.
        chat_template: pass the filled template as a user's message through the judge's own chat
            template.
        add_special_tokens: let the tokenizer put its special tokens around the input.
        min_label_mass: the verdict is unknown when the two labels together are less likely.
        threshold: harmful from this P(harmful) / (P(harmful) + P(safe)) on.
        fits: kinds of prompts whose responses it can judge.
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
    lines: Annotated[Texts, Field(max_length=MAX_LINES)] = ()
    strip: bool = False
    max_response_tokens: Count = 512
    chat_template: bool = False
    add_special_tokens: bool = True
    min_label_mass: Share = 0.5
    threshold: Share = 0.5
    fits: Kinds = PROMPT_KINDS

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

    @classmethod
    def read(cls, path: Path, fields: dict[str, Any]) -> ClassifierCard:
        """Checks the fields of a card file.

        Raises:
            BadInput: a field is missing, unknown or not right.
        """
        # A rendered chat template already holds the special tokens.
        told = {"add_special_tokens": fields.get("chat_template") is not True, **fields}
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
        for key in ("name", "source", "licence", "model", "revision", "fits"):
            del told_apart[key]
        content = json.dumps(told_apart, sort_keys=True)
        identity: dict[str, Any] = {
            "judge": self.name,
            "kind": self.kind,
            "version": self.version,
            "implementation": IMPLEMENTATION,
            "card": hashlib.sha256(content.encode()).hexdigest(),
            "labels": [self.harmful_label, self.safe_label],
        }
        if weights is None:
            return identity | {"model": self.model, "revision": self.revision}
        return identity | {"weights": weights}

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
        return str((card.parent / model).resolve())
    return model
