"""What is asked of CUDA, with a torch.cuda that only takes notes: passes between events, memory, names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch, which is not installed here")
pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")

import torch

from r3d2_ros.bench import machine
from r3d2_ros.bench.harmonizer import network
from r3d2_ros.bench.harmonizer.protocol import Protocol
from r3d2_ros.bench.harmonizer.stopwatch import CudaStopwatch, WallStopwatch, stopwatch_for

GPU = torch.device("cuda:1")


class FakeCuda:
    """Work takes 5 ms on the device; an event has the device's time when it is recorded."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.log: list[str] = []

    def work(self, k: int) -> None:
        self.log.append(f"pass {k}")
        self.now_ms += 5.0

    def event(self, *, enable_timing: bool) -> Any:
        assert enable_timing
        return FakeEvent(self)

    @contextlib.contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.log.append(f"on {device}")
        yield

    def synchronize(self, device: torch.device | None = None) -> None:
        self.log.append("wait")


class FakeEvent:
    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda, self.at_ms = cuda, -1.0

    def record(self, stream: str) -> None:
        assert stream == "the stream"
        self._cuda.log.append("event")
        self.at_ms = self._cuda.now_ms
        self._cuda.now_ms += 1.0  # something between the passes

    def elapsed_time(self, other: FakeEvent) -> float:
        return other.at_ms - self.at_ms


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(torch.cuda, "Event", fake.event)
    monkeypatch.setattr(torch.cuda, "device", fake.device)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: "the stream")
    monkeypatch.setattr(torch.cuda, "synchronize", fake.synchronize)
    return fake


def test_a_pass_is_what_lies_between_its_two_events_and_the_host_waits_once(cuda: FakeCuda) -> None:
    run = CudaStopwatch(GPU).time(cuda.work, 3)
    assert run.times_ms == (6.0, 6.0, 6.0)  # 5 ms of work, and 1 ms behind the first event
    passes = ["event", "pass 0", "event", "event", "pass 1", "event", "event", "pass 2", "event"]
    assert cuda.log == ["on cuda:1", "wait", *passes, "wait"]


def test_the_warm_up_waits_for_each_pass_so_that_its_time_is_the_devices(cuda: FakeCuda) -> None:
    protocol = Protocol("p", warm_up_passes=2, warm_up_s=0.0, passes=1, window=0, tolerance=0)
    assert CudaStopwatch(GPU).warm_up(cuda.work, protocol) == 2
    assert cuda.log == ["pass 0", "wait", "pass 1", "wait"]


def test_each_kind_of_device_has_its_stopwatch() -> None:
    assert isinstance(stopwatch_for(GPU), CudaStopwatch)
    assert isinstance(stopwatch_for(torch.device("cpu")), WallStopwatch)


def test_the_gpus_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(
        name="NVIDIA H200", total_memory=143771 * 2**20, multi_processor_count=132, major=9, minor=0, uuid="12-34"
    )
    asked: list[str] = []

    def output_of(*command: str) -> tuple[str | None, str]:
        asked.append(" ".join(command))
        return "580.159.04\n", ""

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(machine, "output_of", output_of)
    monkeypatch.setattr(machine, "git_state", lambda folder: ("abc", 0, ""))
    facts = machine.machine_facts("cuda:1")
    assert facts["gpu"] == "NVIDIA H200" and facts["gpu_memory_mib"] == 143771 and facts["capability"] == "9.0"
    assert facts["driver"] == "580.159.04" and facts["driver_reason"] == ""
    assert asked == ["nvidia-smi -i GPU-12-34 --query-gpu=driver_version --format=csv,noheader"]
    del properties.uuid  # an older PyTorch
    assert machine.gpu_id(GPU) == "1"


def test_what_cannot_be_found_out_has_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.output_of("nvidia-smi") == (None, "nvidia-smi is not installed")
    commit, changed, reason = machine.git_state(tmp_path)
    assert commit is None and changed is None and "no git checkout" in reason
    monkeypatch.setenv("R3D2_COMMIT", "0123abc")
    assert machine.git_state(tmp_path) == ("0123abc", None, "named by R3D2_COMMIT")


def test_memory_is_the_allocators_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 5 * 2**30)
    facts = network._memory(GPU)
    assert (facts["allocated_mib"], facts["reserved_mib"]) == (3072.0, 5120.0)
