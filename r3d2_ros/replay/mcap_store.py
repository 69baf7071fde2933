"""The MCAP bag that a replay writes: parts beside it while it works, one file when it is done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from r3d2_ros.cameras import Camera
from r3d2_ros.config import SimConfig
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import make_folder, write_problem
from r3d2_ros.locks import lock
from r3d2_ros.replay.bag import Bag
from r3d2_ros.replay.frames import FAILED, HARMONIZING_FAILED, Entry, is_done
from r3d2_ros.replay.manifest import MANIFEST, check_same, read_manifest, write_manifest
from r3d2_ros.replay.mcap_output import McapOutput
from r3d2_ros.replay.mcap_parts import SourceTopics, Stated, has_index, manifest_of, merged, missing_of, stated_in
from r3d2_ros.replay.messages import serialised, static_transforms
from r3d2_ros.replay.output import Output

PARTS_SUFFIX = ".parts"
MERGED = "merged.mcap"


class McapStore:
    """OUT.mcap, and OUT.mcap.parts/ with what is done of it. Can be sent to another process, which writes a part.

    source  topics of the bag that are passed through
    """

    def __init__(
        self, path: Path, cameras: tuple[Camera, ...], config: SimConfig, *, source: SourceTopics | None = None
    ) -> None:
        self.path, self.folder = path, path.with_name(path.name + PARTS_SUFFIX)
        self._cameras, self._config, self._source = cameras, config, source
        self._manifest: dict[str, Any] = {}
        self._lock: int | None = None
        self._first_free = 0
        self._is_taken = self._replaces = False

    def begin(self, manifest: Mapping[str, Any], *, overwrite: bool) -> dict[int, Entry]:
        """Lock the place; returns what of earlier runs of the same replay is whole, by index.

        InputError for a file of something else, and while another run writes it.
        """
        self._manifest = dict(manifest)
        if self.path.is_dir():
            raise InputError(str(self.path), "the name of a file to write", "a folder")
        if self.path.exists():
            earlier = manifest_of(self.path)
            if earlier is None:
                expected = "a new file, or that of an earlier run of this replay"
                raise InputError(str(self.path), expected, "another file", "Choose another --out")
            if not overwrite:
                check_same(self.path, earlier, manifest)
        make_folder(self.folder)
        self._lock = lock(self.folder)
        earlier = read_manifest(self.folder / MANIFEST)
        state = {} if overwrite else self.state()
        if earlier is not None and state:
            check_same(self.folder / MANIFEST, earlier, manifest)
        self._replaces = not state  # parts without a frame set have made nothing
        self._first_free = 1 + max((_number(part) for part in self._parts()), default=-1)
        # Frame sets with all their pictures, and those that can have none.
        return {index: entry for index, entry in state.items() if entry.get("cause") not in FAILED}

    def take(self) -> None:
        """Put the manifest there, and remove what is not kept."""
        if self._replaces:
            for part in self._parts():
                part.unlink()
            self.path.unlink(missing_ok=True)
        write_manifest(self.folder / MANIFEST, self._manifest)
        (self.folder / MERGED).unlink(missing_ok=True)
        self._is_taken = True

    def output(self, part: int | None) -> Output:
        """Where a part of the frame sets goes; None: all of them in one."""
        path = self.folder / f"part-{self._first_free + (part or 0):05d}.mcap"
        return McapOutput(path, self._cameras, self._config, self._manifest)

    def finish(self, bag: Bag, *, complete: bool) -> None:
        """When every frame set has had its turn: make OUT.mcap of the parts. InputError when that is not possible;
        nothing is lost then."""
        if not complete:
            return
        parts = self._parts()
        everything = [*([self.path] if self.path.exists() else []), *parts]
        if len(everything) == 1 and has_index(everything[0]) and self._source is None:
            self._put(everything[0])
        elif parts:
            merged(
                everything,
                self.folder / MERGED,
                manifest=self._manifest,
                transforms=self._transforms(everything),
                source=(bag, self._source) if self._source else None,
            )
            self._put(self.folder / MERGED)
        shutil.rmtree(self.folder, ignore_errors=True)

    def release(self) -> None:
        """Let other runs have the place."""
        if self._lock is not None:
            if not self._is_taken:
                with suppress(OSError):  # not empty: an earlier run's
                    self.folder.rmdir()
            os.close(self._lock)
            self._lock = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}

    def _put(self, file: Path) -> None:
        try:
            file.replace(self.path)
        except OSError as error:
            raise InputError(str(self.path), "a file that can be written", write_problem(self.path, error)) from error

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.mcap"))

    def _transforms(self, parts: list[Path]) -> bytes | None:
        if not self._config.output.publish_tf:
            return None
        base_link = self._config.frames.vehicle
        stamps = (stated.stamp_ns for part in parts for stated in stated_in(part))
        first_ns = min(stamps, default=0)
        return bytes(serialised(static_transforms(self._cameras, stamp_ns=first_ns, base_link=base_link)))

    def state(self) -> dict[int, Entry]:
        """As lines of frames.jsonl."""
        found: dict[int, Entry] = {}
        for part in [*([self.path] if self.path.exists() else []), *self._parts()]:
            causes = {index: cause for index, cause, _ in missing_of(part)}
            for stated in stated_in(part):
                entry = _as_entry(stated, causes.get(stated.index))
                if not (stated.index in found and is_done(found[stated.index])):
                    found[stated.index] = entry
        return found


def _as_entry(stated: Stated, cause: str | None) -> Entry:
    cameras: dict[str, Entry] = {name: {"content_hash": value} for name, value in stated.hashes.items()}
    cameras |= {name: {"file": None, "reason": reason} for name, reason in stated.reasons.items()}
    # A file that was cut off does not say the cause; the frame set is tried again.
    failed = {"cause": cause or HARMONIZING_FAILED} if stated.reasons else {}
    return {"index": stated.index, "stamp_ns": stated.stamp_ns, **failed, "cameras": cameras}


def _number(part: Path) -> int:
    digits = part.stem.removeprefix("part-")
    return int(digits) if digits.isdigit() else 0
