"""The folder that a replay writes: whose it is, what of an earlier run is kept, and how parts come together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r3d2_ros.cameras import Camera
from r3d2_ros.config import OutputConfig
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import make_folder
from r3d2_ros.locks import lock
from r3d2_ros.replay.bag import Bag
from r3d2_ros.replay.folder_output import FolderOutput
from r3d2_ros.replay.frames import FAILED, FRAMES, Entry, Files, files_of, is_done, read_entries, write_entries
from r3d2_ros.replay.manifest import MANIFEST, check_same, read_manifest, write_manifest
from r3d2_ros.replay.output import Output

SUMMARY = "summary.json"
OWN_FILES = (FRAMES, MANIFEST, SUMMARY)
PART = "frames.part-{}.jsonl"


class FolderStore:
    """A folder of JPEG or PNG pictures. Can be sent to another process, which then writes a part of it."""

    def __init__(self, folder: Path, cameras: tuple[Camera, ...], config: OutputConfig, image_format: str) -> None:
        self.path = self.folder = folder
        self._cameras, self._config, self._format = cameras, config, image_format
        self._lock: int | None = None
        self._manifest: Mapping[str, Any] = {}
        self._kept: dict[int, Entry] = {}
        self._replaces = False

    def begin(self, manifest: Mapping[str, Any], *, overwrite: bool) -> dict[int, Entry]:
        """Lock the folder; returns what of an earlier run of the same replay is whole, by index.

        InputError for a folder that holds something else, and while another run writes it.
        """
        make_folder(self.folder)
        self._lock = lock(self.folder)
        path = self.folder / MANIFEST
        earlier = read_manifest(path)
        entries = self._entries()
        if earlier is None:
            self._check_empty()
        elif entries and not overwrite:  # without a line it has made nothing
            check_same(path, earlier, manifest)
        self._manifest, self._replaces = manifest, overwrite and earlier is not None
        self._kept = {} if overwrite else self._usable(entries)
        return self._kept

    def take(self) -> None:
        """Put the manifest there, and remove what is not kept."""
        if self._replaces:
            self._remove_earlier()
        write_manifest(self.folder / MANIFEST, self._manifest)
        write_entries(self.folder / FRAMES, self._kept.values())
        for log in self._part_logs():
            log.unlink()
        for pattern in (".*.tmp", *(f"{camera.name}*/.*.tmp" for camera in self._cameras)):
            for unfinished in self.folder.glob(pattern):  # what a killed run was writing
                unfinished.unlink(missing_ok=True)

    def output(self, part: int | None) -> Output:
        """Where a part of the frame sets goes; None: all of them in one."""
        log = FRAMES if part is None else PART.format(part)
        return FolderOutput(self.folder, self._cameras, self._config, image_format=self._format, log_name=log)

    def finish(self, bag: Bag, *, complete: bool) -> None:
        """Put the lines of all parts together, in order. InputError when that is not possible: nothing is lost then."""
        entries = self._entries()
        if complete:
            entries = self._completed(entries)
        write_entries(self.folder / FRAMES, entries.values())
        for log in self._part_logs():
            log.unlink()

    def release(self) -> None:
        """Let other runs have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_manifest": {}, "_kept": {}}

    def state(self) -> dict[int, Entry]:
        """The lines that are there, by index."""
        return self._entries()

    def _completed(self, entries: dict[int, Entry]) -> dict[int, Entry]:
        """What is left to do when every frame set has had its turn; returns the lines as they are then."""
        return entries

    def _check_empty(self) -> None:
        names = (entry.name for entry in self.folder.iterdir())
        inside = sorted(name for name in names if not name.startswith(".") and name != SUMMARY)
        if inside:
            got = f"a folder with {', '.join(inside[:5])}" + (" and more" if len(inside) > 5 else "")
            expected = "an empty folder, or one of an earlier run of this replay"
            raise InputError(str(self.folder), expected, got, "Choose another --out")

    def _remove_earlier(self) -> None:
        """Remove what an earlier replay wrote, and nothing else."""
        for entry in self._entries().values():
            for name, _ in files_of(entry):
                (self.folder / name).unlink(missing_ok=True)
        for log in [*self._part_logs(), *(self.folder / name for name in OWN_FILES)]:
            log.unlink(missing_ok=True)

    def _part_logs(self) -> list[Path]:
        return sorted(self.folder.glob(PART.format("*")))

    def _entries(self) -> dict[int, Entry]:
        """The lines of all files; the newest of an index holds."""
        found: dict[int, Entry] = {}
        for log in [self.folder / FRAMES, *self._part_logs()]:
            for entry in read_entries(log):
                found[entry["index"]] = entry
        return found

    def _usable(self, entries: dict[int, Entry]) -> dict[int, Entry]:
        """Those of an earlier run's lines whose frame sets are not made again."""
        files = Files(self.folder)
        return {
            index: entry
            for index, entry in entries.items()
            if entry.get("cause") not in FAILED and (not is_done(entry) or files.are_whole(entry))
        }
