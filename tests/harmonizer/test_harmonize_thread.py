"""The thread that harmonizes: warm from the beginning, with a history that ends where time goes back."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import closing

import pytest
from torch import Tensor

from r3d2_ros.errors import InputError
from r3d2_ros.harmonize_thread import HarmonizeThread
from r3d2_ros.harmonizer.base import Shape
from r3d2_ros.harmonizer.settings import HarmonizerConfig, TemporalConfig
from r3d2_ros.simulator import FrameSet
from r3d2_ros.sync import Tick
from tests.harmonizer.test_harmonizer import Network, harmonizing, state_at
from tests.test_simulator import hashes


class Watched(Network):
    """Darker by 0.1; keeps the threads that it is called in."""

    def __init__(self) -> None:
        super().__init__(lambda images: images - 0.1)
        self.threads: set[threading.Thread] = set()

    def __call__(self, images: Tensor) -> Tensor:
        self.threads.add(threading.current_thread())
        return super().__call__(images)

    def warm_up(self, shapes: Iterable[Shape]) -> None:
        self.threads.add(threading.current_thread())
        super().warm_up(shapes)


def tick(stamp_ns: int, timeline: int = 0) -> Tick:
    return Tick(stamp_ns, (), state_at(stamp_ns), "", timeline)


def test_the_thread_that_warms_the_network_up_is_the_one_that_harmonizes() -> None:
    network, lines = Watched(), []
    sim = harmonizing(network)
    with closing(HarmonizeThread(sim, pytest.fail, lines.append)) as harmonize:
        assert network.prepared and len(network.seen) > 0, "warm from the beginning"
        (thread,) = network.threads
        assert thread is not threading.current_thread()
        harmonize.submit(tick(0), sim.render(state_at(0))).pictures.result()
        assert network.threads == {thread}
    assert len(lines) == 1 and lines[0].startswith("harmonizer ready")


def test_a_network_that_cannot_be_warmed_up_says_so_at_once() -> None:
    class Broken(Network):
        def warm_up(self, shapes: Iterable[Shape]) -> None:
            raise InputError("harmonizer.dtype", "a dtype whose range the network stays in", "NaN")

    with pytest.raises(InputError, match="a dtype whose range"):
        HarmonizeThread(harmonizing(Broken(lambda images: images)), pytest.fail)


def test_another_run_and_time_that_went_back_begin_without_a_past() -> None:
    sim = harmonizing(Network(lambda images: images), HarmonizerConfig(temporal=TemporalConfig(enabled=True)))
    levels = iter([20.0, 30.0] * 4)

    def picture(harmonize: HarmonizeThread, stamp_ns: int, timeline: int = 0) -> FrameSet:
        return harmonize.submit(tick(stamp_ns, timeline), sim.render(state_at(stamp_ns))).pictures.result()

    with closing(HarmonizeThread(sim, pytest.fail)) as harmonize:
        assert sim.harmonizer is not None
        sim.harmonizer._network = Network(lambda images: images - next(levels) / 255)
        first, carried = picture(harmonize, 0), picture(harmonize, 100_000_000)
        again, carried_again = picture(harmonize, 0, timeline=1), picture(harmonize, 100_000_000, timeline=1)
        harmonize.forget()
        anew = picture(harmonize, 200_000_000)
    assert hashes(again) == hashes(first) != hashes(carried) == hashes(carried_again)
    assert hashes(anew) == hashes(first)
