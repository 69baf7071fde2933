"""`r3d2 train` as a process: signals, exit status, and two processes of one training."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml

from r3d2_ros.cli import train as command
from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.model.checkpoints import save_checkpoint
from r3d2_ros.harmonizer.model.tensor_files import read_tensors
from r3d2_ros.training.endings import ended_from_outside
from tests.harmonizer.small import TINY, seeded
from tests.training.small import config, write_pairs

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def write_config(tmp_path: Path, name: str = "mine.yaml", **changes: object) -> Path:
    """A training that begins with a small checkpoint."""
    if not (tmp_path / "start").exists():
        save_checkpoint(seeded(TINY), tmp_path / "start")
        write_pairs(tmp_path / "pairs")
    model = {"checkpoint": str(tmp_path / "start"), "variant": "", "timestep": -1}
    settings = asdict(config(tmp_path, pairs=tmp_path / "pairs", model=model, **changes))
    settings["licences"] = list(settings["licences"])
    (tmp_path / name).write_text(yaml.safe_dump(settings))
    return tmp_path / name


def launched(*words: str | Path) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "r3d2_ros.cli.main", "train", *map(str, words)]
    return subprocess.Popen(line, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def readers_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes that read its images: copies of itself."""
    mine = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and (place / "cmdline").read_bytes() == mine:
                found.append(int(place.name))
    return sorted(found)


@pytest.mark.parametrize("dead", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_reader_that_is_killed_ends_the_training_with_its_newest_checkpoint(tmp_path: Path, dead: int) -> None:
    endless = write_config(tmp_path, steps=1_000_000, save={"every": 2}, data={"workers": 2}, ema=0.0)
    process = launched(endless)
    log = tmp_path / "out" / "log.jsonl"
    begin = time.monotonic()
    while not (log.is_file() and log.read_text().count("\n") > 3):
        assert process.poll() is None and time.monotonic() - begin < 90, process.communicate()
        time.sleep(0.2)
    readers = readers_of(process)
    assert len(readers) == 2
    for reader in readers[:dead]:
        os.kill(reader, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in said, said
    assert "data.workers: expected processes that read images to the end, got DataLoader worker (pid" in said
    newest = max(path.name for path in (tmp_path / "out" / "checkpoints").iterdir() if path.name[0] != ".")
    assert f"{newest} is the newest checkpoint" in said
    assert "data.workers: 0" in said and "--shm-size" in said and "--resume goes on" in said


def test_the_death_of_a_reader_is_told_without_the_words_of_what_was_at_work() -> None:
    """PyTorch raises it in a signal's handler, so in the middle of anything."""
    death = "DataLoader worker (pid 7) is killed by signal: Killed."
    told = ended_from_outside(RuntimeError(f"Error while saving: {death}"), None)
    assert f"to the end, got {death}; there is no checkpoint yet" in str(told)
    assert ended_from_outside(RuntimeError("Error while saving: no space left"), None) is None


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, id="ctrl-c"), pytest.param(signal.SIGTERM, id="term", marks=pytest.mark.slow)],
)
def test_a_signal_saves_a_checkpoint_that_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    endless = write_config(tmp_path, steps=1_000_000, save={"every": 1_000_000}, ema=0.0)
    process = launched(endless)
    log = tmp_path / "out" / "log.jsonl"
    begin = time.monotonic()
    while not (log.is_file() and log.read_text().count("\n") > 2):
        assert process.poll() is None and time.monotonic() - begin < 90, process.communicate()
        time.sleep(0.2)
    process.send_signal(number)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    checkpoints = list((tmp_path / "out" / "checkpoints").iterdir())
    assert len(checkpoints) == 1 and out == f"ended early: {checkpoints[0]}; --resume goes on\n"
    steps = json.loads((checkpoints[0] / "training.json").read_text())["step"]
    assert checkpoints[0].name == f"harmonizer_{steps:08d}" and steps >= 3
    assert json.loads(log.read_text().splitlines()[-1])["step"] == steps


def run(*words: str | Path) -> int:
    parser = argparse.ArgumentParser(prog="r3d2")
    command.add_parser(parser.add_subparsers(dest="command"))
    return command.run(parser.parse_args(["train", *map(str, words)]))


def test_options_take_the_place_of_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--data", tmp_path / "pairs", "--out", tmp_path / "other", "--checkpoint", tmp_path / "start")
    mine = write_config(tmp_path, data={"folders": ["nowhere"]}, steps=2, save={"every": 2, "tensorboard": True})
    assert run(mine, *options) == 0
    assert capsys.readouterr().out == f"trained: {tmp_path / 'other' / 'checkpoints' / 'harmonizer_00000002'}\n"
    assert list((tmp_path / "other" / "tensorboard" / "harmonizer").glob("events*"))


def test_shipped_recipes_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command.config_file("nano").name == "nano.yaml"
    (tmp_path / "nano").mkdir()
    monkeypatch.chdir(tmp_path)  # where a training may well have written into ./nano
    assert command.config_file("nano").name == "nano.yaml"
    names = "nano, nano_1080, nano_1080_agree, r3d2, r3d2_big"
    with pytest.raises(InputError, match=f"CONFIG: expected a file, or one of {names}, got 'nana'"):
        command.config_file("nana")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_train_as_one_with_both_their_samples(tmp_path: Path) -> None:
    """The gradients are averaged, so two processes with one sample each take the step of one process with two."""
    one = write_config(tmp_path, "one.yaml", batch=2, ema=0.0, steps=1, out="one")
    two = write_config(tmp_path, "two.yaml", batch=1, ema=0.0, steps=1, out="two")
    single = launched(one)
    _, said = single.communicate(timeout=280)
    assert single.returncode == 0, said
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    words = ["-m", "r3d2_ros.cli.main", "train", str(two)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    pair = subprocess.Popen([*line, *words], env=ENVIRONMENT, text=True, cwd=ROOT, start_new_session=True, **pipes)
    try:
        out, said = pair.communicate(timeout=280)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pair.pid, signal.SIGKILL)
    assert pair.returncode == 0, said
    assert out.count("trained:") == 1
    facts = json.loads((tmp_path / "two" / "checkpoints" / "harmonizer_00000001" / "training.json").read_text())
    assert facts["processes"] == 2
    results = [
        read_tensors(tmp_path / name / "checkpoints" / "harmonizer_00000001" / "training.safetensors")
        for name in ("one", "two")
    ]
    for key in results[0]:
        if key.startswith("exp_avg/"):
            torch.testing.assert_close(results[0][key], results[1][key], rtol=1e-3, atol=1e-6)
