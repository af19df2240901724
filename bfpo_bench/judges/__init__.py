"""Judges: is a response harmful? One YAML card each in ``cards/``; see docs/judges.md."""

from bfpo_bench.judges.classifier import ClassifierCard
from bfpo_bench.judges.judgezoo import ZooCard
from bfpo_bench.judges.keyword import KeywordCard
from bfpo_bench.judges.load import Card, load_judge, names
from bfpo_bench.judges.majority import MajorityCard
from bfpo_bench.judges.protocol import NO_ANSWER, Exchange, Judge, LabelEngine, Verdict, judge_all
from bfpo_bench.judges.rubric import RubricCard

__all__ = [
    "NO_ANSWER",
    "Card",
    "ClassifierCard",
    "Exchange",
    "Judge",
    "KeywordCard",
    "LabelEngine",
    "MajorityCard",
    "RubricCard",
    "Verdict",
    "ZooCard",
    "judge_all",
    "load_judge",
    "names",
]
