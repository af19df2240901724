"""Data files on the Hugging Face hub, through ``datasets``; a repository's code is never run."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote, urlsplit

from bfpo_bench.common.errors import NotHere
from bfpo_bench.common.processes import environment
from bfpo_bench.common.progress import logged
from bfpo_bench.data.files import Record
from bfpo_bench.data.source import Hub


class HubUnavailable(NotHere):
    """A source is not among the local files and could not be had from the hub either.

    Attributes:
        problem: why, without what to do about it: a clause for a list of several.
    """

    def __init__(self, sentence: str, problem: str | None = None) -> None:
        super().__init__(sentence)
        self.problem = problem or sentence


def fetch(source: str, hub: Hub, layout: str) -> list[Record]:
    """The rows of a split, each with its place.

    Downloads on first use and reads the ``datasets`` cache afterwards.

    Args:
        source: name of the source, for errors.
        hub: where it is.
        layout: where in a data folder its files would lie, for errors.

    Raises:
        HubUnavailable: one sentence, whatever the reason.
    """
    try:
        with cache_only_without_network(), logged(f"fetching {source} from the hub"):
            dataset = _load(hub)
    except Exception as error:
        if _unreachable(error) and (lost := _LOST.get()) is not None:
            lost.append(source)
        raise HubUnavailable(
            f"source {source!r} could not be read from the hub, {hub}: {reason(error)}; put its "
            f"files into a folder and name that with --data-dir (expected: {layout}).",
            f"not in a data folder ({layout}), and not to be had from the hub, {hub}: "
            f"{reason(error)}",
        ) from error
    names = {
        column: feature.names
        for column, feature in dataset.features.items()
        if hasattr(feature, "int2str")  # a ClassLabel: numbers that stand for names
    }
    return [
        Record(f"{hub}, row {index}", _named(row, names))
        for index, row in enumerate(dataset.to_list())
    ]


def _load(hub: Hub) -> Any:
    import datasets

    if hub.builder is not None and hub.file is not None:
        revision = f"@{quote(hub.revision, safe='')}" if hub.revision else ""
        address = f"hf://datasets/{hub.repo}{revision}/{hub.file}"
        return datasets.load_dataset(hub.builder, data_files={hub.split: address}, split=hub.split)
    files = {hub.split: hub.file} if hub.file is not None else None
    return datasets.load_dataset(
        hub.repo, hub.config, data_files=files, split=hub.split, revision=hub.revision
    )


def _named(row: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    return {
        column: names[column][cell] if column in names and isinstance(cell, int) else cell
        for column, cell in row.items()
    }


@contextmanager
def cache_only_without_network() -> Iterator[None]:
    """Has ``datasets`` use its cache at once when the hub's name does not even resolve.

    Left to itself it tries for about 25 seconds first, for every data set anew.
    """
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    host = urlsplit(datasets.config.HF_ENDPOINT).hostname or "huggingface.co"
    proxied = any(os.environ.get(name) for name in _PROXIES)
    if _LOST.get() or (not before[0] and not proxied and not _resolves(host)):
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """The hub is not asked for anything in here; what was fetched before is there."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    with environment({"HF_HUB_OFFLINE": "1"}):
        _be_offline(True)
        try:
            yield
        finally:
            _be_offline(before)


def _be_offline(offline: bool) -> None:
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = offline
    if "datasets" in sys.modules:  # whose import takes a second, and goes by the environment
        sys.modules["datasets"].config.HF_HUB_OFFLINE = offline


_LOST: ContextVar[list[str] | None] = ContextVar("lost", default=None)
"""Sources for which the hub was not reached; None where nobody keeps count."""


@contextmanager
def one_failure_is_enough() -> Iterator[None]:
    """Once the hub was not to be reached in here, only the cache is asked for what comes after."""
    before = _LOST.set([])
    try:
        yield
    finally:
        _LOST.reset(before)


def _unreachable(error: BaseException | None) -> bool:
    """Whether no answer came, of whatever library's errors it is made."""
    while error is not None:
        if _NO_ANSWER & {kind.__name__ for kind in type(error).__mro__}:
            return True
        error = error.__cause__ or error.__context__
    return False


_NO_ANSWER = {"ConnectionError", "TimeoutError", "Timeout", "TransportError"}


_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True


def reason(error: BaseException) -> str:
    """Why the hub did not give something, and what to do about gated data, without a full stop."""
    lines = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
    if "gated" in str(error).lower() or "Gated" in type(error).__name__:
        said += " (accept its terms on its hub page, then log in with `hf auth login`)"
    return said
