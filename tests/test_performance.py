"""The page of performance says what the record of the benchmark holds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "chain_speed.json"


def loaded() -> ModuleType:
    path = ROOT / "benchmarks" / "chain_tables.py"
    spec = importlib.util.spec_from_file_location("chain_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["chains", "training", "against"])
def test_a_table_of_the_page_is_that_of_the_record(name: str) -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    tables, report = loaded().tables, json.loads(RECORD.read_text())
    assert tables(report)[name] in page
    for row in report["against"] if name == "against" else report["rows"]:  # the control
        row["speed" if name == "against" else "ratio"] += 0.01
    assert tables(report)[name] not in page
