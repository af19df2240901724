"""The YAML card of a classifier judge: what it is asked, in which words it answers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bfpo_bench.judges.classifier import ClassifierJudge
from bfpo_bench.judges.fields import Fields
from bfpo_bench.judges.labels import reading
from bfpo_bench.judges.lines import MAX_LINES
from bfpo_bench.judges.protocol import PROMPT_KINDS, Judge, LabelEngine
from bfpo_bench.judges.template import PLACEHOLDERS, placeholders
from bfpo_bench.models.chat import DATE

# Raised whenever the code behind a card changes so that the same card gives other verdicts.
IMPLEMENTATION = 1


@dataclass(frozen=True)
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
    version: int
    source: str
    licence: str
    model: str
    revision: str | None
    template: str
    behavior: str
    context: str
    harmful_label: str
    safe_label: str
    lines: tuple[str, ...]
    strip: bool
    max_response_tokens: int
    chat_template: bool
    add_special_tokens: bool
    min_label_mass: float
    threshold: float
    fits: tuple[str, ...] = PROMPT_KINDS

    @classmethod
    def parse(cls, fields: Fields) -> ClassifierCard:
        """Checks the fields of a card file.

        Raises:
            BadInput: for a field that is missing, unknown or not right.
        """
        fields.allow({f.name for f in dataclasses.fields(cls)} - {"name"} | {"kind"})
        template = fields.text("template")
        used = placeholders(template)
        if "response" not in used:
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise fields.error(
                "template", template, f"it must hold {{response}} (the placeholders are {known})"
            )
        parts = {}
        for key in ("behavior", "context"):
            parts[key] = fields.text(key, default=None if key in used else "")
            if parts[key] and key not in used:
                raise fields.error(key, parts[key], f"put {{{key}}} into the template or drop it")
            if placeholders(parts[key]) - {"prompt"}:
                raise fields.error(key, parts[key], "the only placeholder here is {prompt}")
        harmful, safe = fields.text("harmful_label"), fields.text("safe_label")
        if reading(harmful) == reading(safe):
            raise fields.error("safe_label", safe, "it must differ from harmful_label")
        lines = fields.texts("lines", default=())
        if len(lines) > MAX_LINES:
            raise fields.error("lines", lines, f"n lines ask 2^n - 1 times: at most {MAX_LINES}")
        chat = fields.flag("chat_template", default=False)
        return cls(
            name=fields.path.stem,
            version=fields.integer("version"),
            source=fields.text("source"),
            licence=fields.text("licence"),
            model=_beside(fields.path, fields.text("model")),
            revision=fields.text("revision", default="") or None,
            template=template,
            behavior=parts["behavior"],
            context=parts["context"],
            harmful_label=harmful,
            safe_label=safe,
            lines=lines,
            strip=fields.flag("strip", default=False),
            max_response_tokens=fields.integer("max_response_tokens", default=512),
            chat_template=chat,
            # A rendered chat template already holds the special tokens.
            add_special_tokens=fields.flag("add_special_tokens", default=not chat),
            min_label_mass=fields.share("min_label_mass", default=0.5),
            threshold=fields.share("threshold", default=0.5),
            fits=fields.kinds(default=PROMPT_KINDS),
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
