"""A little of the fuzzer; by hand it goes on with other files (tests/attack/fuzz.py)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.attack.fuzz import MUTATIONS, attempt, mutated
from tests.attack.readers import Reader, put, readers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def there(folder: Path) -> dict[str, Reader]:
    return readers(folder)


def test_what_is_valid_is_read(folder: Path, there: dict[str, Reader]) -> None:
    for reader in there.values():
        if "index" not in reader.name:  # the weights that it names are not there
            reader.read(put(folder, reader, reader.valid))


@given(st.data())
@settings(max_examples=100, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
def test_changed_bytes_are_a_result_or_a_sentence(
    folder: Path, there: dict[str, Reader], data: st.DataObject
) -> None:
    reader = there[data.draw(st.sampled_from(sorted(there)))]
    try:
        attempt(folder, reader, mutated(reader.valid, data.draw(MUTATIONS)))
    finally:
        put(folder, reader, reader.valid)
