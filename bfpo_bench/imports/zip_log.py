"""The entries of an ``.eval`` file, read one by one, whichever way they are packed.

inspect_ai packs with zstd, which Python's zipfile knows from 3.14 on; pyarrow has it at hand.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo
from zlib import error as ZlibError

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.text import valid_text

ZSTD = 93
"""Its number in the ZIP format."""

LARGEST = 2**28
"""Bytes of one entry: what is packed can have any size, and what is read takes far more."""

# RuntimeError: it is encrypted, or too deep.
_DAMAGES = (
    ValueError,
    RuntimeError,
    OSError,
    EOFError,
    BadZipFile,
    ZlibError,
    LZMAError,
    struct.error,
)

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


class ZipLog:
    """An open log.

    Attributes:
        names: of its entries; of several of one name the last counts, as for inspect_ai.
    """

    def __init__(self, path: Path, file: ZipFile) -> None:
        self.path = path
        self._file = file
        self._entries = {entry.filename: entry for entry in file.infolist()}
        self.names = list(self._entries)

    def json(self, name: str) -> Any:
        """The value in an entry; its texts can all be written as UTF-8.

        Raises:
            BadInput: it is damaged, or too large.
        """
        entry = self._entries[name]
        try:
            if entry.file_size > LARGEST:
                raise ValueError(f"it has {entry.file_size} bytes")
            packed = self._bytes(entry)
            found = json.loads(packed, parse_constant=lambda _: None)
            # Half a surrogate pair stands in JSON as an escape only.
            return valid_text(found) if _HALF.search(packed) else found
        except _DAMAGES as error:
            raise BadInput(
                f"{self.path} is a damaged log ({name}: {error}); copy it again."
            ) from error

    def _bytes(self, entry: ZipInfo) -> bytes:
        if entry.compress_type != ZSTD:
            with self._file.open(entry) as opened:
                return opened.read(LARGEST)
        from pyarrow import BufferReader, CompressedInputStream

        file = self._file.fp
        assert file is not None
        file.seek(entry.header_offset)
        # The local header's name and extra field may be other than the directory's.
        name, extra = struct.unpack("<HH", file.read(30)[26:])
        file.seek(entry.header_offset + 30 + name + extra)
        packed = BufferReader(file.read(entry.compress_size))
        with CompressedInputStream(packed, "zstd") as opened:
            # Several frames follow each other in a large one.
            return bytes(opened.read(LARGEST))


@contextmanager
def opened(path: Path) -> Iterator[ZipLog]:
    """The log in a file.

    Raises:
        BadInput: it cannot be read, or is no ZIP.
    """
    try:
        with ZipFile(path) as file:
            yield ZipLog(path, file)
    except (OSError, BadZipFile, NotImplementedError) as error:
        raise BadInput(
            f"{path} is no whole log of inspect_ai ({error}); copy it again, or name another file."
        ) from error
