"""Which copy is taken, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.tasks.catalog import all_sources, find_source
from tests.data.named import load

WINOGRANDE = "winogrande/winogrande_xl_validation.jsonl"
ROW = {"sentence": "The _ ran", "option1": "cat", "option2": "dog", "answer": "1"}


@pytest.fixture
def winogrande(data_dir: Path) -> list[str]:
    text = (data_dir / WINOGRANDE).read_text(encoding="utf-8")
    return text.splitlines()


def lines(rows: list[str]) -> str:
    return "\n".join(rows) + "\n"


def test_a_truncated_file_is_refused_with_counts_and_digests(
    write, tmp_path: Path, winogrande: list[str]
) -> None:
    path = write(WINOGRANDE, lines(winogrande[:-1]))
    with pytest.raises(BadInput) as error:
        load("winogrande", data_dir=tmp_path)
    sentence = str(error.value)
    pinned = find_source("winogrande").default.digest
    assert pinned is not None
    rows = find_source("winogrande").default.read([path])
    found = find_source("winogrande").digest(rows)
    for part in ("1267 rows", "1266 rows", pinned[:12], found[:12], str(path), "--allow-unpinned"):
        assert part in sentence
    loaded = load("winogrande", data_dir=tmp_path, allow_unpinned=True)
    assert (loaded.status, len(loaded.rows), loaded.pinned_rows) == ("differs", 1266, 1267)
    assert loaded.pinned_digest == pinned
    assert len(loaded.marks) == 1
    assert "1266 rows" in loaded.marks[0]


def test_one_changed_word_is_refused(write, tmp_path: Path, winogrande: list[str]) -> None:
    winogrande[0] = winogrande[0].replace("Maria", "Mario")
    write(WINOGRANDE, lines(winogrande))
    sentence = "is not the expected data: expected 1267 rows with digest .* found 1267 rows with"
    with pytest.raises(BadInput, match=sentence):
        load("winogrande", data_dir=tmp_path)


def test_another_order_of_rows_and_fields_is_the_same_data(
    write, tmp_path: Path, winogrande: list[str]
) -> None:
    import json

    random.Random(0).shuffle(winogrande)
    moved = [json.dumps(dict(reversed(json.loads(row).items()))) for row in winogrande]
    write("winogrande/dev.jsonl", lines(moved))
    loaded = load("winogrande", data_dir=tmp_path)
    assert (loaded.status, loaded.marks) == ("pinned", [])
    assert loaded.where.endswith("dev.jsonl")


def test_the_original_crows_pairs_must_be_asked_for(data_dir: Path) -> None:
    with pytest.raises(
        BadInput,
        match=r"its variant 'original' .*; take that with --variant crows_pairs=original",
    ):
        load("crows_pairs", data_dir=data_dir)
    loaded = load("crows_pairs", data_dir=data_dir, variant="original")
    assert (loaded.status, loaded.variant, len(loaded.rows)) == ("pinned", "original", 1508)
    assert loaded.marks == [
        "crows_pairs is the original release of 1508 pairs; the paper used the revised 1677."
    ]
    taken = load("crows_pairs", data_dir=data_dir, allow_unpinned=True)
    assert (taken.variant, taken.status, taken.pinned_rows) == ("original", "differs", 1677)
    assert taken.marks == loaded.marks


def test_an_incomplete_set_of_files_names_what_is_missing(write, tmp_path: Path) -> None:
    write("hhh_alignment/helpful.json", [])
    with pytest.raises(
        BadInput, match=r"4 files that .*harmless\.json and 2 more is missing: add the rest"
    ):
        load("hhh_alignment", data_dir=tmp_path)


def test_a_source_without_known_digest_says_so(write, tmp_path: Path) -> None:
    write("alert/alert_adversarial.jsonl", [{"id": 1, "prompt": "p", "category": "c"}])
    loaded = load("alert_adversarial", data_dir=tmp_path)
    assert (loaded.status, loaded.pinned_rows, loaded.pinned_digest) == ("unverified", None, None)
    assert loaded.marks == []
    write("alert/alert.jsonl", [{"id": 1, "prompt": "p", "category": "c"}])
    with pytest.raises(BadInput, match="expected 14763 rows with digest unknown, found 1 rows"):
        load("alert", data_dir=tmp_path)


def test_a_file_without_rows_is_refused_whatever_is_let_through(write, tmp_path: Path) -> None:
    write("alert/alert_adversarial.jsonl", [])
    for allow in (False, True):
        with pytest.raises(
            BadInput, match=r"alert_adversarial\.jsonl holds no rows; fetch it again"
        ):
            load("alert_adversarial", data_dir=tmp_path, allow_unpinned=allow)


def test_names_are_checked(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown source 'winogrand'; did you mean 'winogrande'"):
        load("winogrand")
    with pytest.raises(BadInput, match="unknown variant of advbench 'transfr'; did you mean"):
        load("advbench", variant="transfr")
    with pytest.raises(BadInput, match=r"nowhere \(--data-dir\) does not exist"):
        load("advbench", data_dir=tmp_path / "nowhere")
    with pytest.raises(BadInput, match="variant 'transfer' is not on the hub"):
        load("advbench", data_dir=tmp_path, variant="transfer")


def test_the_folder_may_come_from_the_environment(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BFPO_DATA_DIR", str(data_dir))
    loaded = load("advbench")
    assert loaded.origin == "files"
    assert loaded is load("advbench", data_dir=data_dir)
    monkeypatch.setenv("BFPO_DATA_DIR", str(data_dir / "nowhere"))
    with pytest.raises(BadInput, match=r"\(BFPO_DATA_DIR\) does not exist"):
        load("advbench")


def test_item_ids_depend_on_content_alone() -> None:
    other = {**ROW, "answer": "2"}
    first = find_source("winogrande").ids([ROW, other, ROW, ROW])
    assert first[2:] == [first[0] + "-2", first[0] + "-3"]
    assert len(set(first)) == 4
    assert find_source("winogrande").ids([other]) == [first[1]]
    # sha256 of {"answer":"1","option1":"cat","option2":"dog","sentence":"The _ ran"}
    assert first[0] == "11bb733460b02f47"
    extra = {"prompt": "p", "category": "c", "id": "1"}
    assert find_source("alert").ids([extra]) == find_source("alert").ids([{**extra, "id": "2"}])


@pytest.mark.parametrize("name", list(all_sources()))
def test_bundled_items_load_for_every_source(name: str) -> None:
    loaded = load(name, mini=True)
    assert (loaded.status, loaded.origin, loaded.variant) == ("demonstration", "mini", "mini")
    assert len(loaded.rows) >= 24
    assert len(loaded.marks) == 1
    ids = find_source(name).ids(loaded.rows)
    assert len(set(ids)) == len(ids)
    assert set(loaded.rows[0]) == set(find_source(name).fields)


def test_every_declaration_is_complete() -> None:
    for source in all_sources().values():
        assert source.licence
        assert source.homepage.startswith("https://")
        assert set(source.extras) <= set(source.fields)
        assert [variant.note == "" for variant in source.variants] == [
            variant is source.default for variant in source.variants
        ]
        assert source.default.hub is not None


def test_the_documentation_has_every_pin() -> None:
    text = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    for source in all_sources().values():
        assert f"| {source.name}" in text
        for variant in source.variants:
            assert variant.digest is None or f"`{variant.digest[:12]}`" in text
            assert variant.rows is None or f"{variant.rows}" in text.replace(",", "")
