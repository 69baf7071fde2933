"""Files that cannot be used: one clear InputError each, quickly, whatever is wrong with them."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from r3d2_ros.cli.main import main
from r3d2_ros.cli.render import write_npy, write_png
from r3d2_ros.errors import InputError
from r3d2_ros.formats import load_gaussians, load_scene, write_inria_ply
from r3d2_ros.formats.files import make_folder
from r3d2_ros.formats.images import write_png as write_sky
from r3d2_ros.formats.scenes import find_scene
from r3d2_ros.formats.sidecar import write_yaml
from r3d2_ros.formats.trajectories import write_trajectory_csv
from r3d2_ros.geometry import Rigid
from tests.formats.plys import gaussian_columns, ply_bytes, write_ply
from tests.formats.test_ply import random_gaussians
from tests.formats.test_splat import splat_bytes

GOOD = ply_bytes(gaussian_columns(4))
BODY = GOOD.split(b"end_header\n")[1]
HEADER = GOOD[: -len(BODY)]


def without(*names: str) -> bytes:
    return ply_bytes({k: v for k, v in gaussian_columns(4).items() if k not in names})


BAD_PLY = {
    "empty": (b"", "an empty file"),
    "truncated": (GOOD[:-1], f"a file of {len(GOOD) - 1} bytes"),
    "no rows": (ply_bytes(gaussian_columns(4), count=0), "0 rows"),
    "absurd count": (ply_bytes(gaussian_columns(4), count=10**12), "1000000000000 rows"),
    "count beyond the file": (ply_bytes(gaussian_columns(4), count=10**7), "a file of"),
    "count beyond int64": (ply_bytes(gaussian_columns(4), count=10**30), "element vertex 1000"),
    "negative count": (ply_bytes(gaussian_columns(4), count=-4), "element vertex -4"),
    "count is no number": (ply_bytes(gaussian_columns(4), count="many"), "element vertex many"),
    "wrong magic": (b"plx" + GOOD[3:], "starts with b'plx"),
    "unterminated": (HEADER.replace(b"end_header\n", b"") + b"\0" * 100, "unterminated"),
    "only the magic": (b"ply\n", "unterminated"),
    "binary header": (b"ply\n\xff\xfe\x00\nend_header\n", "the byte 0xff"),
    "name in Latin-1": (GOOD.replace(b"float y", b"float \xe9"), "line 6: expected ASCII outside of comments"),
    "garbage header": (b"ply\nformat binary_little_endian 1.0\nhello\nend_header\n", "'hello'"),
    "unknown format": (GOOD.replace(b"little_endian", b"middle_endian"), "middle_endian"),
    "unknown type": (GOOD.replace(b"property float y", b"property quad y"), "property quad y"),
    "no format line": (GOOD.replace(b"format binary_little_endian 1.0\n", b""), "none in the header"),
    "property first": (b"ply\nformat ascii 1.0\nproperty float x\nend_header\n", "property float x"),
    "column twice": (GOOD.replace(b"float y", b"float x"), "'x' twice"),
    "list in vertex": (GOOD.replace(b"property float y", b"property list uchar int y"), "lists: y"),
    "no vertex element": (GOOD.replace(b"element vertex", b"element points"), "the elements points"),
    "models": (GOOD.replace(b"element vertex", b"element vertex_obj_001"), "They are models of Street Gaussians"),
    "f_dc gap": (ply_bytes(gaussian_columns(4) | {f"f_dc_{i}": [0.0] for i in (3, 4, 6)}), "6 f_dc columns, with gaps"),
    "odd f_dc": (ply_bytes(gaussian_columns(4) | {"f_dc_3": [0.0]}), "4 f_dc columns"),
    "no opacity": (without("opacity"), "no opacity (it has x, y, z"),
    "2D Gaussians": (without("scale_2"), "no scale_2"),
    "mesh": (without(*(k for k in gaussian_columns() if k not in "xyz")), "no opacity, scale_0"),
    "f_rest gap": (
        ply_bytes({k.replace("f_rest_8", "f_rest_9"): v for k, v in gaussian_columns(4, rest=9).items()}),
        "9 f_rest columns, with gaps",
    ),
    "odd f_rest": (ply_bytes(gaussian_columns(4, rest=10)), "10 f_rest columns"),
    "list in front": (
        ply_bytes(gaussian_columns(4), before=("element face 1\nproperty list uchar int i\n", bytes(5))),
        "it behind one",
    ),
    "huge element in front": (
        ply_bytes(gaussian_columns(4), before=(f"element camera {10**15}\nproperty double a\n", b"")),
        "a file of",
    ),
    "ascii, short": (
        b"ply\nformat ascii 1.0\nelement vertex 2\n" + HEADER[HEADER.index(b"property") :],
        "bytes of text",
    ),
    "ascii, words": (
        b"ply\nformat ascii 1.0\nelement vertex 1\n"
        + HEADER[HEADER.index(b"property") :]
        + b"a b c d e f g " * 2,
        "could not convert",
    ),
    "gzip": (b"\x1f\x8b" + bytes(64), "gzip"),
    "zip": (b"PK\x03\x04" + bytes(64), "zip"),
}


@pytest.mark.parametrize("case", BAD_PLY)
def test_bad_ply(tmp_path: Path, case: str) -> None:
    data, got = BAD_PLY[case]
    path = tmp_path / "bad.ply"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        load_gaussians(path)
    message = str(caught.value)
    assert str(path) in message and got in message and len(message) < 600


def test_a_mesh_is_told_to_be_one(tmp_path: Path) -> None:
    path = write_ply(tmp_path / "mesh.ply", {"x": [0.0], "y": [0.0], "z": [0.0]})
    with pytest.raises(InputError, match=r"opacity, scale_0, .*it has x, y, z.*mesh or a point cloud"):
        load_gaussians(path)


def test_a_sparse_file_with_a_matching_size_is_not_accepted(tmp_path: Path) -> None:
    path = tmp_path / "sparse.ply"
    path.write_bytes(ply_bytes(gaussian_columns(4), count=10**9))
    os.truncate(path, 10**11)
    with pytest.raises(InputError, match="at most 50000000 rows"):
        load_gaussians(path)
    (tmp_path / "sparse.splat").write_bytes(splat_bytes(1))
    os.truncate(tmp_path / "sparse.splat", 32 * 10**9)
    with pytest.raises(InputError, match="at most 50000000 records"):
        load_gaussians(tmp_path / "sparse.splat")


NOT_FILES = {
    "missing.ply": "no such file",
    "folder": "a folder",
    "fifo": "a named pipe, not a regular file",
    "socket": "a socket, not a regular file",
    "zero": "a character device, not a regular file",
    "dangling": "a symbolic link to nothing",
    "loop": "a loop of symbolic links",
    "file/a.ply": "no such file",
    "nul\0byte.ply": "a name with a NUL byte",
    "x" * 300: "File name too long",
}


@pytest.mark.parametrize("name", NOT_FILES)
def test_things_that_are_not_files(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    for link, target in {"zero": "/dev/zero", "dangling": "nothing", "loop": "loop"}.items():
        (tmp_path / link).symlink_to(target)
    monkeypatch.chdir(tmp_path)  # the address of a socket has to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    with pytest.raises(InputError) as caught:
        load_gaussians(tmp_path / name)
    assert caught.value.got == NOT_FILES[name]


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_ply(tmp_path / "a.ply", gaussian_columns(4))

    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="no permission to read it"):
        load_gaussians(path)


def test_what_stands_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "lost").symlink_to("nowhere")
    there = {
        "file": "a file",
        "file/below/it": f"a file at {tmp_path / 'file'}",
        "lost": "a symbolic link to nothing",
        "lost/below": f"a symbolic link to nothing at {tmp_path / 'lost'}",
    }
    for name, got in there.items():
        with pytest.raises(InputError) as caught:
            make_folder(tmp_path / name)
        assert (caught.value.expected, caught.value.got) == ("a folder that can be written", got)


FOREIGN = {
    "a.ksplat": (bytes(64), "an unknown format (extension '.ksplat')", "with PlayCanvas splat-transform"),
    "a.sog": (b"PK\x03\x04", "a zip archive", "with PlayCanvas splat-transform"),
    "a.spz": (b"NGSP", "an .spz file", "with PlayCanvas splat-transform"),
    "packed": (b"\x1f\x8b", "gzip data", "with PlayCanvas splat-transform"),
    "step-1.ckpt": (b"PK\x03\x04", "a zip archive", "`ns-export gaussian-splat` or `gsplat.export_splats`"),
    "old.pth": (b"\x80\x02}q\x00", "an unknown format (extension '.pth')", "`gsplat.export_splats`"),
    "a.npz": (b"PK\x03\x04", "a zip archive", "`gsplat.export_splats`"),
    "a.glb": (b"glTF", "binary glTF", "Export PLY with the program that made it"),
    "a.ply": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n",
        "a Git LFS pointer",
        "`git lfs pull`",
    ),
    "a.mcap": (b"\x89MCAP0\r\n", "an MCAP file", "`r3d2 replay`, which says what of it cannot be read"),
    "a.vol": (bytes(64), "an unknown format (extension '.vol')", "Export PLY with the program that made it"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_formats_are_told_how_they_become_ply(tmp_path: Path, name: str) -> None:
    data, got, hint = FOREIGN[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as caught:
        load_gaussians(tmp_path / name)
    assert caught.value.got.startswith(got) and caught.value.hint.endswith(hint)


def test_a_folder_of_sog_is_called_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(InputError, match=r"scene\.yaml.*no such file"):
        find_scene(tmp_path)
    (tmp_path / "means_l.webp").touch()
    for path in (tmp_path, tmp_path / "meta.json"):
        for read in (load_gaussians, load_scene):
            with pytest.raises(InputError, match="got a SOG folder.*splat-transform"):
                read(path)
        assert main(["check", str(path)]) == 1 and "got a SOG folder" in capsys.readouterr().out
    write_ply(tmp_path / "a.ply", gaussian_columns(4))
    (tmp_path / "scene.yaml").write_text("gaussians: a.ply\n")
    assert len(load_scene(tmp_path).background) == 4 and main(["check", str(tmp_path)]) == 0


BAD_ROWS = {
    "NaN position": ({"x": np.nan}, "position: 1"),
    "infinite position": ({"y": np.inf}, "position: 1"),
    "absurd position": ({"z": 2e8}, "position: 1"),
    "overflowing scale": ({"scale_1": 100.0}, "scale: 1"),
    "absurd scale": ({"scale_1": 20.0}, "scale: 1"),
    "infinite log scale": ({"scale_0": np.inf}, "scale: 1"),
    "NaN log scale": ({"scale_0": np.nan}, "scale: 1"),
    "zero quaternion": ({f"rot_{i}": 0.0 for i in range(4)}, "rotation: 1"),
    "NaN quaternion": ({"rot_2": np.nan}, "rotation: 1"),
    "NaN opacity": ({"opacity": np.nan}, "opacity: 1"),
    "absurd colour": ({"f_dc_1": 1e20}, "colour: 1"),
    "NaN colour": ({"f_rest_3": np.nan}, "colour: 1"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_one_percent_of_unusable_rows_is_dropped_and_more_is_refused(tmp_path: Path, case: str) -> None:
    values, cause = BAD_ROWS[case]
    columns = gaussian_columns(100, rest=9)
    for name, value in values.items():
        columns[name][41] = value
    loaded = load_gaussians(write_ply(tmp_path / "a.ply", columns))
    assert loaded.dropped == 1 and len(loaded.gaussians) == 99
    assert len(loaded.kept) == 100 and np.flatnonzero(~loaded.kept).tolist() == [41]
    assert 42.0 not in loaded.gaussians.means[:, 0] and 43.0 in loaded.gaussians.means[:, 0]
    assert len(loaded.notes) == 1 and cause in loaded.notes[0]
    with pytest.raises(InputError, match=f"1 of 99 rows \\({cause}\\)"):
        load_gaussians(write_ply(tmp_path / "b.ply", {k: v[1:] for k, v in columns.items()}))


def test_a_double_beyond_float32_is_a_bad_row(tmp_path: Path) -> None:
    columns = gaussian_columns(100)
    columns["f_dc_0"][0] = 1e300
    loaded = load_gaussians(write_ply(tmp_path / "a.ply", columns, types={"f_dc_0": "f8"}))
    assert loaded.dropped == 1


def test_writing_fails_clearly_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gaussians = random_gaussians(3)
    with pytest.raises(InputError, match="Create the folder first"):
        write_inria_ply(tmp_path / "no" / "a.ply", gaussians)
    with pytest.raises(InputError, match="a folder"):
        write_inria_ply(tmp_path, gaussians)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a file that can be written, got Not a directory$"):
        write_inria_ply(tmp_path / "file" / "a.ply", gaussians)
    (tmp_path / "file").unlink()
    with pytest.raises(InputError, match="File name too long$"):
        write_inria_ply(tmp_path / ("x" * 250), gaussians)
    old = write_ply(tmp_path / "a.ply", gaussian_columns(4)).read_bytes()
    on_a_full_disk(monkeypatch)
    with pytest.raises(InputError, match="no space left on the disk of"):
        write_inria_ply(tmp_path / "a.ply", gaussians)
    assert (tmp_path / "a.ply").read_bytes() == old and len(list(tmp_path.iterdir())) == 1


def on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is opened for writing is /dev/full, whose every write fails for want of space."""
    real = Path.open

    def opened(path: Path, mode: str = "r") -> IO:
        return real(Path("/dev/full") if "w" in mode else path, mode)

    monkeypatch.setattr(Path, "open", opened)


