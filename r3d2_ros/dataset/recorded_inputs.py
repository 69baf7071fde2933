"""What the pairs of a recorded drive are made from: its files, found and checked before anything is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import xxhash

from r3d2_ros.assembly import load_config_library, load_config_rig
from r3d2_ros.cameras import Rig
from r3d2_ros.config import SimConfig, load_config
from r3d2_ros.dataset.recorded_settings import RecordedDrive, RecordedSettings
from r3d2_ros.formats.libraries import LIBRARY
from r3d2_ros.formats.sidecar import resolve_path
from r3d2_ros.input_files import open_input
from r3d2_ros.replay.manifest import described_files
from r3d2_ros.replay.recording import Recording, open_recording
from r3d2_ros.replay.ticks import replay_config, replay_rig
from r3d2_ros.resources import user_path
from r3d2_ros.scene import AssetLibrary
from r3d2_ros.schema import load_yaml

Say = Callable[[str], None]
BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class DriveInputs:
    """A drive with its paths, configuration and rig; what takes memory is loaded when it is asked for."""

    drive: RecordedDrive
    bag: Path
    photos: Path
    config_file: Path
    config: SimConfig
    rig: Rig

    @classmethod
    def of(cls, drive: RecordedDrive, settings: RecordedSettings, base: Path) -> DriveInputs:
        """InputError(s) for a configuration or a rig that cannot be used. base: what paths are relative to."""
        bag, photos, config_file = (
            base / user_path(getattr(drive, key), f"drive {drive.name}: {key}") for key in ("bag", "photos", "config")
        )
        config = replay_config(load_config(config_file), None)
        # Pairs are of pinholes, as the harmonizer sees them.
        config = replace(config, rig=replace(config.rig, lens="rectified"))
        config = replace(config, harmonizer=replace(config.harmonizer, backend="none"))
        rig = replay_rig(load_config_rig(config), cameras=settings.cameras)
        return cls(drive, bag, photos, config_file, config, rig)

    def library(self, say: Say) -> AssetLibrary:
        """The recorded actors as they were reconstructed. InputError(s) for an asset that cannot be read."""
        return load_config_library(self.config, say)

    def recording(self, library: AssetLibrary) -> Recording:
        """The open bag. InputError(s) for what cannot be used."""
        return open_recording(
            self.bag,
            config=self.config,
            library=library,
            ego=self.drive.ego or None,
            actors=self.drive.actors or None,
        )

    def checked(self, hashes: FileHashes) -> dict[str, str]:
        """What it is made from, by name, each as a hash. InputError(s) for what cannot be used; nothing stays loaded.

        A bag, which may be large, is told by the sizes of its files and the times of their last change.
        """
        with self.recording(self.library(lambda line: None)) as recording:
            bag = {str(path.absolute()) for path in recording.bag.files}
            described = described_files(self.config, recording.bag.files)
        name = self.drive.name
        stats = [f"{Path(path).name} {facts}" for path, facts in described.items() if path in bag]
        return {
            f"{name}: bag": xxhash.xxh3_128_hexdigest("\n".join(stats).encode()),
            f"{name}: config": hashes.of([self.config_file]),
            f"{name}: scene, rig or library": hashes.of(Path(path) for path in described if path not in bag),
        }


class FileHashes:
    """Hashes of files by what is in them; each is read once, however many drives use it."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}

    def of(self, paths: Iterable[Path]) -> str:
        """One hash of the files' names and contents; folders may be moved."""
        return xxhash.xxh3_128_hexdigest("\n".join(f"{path.name} {self._of(path)}" for path in paths).encode())

    def _of(self, path: Path) -> str:
        if path not in self._known:
            digest = xxhash.xxh3_128()
            with open_input(path, expected="a file that pairs are made from") as file:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
            self._known[path] = digest.hexdigest()
        return self._known[path]


def library_files(path: Path) -> list[Path]:
    """assets.yaml, or that of a folder, and the files it names. It must be one that `load_library` has taken."""
    path = path / LIBRARY if path.is_dir() else path
    entries = load_yaml(path)["assets"].items()
    return [path, *(resolve_path(path, f"assets.{name}.file", entry["file"]) for name, entry in entries)]
