"""Convolution, sum and ReLU as one: the operations on a CPU, and what cuDNN would be asked for on a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from r3d2_ros.harmonizer.rewrites import fuse_relu
from tests.harmonizer.rewriting import operators, with_only
from tests.harmonizer.small import TINY, picture, seeded


class Cudnn:
    """Stands in for cuDNN's two operators: their arithmetic by their arguments, and a count of calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def relu(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Tensor:
        self.calls.append("relu")
        return functional.conv2d(x, weight, bias, stride, padding, dilation, groups).relu()

    def add_relu(
        self,
        x: Tensor,
        weight: Tensor,
        z: Tensor,
        alpha: float,
        bias: Tensor | None,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> Tensor:
        self.calls.append("add_relu")
        convolved = functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
        assert z.shape == convolved.shape
        return (convolved + alpha * z).relu()


@pytest.fixture
def cudnn(monkeypatch: pytest.MonkeyPatch) -> Cudnn:
    stand_in = Cudnn()
    monkeypatch.setattr(torch, "cudnn_convolution_relu", stand_in.relu)
    monkeypatch.setattr(torch, "cudnn_convolution_add_relu", stand_in.add_relu)
    monkeypatch.setattr(fuse_relu, "uses_cudnn", lambda x: True)
    return stand_in


def test_a_cpu_computes_the_same_bits() -> None:
    model, image = seeded(TINY), picture(64, 72, batch=2)
    other = with_only(model, "fuse_relu")
    with torch.no_grad():
        assert torch.equal(other(image), model(image))


def test_cudnn_is_asked_for_the_same(cudnn: Cudnn) -> None:
    """TAESD has 10 blocks of three convolutions in the encoder, 10 in the decoder, and one more ReLU there."""
    model, image = seeded(TINY).double(), picture(64, 72, batch=2).double()
    with torch.no_grad():
        torch.testing.assert_close(with_only(model, "fuse_relu")(image), model(image), rtol=1e-6, atol=1e-6)
    assert cudnn.calls.count("add_relu") == 20
    assert cudnn.calls.count("relu") == 41


def test_no_pass_over_memory_is_left(cudnn: Cudnn) -> None:
    """Beside the stand-ins themselves no ReLU runs, and no sum but those of the skips."""
    model, image = seeded(TINY), picture(64, 64)
    encoder = with_only(model, "fuse_relu").encoder
    ran = operators(lambda: encoder(image)).count
    fused = len(cudnn.calls)
    assert ran["relu"] == fused and "relu_" not in ran and "add_" not in ran
    assert ran["add"] == cudnn.calls.count("add_relu")


def test_cudnns_operators_have_these_arguments() -> None:
    """The stand-ins take them by position, so their order is pinned here."""
    relu = torch.ops.aten.cudnn_convolution_relu.default._schema
    add_relu = torch.ops.aten.cudnn_convolution_add_relu.default._schema
    tail = ["bias", "stride", "padding", "dilation", "groups"]
    assert [argument.name for argument in relu.arguments] == ["self", "weight", *tail]
    assert [argument.name for argument in add_relu.arguments] == ["self", "weight", "z", "alpha", *tail]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_compiling_sees_one_operator(cudnn: Cudnn, memory_format: torch.memory_format) -> None:
    """torch.compile cannot look into cuDNN's operators: it gets the shape and layout of the result from ours."""
    model = with_only(seeded(TINY), "fuse_relu").encoder.to(memory_format=memory_format)
    image = picture(64, 72).contiguous(memory_format=memory_format)
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    with torch.no_grad():
        latents, taps = torch.compile(model, backend=backend, fullgraph=True, dynamic=False)(image)
        expected, expected_taps = model(image)
    assert len(graphs) == 1
    called = [str(node.target) for node in graphs[0].graph.nodes if node.op == "call_function"]
    assert called.count("r3d2_ros.conv_add_relu.default") == 10, "one per block of TAESD's encoder"
    assert called.count("r3d2_ros.conv_relu.default") == 20
    assert not any("relu" in name and "r3d2_ros" not in name for name in called)
    for got, want in zip((latents, *taps), (expected, *expected_taps), strict=True):
        torch.testing.assert_close(got, want)
        assert got.stride() == want.stride()


def test_only_16_bit_on_cuda_goes_to_cudnn() -> None:
    assert not fuse_relu.uses_cudnn(torch.zeros(1, dtype=torch.float16))
    assert set(fuse_relu.CUDNN_DTYPES) == {torch.float16, torch.bfloat16}
