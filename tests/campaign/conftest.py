"""A campaign whose tasks do what the text of their bag says, and a Ray cluster."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from r3d2_ros.campaign import work
from r3d2_ros.cli.main import main
from tests.replay.small import write_small

FAKE = (sys.executable, str(Path(__file__).with_name("fake.py")))


class Place:
    """A campaign file, its bags and the folder of its results."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.out = folder, folder / "campaign.yaml", folder / "out"
        self.config = write_small(folder / "sim")

    def write(self, keys: str = "", configurations: str = "{plain: {file: sim/sim.yaml}}", **bags: str) -> None:
        """The campaign file and bags with these texts."""
        for name, text in bags.items():
            (self.folder / name).write_text(text + "\n")
        listed = "".join(f"\n  {name}: {name}" for name in bags)
        self.file.write_text(f"out: out\nbags:{listed}\nconfigurations: {configurations}\n{keys}\n")

    def run(self, *extra: str) -> int:
        return main(["campaign", "run", str(self.file), *extra])

    def begun(self) -> list[str]:
        """Names of the tasks whose command was started since this was last asked, sorted."""
        path = self.folder / "begun.txt"
        lines = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return sorted(lines)

    def tasks(self) -> dict[str, Any]:
        return json.loads((self.out / "campaign.json").read_text())["tasks"]

    def states_or_none(self) -> dict[str, str]:
        return self.states() if (self.out / "campaign.json").exists() else {}

    def states(self) -> dict[str, str]:
        return {name: task["state"] for name, task in self.tasks().items()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(work, "COMMAND", FAKE)
    return Place(tmp_path)


@pytest.fixture
def cluster() -> Iterator[str]:
    """Address of a Ray cluster of two workers, which ignores SIGINT as one does that a script started with `&`."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install 'r3d2_ros[ray]'")
    script = Path(__file__).with_name("ray_cluster.py")
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        line = next((line for line in process.stdout if line.startswith("address ")), "")
        assert line, "the cluster did not start"
        yield line.split()[1]
    finally:
        process.communicate()
