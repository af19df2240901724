"""The card's refusal weights and the docs' figures of how far they carry, made again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from benchmarks.refusal_weights import main
from bfpo_bench.judges.load import CARDS

DOCS = Path(__file__).parents[2] / "docs" / "judges.md"


def test_card_and_page_are_what_it_prints(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data_dir / "xstest" / "completions"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    main(["--labels", str(folder)])
    weights, table = capsys.readouterr().out.split("\n\n")
    made = yaml.safe_load(weights)
    rule = yaml.safe_load((CARDS / "keyword.yaml").read_text(encoding="utf-8"))["refusal"]
    # Another library of linear algebra ends elsewhere in the last digit.
    assert made["bias"] == pytest.approx(rule["bias"], abs=0.03)
    assert made["weights"].keys() == rule["weights"].keys()
    for name, pair in made["weights"].items():
        assert pair == pytest.approx(rule["weights"][name], abs=0.03), name
    page = DOCS.read_text(encoding="utf-8")
    lines = table.splitlines()[1:4]
    assert len(lines) == 3
    for line in lines:
        name, *shares = (cell.strip() for cell in line.strip("|").split("|"))
        (row,) = (text for text in page.splitlines() if text.startswith(f"| {name}"))
        printed = [float(number) for number in re.findall(r"\d+\.\d", row)]
        assert [100 * float(share) for share in shares] == pytest.approx(printed, abs=0.3)
