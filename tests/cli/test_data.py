"""``bfpo-bench data``."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bfpo_bench.cli.data import app
from bfpo_bench.common.errors import BadInput
from bfpo_bench.data import hub as hub_files
from bfpo_bench.evaluation.options import read_variants
from bfpo_bench.tasks.catalog import all_sources

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load_dataset(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no network in tests")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub_files, "_resolves", lambda host: True)
    monkeypatch.delenv("BFPO_DATA_DIR", raising=False)


def row(output: str, name: str) -> list[str]:
    """Cells of the first table row of a source."""
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        if cells and cells[0] == name:
            return cells
    raise AssertionError(f"no row {name} in {output}")


def test_list_reads_declarations_only(tmp_path: Path) -> None:
    (tmp_path / "advbench").mkdir()
    (tmp_path / "advbench/harmful_behaviors.csv").write_text("not CSV of this kind")
    (tmp_path / "hhh_alignment").mkdir()
    (tmp_path / "hhh_alignment/other.json").write_text("")
    done = RUNNER.invoke(app, ["list", "--data-dir", str(tmp_path)])
    assert done.exit_code == 0
    assert row(done.output, "advbench")[1:5] == [
        "full (default)",
        "yes",
        "walledai/AdvBench",
        "520",
    ]
    assert row(done.output, "hhh_alignment")[2] == "in part"
    assert row(done.output, "alert_adversarial")[4:6] == ["not known", "not known"]
    assert row(done.output, "winogrande")[3] == "allenai/winogrande winogrande_xl"


def test_check_reports_every_source_and_fails_for_refused_ones(
    data_dir: Path, tmp_path: Path
) -> None:
    done = RUNNER.invoke(app, ["check", "--data-dir", str(data_dir)])
    assert done.exit_code == 2
    assert row(done.stdout, "bbq_lite")[1:6] == [
        "default",
        "bbq_lite_json (18 files)",
        "16076 / 16076",
        "dee2267c4b2f",
        "pinned",
    ]
    assert row(done.stdout, "realtoxicityprompts")[3:6] == [
        "1196 / 1199",
        "7919aac9e543",
        "refused",
    ]
    assert row(done.stdout, "alert")[2:6] == ["-", "- / 14763", "-", "not found"]
    sentences = done.stderr.strip().splitlines()
    assert [line.split("'")[1] for line in sentences] == [
        "crows_pairs",
        "toxigen",
        "realtoxicityprompts",
    ]


def test_check_passes_with_variants_and_allow_unpinned(data_dir: Path) -> None:
    arguments = ["check", "--data-dir", str(data_dir), "--source", "crows_pairs"]
    done = RUNNER.invoke(app, [*arguments, "--variant", "crows_pairs=original"])
    assert done.exit_code == 0
    assert row(done.stdout, "crows_pairs")[5] == "pinned"
    assert "winogrande" not in done.stdout
    done = RUNNER.invoke(app, [*arguments, "--allow-unpinned"])
    assert done.exit_code == 0
    assert row(done.stdout, "crows_pairs")[5] == "differs"


def test_a_named_source_that_is_not_found_fails(tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["check", "--data-dir", str(tmp_path), "--source", "alert"])
    assert done.exit_code == 2
    assert row(done.stdout, "alert")[5] == "not found"
    assert "Babelscape/ALERT" in done.stderr
    everything = RUNNER.invoke(app, ["check", "--data-dir", str(tmp_path)])
    assert everything.exit_code == 0
    assert everything.stdout.count("not found") == len(all_sources())


def test_a_malformed_file_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "advbench").mkdir()
    (tmp_path / "advbench/harmful_behaviors.csv").write_text("goal\nx\n")
    done = RUNNER.invoke(app, ["check", "--data-dir", str(tmp_path), "--source", "advbench"])
    assert done.exit_code == 2
    assert row(done.stdout, "advbench")[2:6] == ["-", "- / 520", "-", "refused"]
    assert "harmful_behaviors.csv, line 1: column 'target' is missing" in done.stderr


def test_mini_items_can_be_checked() -> None:
    done = RUNNER.invoke(app, ["check", "--mini", "--source", "winogrande"])
    assert done.exit_code == 0
    assert row(done.stdout, "winogrande")[5] == "demonstration"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("crows_pairs", "should be SOURCE=NAME"),
        ("crows_pairs=", "should be SOURCE=NAME"),
        ("crows=original", "unknown source 'crows'; did you mean 'crows_pairs'"),
        ("crows_pairs=origina", "did you mean 'original'"),
    ],
)
def test_variants_are_checked(given: str, expected: str) -> None:
    with pytest.raises(BadInput, match=expected):
        read_variants([given])
    assert read_variants(["toxigen=train-sample"]) == {"toxigen": "train-sample"}
