"""Data files on the Hugging Face hub, through ``datasets``; a repository's code is never run."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data.files import Record
from bfpo_bench.data.source import Hub


class HubUnavailable(BadInput):
    """A source is not among the local files and could not be had from the hub either."""


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
        with cache_only_without_network():
            dataset = _load(hub)
    except Exception as error:
        raise HubUnavailable(
            f"source {source!r} could not be read from the hub, {hub}: {reason(error)}; put its "
            f"files into a folder and name that with --data-dir (expected: {layout}), or leave "
            "its task out with --tasks."
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

    before = datasets.config.HF_HUB_OFFLINE
    host = urlsplit(datasets.config.HF_ENDPOINT).hostname or "huggingface.co"
    proxied = any(os.environ.get(name) for name in _PROXIES)
    if not before and not proxied and not _resolves(host):
        datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


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
