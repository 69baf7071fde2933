"""Pairs from recorded drives: each recorded actor replaced by an asset, beside the photo or the reconstruction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from r3d2_ros.assembly import assemble
from r3d2_ros.cameras import Camera
from r3d2_ros.dataset.meta import SampleActor, SampleCamera, SampleMeta, rows
from r3d2_ros.dataset.recorded_inputs import DriveInputs, FileHashes, library_files
from r3d2_ros.dataset.recorded_settings import RecordedDrive, RecordedSettings, SelectionRules, why_left_out
from r3d2_ros.dataset.replacement import PREFIX, Replacer, joint_library
from r3d2_ros.dataset.samples import DatasetWriter, Pair, only_build
from r3d2_ros.errors import InputError
from r3d2_ros.formats.images import read_image
from r3d2_ros.formats.libraries import load_library
from r3d2_ros.harmonizer.compositing.region import actor_boxes
from r3d2_ros.rendering.frames import RenderedFrame
from r3d2_ros.replay.ticks import Moment, Selection, Ticks
from r3d2_ros.resources import user_path
from r3d2_ros.scene import AssetLibrary
from r3d2_ros.simulator import Simulator
from r3d2_ros.world import WorldState

Say = Callable[[str], None]
PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class RecordedOutcome:
    """What became of the drives.

    tally    how many pictures were used, and why others were not
    damage   what of the bags could not be read, each with its drive
    reports  what was wrong with their messages, each with its drive
    """

    tally: Counter[str] = field(default_factory=Counter)
    damage: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)


def make_recorded(folder: Path, settings: RecordedSettings, *, base: Path, command: str, say: Say) -> RecordedOutcome:
    """Make the pairs of all drives in `folder`.

    base  folder that the paths of the settings are relative to

    What is there already is kept. InputError(s) for files that cannot be used, and for a folder with another dataset,
    also with one of the same settings that other files have made, or that another build is writing into.
    """
    library = base / user_path(settings.assets, "assets")
    replacements = load_library(library)
    for name in replacements.assets:
        replacements[name]
    outcome = RecordedOutcome()
    drives = []
    for drive in settings.drives:
        if (reason := why_left_out(drive, settings.select)) is not None:
            say(f"{drive.name}: left out ({reason})")
            outcome.tally[f"drive left out: {reason}"] += 1
        else:
            drives.append(DriveInputs.of(drive, settings, base))
    hashes = FileHashes()
    files = {"assets": hashes.of(library_files(library))}
    for inputs in drives:
        files |= inputs.checked(hashes)
    # Only now that everything could be opened: the folder must not be marked by settings with a fault.
    made = {"kind": "recorded", "settings": asdict(settings), "files": files, "command": command}
    with only_build(folder):
        writer = DatasetWriter(folder, made, ignored=("command",))
        writer.tidy()
        for inputs in drives:
            # One at a time: a drive's actors and scene may fill the memory.
            _Drive(inputs, settings, replacements, say).make(writer, outcome)
    return outcome


class _Drive:
    """A drive with everything that its pictures are made from."""

    def __init__(self, inputs: DriveInputs, settings: RecordedSettings, replacements: AssetLibrary, say: Say) -> None:
        self._drive, self._inputs, self._settings, self._say = inputs.drive, inputs, settings, say
        self._recorded = inputs.library(say)
        self._library = joint_library(self._recorded, replacements)
        self._replacer = Replacer(self._library, fit_box=settings.fit == "box", seed=settings.seed)

    def make(self, writer: DatasetWriter, outcome: RecordedOutcome) -> None:
        config, rig = self._inputs.config, self._inputs.rig
        instances = replace(config, output=replace(config.output, instance=True))
        simulator = assemble(instances, self._say, rig=rig, library=self._library).simulator
        tally: Counter[str] = Counter()
        with self._inputs.recording(self._recorded) as recording:
            ticks = Ticks(recording, config=config, rig=rig, library=self._recorded)
            moments = ticks.moments()
            wanted = {*Selection(every=self._settings.every).indices(moments)}
            sequences = _sequences(self._drive.name, moments)
            stamps = Counter(moment.stamp_ns for moment in moments)
            for planned in ticks:
                state, due = planned.tick.state, planned.tick.due
                if planned.index not in wanted:
                    continue
                if state is None:
                    tally[f"no state: {planned.tick.cause}"] += 1
                elif self._settings.target == "photo" and stamps[state.stamp_ns] > 1:
                    tally["time went back: of which pass the photo is, is not known"] += len(due)
                else:
                    sequence = sequences[moments[planned.index].timeline]
                    tally += self._pictures(simulator, state, due, sequence, writer)
            outcome.damage.extend(f"{self._drive.name}: {text}" for text in recording.bag.damage)
        outcome.reports.extend(f"{self._drive.name}: {report.text} ({report.count} times)" for report in ticks.reports)
        outcome.tally.update(tally)
        self._say(f"{self._drive.name}: {tally['used']} pictures")

    def _pictures(
        self, simulator: Simulator, state: WorldState, due: Sequence[Camera], sequence: str, writer: DatasetWriter
    ) -> Counter[str]:
        tally: Counter[str] = Counter()
        left = [camera for camera in due if not writer.has(self._drive.split, _name(sequence, state, camera))]
        tally["used"] += len(due) - len(left)
        actors = tuple(found for actor in state.actors if (found := self._replacer.replaced(actor)) is not None)
        if not actors or not left:
            tally["no actor that can be replaced"] += len(left)
            return tally
        # Actors for which nothing fits stay as they were recorded, in both pictures.
        by_id = {actor.id: actor for actor in actors}
        changed = replace(state, actors=tuple(by_id.get(actor.id, actor) for actor in state.actors))
        after = simulator.render(changed, cameras=left)
        before = simulator.render(state, cameras=left)
        rendered = self._settings.target == "reconstruction"
        for k, camera in enumerate(left):
            seen = _seen(after.frames[k], changed, self._library)
            reason = _why_not(seen, after.frames[k], self._settings.select)
            target = None
            if reason is None:
                target = before.frames[k].rgb8 if rendered else self._photo(camera, state.stamp_ns)
                reason = "no photo" if target is None else None
            tally[reason or "used"] += 1
            if target is not None:
                meta, pair = self._sample(camera, state, sequence, after.frames[k], seen, target)
                if not rendered:
                    pair = replace(pair, original=before.frames[k].rgb8.astype(np.float32) / np.float32(255))
                writer.write(self._drive.split, meta, pair)
        return tally

    def _photo(self, camera: Camera, stamp_ns: int) -> NDArray[np.uint8] | None:
        """The photo of that moment, or None. InputError when it cannot be read or has another size."""
        stem = self._inputs.photos / camera.name / str(stamp_ns)
        path = next((p for suffix in PHOTO_SUFFIXES if (p := stem.with_suffix(suffix)).is_file()), None)
        if path is None:
            return None
        image = np.round(read_image(path) * 255).astype(np.uint8)
        if image.shape[:2] != (camera.height_px, camera.width_px):
            got = f"{image.shape[1]}x{image.shape[0]}"
            raise InputError(str(path), f"the camera's {camera.width_px}x{camera.height_px} pixels", got)
        return image

    def _sample(
        self,
        camera: Camera,
        state: WorldState,
        sequence: str,
        frame: RenderedFrame,
        seen: Sequence[SampleActor],
        target: NDArray[np.uint8],
    ) -> tuple[SampleMeta, Pair]:
        assert frame.instance is not None
        meta = SampleMeta(
            name=_name(sequence, state, camera),
            sequence=sequence,
            camera=SampleCamera.of(camera.view(state.ego.T_world_ego), camera.name),
            actors=tuple(seen),
            origin=f"drive {self._drive.name}, stamp {state.stamp_ns}, {self._settings.target}",
            details=_details(self._drive, state),
            stamp_ns=state.stamp_ns,
        )
        mask = np.isin(frame.instance, [actor.instance for actor in seen])
        shown, wanted = (image.astype(np.float32) / np.float32(255) for image in (frame.rgb8, target))
        return meta, Pair(shown, wanted, mask)


def _sequences(drive: str, moments: Sequence[Moment]) -> dict[int, str]:
    """Timeline -> name of its sequence: the drive's, with a number where time goes back and stamps come again."""
    timelines = sorted({moment.timeline for moment in moments})
    if len(timelines) == 1:
        return {timelines[0]: drive}
    return {timeline: f"{drive}+{number}" for number, timeline in enumerate(timelines, 1)}


