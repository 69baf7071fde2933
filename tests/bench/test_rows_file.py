"""Measurements that `python -m` runs: their file is looked at before, so that none is lost."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from r3d2_ros.bench import render, transport
from tests.cli.test_bench import RENDER_ROW, ROS_ROW


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`transport` sets it."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


EACH = pytest.mark.parametrize(
    ("module", "measure", "row"),
    [(render, "bench_render", RENDER_ROW | {"threads": 2}), (transport, "run", ROS_ROW)],
    ids=["render", "transport"],
)


@EACH
def test_rows_are_written_where_a_file_can_be(
    module: ModuleType, measure: str, row: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, measure, lambda **options: [row])
    assert module.main(["--json", str(tmp_path / "new" / "rows.json")]) == 0
    assert json.loads((tmp_path / "new" / "rows.json").read_text()) == [row]


@EACH
def test_a_folder_is_refused_before_anything_is_measured(
    module: ModuleType,
    measure: str,
    row: dict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured = []
    monkeypatch.setattr(module, measure, lambda **options: measured.append(1))
    with pytest.raises(SystemExit, match="2"):
        module.main(["--json", str(tmp_path)])
    assert not measured
    assert f"--json: {tmp_path}: expected the name of a file to write, got a folder" in capsys.readouterr().err


@EACH
def test_what_was_measured_is_printed_where_the_file_fails_at_last(
    module: ModuleType,
    measure: str,
    row: dict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "rows.json"

    def measured(**options: object) -> list[dict]:
        path.mkdir()
        print(row["name"])
        return [row]

    monkeypatch.setattr(module, measure, measured)
    with pytest.raises(SystemExit, match="1"):
        module.main(["--json", str(path)])
    shown = capsys.readouterr()
    assert row["name"] in shown.out and f"{path}: expected the name of a file" in shown.err
