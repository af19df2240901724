"""Finds judges: bundled cards by name, a user's own by path, JudgeZoo's by ``judgezoo:NAME``.

Several are named with commas between them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.judges.card_file import checked, read_fields
from bfpo_bench.judges.classifier import ClassifierCard
from bfpo_bench.judges.judgezoo import PREFIX, ZooCard
from bfpo_bench.judges.keyword import KeywordCard
from bfpo_bench.judges.majority import MajorityCard
from bfpo_bench.judges.rubric import RubricCard
from bfpo_bench.run.panel import judges_named

Card = ClassifierCard | KeywordCard | RubricCard | ZooCard | MajorityCard

CARDS = Path(__file__).parent / "cards"
_KINDS: dict[str, type[ClassifierCard | KeywordCard | RubricCard]] = {
    card.kind: card for card in (ClassifierCard, KeywordCard, RubricCard)
}


def names() -> list[str]:
    """Names of the bundled judges, sorted."""
    return sorted(path.stem for path in CARDS.glob("*.yaml"))


def load_judge(name_or_path: str | Path) -> Card:
    """Reads and checks a judge's card. Loads no model.

    Args:
        name_or_path: a bundled judge's name, or the path of a card: anything that ends in ``.yaml``
            or ``.yml`` or names a folder on the way; or ``judgezoo:NAME``. Several of these with
            commas between them stand for their majority.

    Raises:
        BadInput: no such judge, or a card that is not right.
    """
    wanted = str(name_or_path)
    if "," in wanted and (several := judges_named(wanted)) != [wanted]:
        cards = [load_judge(name) for name in several]
        if not cards:
            raise unknown_name("judge", wanted, names())
        return cards[0] if len(cards) == 1 else MajorityCard.of(cards)
    if wanted.startswith(PREFIX):
        return ZooCard.find(wanted)
    if wanted.endswith((".yaml", ".yml")) or Path(wanted).name != wanted:
        path = Path(wanted)
        with suppress(RuntimeError):  # there is no such ~user: the file will not be there
            path = path.expanduser()
    elif wanted in names():
        path = CARDS / f"{wanted}.yaml"
    else:
        raise unknown_name("judge", wanted, names())
    fields = read_fields(path)
    kind = fields.pop("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise unknown_name(f"kind in judge card {path}:", str(kind), _KINDS)
    card = _KINDS[kind]
    return card.read(path, fields) if card is ClassifierCard else checked(card, path, fields)
