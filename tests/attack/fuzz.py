"""Mutated bytes of valid files, for every reader: a right result or a sentence, and in time.

By hand, as long as you like: ``python -m tests.attack.fuzz --seconds 600``, with ``--only KIND`` or
``--seed N`` where wanted.
It says each fault once, with the file that shows it.
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hypothesis import strategies as st

from tests.attack.attempt import Hang, limits
from tests.attack.readers import ANSWER, Reader, put, readers
from tests.attack.texts import CLIPBOARD

SECONDS = 60

PIECES = (
    *(b"", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"\x1b[2J", b"\n", b"\r", b'"', b","),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"- ",
        b"&a ",
        b"*a",
        b"? ",
        b"!!int ",
        b"null",
        b"true",
        b"-1",
    ),
    *(
        b"1e999",
        b"NaN",
        b"9" * 400,
        b"9" * 5_000,
        b"1" + b"0" * 30,
        b"0.5",
        b"[[[[[[",
        b"{}",
        b"[]",
    ),
    *(b"'", b"#", b"|\n", b"\t", b"x" * 5_000, CLIPBOARD.encode(), "\u202e".encode(), b"\\u0000"),
)
"""What is put into files."""

MUTATIONS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.sampled_from(PIECES)), min_size=1, max_size=4
)
"""For each: where, how many bytes are taken out there, what is put in."""


def mutated(content: bytes, mutations: list[tuple[float, int, bytes]]) -> bytes:
    """The content with changes."""
    for where, gone, piece in mutations:
        place = int(where * len(content))
        content = content[:place] + piece + content[place + gone :]
    return content


def by_chance(chance: random.Random) -> list[tuple[float, int, bytes]]:
    """What `MUTATIONS` draws, faster."""
    return [
        (chance.random(), chance.choice((0, 0, 1, 2, 5, 20, 40)), chance.choice(PIECES))
        for _ in range(chance.randint(1, 4))
    ]


def attempt(folder: Path, reader: Reader, content: bytes) -> None:
    """Reads a content; raises whatever is neither a result nor a sentence."""
    path = put(folder, reader, content)
    with limits(SECONDS), suppress(*ANSWER):
        reader.read(path)


def fault_of(error: BaseException) -> str:
    """Where in the package an error came up: the same for each file that shows it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/bfpo_bench/" in frame.filename] or frames
    return f"{type(error).__name__} at {ours[-1].filename}:{ours[-1].lineno}"


def main(words: Sequence[str] | None = None) -> None:
    """The fuzzer by hand; ends with 1 where it has found something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args(words)
    logging.disable(logging.CRITICAL)
    chance = random.Random(given.seed)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    there = readers(folder)
    kinds = [given.only] if given.only else list(there)
    found: dict[str, int] = {}
    tries, slowest, until = 0, (0.0, ""), time.monotonic() + given.seconds
    while time.monotonic() < until:
        kind = kinds[tries % len(kinds)]
        content = mutated(there[kind].valid, by_chance(chance))
        tries += 1
        began = time.monotonic()
        try:
            attempt(folder, there[kind], content)
        except (Exception, Hang) as error:
            fault = f"{kind}: {fault_of(error)}"
            found[fault] = found.get(fault, 0) + 1
            if found[fault] == 1:
                kept = folder / f"fault-{len(found)}"
                kept.write_bytes(content)
                print(f"{fault}: {str(error)[:200]}\n  {kept}", flush=True)
        finally:
            put(folder, there[kind], there[kind].valid)
        slowest = max(slowest, (time.monotonic() - began, kind))
    print(f"{tries:,} files by seed {given.seed}, {len(found)} faults; slowest {slowest}")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
