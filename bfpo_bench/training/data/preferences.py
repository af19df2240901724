"""What preference data say of two responses, and which wins, by each of the paper's rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from bfpo_bench.common.errors import BadInput, unknown_name

Messages = tuple[tuple[str, str], ...]
"""(role, content) of each message of a conversation, in order."""

Segments = tuple[tuple[int, int, float], ...]
"""(start, end, weight) of segments of a response, in characters; see
:mod:`bfpo_bench.training.data.segments`."""


@dataclass(frozen=True)
class PreferenceRecord:
    """One row of preference data. :mod:`bfpo_bench.training.data.formats` makes them.

    Attributes:
        prompt: the conversation up to and including the user's turn that was answered.
        responses: two different, non-empty answers to it; of an unpaired row its one answer, and
            an empty text for the other.
        more_helpful: 0 or 1, the more helpful response; None when the data does not say. Of an
            unpaired row 0 where its answer is desirable and 1 where it is not.
        safe: whether each response is safe; None where the data does not say.
        safer: 0 or 1, the safer response; None when the data does not say and both responses have
            the same safety label (or none).
        source: name of the set, as in the recipe.
        where: where the row stands, for messages.
        weights: segments of each response that weigh more or less.
    """

    prompt: Messages
    responses: tuple[str, str]
    more_helpful: int | None
    safe: tuple[bool | None, bool | None]
    safer: int | None
    source: str
    where: str
    weights: tuple[Segments, Segments] = ((), ())


@dataclass(frozen=True)
class LoadedSet:
    """The records of a set, and what became of its rows.

    Attributes:
        name: the set's.
        records: in the order of files and rows.
        rows: number of rows found, the bad ones and those beyond the limit included.
        bad: one sentence for each row that was skipped, with its place.
        formats: how each file was read; one entry for the hub.
    """

    name: str
    records: list[PreferenceRecord]
    rows: int
    bad: list[str]
    formats: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """What a pairwise method trains on.

    Attributes:
        prompt: (role, content) of each message, ending in the user's turn.
        chosen: the response that wins; empty where there is only one that loses.
        rejected: the one that loses; empty where there is only one that wins.
        chosen_safe: whether the winner is safe; None when not known.
        rejected_safe: the same of the loser.
        source: name of the set.
        margin: MODPO's: difference of the other objectives' weighted rewards, winner minus loser.
        where: where its row stands, for messages.
        weights: segments of the winner and of the loser that weigh more or less.
    """

    prompt: Messages
    chosen: str
    rejected: str
    chosen_safe: bool | None
    rejected_safe: bool | None
    source: str
    margin: float | None = None
    where: str = ""
    weights: tuple[Segments, Segments] = ((), ())

    @property
    def unpaired(self) -> bool:
        """Whether there is only one response, desirable or not."""
        return not (self.chosen and self.rejected)


@dataclass(frozen=True)
class Label:
    """Something that a record may leave open.

    Attributes:
        says: what it tells.
        provided_by: where it can come from.
    """

    says: str
    provided_by: str


MORE_HELPFUL = Label(
    "which response is more helpful",
    "better_response_id (PKU-SafeRLHF), better_modelout or more_helpful (red teaming), or by which "
    "is chosen and which rejected (UltraFeedback, TRL, ShareGPT)",
)
SAFER = Label(
    "which response is safer",
    "safer_response_id (PKU-SafeRLHF), safer (red teaming), or safety labels that differ between "
    "the two responses",
)
SAFETY = Label(
    "whether each response is safe",
    "PKU-SafeRLHF and red-team files, the fields chosen_safe and rejected_safe, or all_safe: true "
    "for a set whose responses all count as safe",
)


def _helpful(record: PreferenceRecord) -> int | Label:
    return MORE_HELPFUL if record.more_helpful is None else record.more_helpful


def _safe(record: PreferenceRecord) -> int | Label:
    return SAFER if record.safer is None else record.safer


def _naive(record: PreferenceRecord) -> int | Label:
    return _helpful(record) if record.safer is None else record.safer


def _bfpo(record: PreferenceRecord) -> int | Label:
    return SAFETY if None in record.safe else _helpful(record)


def _safedpo(record: PreferenceRecord) -> int | Label | None:
    winner = _bfpo(record)
    if isinstance(winner, Label) or record.safe[winner]:
        return winner
    return 1 - winner if record.safe[1 - winner] else None


PAIRINGS: Mapping[str, Callable[[PreferenceRecord], int | Label | None]] = {
    "helpful": _helpful,
    "safe": _safe,
    "naive": _naive,
    "bfpo": _bfpo,
    "safedpo": _safedpo,
}
"""Each tells the response that wins, 0 or 1, or the label that the record lacks for that; None
drops the record.

