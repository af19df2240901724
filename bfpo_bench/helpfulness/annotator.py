"""Which annotator is asked and where it is: found and identified before any long work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass as checked

from bfpo_bench.client import GaveUp, Refused, Secret, Server, ask
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.options import Options
from bfpo_bench.common.progress import Progress
from bfpo_bench.common.validate import STRICT
from bfpo_bench.engines.open import choose_backend, open_engine
from bfpo_bench.engines.options import Loading
from bfpo_bench.helpfulness.annotator_config import OFFICIAL, AnnotatorConfig, load_config
from bfpo_bench.helpfulness.cost import Budget
from bfpo_bench.helpfulness.local import LocalAnnotator
from bfpo_bench.helpfulness.served import ServedAnnotator
from bfpo_bench.judges.chosen import judging_window
from bfpo_bench.models.chat import Chat
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.clock import told_date
from bfpo_bench.models.config import find_causal_model
from bfpo_bench.models.fingerprint import checkpoint_identity
from bfpo_bench.models.template_files import read_chat_template

OPENAI = "https://api.openai.com/v1"
FIRST_TRIES = 3


@checked(frozen=True, kw_only=True, config=STRICT)
class AnnotatorOptions(Options):
    """What a user can ask of an annotator.

    Attributes:
        annotator: ``openai:MODEL``, ``local``, or the name of an alpaca_eval configuration, which
            is then asked of the model it was made for.
        annotator_config: configuration for the first two; default: AlpacaEval 2's.
        annotator_model: checkpoint folder or hub id that ``local`` loads; with a URL the name
            under which that server knows the model.
        annotator_url: base URL of a server.
        annotator_key_env: environment variable that holds the server's key.
        concurrency: questions under way at a time.
    """

    annotator: str
    annotator_config: str | None = None
    annotator_model: str | None = None
    annotator_url: str | None = None
    annotator_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 16
    loading: Loading = Loading()


@dataclass(frozen=True)
class ChosenAnnotator:
    """An annotator whose configuration was read and whose model was found, not yet asked.

    Attributes:
        model: name under which the server knows it.
        server: None where it is loaded here, from `files`.
    """

    options: AnnotatorOptions
    config: AnnotatorConfig
    model: str
    server: Server | None
    files: ModelFiles | None

    @property
    def name(self) -> str:
        """How tables call it: the configuration, and the model where it is not its own."""
        if self.model == self.config.model:
            return self.config.name
        shown = Path(self.model).name if self.model.startswith(("/", ".")) else self.model
        return f"{self.config.name}:{shown}"

    @property
    def backend(self) -> str:
        """What loads it, where it is loaded here."""
        return choose_backend(self.options.loading.backend)

    @property
    def where(self) -> str:
        """Where it is asked, for people."""
        return self.server.base_url if self.server else f"a model that is loaded ({self.backend})"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All on our side that its answers depend on, as plain JSON values; never the key."""
        place: dict[str, Any]
        loading = self.options.loading
        if self.files is None:
            assert self.server is not None
            place = {"model": self.model, "base_url": self.server.base_url}
        else:
            place = {
                **checkpoint_identity(self.files, generation=True, code=loading.trust_remote_code),
                "backend": self.backend,
                "dtype": loading.number_format(self.files).dtype,
                **told_date(read_chat_template(self.files.folder), loading.date),
            }
        content = self.config.fingerprint()
        return {"annotator": self.name, "config": self.config.name, "content": content, **place}

    @contextmanager
    def opened(
        self, budget: Budget, progress: Progress
    ) -> Iterator[ServedAnnotator | LocalAnnotator]:
        """The annotator, ready for questions: a served one has answered a first one; a model that
        is loaded here is there while the body runs.

        Args:
            budget: of what a served one may cost.

        Raises:
            BadInput: the endpoint refuses, or cannot give what the configuration needs; the model
                cannot be loaded or asked.
            RunFailed: the endpoint gives no usable answer.
        """
        if self.server is not None:
            progress.say(f"Asking annotator {self.name} at {self.server.base_url} …")
            of_name = (self.name, self.config, self.model, self.server)
            yield ServedAnnotator(*of_name, self.options.concurrency, budget, progress)
            return
        assert self.files is not None
        loading = self.options.loading
        if note := loading.number_format(self.files).note:
            progress.say(f"Annotator {self.name}: {note}.")
        max_length = judging_window(self.files)
        options = loading.engine_options(self.files, max_length=max_length)
        with progress.stage(f"loading annotator {self.name} ({self.backend})"):
            engine = open_engine(self.backend, options)
        try:
            template = read_chat_template(self.files.folder)
            chat = Chat(engine.tokenizer, template, loading.date)
            yield LocalAnnotator(self.name, self.config, engine, chat)
        finally:
            engine.close()


