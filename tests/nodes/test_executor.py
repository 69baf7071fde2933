"""The executor goes on when what it waits for is destroyed by another thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import rclpy
from rclpy.event_handler import EventHandler
from rclpy.executors import Executor, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Empty

from r3d2_ros.nodes.executor import LastingExecutor, LastingSingleThreadedExecutor
from tests.nodes.harness import wait_for


@pytest.fixture
def node() -> Iterator[Node]:
    rclpy.init()
    node = rclpy.create_node("restless")
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def spun(executor: Executor) -> tuple[threading.Thread, list[Exception]]:
    """A thread that spins it, and the exception that will have ended it."""
    faults: list[Exception] = []

    def spin() -> None:
        try:
            executor.spin()
        except Exception as fault:
            faults.append(fault)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    return thread, faults


def destroy_a_subscription_during_a_wait(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscription goes when the wait has collected it, at the moment that another thread would have to hit."""
    subscription = node.create_subscription(Empty, "~/topic", lambda _: None, 10)
    add_to_wait_set = EventHandler.add_to_wait_set

    def destroy_first(handler: EventHandler, wait_set: object) -> None:
        if handler in subscription.event_handlers:
            node.destroy_subscription(subscription)
        add_to_wait_set(handler, wait_set)

    monkeypatch.setattr(EventHandler, "add_to_wait_set", destroy_first)


@pytest.mark.parametrize(("kind", "survives"), [(MultiThreadedExecutor, False), (LastingExecutor, True)])
def test_a_handle_destroyed_during_a_wait_ends_only_rclpys_executor(
    node: Node, monkeypatch: pytest.MonkeyPatch, kind: type[Executor], survives: bool
) -> None:
    beats: list[int] = []
    node.create_timer(0.01, lambda: beats.append(1))
    destroy_a_subscription_during_a_wait(node, monkeypatch)
    executor = kind(num_threads=2)
    executor.add_node(node)
    thread, _ = spun(executor)
    if survives:
        wait_for(lambda: len(beats) > 5, "the node's timer")
    else:
        thread.join(20.0)
        assert not thread.is_alive(), "rclpy waits again by itself: LastingExecutor is no longer needed"
    executor.shutdown(timeout_sec=2.0)
    thread.join(5.0)


@pytest.mark.parametrize(("kind", "waits"), [(MultiThreadedExecutor, False), (LastingExecutor, True)])
def test_shutdown_waits_for_a_callback_at_work(node: Node, kind: type[Executor], waits: bool) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(20.0)
        done.set()

    node.create_timer(0.01, work)
    executor = kind(num_threads=2)
    executor.add_node(node)
    thread, _ = spun(executor)
    assert begun.wait(20.0)
    try:
        if waits:
            assert executor.shutdown(timeout_sec=0.1) is False, "it is still at work"
            threading.Timer(0.2, go_on.set).start()
        assert executor.shutdown(timeout_sec=20.0) is True
        assert done.is_set() is waits, "rclpy waits by itself: LastingExecutor.shutdown is no longer needed"
    finally:
        go_on.set()
        thread.join(5.0)


@pytest.mark.parametrize(("kind", "once"), [(MultiThreadedExecutor, False), (LastingExecutor, True)])
def test_a_callback_is_offered_to_one_thread_however_late_that_begins(
    node: Node, monkeypatch: pytest.MonkeyPatch, kind: type[Executor], once: bool
) -> None:
    """As where another thread computes, and Python lets the one that was chosen begin a moment later."""
    offers: list[object] = []
    got: list[Empty] = []
    submit = ThreadPoolExecutor.submit

    def late(task: Callable[[], None]) -> None:
        time.sleep(0.1)
        task()

    def counted(pool: ThreadPoolExecutor, task: Callable[[], None]) -> object:
        first = task not in offers
        offers.append(task)
        return submit(pool, late, task) if first else submit(pool, task)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", counted)
    publisher = node.create_publisher(Empty, "~/topic", 10)
    node.create_subscription(Empty, "~/topic", got.append, 10)
    executor = kind(num_threads=2)
    executor.add_node(node)
    thread, _ = spun(executor)
    wait_for(lambda: publisher.get_subscription_count() > 0, "the subscription")
    for n in range(1, 6):
        publisher.publish(Empty())
        wait_for(lambda n=n: len(got) == n, "the message")  # type: ignore[misc]
    executor.shutdown(timeout_sec=20.0)
    thread.join(5.0)
    assert (len(offers) < 3 * len(got)) is once, "rclpy offers it once by itself: handing over is no longer needed"


KINDS = [
    (MultiThreadedExecutor, False),
    (SingleThreadedExecutor, False),
    (partial(LastingExecutor, 2), True),
    (LastingSingleThreadedExecutor, True),
]


@pytest.mark.parametrize(("kind", "waits"), KINDS)
def test_shutdown_waits_for_a_thread_that_is_about_to_wait(
    node: Node, kind: Callable[[], Executor], waits: bool
) -> None:
    """The thread has seen that the executor runs, and has not yet collected what it will wait for."""
    executor = kind()
    executor.add_node(node)
    collects, go_on = threading.Event(), threading.Event()
    nodes_of = executor.get_nodes

    def nodes() -> list[Node]:
        collects.set()
        assert go_on.wait(20.0)
        return nodes_of()

    executor.get_nodes = nodes  # type: ignore[method-assign]
    thread, faults = spun(executor)
    assert collects.wait(20.0)
    try:
        if waits:
            assert executor.shutdown(timeout_sec=0.1) is False, "it is still about to wait"
            threading.Timer(0.2, go_on.set).start()
        assert executor.shutdown(timeout_sec=20.0) is True
    finally:
        go_on.set()
        thread.join(5.0)
    assert not thread.is_alive()
    assert bool(faults) is not waits, "rclpy waits by itself: shutdown of our own is no longer needed"