``helpful``: the more helpful response wins (DPO-H). ``safe``: the safer one (DPO-S). ``naive``: the
safer one where the record tells, else the more helpful one (DPO and IPO on the paper's mix).
``bfpo``: the more helpful one, and the safety of both must be known. ``safedpo``: the more helpful
one if it is safe, else the other if that is; pairs of two unsafe ones are dropped (SafeDPO's T(D),
Kim et al. 2025, arXiv 2505.20065, Section 3).
"""


@dataclass(frozen=True)
class Paired:
    """The pairs of a set, and what its rule has done.

    Attributes:
        pairs: in the order of the records.
        swapped: pairs in which the less helpful response wins.
        dropped: records that make no pair.
    """

    pairs: list[Pair]
    swapped: int
    dropped: int

    def __str__(self) -> str:
        kept = len(self.pairs) - self.swapped
        return f"{kept:,} kept, {self.swapped:,} swapped, {self.dropped:,} dropped"


def make_pairs(pairing: str, records: Sequence[PreferenceRecord]) -> list[Pair]:
    """The pairs of :func:`pair_up` alone."""
    return pair_up(pairing, records).pairs


def pair_up(pairing: str, records: Sequence[PreferenceRecord]) -> Paired:
    """A pair for each record that the rule keeps; safety labels stay whatever the pairing.

    Args:
        pairing: one of :data:`PAIRINGS`.
        records: of any number of sets.

    Raises:
        BadInput: an unknown pairing; records without a label that it takes: names the set,
            how many they are and the first one's place; or nothing is kept.
    """
    if pairing not in PAIRINGS:
        raise unknown_name("pairing", pairing, PAIRINGS)
    found = [(record, PAIRINGS[pairing](record)) for record in records]
    lacking = [(record, label) for record, label in found if isinstance(label, Label)]
    if lacking:
        raise _missing(pairing, records, lacking)
    kept = [(record, winner) for record, winner in found if isinstance(winner, int)]
    if records and not kept:
        raise BadInput(
            f"pairs by {pairing!r} leave nothing of set {records[0].source!r}: in all of its "
            f"{len(records)} records both responses are unsafe; take another set, or another rule."
        )
    swapped = sum(record.more_helpful == 1 - winner for record, winner in kept)
    pairs = [_pair(record, winner) for record, winner in kept]
    return Paired(pairs, swapped, len(records) - len(kept))


def _pair(record: PreferenceRecord, winner: int) -> Pair:
    loser = 1 - winner
    return Pair(
        record.prompt,
        chosen=record.responses[winner],
        rejected=record.responses[loser],
        chosen_safe=record.safe[winner],
        rejected_safe=record.safe[loser],
        source=record.source,
        where=record.where,
        weights=(record.weights[winner], record.weights[loser]),
    )


def _missing(
    pairing: str,
    records: Sequence[PreferenceRecord],
    lacking: Sequence[tuple[PreferenceRecord, Label]],
) -> BadInput:
    first, label = lacking[0]
    count = sum(record.source == first.source and other == label for record, other in lacking)
    total = sum(record.source == first.source for record in records)
    return BadInput(
        f"pairs by {pairing!r} need to know {label.says}, which set {first.source!r} leaves open "
        f"in {count} of its {total} records (first: {first.where}); it is provided by "
        f"{label.provided_by}."
    )


def digest(items: Iterable[Pair | PreferenceRecord]) -> str:
    """sha256 (hex) of texts and labels, in order, as canonical JSON lines.

    What a set is called and where its rows stood (``source``, ``where``) do not enter: the same
    data has the same digest under another name, in another file or format. Weights of segments do
    where there are some.
    """
    sha = hashlib.sha256()
    for item in items:
        content = {f.name: getattr(item, f.name) for f in fields(item) if f.name not in _NAMES}
        if not any(item.weights):
            del content["weights"]
        sha.update(_JSON.encode(content).encode("ascii") + b"\n")
    return sha.hexdigest()


_NAMES = ("source", "where")
_JSON = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"))