def choose_annotator(options: AnnotatorOptions, asked: bool = True) -> ChosenAnnotator:
    """Finds an annotator. Asks it nothing that costs.

    Args:
        asked: whether it will be; else its server may lack a key.

    Raises:
        BadInput: one sentence for the first thing that cannot be had.
    """
    kind, _, model = options.annotator.partition(":")
    if kind == "openai":
        if not model:
            raise BadInput(
                "--annotator openai needs a model's name behind it, such as openai:gpt-4.1."
            )
        if options.annotator_model is not None:
            raise BadInput(
                "--annotator openai:MODEL names its model itself; leave --annotator-model out."
            )
        config = load_config(options.annotator_config or OFFICIAL)
        return ChosenAnnotator(options, config, model, _keyed(options, OPENAI, asked), None)
    if options.annotator == "local":
        return _local(options, load_config(options.annotator_config or OFFICIAL))
    if options.annotator_config is not None:
        raise BadInput(
            "--annotator-config goes with --annotator openai:MODEL or local; "
            f"{options.annotator!r} names a configuration itself."
        )
    if options.annotator.casefold() == "local" or model:
        raise BadInput(
            f"unknown annotator {options.annotator!r}; write openai:{model or 'MODEL'} for a model "
            "of an OpenAI-compatible endpoint, local for a model of yours, or the name of a "
            "configuration of alpaca_eval."
        )
    config = load_config(options.annotator)
    server = _keyed(options, config.base_url or OPENAI, asked)
    return ChosenAnnotator(options, config, options.annotator_model or config.model, server, None)


def _keyed(options: AnnotatorOptions, default: str, asked: bool) -> Server:
    """The server with its key, not yet contacted."""
    key = Secret.from_environment(options.annotator_key_env)
    server = Server(options.annotator_url or default, key)
    if asked and server.lacks_key:
        raise BadInput(
            f"annotator {options.annotator!r} needs a key for {server.base_url}: set "
            f"{options.annotator_key_env} in the environment, or name a server that takes none "
            "with --annotator-url."
        )
    return server


def _local(options: AnnotatorOptions, config: AnnotatorConfig) -> ChosenAnnotator:
    if options.annotator_url is not None:
        key = Secret.from_environment(options.annotator_key_env)
        server = Server(options.annotator_url, key)
        model = options.annotator_model or _only_model(server)
        return ChosenAnnotator(options, config, model, server, None)
    if options.annotator_model is None:
        raise BadInput(
            "--annotator local needs --annotator-url URL (a server that is running) or "
            "--annotator-model PATH (a model that is loaded for it)."
        )
    if lacking := config.needs_server:
        raise BadInput(
            f"the annotator configuration {config.name} needs {lacking}, which a server gives: "
            "name one with --annotator-url, or another configuration with --annotator-config."
        )
    loading = options.loading
    backend, code = loading.chosen_backend(), loading.trust_remote_code
    files = find_causal_model(options.annotator_model, None, backend, code)
    if read_chat_template(files.folder) is None:
        raise BadInput(
            f"{files.name} has no chat template, and an annotator is asked in a chat; name an "
            "instruction-tuned model with --annotator-model."
        )
    return ChosenAnnotator(options, config, files.name, None, files)


def _only_model(server: Server) -> str:
    """The model that a server lists, where it lists one."""

    def read(reply: Any) -> list[str]:
        listed = reply.get("data") if isinstance(reply, dict) else None
        cards = listed if isinstance(listed, list) else []
        return [str(card["id"]) for card in cards if isinstance(card, dict) and card.get("id")]

    try:
        names = ask(server, lambda caller: caller.get("models", read, tries=FIRST_TRIES))
    except GaveUp as error:
        raise BadInput(
            f"no annotator answers at {server.base_url} ({error.reason}); start the server, or "
            "correct --annotator-url."
        ) from None
    except Refused as error:
        raise BadInput(
            f"the server at {server.base_url} does not list its models (HTTP {error.status}); name "
            "the annotator's with --annotator-model, and its key in --annotator-key-env."
        ) from None
    if len(names) != 1:
        listed = ", ".join(names[:10]) or "none"
        raise BadInput(
            f"the server at {server.base_url} has {len(names)} models to choose from ({listed}); "
            "say which annotates with --annotator-model."
        )
    return names[0]
