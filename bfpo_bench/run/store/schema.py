"""The tables of a store; docs/results.md describes them.

Columns stand in the order of the fields of :mod:`bfpo_bench.run.store.records`. What was asked is a
unique key in each table of answers, beside the hash of all that the answer depends on: one question
has one answer, and an answer under another hash is refused and not put beside it.
"""

from __future__ import annotations

SCHEMA_VERSION = 3

ASKED = {
    "scores": ("task", "item", "choice"),
    "responses": ("task", "item"),
    "verdicts": ("judge", "task", "item"),
    "rankings": ("ranker", "task", "first", "second"),
    "annotations": ("annotator", "task", "item"),
}
"""What was asked, in each table of answers: the columns that no two rows share."""

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (
    task TEXT NOT NULL, item TEXT NOT NULL, position INTEGER NOT NULL,
    row TEXT NOT NULL,                     -- the canonical row, JSON
    PRIMARY KEY (task, item)
) WITHOUT ROWID;
CREATE TABLE scores (
    key TEXT PRIMARY KEY, task TEXT NOT NULL, item TEXT NOT NULL, choice INTEGER NOT NULL,
    context TEXT NOT NULL, continuation TEXT NOT NULL,
    loglikelihood REAL NOT NULL, is_greedy INTEGER NOT NULL, cut_tokens INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE responses (
    key TEXT PRIMARY KEY, task TEXT NOT NULL, item TEXT NOT NULL,
    prompt TEXT NOT NULL,                  -- as the model saw it, before tokenisation
    question TEXT NOT NULL,                -- as a judge is shown it, without the chat template
    response TEXT NOT NULL, finish TEXT NOT NULL, seed INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, tokens INTEGER NOT NULL, cut_tokens INTEGER NOT NULL,
    thought TEXT,                          -- what came before the answer; NULL: nothing split off
    no_answer TEXT                         -- why there is none; NULL: there is one
) WITHOUT ROWID;
CREATE TABLE verdicts (
    key TEXT PRIMARY KEY, judge TEXT NOT NULL, task TEXT NOT NULL, item TEXT NOT NULL,
    harmful INTEGER,                       -- 1, 0, or NULL: unknown
    p_harmful REAL, raw TEXT NOT NULL,
    refusal TEXT,                          -- compliance, partial_refusal, full_refusal, or NULL
    p_refusal REAL
) WITHOUT ROWID;
CREATE INDEX verdicts_of_response ON verdicts (task, item, judge, harmful);
CREATE TABLE rankings (
    key TEXT PRIMARY KEY, ranker TEXT NOT NULL,
    task TEXT NOT NULL, first TEXT NOT NULL, second TEXT NOT NULL,
    preference REAL,                       -- above 0: the first response; NULL: no answer
    raw TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE annotations (
    key TEXT PRIMARY KEY, annotator TEXT NOT NULL, task TEXT NOT NULL, item TEXT NOT NULL,
    preference REAL,                       -- 1: the reference wins … 2: the model; NULL: no answer
    raw TEXT,                              -- the annotator's answer, JSON; NULL: nobody was asked
    settings TEXT NOT NULL                 -- how it was asked, JSON
) WITHOUT ROWID;
CREATE TABLE outcomes (
    task TEXT NOT NULL, item TEXT NOT NULL, metric TEXT NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (task, item, metric)
) WITHOUT ROWID;
"""


def statements() -> list[str]:
    """What makes an empty store, statement by statement."""
    tables = [part for part in TABLES.split(";\n") if part.strip()]
    unique = [
        f"CREATE UNIQUE INDEX {table}_asked ON {table} ({', '.join(columns)})"
        for table, columns in ASKED.items()
    ]
    return tables + unique
