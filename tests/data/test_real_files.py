"""The published files: counts, digests and rendering, each against something independent."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.tasks.catalog import find_source
from tests.data.named import load

# Rows as the paper's percentages and the publishers have them.
COUNTS = {
    ("crows_pairs", "original"): 1508,
    ("bbq_lite", None): 16_076,
    ("winogrande", None): 1267,
    ("ethics_commonsense", None): 3885,
    ("ethics_justice", None): 2704,
    ("ethics_deontology", None): 3596,
    ("ethics_utilitarianism", None): 4808,
    ("ethics_virtue", None): 4975,
    ("hhh_alignment", None): 221,
    ("toxigen", "train-sample"): 940,
    ("advbench", None): 520,
    ("advbench", "transfer"): 388,
    ("alpaca_eval", None): 805,
    ("xstest_safe", None): 250,
    ("xstest_unsafe", None): 200,
    ("harmbench_standard", None): 200,
    ("harmbench_contextual", None): 100,
    ("harmbench_copyright", None): 100,
    ("jailbreakbench_benign", None): 100,
    ("jailbreakbench_harmful", None): 100,
    ("strongreject", None): 313,
    ("coconot_contrast", None): 379,
    ("coconot_safety", None): 395,
    ("multijail", None): 315,
}


def digest_of(identities: Iterable[object]) -> str:
    """The documented digest, written out once more."""
    lines = [json.dumps(i, sort_keys=True, separators=(",", ":")) for i in identities]
    return hashlib.sha256("".join(line + "\n" for line in sorted(lines)).encode()).hexdigest()


@pytest.mark.parametrize(("name", "variant"), COUNTS)
def test_whole_copies_are_pinned(data_dir: Path, name: str, variant: str | None) -> None:
    loaded = load(name, data_dir=data_dir, variant=variant)
    assert len(loaded.rows) == COUNTS[name, variant]
    assert loaded.status == "pinned"
    assert loaded.origin == "files"
    assert len(loaded.marks) == (0 if variant is None else 1)
    ids = find_source(name).ids(loaded.rows)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("name", "file", "columns", "header"),
    [
        ("ethics_commonsense", "ethics/commonsense/cm_test.csv", "label input", True),
        ("ethics_justice", "ethics/justice/justice_test.csv", "label scenario", True),
        (
            "ethics_deontology",
            "ethics/deontology/deontology_test.csv",
            "label scenario excuse",
            True,
        ),
        (
            "ethics_utilitarianism",
            "ethics/utilitarianism/util_test.csv",
            "activity baseline",
            False,
        ),
        ("advbench", "advbench/harmful_behaviors.csv", "goal target", True),
    ],
)
def test_pandas_reads_the_same_rows(
    data_dir: Path, name: str, file: str, columns: str, header: bool
) -> None:
    import pandas as pd

    names = columns.split()
    frame = pd.read_csv(
        data_dir / file,
        header=0 if header else None,
        names=None if header else names,
        keep_default_na=False,
        encoding="utf-8",
    )
    found = digest_of(frame[names].to_dict(orient="records"))
    assert found == find_source(name).default.digest


def test_bbq_and_winogrande_digests_written_out(data_dir: Path) -> None:
    rows = (data_dir / "winogrande/winogrande_xl_validation.jsonl").read_text(encoding="utf-8")
    assert (
        digest_of(json.loads(row) for row in rows.splitlines())
        == find_source("winogrande").default.digest
    )
    items = [
        {
            "question": f"Q: {example['input']}",
            "choices": sorted([c.strip(), s] for c, s in example["target_scores"].items()),
        }
        for path in data_dir.glob("bbq_lite_json/*/task.json")
        for example in json.loads(path.read_text(encoding="utf-8"))["examples"]
    ]
    assert digest_of(items) == find_source("bbq_lite").default.digest


@pytest.mark.parametrize(
    ("name", "published"),
    [("bbq_lite", 6_898_580), ("hhh_alignment", 273_006)],
)
def test_rendered_prompts_have_the_size_that_the_hub_data_set_card_gives(
    data_dir: Path, name: str, published: int
) -> None:
    """``num_bytes`` of the split "default" on the card of google/bigbench, to the byte.

    The card's numbers are sizes of Arrow tables in batches of 10,000 rows: 4 bytes per number and
    offset, the UTF-8 texts, and one validity bit for every row and for every choice.
    """
    rows = load(name, data_dir=data_dir).rows
    size = 0
    for start in range(0, len(rows), 10_000):
        batch = rows[start : start + 10_000]
        size += arrow_size(batch)
    assert size == published


def arrow_size(rows: Sequence[dict[str, Any]]) -> int:
    count = len(rows)
    choices = sum(len(row["choices"]) for row in rows)
    right = [
        choice
        for row in rows
        for choice, score in zip(row["choices"], row["scores"], strict=True)
        if score == 1
    ]
    texts = [row["inputs"] for row in rows] + right + [c for row in rows for c in row["choices"]]
    offsets = 4 * (count + 1)
    return (
        4 * count  # idx
        + offsets  # inputs
        + offsets + 4 * (len(right) + 1)  # targets
        + offsets + 4 * (choices + 1)  # multiple_choice_targets
        + offsets + 4 * choices  # multiple_choice_scores
        + sum(len(text.encode()) for text in texts)
        + -(-count // 8) + -(-choices // 8)
    )  # fmt: skip


def test_hhh_prompts_are_dialogues_without_the_choices(data_dir: Path) -> None:
    loaded = load("hhh_alignment", data_dir=data_dir)
    sizes = dict.fromkeys(("harmless", "helpful", "honest", "other"), 0)
    for row in loaded.rows:
        sizes[row["subset"]] += 1
        assert row["inputs"].startswith("Human: ")
        assert row["inputs"].endswith("\nAssistant:")
        assert "  choice: " not in row["inputs"]
        assert row["scores"] == [1, 0]
    assert sizes == {"harmless": 58, "helpful": 59, "honest": 61, "other": 43}


def test_each_bbq_template_is_wholly_in_one_family(data_dir: Path) -> None:
    rows = load("bbq_lite", data_dir=data_dir).rows
    families = defaultdict(set)
    position: dict[str, int] = defaultdict(int)
    comments = {
        path.parent.name: [
            example["comment"]
            for example in json.loads(path.read_text(encoding="utf-8"))["examples"]
        ]
        for path in data_dir.glob("bbq_lite_json/*/task.json")
    }
    assert len(comments) == 18
    for row in rows:
        comment = comments[row["category"]][position[row["category"]]]
        position[row["category"]] += 1
        families[comment["category"], str(comment["question_index"])].add(row["group"])
    assert len(families) == 165
    assert all(len(groups) == 1 for groups in families.values())
    assert len({row["group"] for row in rows}) == 137


def test_the_transfer_goals_are_among_the_full_ones(data_dir: Path) -> None:
    full = {row["goal"] for row in load("advbench", data_dir=data_dir).rows}
    transfer = load("advbench", data_dir=data_dir, variant="transfer").rows
    assert {row["goal"] for row in transfer} < full


def test_three_challenging_prompts_are_missing_from_the_copy_at_hand(data_dir: Path) -> None:
    loaded = load("realtoxicityprompts", data_dir=data_dir, allow_unpinned=True)
    assert (len(loaded.rows), loaded.pinned_rows, loaded.status) == (1196, 1199, "differs")
    assert len(loaded.marks) == 1


def test_reading_files_loads_no_heavy_package(data_dir: Path) -> None:
    code = (
        "import sys; from bfpo_bench.data import load_source; "
        "from bfpo_bench.tasks.bbq_lite import SOURCE; "
        f"load_source(SOURCE, data_dir={str(data_dir)!r}); "
        "print([m for m in ('datasets', 'pandas', 'torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
