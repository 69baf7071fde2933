"""A harmonizer that remembers: the same hashes in two replays, in several processes, and after a break."""

from __future__ import annotations

from pathlib import Path

import pytest

from r3d2_ros import assembly
from r3d2_ros.replay.ticks import Moment
from r3d2_ros.replay.workers import split
from tests.replay.bags import NS, Entry, drive, ns, oncoming
from tests.replay.test_folder import Place

torch = pytest.importorskip("torch", reason="the harmonizer needs torch: pip install 'r3d2_ros[harmonizer]'")

SECONDS = [i / 10 for i in range(6)] + [1.2]
"""The last one so late that a second pass of the drive is one that goes back."""


def twice(entries: list[Entry]) -> list[Entry]:
    """The same drive recorded again, three seconds later: two timelines."""
    return [*entries, *(Entry(e.topic, e.log_ns + 3 * NS, e.message) for e in entries)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    from r3d2_ros.harmonizer.model.checkpoints import save_checkpoint
    from tests.harmonizer.small import TINY, seeded

    entries = twice([*drive(SECONDS, speed=1.0), *oncoming(SECONDS)])
    place = Place(tmp_path, entries)
    save_checkpoint(seeded(TINY), tmp_path / "model")
    return place


def harmonize(place: Place, *, temporal: bool) -> None:
    place.config.write_text(
        f"{place.config.read_text()}"
        "state: {max_interpolation_gap_s: 1.0}\n"
        f"harmonizer: {{backend: r3d2, checkpoint: {place.bag.parent / 'model'}, dtype: float32, "
        f"temporal: {{enabled: {str(temporal).lower()}, blend: 0.8, tolerance: 0.5}}}}\n"
    )


MODES = pytest.mark.parametrize("temporal", [True, False], ids=["temporal", "each by itself"])


@pytest.mark.slow
@MODES
def test_two_replays_have_the_same_hashes(place: Place, tmp_path: Path, temporal: bool) -> None:
    harmonize(place, temporal=temporal)
    assert place.run() == 0
    whole = place.hashes()
    assert sorted(whole) == list(range(14))
    first, second = ([whole[i] for i in part] for part in (range(7), range(7, 14)))
    assert first == second, "what was before time went back is forgotten"
    place.out = tmp_path / "again"
    assert place.run() == 0 and place.hashes() == whole
    place.out = tmp_path / "alone"
    assert place.run("--start", "0.3", "--duration", "0.05") == 0
    assert (place.hashes()[3] == whole[3]) == (not temporal), "by itself it has nothing to remember"


def test_the_network_is_warmed_up_in_the_thread_that_harmonizes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from r3d2_ros.harmonizer.harmonizer import Harmonizer
    from tests.harmonizer.test_harmonize_thread import Watched

    network = Watched()
    monkeypatch.setattr(assembly, "load_harmonizer", lambda config, say: Harmonizer(config.harmonizer, network))
    harmonize(place, temporal=False)
    assert place.run() == 0
    assert network.prepared and len(network.seen) > 2
    assert [thread.name for thread in network.threads] == ["harmonize_0"]


@pytest.mark.slow
@MODES
def test_several_processes_have_the_hashes_of_one(place: Place, tmp_path: Path, temporal: bool) -> None:
    harmonize(place, temporal=temporal)
    assert place.run() == 0
    whole = place.hashes()
    place.out = tmp_path / "two"
    assert place.run("--workers", "2") == 0 and place.hashes() == whole


@pytest.mark.slow
def test_a_run_that_was_interrupted_in_a_sequence_remembers_what_it_had(place: Place) -> None:
    """Of each pass some frame sets are there; the others depend on them."""
    harmonize(place, temporal=True)
    assert place.run() == 0
    whole = place.hashes()
    for index in (3, 4, 9):
        (place.out / "eye" / f"{index:06d}.jpg").unlink()
    assert place.run() == 0
    assert place.summary()["frame_sets"]["from_earlier_runs"] == 11
    assert place.hashes() == whole


def test_parts_are_whole_sequences() -> None:
    moments = [Moment(ns(s), timeline, None) for timeline in range(2) for s in SECONDS]
    assert [len(part) for part in split(range(14), 5, moments, whole_sequences=True)] == [7, 7]
    assert [len(part) for part in split(range(14), 1, moments, whole_sequences=True)] == [14]
