"""Which response wins, by each of the paper's rules."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.preferences import (
    PAIRINGS,
    Pair,
    PreferenceRecord,
    digest,
    make_pairs,
    pair_up,
)
from tests.training import rows

SAFETY = PreferenceRecord(
    prompt=(("user", "How do locks work?"),),
    responses=("Pins.", "Ask a locksmith."),
    more_helpful=0,
    safe=(False, True),
    safer=1,
    source="safety",
    where="safety.json, line 2",
)
HELPFUL = replace(
    SAFETY, more_helpful=1, safe=(True, True), safer=None, source="chat", where="chat.json, line 9"
)
UNLABELLED = replace(HELPFUL, safe=(None, None))


@pytest.mark.parametrize(
    ("pairing", "record", "chosen", "labels"),
    [
        ("helpful", SAFETY, "Pins.", (False, True)),
        ("safe", SAFETY, "Ask a locksmith.", (True, False)),
        ("naive", SAFETY, "Ask a locksmith.", (True, False)),
        ("bfpo", SAFETY, "Pins.", (False, True)),
        ("helpful", HELPFUL, "Ask a locksmith.", (True, True)),
        ("naive", HELPFUL, "Ask a locksmith.", (True, True)),
        ("bfpo", HELPFUL, "Ask a locksmith.", (True, True)),
        ("naive", UNLABELLED, "Ask a locksmith.", (None, None)),
        ("safedpo", SAFETY, "Ask a locksmith.", (True, False)),  # swapped
        ("safedpo", HELPFUL, "Ask a locksmith.", (True, True)),
        ("safedpo", replace(SAFETY, safe=(True, False)), "Pins.", (True, False)),
    ],
)
def test_the_winner(
    pairing: str, record: PreferenceRecord, chosen: str, labels: tuple[bool, bool]
) -> None:
    (pair,) = make_pairs(pairing, [record])
    assert pair.chosen == chosen
    assert {pair.chosen, pair.rejected} == set(record.responses)
    assert (pair.chosen_safe, pair.rejected_safe) == labels
    assert (pair.prompt, pair.source, pair.margin) == (record.prompt, record.source, None)


@pytest.mark.parametrize(
    ("pairing", "lacking", "label", "provider"),
    [
        ("helpful", replace(SAFETY, more_helpful=None), "response is more helpful,", "better_resp"),
        ("naive", replace(HELPFUL, more_helpful=None), "response is more helpful,", "better_resp"),
        ("safe", HELPFUL, "response is safer,", "safer_response_id"),
        ("bfpo", UNLABELLED, "whether each response is safe,", "all_safe: true"),
        ("bfpo", replace(SAFETY, safe=(True, None)), "each response is safe,", "all_safe: true"),
        ("bfpo", replace(SAFETY, more_helpful=None), "response is more helpful,", "better_resp"),
        ("safedpo", UNLABELLED, "whether each response is safe,", "all_safe: true"),
    ],
)
def test_a_missing_label_is_named_with_what_provides_it(
    pairing: str, lacking: PreferenceRecord, label: str, provider: str
) -> None:
    other = replace(SAFETY, source="other")
    with pytest.raises(BadInput, match=f"pairs by '{pairing}' need to know") as error:
        make_pairs(pairing, [other, replace(SAFETY, source=lacking.source), lacking, lacking])
    message = str(error.value)
    assert label in message
    assert f"set {lacking.source!r} leaves open in 2 of its 3 records" in message
    assert f"(first: {lacking.where}); it is provided by" in message
    assert provider in message.partition("provided by")[2]


def test_what_a_rule_keeps_swaps_and_drops() -> None:
    unsafe = replace(SAFETY, safe=(False, False), safer=None)
    records = [SAFETY, HELPFUL, unsafe, replace(SAFETY, safe=(True, False)), unsafe]
    found = pair_up("safedpo", records)
    assert [pair.where for pair in found.pairs] == [records[i].where for i in (0, 1, 3)]
    assert str(found) == "2 kept, 1 swapped, 2 dropped"
    assert str(pair_up("bfpo", records)) == "5 kept, 0 swapped, 0 dropped"
    assert str(pair_up("naive", [SAFETY, UNLABELLED])) == "1 kept, 1 swapped, 0 dropped"
    # Where nobody says which is more helpful, nothing is swapped.
    assert str(pair_up("safe", [replace(SAFETY, more_helpful=None)])).startswith("1 kept, 0 swap")
    with pytest.raises(BadInput, match="leave nothing of set 'safety': in all of its 2 records"):
        pair_up("safedpo", [unsafe, unsafe])


def test_an_unknown_pairing() -> None:
    with pytest.raises(BadInput, match="unknown pairing 'helpfull'; did you mean 'helpful'"):
        make_pairs("helpfull", [SAFETY])


def test_real_rows_by_each_pairing(data_dir: Path) -> None:
    path = data_dir / "preference" / "pku_saferlhf_32.json"
    upstream = json.loads(path.read_text(encoding="utf-8"))
    records = rows.read("safety", path).records
    for pairing, field in {
        "helpful": "better_response_id",
        "bfpo": "better_response_id",
        "safe": "safer_response_id",
        "naive": "safer_response_id",
    }.items():
        for pair, row in zip(make_pairs(pairing, records), upstream, strict=True):
            winner = row[field]
            assert pair.chosen == row[f"response_{winner}"]
            assert pair.rejected == row[f"response_{1 - winner}"]
            assert pair.chosen_safe is row[f"is_response_{winner}_safe"]
            assert pair.rejected_safe is row[f"is_response_{1 - winner}_safe"]
    assert set(PAIRINGS) == {"helpful", "bfpo", "safe", "naive", "safedpo"}
    better = [(row["better_response_id"], row) for row in upstream]
    safe = [[row[f"is_response_{i}_safe"] for i in (w, 1 - w)] for w, row in better]
    assert str(pair_up("safedpo", records)) == (
        f"{sum(s[0] for s in safe)} kept, {safe.count([False, True])} swapped, "
        f"{safe.count([False, False])} dropped"
    )


def test_the_digest_is_of_canonical_json_lines() -> None:
    pair = Pair((("user", "é?"),), "yes", "no", True, None, "a")
    line = (
        '{"chosen":"yes","chosen_safe":true,"margin":null,"prompt":[["user","\\u00e9?"]],'
        '"rejected":"no","rejected_safe":null}\n'
    )
    assert digest([pair]) == hashlib.sha256(line.encode("ascii")).hexdigest()
    assert digest([pair, pair]) == hashlib.sha256(2 * line.encode("ascii")).hexdigest()


def test_the_digest_is_of_the_data_not_of_its_names() -> None:
    pairs = make_pairs("bfpo", [SAFETY, HELPFUL])
    renamed = [replace(pair, source="renamed") for pair in pairs]
    assert digest(renamed) == digest(pairs)
    assert digest([replace(SAFETY, where="elsewhere", source="b")]) == digest([SAFETY])
    assert digest(reversed(pairs)) != digest(pairs)
    for change in ({"chosen": "x"}, {"rejected_safe": None}, {"margin": 0.5}, {"prompt": ()}):
        assert digest([replace(pairs[0], **change), pairs[1]]) != digest(pairs)