WRITERS = {
    "ply": lambda path: write_inria_ply(path, random_gaussians(20_000)),
    "sky": lambda path: write_sky(path, np.zeros((300, 600, 3), np.float32)),
    "png": lambda path: write_png(path, np.zeros((4, 4, 3), np.uint8)),
    "npy": lambda path: write_npy(path, np.zeros((300, 300), np.float32)),
    "yaml": lambda path: write_yaml(path, {"a": 1}),
    "csv": lambda path: write_trajectory_csv(path, [Rigid.identity()]),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_called_that(tmp_path: Path, writer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_full_disk(monkeypatch)
    with pytest.raises(InputError) as caught:
        WRITERS[writer](tmp_path / "a")
    assert (caught.value.where, caught.value.got) == (str(tmp_path / "a"), f"no space left on the disk of {tmp_path}")
    assert list(tmp_path.iterdir()) == []


def test_gaussians_that_lack_columns_are_not_called_a_mesh(tmp_path: Path) -> None:
    for name, hint in (("scale_2", "It holds 2D Gaussians (surfels), which are not read"), ("opacity", "")):
        (tmp_path / "a.ply").write_bytes(without(name))
        with pytest.raises(InputError, match=f"no {name} ") as caught:
            load_gaussians(tmp_path / "a.ply")
        assert caught.value.hint == hint
