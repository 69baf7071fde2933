"""The kernels that take the most time, by PyTorch's profiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

PASSES, COUNT = 3, 20


def top_kernels(forward: Callable[[int], object], device: torch.device) -> list[dict[str, Any]]:
    """The COUNT that take longest, over PASSES passes: name, calls and ms of one pass, and share of the sum.

    On a CUDA device these are kernels, on a CPU the operators' own time.
    """
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if cuda else [ProfilerActivity.CPU]
    with profile(activities=activities) as profiler:
        for k in range(PASSES):
            forward(k)
        if cuda:
            torch.cuda.synchronize(device)
    rows = []
    for event in profiler.key_averages():
        if cuda and event.device_type.name != "CUDA":
            continue
        microseconds = event.self_device_time_total if cuda else event.self_cpu_time_total
        rows.append((microseconds / 1e3 / PASSES, event.count / PASSES, event.key))
    total = sum(ms for ms, _, _ in rows)
    rows.sort(reverse=True)
    return [
        {"name": name, "calls": calls, "ms": ms, "share": ms / total if total else 0.0}
        for ms, calls, name in rows[:COUNT]
    ]
