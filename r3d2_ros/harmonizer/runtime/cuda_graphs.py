"""One recording of all kernels per shape of images: replaying costs one launch instead of thousands."""

from __future__ import annotations

import torch
from torch import Tensor

from r3d2_ros.harmonizer.base import ImageModel

WARM_UP = 3
"""Calls before a recording, for what happens in first calls: libraries that start, kernels chosen by measurement."""


class CudaGraphs:
    """Records networks. The recordings share memory for what lives within a call, so only one may run at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream: torch.cuda.Stream | None = None

    def record(self, network: ImageModel, example: Tensor) -> ImageModel:
        """`network` for images like `example` as a replay. Its result is overwritten by the next one.

        Whatever `network` does on the host happens now and never again. It must not wait for the GPU.
        """
        images = example.clone()
        stream = self._recording_stream(example.device)
        stream.wait_stream(torch.cuda.current_stream(example.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                network(images)
        torch.cuda.current_stream(example.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            # Not "global": another thread, such as the renderer's, may allocate memory meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
                result = network(images)
        except BaseException:
            self._pool = torch.cuda.graph_pool_handle()  # what a failed recording leaves is not built upon
            raise

        def replay(new: Tensor) -> Tensor:
            images.copy_(new)
            graph.replay()
            return result

        return replay

    def _recording_stream(self, device: torch.device) -> torch.cuda.Stream:
        """One for all: cuBLAS keeps a workspace, 32 MiB on Hopper, for each. Its priority is the caller's: a replay's
        kernels have the priority with which they were recorded, whatever stream they are replayed on."""
        if self._stream is None:
            priority = torch.cuda.current_stream(device).priority
            self._stream = torch.cuda.Stream(device, priority=priority)
        return self._stream
