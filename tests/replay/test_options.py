"""What does not fit together is refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from r3d2_ros.config import load_config
from r3d2_ros.errors import InputError
from r3d2_ros.replay.options import ReplayOptions, checked


def options(out: str, image_format: str = "", **output: bool) -> ReplayOptions:
    config = load_config(None, {f"output.{key}": value for key, value in output.items()})
    return ReplayOptions(Path("bag"), Path(out), config, image_format=image_format)


def test_the_name_says_what_is_written() -> None:
    assert checked(options("a.mcap")).is_bag
    assert not checked(options("a.folder")).is_bag


@pytest.mark.parametrize("out", ["a.db3", "a.DB3", "a.bag", "a.MCAP"])
def test_other_bags_are_not_written(out: str) -> None:
    with pytest.raises(InputError, match=rf"expected a folder or NAME\.mcap, got '{out}'\. --out a\.mcap writes"):
        checked(options(out))


@pytest.mark.parametrize(
    ("out", "image_format"), [("o.mp4", "mp4"), ("o.AVI", "mp4"), ("o.mkv", "mp4"), ("o.jpg", "jpg"), ("o.png", "png")]
)
def test_a_folder_has_no_name_of_a_video_or_picture(out: str, image_format: str) -> None:
    hint = rf"--out x/o --format {image_format} writes such files into a folder"
    for given in ("", image_format):
        with pytest.raises(InputError, match=rf"expected a folder or NAME\.mcap, got 'x/{out}'\. {hint}"):
            checked(options(f"x/{out}", given))


def test_a_bag_has_pictures() -> None:
    with pytest.raises(InputError, match=r"output\.raw, output\.compressed: .* no pictures\. .* --format raw or jpg"):
        checked(options("a.mcap", raw=False))
    assert checked(options("a.mcap", "jpg", raw=False)).config.output.compressed
    assert checked(options("a.mcap", raw=False, depth=True)).is_bag
    assert checked(options("folder", raw=False)).image_format == "jpg"
