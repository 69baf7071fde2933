"""Pickles of strangers: damaged in any place, or longer in memory than on the disk, they are refused in words."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.convert import pickles
from r3d2_ros.harmonizer.convert.pickles import read_pickle

DATA = {"a.weight": torch.arange(12.0).reshape(3, 4), "rank": 4, "names": ["x", "y"], "b": torch.ones(5).half()}


@pytest.fixture(params=[True, False], ids=["zip", "old"])
def written(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    torch.save(DATA, tmp_path / "model.pkl", _use_new_zipfile_serialization=request.param)
    return tmp_path / "model.pkl"


def test_both_formats_are_read(written: Path) -> None:
    data = read_pickle(written)
    assert data.keys() == DATA.keys() and data["rank"] == 4
    assert torch.equal(data["a.weight"], DATA["a.weight"]) and torch.equal(data["b"], DATA["b"])


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_refused_or_read(written: Path) -> None:
    """Cut off anywhere, and with bytes changed: never anything but a dictionary or an InputError."""
    whole, generator, refused = written.read_bytes(), random.Random(1), 0
    for number in range(300):
        data = bytearray(whole)
        if number % 2:
            for _ in range(generator.randrange(1, 8)):
                data[generator.randrange(len(data))] = generator.randrange(256)
        else:
            data = data[: generator.randrange(len(data))]
        written.write_bytes(data)
        try:
            assert isinstance(read_pickle(written), dict)
        except InputError as error:
            assert error.where == str(written)
            refused += 1
    assert refused > 150


def test_a_compressed_entry_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """20 MB of nothing in 20 kB: torch.save never compresses."""
    torch.save(DATA, tmp_path / "whole.pkl")
    path = tmp_path / "bomb.pkl"
    with zipfile.ZipFile(tmp_path / "whole.pkl") as whole, zipfile.ZipFile(path, "w") as bomb:
        for name in whole.namelist():
            packed = name.endswith("data.pkl")
            data = b"\x80\x02" + b"N" * 20_000_000 + b"." if packed else whole.read(name)
            bomb.writestr(name, data, zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED)
    with pytest.raises(InputError, match="torch.save writes them, not compressed, got compressed: whole/data.pkl"):
        read_pickle(path)


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "shared.pkl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02N." + b"\0" * 1000)
        archive.filelist *= 10
    with pytest.raises(InputError, match="entries that share their bytes"):
        read_pickle(path)


def test_a_long_description_is_refused(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte of it may become an object."""
    monkeypatch.setattr(pickles, "MAX_PICKLE_BYTES", 100)
    monkeypatch.setattr(pickles.torch, "load", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(InputError, match="at most 100 bytes that describe the tensors"):
        read_pickle(written)


def test_code_in_the_old_format_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return marker.touch, ()

    torch.save({"w": Evil()}, tmp_path / "evil.pkl", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="tensors and plain values.*nothing of it was executed"):
        read_pickle(tmp_path / "evil.pkl")
    assert not marker.exists()