def _name(sequence: str, state: WorldState, camera: Camera) -> str:
    return f"{sequence}_{state.stamp_ns}_{camera.name}"


def _details(drive: RecordedDrive, state: WorldState) -> dict[str, Any]:
    return {"weather": list(drive.weather), "recorded": {actor.id: actor.asset for actor in state.actors}}


def _seen(frame: RenderedFrame, state: WorldState, library: AssetLibrary) -> list[SampleActor]:
    """The replaced actors of which a picture shows a pixel: it differs there from the target."""
    assert frame.instance is not None
    found = []
    for actor, box in zip(state.actors, actor_boxes(state.actors, library), strict=True):
        own = (frame.instance == actor.instance).view(np.uint8)
        if not actor.asset.startswith(PREFIX) or not own.any():
            continue
        left, top, width, height = cv2.boundingRect(own)
        found.append(
            SampleActor(
                id=actor.id,
                asset=actor.asset.removeprefix(PREFIX),
                category=library[actor.asset].category,
                box_px=(left, top, left + width, top + height),
                size_m=box.size_m,
                T_world_actor=rows(actor.T_world_actor.matrix()),
                instance=actor.instance,
            )
        )
    return found


def _why_not(seen: Sequence[SampleActor], frame: RenderedFrame, rules: SelectionRules) -> str | None:
    """The rule that leaves a picture out, or None."""
    assert frame.instance is not None
    pixels = [np.count_nonzero(frame.instance == actor.instance) for actor in seen]
    if sum(count >= rules.min_pixels for count in pixels) < rules.min_actors:
        return "too few actors seen"
    share = np.isin(frame.instance, [actor.instance for actor in seen]).mean()
    return "actors cover too much" if share > rules.largest_share else None
