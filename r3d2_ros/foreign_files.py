"""Files of other programs that are given for one of ours, told by their first bytes, and what to do with them."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 64
"""Enough of a file for `foreign_file`."""

BAG_HINT = "As a bag it is for `r3d2 replay`, which says what of it cannot be read"
ROS1_BAG_HINT = "Bags of ROS 1 are not read: `rosbags-convert --src NAME.bag --dst FOLDER` makes a rosbag2 of one"
LFS_HINT = "Fetch the file that it stands for: `git lfs pull`"
OPENCV_HINT = (
    "Of a calibration copy camera_matrix.data[0], [4], [2], [5] (K: [fx, fy, cx, cy]), distortion_coefficients.data "
    "(D) and the image size into a rig file as config/rigs/demo3.yaml is one, and add the pose"
)


@dataclass(frozen=True)
class ForeignFile:
    """what: for people, after "got". hint: empty where only the reader of the file knows what to do."""

    what: str
    hint: str = ""


FOREIGN_FILES = {
    b"\x1f\x8b": ForeignFile("gzip data (.spz or a packed file)"),
    b"PK\x03\x04": ForeignFile("a zip archive (.sog, .pt, .npz or a packed file)"),
    b"glTF": ForeignFile("binary glTF"),
    b"NGSP": ForeignFile("an .spz file"),
    b"\x28\xb5\x2f\xfd": ForeignFile("zstandard data"),
    b"SQLite format 3\0": ForeignFile("an SQLite database (.db3)", BAG_HINT),
    b"\x89MCAP0\r\n": ForeignFile("an MCAP file", BAG_HINT),
    b"#ROSBAG V": ForeignFile("a bag of ROS 1", ROS1_BAG_HINT),
    b"version https://git-lfs.github.com/spec/": ForeignFile("a Git LFS pointer, not the file itself", LFS_HINT),
    b"%YAML:1.0": ForeignFile("a file of OpenCV's FileStorage (%YAML:1.0)", OPENCV_HINT),
}


def foreign_file(head: bytes) -> ForeignFile | None:
    """What a file is that begins with these bytes; None where nothing says that it is another program's."""
    return next((found for magic, found in FOREIGN_FILES.items() if head.startswith(magic)), None)
