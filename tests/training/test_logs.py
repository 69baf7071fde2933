"""What a training says of itself: seconds of a step without looks and checkpoints, and looks all over the val split."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from r3d2_ros.dataset.samples import Sample, open_dataset
from r3d2_ros.errors import InputError
from r3d2_ros.training import logs as module
from r3d2_ros.training import train as loop
from r3d2_ros.training.looks import spread
from r3d2_ros.training.train import Run, train
from tests.training.small import config, write_pairs


class Clock:
    """Stands still but for what `after` adds."""

    def __init__(self) -> None:
        self.now = 0.0

    def after(self, seconds: float, function: Any) -> Any:
        """The function, which then takes so long."""

        def slow(*args: Any, **named: Any) -> Any:
            self.now += seconds
            return function(*args, **named)

        return slow


def test_seconds_of_a_step_are_those_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 2 s, looks of 10 s and checkpoints of 100 s, neither of which falls on the lines of the log."""
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(Run, "step", clock.after(2, Run.step))
    monkeypatch.setattr(Run, "save", clock.after(100, Run.save))
    monkeypatch.setattr(loop, "look", clock.after(10, loop.look))
    pairs = write_pairs(tmp_path / "pairs")
    save = {"log_every": 4, "pictures_every": 3, "every": 5}
    train(config(tmp_path, pairs=pairs, steps=8, save=save), resume=False, stop=threading.Event())
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 4, 6, 8]
    assert [line["seconds_per_step"] for line in lines if "seconds_per_step" in line] == [2.0, 2.0]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (10, list(range(10))), (64, list(range(10)))],
)
def test_looks_are_spread_over_the_val_split(tmp_path: Path, count: int, expected: list[int]) -> None:
    samples = open_dataset(write_pairs(tmp_path / "pairs", train=0, val=10)).split("val")
    assert spread(samples, count) == [samples[k] for k in expected]
    assert spread((), count) == []


def test_a_look_sees_the_last_sample_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def look(stage: object, mean: object, samples: list[Sample], *_: object) -> tuple[dict[str, float], np.ndarray]:
        seen.extend(sample.name for sample in samples)
        return {}, np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(loop, "look", look)
    pairs = write_pairs(tmp_path / "pairs", val=7)
    save = {"pictures_every": 1, "pictures": 3}
    train(config(tmp_path, pairs=pairs, steps=1, save=save), resume=False, stop=threading.Event())
    assert seen == ["val/val_000", "val/val_003", "val/val_006"]


def test_a_look_shows_samples_of_any_width_whole(tmp_path: Path) -> None:
    """32 x 48 and 32 x 80: three columns of 80, in the first row with 32 black pixels behind each picture."""
    both = [write_pairs(tmp_path / "one", val=1), write_pairs(tmp_path / "two", val=1, size=(32, 80))]
    for file in ("train", "val"):  # sequences have the samples' names
        for path in (both[1] / file).glob("*/meta.json"):
            path.write_text(json.dumps({**json.loads(path.read_text()), "sequence": f"wide_{path.parent.name}"}))
    settings = config(
        tmp_path, pairs=tmp_path, steps=1, batch=1, data={"folders": [str(folder) for folder in both]},
        save={"pictures_every": 1},
    )  # fmt: skip
    train(settings, resume=False, stop=threading.Event())
    picture = cv2.imread(str(tmp_path / "out" / "pictures" / "harmonizer_00000001.png"))
    assert picture.shape == (64, 240, 3)
    for row, (folder, width) in enumerate(zip(both, (48, 80), strict=True)):
        shown = picture[32 * row : 32 * row + 32]
        for column, name in ((0, "input"), (2, "target")):
            tile = shown[:, 80 * column : 80 * column + 80]
            assert np.array_equal(tile[:, :width], cv2.imread(str(folder / "val" / "val_000" / f"{name}.png")))
            assert not tile[:, width:].any()


def test_a_look_at_a_damaged_picture_leaves_the_checkpoint_of_its_step(tmp_path: Path) -> None:
    """They fall together in every recipe."""
    pairs = write_pairs(tmp_path / "pairs")
    damaged = pairs / "val" / "val_000" / "target.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    settings = config(tmp_path, pairs=pairs, steps=4, save={"pictures_every": 2, "every": 2})
    with pytest.raises(InputError, match=f"{damaged}: expected a PNG"):
        train(settings, resume=False, stop=threading.Event())
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["harmonizer_00000002"]
