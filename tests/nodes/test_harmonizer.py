"""The harmonizer in the node: order, deadlines, failures, and what the frame set and /diagnostics say of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from torch import Tensor

from r3d2_ros.harmonize_thread import Harmonizing
from r3d2_ros.message_fields import stamp_to_ns
from r3d2_ros.nodes.delivery import LateError, in_time
from r3d2_ros.nodes.qos import reliable
from r3d2_ros.nodes.sim_node import SimNode
from tests.harmonizer.test_harmonizer import Network
from tests.nodes.harness import MS, Client, Running, assembler, pixel, wait_for


@pytest.fixture(autouse=True)
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()


def running(function: Callable[[Tensor], Tensor], **changes: Any) -> Running:
    """A node whose harmonizer is `function` over whole frames."""
    parameters = {
        "harmonizer.backend": "r3d2",
        "harmonizer.checkpoint": "a test's network",
        "harmonizer.composite": "full",
        "sync.actors": "static",
    }
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return Running(parameters | changes, assemble=assembler(network=Network(function)))


def once_ready(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`function` of all images but the grey ones that networks are warmed up with."""
    return lambda images: images if bool((images == 0.5).all()) else function(images)


def brighter(images: Tensor) -> Tensor:
    """100 grey levels more."""
    return images + 100 / 255


def test_frame_sets_stay_in_order_whatever_each_of_them_takes() -> None:
    delays_s = itertools.cycle([0.05, 0.0, 0.02, 0.0])

    def uneven(images: Tensor) -> Tensor:
        time.sleep(next(delays_s))
        return brighter(images)

    with running(uneven) as node, Client() as client:
        assert node.start(), node._fault
        wait_for(client.matched, "the node's subscriptions")
        for i in range(20):
            client.publish_ego(i * 100 * MS, x_m=i)
        wait_for(lambda: len(client.frame_sets) == len(client.images["left"]) == 20, "20 frame sets")
    assert [stamp_to_ns(f.header.stamp) for f in client.frame_sets] == [i * 100 * MS for i in range(20)]
    assert [pixel(image)[0] for image in client.images["left"]] == [100 + i for i in range(20)]
    assert all(status.harmonize_ms > 0 and not status.raw for f in client.frame_sets for status in f.cameras)


def late_once(event: threading.Event) -> Callable[[Tensor], Tensor]:
    """A network that waits for `event`."""

    def network(images: Tensor) -> Tensor:
        event.wait(30.0)
        return brighter(images)

    return network


def start_before_the_event(node: SimNode, event: threading.Event) -> None:
    """The network waits for nothing while it is warmed up."""
    event.set()
    assert node.start(), node._fault
    event.clear()


def test_a_frame_set_past_the_deadline_is_dropped_with_the_reason_and_the_next_is_in_time() -> None:
    event = threading.Event()
    settings: dict[str, Any] = {"sync__mode": "latest", "harmonizer__on_deadline": "drop"}
    with running(late_once(event), **settings, harmonizer__deadline_ms=300.0) as node, Client() as client:
        start_before_the_event(node, event)
        wait_for(client.matched, "the node's subscriptions")
        client.publish_ego(0, x_m=1.0)
        wait_for(lambda: bool(client.frame_sets), "the frame set past the deadline")
        late = client.frame_sets[0]
        assert [(s.published, s.raw, s.reason) for s in late.cameras] == [
            (False, False, "the harmonizer was not done within 300 ms")
        ] * 2
        event.set()
        client.publish_ego(100 * MS, x_m=2.0)
        wait_for(lambda: bool(client.images["front"]), "a picture in time")
    assert pixel(client.images["front"][0])[0] == 102


