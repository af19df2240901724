"""The tables of a store; docs/results.md describes them.

Columns stand in the order of the fields of :mod:`bfpo_bench.store.records`.
"""

from __future__ import annotations

SCHEMA_VERSION = 1

ANNOTATIONS = """
CREATE TABLE IF NOT EXISTS annotations (
    key TEXT PRIMARY KEY, annotator TEXT NOT NULL, item TEXT NOT NULL, response_key TEXT NOT NULL,
    preference REAL,                       -- 1: the reference wins … 2: the model; NULL: no answer
    raw TEXT,                              -- the annotator's answer, JSON; NULL: nobody was asked
    settings TEXT NOT NULL                 -- how it was asked, JSON
) WITHOUT ROWID;
"""

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
CREATE INDEX scores_of_task ON scores (task, item, choice);
CREATE TABLE responses (
    key TEXT PRIMARY KEY, task TEXT NOT NULL, item TEXT NOT NULL,
    prompt TEXT NOT NULL,                  -- as the model saw it, before tokenisation
    question TEXT NOT NULL,                -- as a judge is shown it, without the chat template
    response TEXT NOT NULL, finish TEXT NOT NULL, seed INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, tokens INTEGER NOT NULL, cut_tokens INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX responses_of_task ON responses (task, item);
CREATE TABLE verdicts (
    key TEXT PRIMARY KEY, judge TEXT NOT NULL, response_key TEXT NOT NULL,
    harmful INTEGER,                       -- 1, 0, or NULL: unknown
    p_harmful REAL, raw TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX verdicts_of_response ON verdicts (response_key, judge);
CREATE TABLE rankings (
    key TEXT PRIMARY KEY, ranker TEXT NOT NULL, first TEXT NOT NULL, second TEXT NOT NULL,
    preference REAL,                       -- above 0: the first response; NULL: no answer
    raw TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE outcomes (
    task TEXT NOT NULL, item TEXT NOT NULL, metric TEXT NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (task, item, metric)
) WITHOUT ROWID;
"""
