"""The YAML card of a rubric judge: what a served model is asked, which model, and where it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from bfpo_bench.client import Secret, Server
from bfpo_bench.common.errors import BadInput
from bfpo_bench.judges.fields import Fields
from bfpo_bench.judges.protocol import PROMPT_KINDS, Judge, LabelEngine
from bfpo_bench.judges.rubric import RESPONSE_FORMAT, TEMPERATURE, RubricJudge
from bfpo_bench.judges.template import placeholders

# Raised whenever the code behind a card changes so that the same card gives other verdicts.
IMPLEMENTATION = 1

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True)
class RubricCard:
    """A rubric judge as its YAML card describes it. Nobody is contacted.

    Attributes:
        name: the card's file name without ``.yaml``.
        model: name under which the server knows the model.
        base_url: what stands before ``/chat/completions``, usually ending in ``/v1``.
        api_key_env: environment variable that holds the server's key.
        system: system prompt: the rubric, and how to answer.
        user: the user's turn, with ``{response}`` and perhaps ``{prompt}``; both are filled in as
            JSON strings, quotes included. Every other brace is plain text.
        max_chars: a response is judged by its first so many characters; of a prompt the last so
            many are shown.
        max_tokens: most tokens of an answer, a reasoning model's thoughts included.
        concurrency: requests under way at a time; changes no verdict.
        fits: kinds of prompts whose responses it can judge.
    """

    kind: ClassVar[str] = "rubric"

    name: str
    version: int
    source: str
    licence: str
    model: str
    base_url: str
    api_key_env: str
    system: str
    user: str
    max_chars: int
    max_tokens: int
    concurrency: int
    fits: tuple[str, ...] = PROMPT_KINDS

    @classmethod
    def parse(cls, fields: Fields) -> RubricCard:
        """Checks the fields of a card file.

        Raises:
            BadInput: for a field that is missing, unknown or not right.
        """
        fields.allow({f.name for f in dataclasses.fields(cls)} - {"name"} | {"kind"})
        system, user = fields.text("system"), fields.text("user")
        if placeholders(system):
            raise fields.error("system", system, "placeholders belong into the field 'user'")
        used = placeholders(user)
        if "response" not in used or used - {"response", "prompt"}:
            raise fields.error(
                "user", user, "it must hold {response}; the only other placeholder is {prompt}"
            )
        variable = fields.text("api_key_env", default="OPENAI_API_KEY")
        if not _VARIABLE.fullmatch(variable):
            # Not quoted: somebody may have put the key itself here.
            raise BadInput(
                f"judge card {fields.path}: field 'api_key_env' is no name like OPENAI_API_KEY; "
                "give the name of the environment variable that holds the key, never the key."
            )
        try:
            base_url = Server(fields.text("base_url")).base_url
        except BadInput as error:
            # Its sentence knows what not to quote.
            if str(error).startswith("judge card"):
                raise
            raise BadInput(f"judge card {fields.path}: field 'base_url': {error}") from None
        return cls(
            name=fields.path.stem,
            version=fields.integer("version"),
            source=fields.text("source"),
            licence=fields.text("licence"),
            model=fields.text("model"),
            base_url=base_url,
            api_key_env=variable,
            system=system,
            user=user,
            max_chars=fields.integer("max_chars", default=12_000),
            max_tokens=fields.integer("max_tokens", default=1024),
            concurrency=fields.integer("concurrency", default=16),
            fits=fields.kinds(default=PROMPT_KINDS),
        )

    def at(self, model: str | None = None, base_url: str | None = None) -> RubricCard:
        """The same rubric, asked of another model or server; None leaves the card's.

        Raises:
            BadInput: this is no base URL.
        """
        return dataclasses.replace(
            self,
            model=model or self.model,
            base_url=Server(base_url).base_url if base_url is not None else self.base_url,
        )

    def server(self) -> Server:
        """The server with its key, not yet contacted.

        Raises:
            BadInput: the environment holds no key; a server on this machine may do without.
        """
        key = Secret.from_environment(self.api_key_env)
        server = Server(self.base_url, key)
        if key is None and not server.is_local:
            raise BadInput(
                f"judge {self.name!r} asks {self.base_url} and needs its key: set "
                f"{self.api_key_env} in the environment, or name another server with --judge-url."
            )
        return server

    def identity(self, weights: str | None = None) -> dict[str, Any]:
        """Everything on our side that could change a verdict, as plain JSON values.

        Which weights the server holds under the model's name is not known. Never holds the key.
        """
        content = json.dumps([self.system, self.user, self.max_chars, RESPONSE_FORMAT])
        return {
            "judge": self.name,
            "kind": self.kind,
            "version": self.version,
            "implementation": IMPLEMENTATION,
            "card": hashlib.sha256(content.encode()).hexdigest(),
            "model": self.model,
            "base_url": self.base_url,
            "sampling": {"temperature": TEMPERATURE, "max_tokens": self.max_tokens},
        }

    def open(self, engine: LabelEngine | None = None) -> Judge:
        """Contacts the server with one harmless question. Takes no engine.

        Raises:
            BadInput: there is no key or no server, or the server refuses.
            RunFailed: the server gives no usable answer.
        """
        return RubricJudge(self, self.server())
