"""Stores of schema 2, whose verdicts had no refusal: read as they are, and gone on with."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bfpo_bench.run.repair import open_whole
from bfpo_bench.run.store import SCHEMA_VERSION, ResponseRecord, Store, VerdictRecord

THEN = """
DROP TABLE verdicts;
CREATE TABLE verdicts (
    key TEXT PRIMARY KEY, judge TEXT NOT NULL, task TEXT NOT NULL, item TEXT NOT NULL,
    harmful INTEGER,                       -- 1, 0, or NULL: unknown
    p_harmful REAL, raw TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX verdicts_of_response ON verdicts (task, item, judge, harmful);
CREATE UNIQUE INDEX verdicts_asked ON verdicts (judge, task, item);
INSERT INTO verdicts VALUES ('0a', 'j', 't', 'a', 1, 0.75, 'yes');
INSERT INTO verdicts VALUES ('0b', 'j', 't', 'b', NULL, NULL, '');
UPDATE meta SET value = '2' WHERE name = 'schema';
"""
VERDICTS = [
    VerdictRecord("0a".ljust(32, "0"), "j", "t", "a", True, 0.75, "yes"),
    VerdictRecord("0b".ljust(32, "0"), "j", "t", "b", None, None, ""),
]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "samples.sqlite"
    with Store(path) as store:
        store.add_responses(
            ResponseRecord(f"{i}".zfill(32), "t", i, "", "", "", "stop", 0, 1, 1, 0) for i in "ab"
        )
        tables = tables_of(path)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(THEN)
        db.execute("UPDATE verdicts SET key = substr(key || printf('%032d', 0), 1, 32)")
        db.commit()
    assert tables_of(path) == tables
    return path


def tables_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [name for (name,) in db.execute("SELECT name FROM sqlite_master ORDER BY name")]


def schema(path: Path) -> str:
    with closing(sqlite3.connect(path)) as db:
        return str(db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()[0])


def test_it_is_read_and_gone_on_with(old: Path) -> None:
    def look(store: Store) -> None:
        assert store.verdicts("t", "j") == VERDICTS
        assert store.verdicts_on("t", "a") == VERDICTS[:1]
        assert store.verdict_counts("t", "j") == {True: 1, False: 0, None: 1}
        assert not store.of_schema_1

    with Store(old, read_only=True) as store:
        look(store)
    assert schema(old) == "2"
    with Store(old) as store:
        look(store)
        told = replace(VERDICTS[1], refusal="partial_refusal", p_refusal=0.5)
        store.add_verdicts([told])
    assert schema(old) == str(SCHEMA_VERSION) == "3"
    for read_only in (True, False):
        with Store(old, read_only=read_only) as store:
            assert store.verdicts("t", "j") == [VERDICTS[0], told]


@pytest.mark.parametrize("prepare", [lambda old: None, lambda old: Store(old).close()])
def test_a_damaged_one_is_rescued(old: Path, prepare: Callable[[Path], None]) -> None:
    prepare(old)
    old.rename(old.with_name("samples.sqlite.damaged-1"))
    with open_whole(old) as store:
        assert store.verdicts("t", "j") == VERDICTS
    assert schema(old) == str(SCHEMA_VERSION)
