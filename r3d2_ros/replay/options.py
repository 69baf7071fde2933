"""What is replayed, and into what."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from r3d2_ros.config import SimConfig
from r3d2_ros.errors import InputError
from r3d2_ros.published import IMAGE_TOPICS
from r3d2_ros.replay.ticks import Selection, replay_config

FOLDER_FORMATS = ("jpg", "png", "mp4")
BAG_FORMATS = ("raw", "jpg")
BAG_SUFFIX = ".mcap"
OTHER_BAG_SUFFIXES = (".db3", ".bag")
PICTURE_SUFFIXES = {".mp4": "mp4", ".avi": "mp4", ".mkv": "mp4", ".jpg": "jpg", ".jpeg": "jpg", ".png": "png"}
"""Of names that one file would have; the format that writes such files into a folder."""
ALL = "all"


@dataclass(frozen=True)
class ReplayOptions:
    """The options of a replay.

    ego, actors   topics; None: found
    rate_hz       frame sets per second of message time; None: as `sync.tick` says
    cameras       names; none: the whole rig
    anchor_start  move the drive to where the capture of the scene begins
    image_format  of FOLDER_FORMATS, or BAG_FORMATS where `out` ends in .mcap; empty: jpg, or for a bag as configured
    source_topics topics of the bag that go into the output bag as well; 'all' stands for all of them
    """

    bag: Path
    out: Path
    config: SimConfig
    ego: str | None = None
    actors: str | None = None
    selection: Selection = field(default_factory=Selection)
    rate_hz: float | None = None
    cameras: tuple[str, ...] = ()
    anchor_start: bool = False
    image_format: str = ""
    source_topics: tuple[str, ...] = ()
    workers: int = 1
    overwrite: bool = False

    @property
    def is_bag(self) -> bool:
        """Whether the output is a bag."""
        return self.out.suffix == BAG_SUFFIX


def checked(options: ReplayOptions) -> ReplayOptions:
    """The options with their defaults, and the configuration as the replay uses it: lock-step, and with the images that
    the format asks for. InputError for what does not fit together."""
    if options.out.suffix.lower() in (BAG_SUFFIX, *OTHER_BAG_SUFFIXES) and not options.is_bag:
        hint = f"--out {options.out.with_suffix(BAG_SUFFIX)} writes a bag, and `ros2 bag convert` makes others of it"
        raise InputError("--out", f"a folder or NAME{BAG_SUFFIX}", f"'{options.out}'", hint)
    if of_files := PICTURE_SUFFIXES.get(options.out.suffix.lower()):
        hint = f"--out {options.out.with_suffix('')} --format {of_files} writes such files into a folder"
        raise InputError("--out", f"a folder or NAME{BAG_SUFFIX}", f"'{options.out}'", hint)
    image_format = options.image_format
    formats = BAG_FORMATS if options.is_bag else FOLDER_FORMATS
    if image_format and image_format not in formats:
        what = f"a bag ({BAG_SUFFIX})" if options.is_bag else "a folder"
        raise InputError("--format", f"{' or '.join(formats)} for {what}", image_format)
    if options.source_topics and not options.is_bag:
        raise InputError("--source-topics", f"an output bag (--out NAME{BAG_SUFFIX})", f"the folder {options.out}")
    config = replay_config(options.config, options.rate_hz)
    if options.is_bag and image_format:
        is_raw = image_format == "raw"
        config = replace(config, output=replace(config.output, raw=is_raw, compressed=not is_raw))
    elif options.is_bag and not (config.output.compressed or any(getattr(config.output, key) for key in IMAGE_TOPICS)):
        hint = "Set one of them, or choose with --format raw or jpg"
        raise InputError("output.raw, output.compressed", "one of them for a bag", "neither: no pictures", hint)
    elif not image_format and not options.is_bag:
        image_format = "jpg"
    return replace(options, config=config, image_format=image_format)