def test_raw_publishes_the_render_at_the_deadline_and_marks_it() -> None:
    event, reports = threading.Event(), []
    settings: dict[str, Any] = {"sync__mode": "latest", "harmonizer__on_deadline": "raw"}
    with running(late_once(event), **settings, harmonizer__deadline_ms=200.0) as node, Client() as client:
        client.node.create_subscription(DiagnosticArray, "/diagnostics", reports.append, reliable(50))
        start_before_the_event(node, event)
        wait_for(client.matched, "the node's subscriptions")
        client.publish_ego(0, x_m=1.0)
        wait_for(lambda: bool(client.images["front"] and client.frame_sets), "the raw render")
        assert pixel(client.images["front"][0])[0] == 1
        status = client.frame_sets[0].cameras[0]
        assert (status.published, status.raw) == (True, True)
        assert status.reason == "the harmonizer was not done within 200 ms" and len(status.content_hash) == 32
        statuses = lambda: [s for report in reports for s in report.status if s.name == "sim_node: harmonizer"]  # noqa: E731
        wait_for(lambda: bool(statuses()), "a report")
        assert statuses()[0].level == DiagnosticStatus.WARN
        assert statuses()[0].message == "2 cameras show their raw render"
        event.set()


def front_is_not_a_number(images: Tensor) -> Tensor:
    out = brighter(images)
    out[0] = torch.nan
    return out


def test_lockstep_gives_no_picture_to_the_camera_that_failed_and_says_why() -> None:
    with running(once_ready(front_is_not_a_number)) as node, Client() as client:
        assert node.start(), node._fault
        wait_for(client.matched, "the node's subscriptions")
        client.publish_ego(0, x_m=1.0)
        wait_for(lambda: bool(client.frame_sets and client.images["left"]), "the frame set")
        front, left = client.frame_sets[0].cameras
    assert (front.camera, front.published, front.content_hash) == ("front", False, "")
    assert front.reason == "the harmonizer's output has NaN or infinite values in 3072 pixels"
    assert (left.published, left.reason) == (True, "")
    assert pixel(client.images["left"][0])[0] == 101
    assert not client.images["front"] and not client.infos["front"]


def broken(images: Tensor) -> Tensor:
    raise KeyError("a mistake in the network")


def test_a_network_that_raises_what_it_never_should_is_reported_and_the_node_goes_on() -> None:
    with running(once_ready(broken)) as node, Client() as client:
        assert node.start(), node._fault
        wait_for(client.matched, "the node's subscriptions")
        for i in range(2):
            client.publish_ego(i * 100 * MS, x_m=1.0)
        wait_for(lambda: len(client.frame_sets) == 2, "two frame sets")
    assert all("KeyError: 'a mistake in the network'" in s.reason for f in client.frame_sets for s in f.cameras)


def test_the_thread_that_warms_the_network_up_is_the_one_that_harmonizes() -> None:
    """Also when the node is active again: cuDNN keeps what it has chosen for each thread."""
    threads: list[threading.Thread] = []

    def network(images: Tensor) -> Tensor:
        threads.append(threading.current_thread())
        return brighter(images)

    with running(network) as node, Client() as client:
        assert node.start(), node._fault
        calls = len(threads)
        assert calls > 0, "it is warm when the node is active"
        wait_for(client.matched, "the node's subscriptions")
        client.publish_ego(0, x_m=1.0)
        wait_for(lambda: len(client.frame_sets) == 1, "a frame set")
        node.trigger_deactivate()
        node.trigger_activate()
        wait_for(client.matched, "the node's subscriptions")
        client.publish_ego(100 * MS, x_m=1.0)
        wait_for(lambda: len(client.frame_sets) == 2, "another one")
    assert len(threads) == calls + 2 and set(threads) == {threads[0]}
    assert threads[0] is not threading.current_thread()


def made() -> Any:
    """Stands for a frame set."""
    return object()


def test_the_deadline_counts_from_the_harmonizers_begin() -> None:
    """A frame set that waited for the one before and is then made in time is shown, else none is where ticks come
    faster than the harmonizer works."""
    harmonizing, now, frame_set = Harmonizing(Future(), Future()), time.monotonic(), made()
    harmonizing.begun.set_result(now)
    harmonizing.pictures.set_result(frame_set)
    assert in_time(harmonizing, now - 100.0, 60.0) is frame_set
    slow = Harmonizing(harmonizing.begun, Future())
    with pytest.raises(LateError, match="the harmonizer was not done within 10 ms"):
        in_time(slow, now, 0.01)
    with pytest.raises(LateError, match="the harmonizer was busy with earlier frame sets for 10 ms"):
        in_time(Harmonizing(Future(), Future()), now, 0.01)
