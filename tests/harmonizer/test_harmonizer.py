"""The harmonizer in the simulator: kept to the region, skipped where no actor is seen, never silent when it fails."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from r3d2_ros.config import load_config
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer import harmonizer as harmonizer_module
from r3d2_ros.harmonizer.base import Shape
from r3d2_ros.harmonizer.grey_moments import grey_moment
from r3d2_ros.harmonizer.harmonizer import Harmonizer
from r3d2_ros.harmonizer.model.config import LATENT_PX
from r3d2_ros.harmonizer.moment import Harmonized
from r3d2_ros.harmonizer.runtime.runtime import make_runtime
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RoiConfig, RuntimeConfig, TemporalConfig
from r3d2_ros.harmonizer.temporal import blend as blending
from r3d2_ros.harmonizer.temporal import motion
from r3d2_ros.rendering.cuda_copies import CopyAside, aside
from r3d2_ros.rendering.frames import HostImage
from r3d2_ros.rendering.rgb8 import to_rgb8
from r3d2_ros.simulator import FrameSet, History, Simulator
from r3d2_ros.world import WorldState
from tests.harmonizer.small import TINY, seeded
from tests.test_simulator import hashes, simulator, state


class Network:
    """A function as a network, which keeps the images it was given and the shapes it was prepared for."""

    device, latent_px = torch.device("cpu"), LATENT_PX

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self.seen: list[Tensor] = []
        self.prepared: list[Shape] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return self.function(images)

    def warm_up(self, shapes: Iterable[Shape]) -> None:
        self.prepared += shapes


def darker() -> Network:
    """Takes 0.1 off every value."""
    return Network(lambda images: images - 0.1)


def harmonizing(network: Network, config: HarmonizerConfig | None = None) -> Simulator:
    sim = simulator()
    sim.harmonizer = Harmonizer(config or HarmonizerConfig(), network)
    return sim


def state_at(stamp_ns: int) -> WorldState:
    """`state`, a little later: nothing has moved."""
    return replace(state(), stamp_ns=stamp_ns)


def step(network: Network, config: HarmonizerConfig | None = None) -> FrameSet:
    return harmonizing(network, config).step(state(), History())[0]


def test_outside_the_region_every_byte_is_the_render_and_inside_the_network_shows() -> None:
    front = step(darker()).frames[0]
    assert front.mask is not None and 0 < (front.mask > 0).mean() < 0.6
    np.testing.assert_array_equal(front.rgb[front.mask == 0], front.rendered[front.mask == 0])
    full = front.mask == 1
    difference = front.rendered[full].astype(int) - front.rgb[full]
    # 0.1 of 255 is 25.5; a dark render ends at 0.
    assert np.all((difference >= 25) | (front.rgb[full] == 0)) and difference.max() <= 26


def test_a_camera_that_sees_no_actor_skips_the_network() -> None:
    network = darker()
    front, left = step(network).frames
    assert [len(images) for images in network.seen] == [1]
    assert left.mask is None and left.rgb is left.rendered
    assert front.rgb is not front.rendered


@pytest.mark.parametrize("temporal", [False, True])
def test_a_moment_without_cameras_has_no_pictures(temporal: bool) -> None:
    """Such as one at which none is exposed."""
    network = darker()
    sim = harmonizing(network, HarmonizerConfig(temporal=TemporalConfig(enabled=temporal)))
    frame_set, _ = sim.step(state(), History(), cameras=[])
    assert frame_set.frames == frame_set.failures == () and not network.seen


def test_without_a_harmonizer_the_pictures_are_the_renders() -> None:
    plain = simulator().step(state(), History())[0]
    same = step(Network(lambda images: images))
    assert [f.content_hash for f in same.frames] == hashes(plain)
    assert all(f.harmonize_ms == 0 for f in plain.frames)


def test_full_shows_the_whole_output_of_all_cameras_from_one_call() -> None:
    network = darker()
    frames = step(network, HarmonizerConfig(composite="full")).frames
    assert [tuple(images.shape) for images in network.seen] == [(2, 3, 120, 160)]
    for frame in frames:
        expected = np.clip(frame.rendered.astype(float) - 25.5, 0, 255)
        assert np.abs(frame.rgb - expected).max() <= 1


def test_crops_give_the_same_picture_for_a_network_that_treats_all_pixels_alike() -> None:
    whole = step(darker()).frames[0]
    roi = RoiConfig(enabled=True, sizes="64x64, 64x96, 96x96", margin_px=8)
    crops = step(darker(), HarmonizerConfig(roi=roi)).frames[0]
    assert np.abs(crops.rgb.astype(int) - whole.rgb).max() <= 1


def test_half_resolution_adds_the_change_to_the_full_render() -> None:
    half = step(darker(), HarmonizerConfig(resolution="half")).frames[0]
    whole = step(darker()).frames[0]
    assert np.abs(half.rgb.astype(int) - whole.rgb).max() <= 1


def spoiled(images: Tensor, camera: int) -> Tensor:
    """NaN in one pixel of one of the images."""
    out = images.clone()
    out[camera, 0, 60, 80] = torch.nan
    return out


@pytest.mark.parametrize("composite", ["region", "full"])
def test_a_camera_whose_output_is_not_a_number_has_no_picture_and_the_others_do(composite: str) -> None:
    frame_set = step(Network(lambda images: spoiled(images, 0)), HarmonizerConfig(composite=composite))  # type: ignore[arg-type]
    assert [frame.camera.name for frame in frame_set.frames] == ["left"]
    (failure,) = frame_set.failures
    assert failure.camera.name == "front"
    assert failure.reason == "the harmonizer's output has NaN or infinite values in 1 pixels"


@pytest.mark.parametrize(
    "changes", [{}, {"roi": RoiConfig(enabled=True, sizes="32x32, 64x64")}, {"resolution": "half"}], ids=str
)
def test_sums_beyond_16_bit_are_a_failure_and_no_white_picture(changes: dict[str, Any]) -> None:
    """Weights of 60000 are finite, and what the last convolution makes of them is not."""
    model = seeded(TINY)
    last = [weight for weight in model.decoder.parameters() if weight.ndim == 4 and weight.shape[0] == 3]
    last[-1].data.fill_(60_000.0)
    config = HarmonizerConfig(device="cpu", dtype="float16", **changes)
    runtime = make_runtime(model, config)
    outcomes, _ = Harmonizer(config, runtime).apply(grey_moment((48, 64), torch.device("cpu"), cameras=1, seen=1))
    assert "NaN or infinite" in str(outcomes[0])
    with pytest.raises(InputError, match=r"harmonizer.dtype: .*NaN or infinity from noise .* Try bfloat16"):
        runtime.warm_up([(1, 48, 64)])


def test_not_a_number_where_nothing_of_it_is_shown_is_no_fault() -> None:
    def corner(images: Tensor) -> Tensor:
        out = images.clone()
        out[:, :, 0, 0] = torch.nan
        return out

    assert step(Network(corner)).failures == ()


def out_of_memory(images: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nmore lines")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nmore lines"), "OutOfMemoryError: CUDA out of memory."),
        (ValueError("height and width have to be divisible by 8"), "ValueError: height and width have to be"),
        (InputError("the pipeline's result", "images", "NoneType"), "InputError: the pipeline's result: expected"),
        (KeyError("down_block_res_samples"), "KeyError: 'down_block_res_samples'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_network_that_fails_takes_only_the_pictures_that_needed_it(error: Exception, reason: str) -> None:
    def failing(images: Tensor) -> Tensor:
        raise error

    frame_set = step(Network(failing))
    assert [frame.camera.name for frame in frame_set.frames] == ["left"]
    assert frame_set.failures[0].reason.startswith(f"the harmonizer's network failed: {reason}")


def fails_for(camera: int, function: Callable[..., object]) -> Callable[..., object]:
    """`function`, out of memory in its call of that number."""
    calls = itertools.count()
    return lambda *given: out_of_memory(*given[-1:]) if next(calls) == camera else function(*given)


@pytest.mark.parametrize("camera", [0, 1])
@pytest.mark.parametrize(
    ("place", "name", "reason"),
    [
        (Harmonizer, "_input", "the harmonizer's upload failed: OutOfMemoryError"),
        (harmonizer_module, "composited", "the harmonizer's composite failed: OutOfMemoryError"),
    ],
)
def test_memory_that_lacks_for_one_camera_takes_its_picture_alone(
    camera: int, place: object, name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, fails_for(camera, getattr(place, name)))
    frame_set = step(darker(), HarmonizerConfig(composite="full"))
    names = ["front", "left"]
    (failure,) = frame_set.failures
    assert failure.camera.name == names.pop(camera) and failure.reason.startswith(f"{reason}: CUDA out of memory.")
    assert [frame.camera.name for frame in frame_set.frames] == names
    assert (frame_set.frames[0].mask == 1).all()


@pytest.mark.parametrize("temporal", [False, True])
def test_what_the_network_does_not_need_is_not_put_on_its_device(
    temporal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of camera `front` alone, each array once: image, and bytes and mask around the car; temporal: depth, instance."""
    sim = harmonizing(darker(), HarmonizerConfig(temporal=TemporalConfig(enabled=temporal)))
    rendered, sent, put = sim.render(state()), [], Harmonizer._on_device
    monkeypatch.setattr(Harmonizer, "_on_device", lambda self, array: (sent.append(array), put(self, array))[1])
    sim.harmonize(rendered, History())
    assert len(sent) == (5 if temporal else 3)
    frame = rendered.frames[0]
    assert sent[0] is frame.rgb and sent[1].size == 3 * sent[2].size and sent[2].size < 0.6 * frame.depth.size


class Stream:
    """Stands in for a GPU's stream or event: how often it was waited for, and behind which streams its work is."""

    def __init__(self, *arguments: object, **options: object) -> None:
        self.waited = 0
        self.behind: list[Stream] = []

    def synchronize(self) -> None:
        self.waited += 1

    def wait_stream(self, other: Stream) -> None:
        self.behind.append(other)

    def record(self, stream: Stream) -> None:
        pass


class OnGpu(Tensor):
    """A tensor on the host that says that it is on a GPU."""

    device = torch.device("cuda:0")


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Stream]]:
    """Of an imagined GPU: the network's, which is the current one, and those that are made meanwhile."""
    made = [Stream()]
    current = made.copy()

    def make(device: torch.device) -> Stream:
        made.append(Stream())
        return made[-1]

    @contextlib.contextmanager
    def using(stream: Stream) -> Iterator[None]:
        current.append(stream)
        yield
        current.pop()

    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda shape, *, dtype, pin_memory: empty(shape, dtype=dtype))
    monkeypatch.setattr(torch.cuda, "Stream", make)
    monkeypatch.setattr(torch.cuda, "Event", Stream)
    monkeypatch.setattr(torch.cuda, "stream", using)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current[-1])
    aside.cache_clear()
    yield made
    aside.cache_clear()


def test_depth_does_not_wait_for_the_network_that_is_at_work_on_the_next_moment(streams: list[Stream]) -> None:
    depth = torch.rand(2, 3)
    image = depth.as_subclass(OnGpu)
    network = streams[0]
    picture = CopyAside(image)
    np.testing.assert_array_equal(HostImage(image).array, depth.numpy())
    np.testing.assert_array_equal(picture.array(), depth.numpy())
    assert [(stream.behind, stream.waited) for stream in streams[1:]] == [([network], 0), ([], 1)]


def test_nothing_is_at_work_on_the_renders_when_harmonizing_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the renderer would have its memory back while the GPU still reads it."""
    sim, stream = harmonizing(darker()), Stream()
    assert sim.harmonizer is not None
    monkeypatch.setattr(sim.harmonizer, "_stream", stream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    sim.step(state(), History())
    assert stream.waited == 1
    monkeypatch.setattr(sim.harmonizer._finder, "areas", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        sim.step(state(), History())
    assert stream.waited == 2


@pytest.mark.parametrize("max_batch", [1, 3])
def test_a_picture_is_on_its_way_before_the_next_is_harmonized(
    max_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cameras, one after the other or both at once; of each come a picture and how many of its pixels are bad."""
    happened: list[str] = []

    class Copy(CopyAside):
        def __init__(self, image: Tensor) -> None:
            happened.append("copy")
            super().__init__(image)

    def network(images: Tensor) -> Tensor:
        happened.append(f"network {len(images)}")
        return images

    monkeypatch.setattr(harmonizer_module, "CopyAside", Copy)
    step(Network(network), HarmonizerConfig(composite="full", runtime=RuntimeConfig(max_batch=max_batch)))
    one_by_one = ["network 1", "copy", "copy"] * 2
    assert happened == (one_by_one if max_batch == 1 else ["network 2", *["copy"] * 4])


def test_raw_shows_the_render_and_says_why() -> None:
    sim = harmonizing(Network(out_of_memory))
    rendered = sim.render(state())
    frame_set, _ = sim.harmonize(rendered, History(), raw_where_it_fails=True)
    assert frame_set.failures == ()
    front, left = frame_set.frames
    assert front.rgb is front.rendered and "OutOfMemoryError" in front.raw
    assert left.raw == "" and left.mask is None, "it needed no harmonizer"
    late = sim.unharmonized(rendered, "not in time")
    assert [frame.raw for frame in late.frames] == ["not in time"] * 2
    assert hashes(late) == hashes(frame_set)


def test_the_network_gets_the_float_render() -> None:
    network = Network(lambda images: images)
    front = step(network).frames[0]
    image = network.seen[0]
    assert image.shape == (1, 3, 120, 160) and image.dtype == torch.float32
    assert image.min() >= 0 and image.max() <= 1
    np.testing.assert_array_equal(to_rgb8(image[0].movedim(0, -1).numpy()), front.rendered)


def test_everything_that_a_frame_set_can_ask_for_is_prepared() -> None:
    """Two cameras of 160x120: alone and both; of crops any number up to max_batch at every size that fits."""
    network = darker()
    harmonizing(network).warm_up()
    assert set(network.prepared) == {(1, 120, 160), (2, 120, 160)}, "there are never three whole frames"
    assert {tuple(images.shape) for images in network.seen} == {(2, 3, 120, 160)}, "the way of both frames"
    roi = RoiConfig(enabled=True, sizes="64x64, 96x128, 128x128", margin_px=8)
    crops = {(batch, *size) for size in [(32, 32), (48, 64)] for batch in (1, 2, 3)}
    network = darker()
    harmonizing(network, HarmonizerConfig(roi=roi, resolution="half", runtime=RuntimeConfig(max_batch=3))).warm_up()
    assert set(network.prepared) == {*crops, (1, 60, 80), (2, 60, 80)}
    network = darker()
    harmonizing(network, HarmonizerConfig(roi=roi, runtime=RuntimeConfig(max_batch=2))).warm_up()
    sizes = [(64, 64), (96, 128), (120, 160)]
    assert sorted(network.prepared) == sorted((batch, *size) for size in sizes for batch in (1, 2)), "each once"


def test_what_a_street_can_ask_for_is_met_before_the_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views of several cameras, one crop in a picture and several, actors that have moved."""
    met: dict[str, set[int]] = {}

    def noting(module: ModuleType, name: str, size: Callable[..., int]) -> None:
        original = getattr(module, name)

        def noted(*given: Any, **options: Any) -> Any:
            met.setdefault(name, set()).add(size(*given))
            return original(*given, **options)

        monkeypatch.setattr(module, name, noted)

    noting(harmonizer_module, "run_on_crops", lambda images, crops, network: max(map(len, crops)))
    noting(motion, "_followers", lambda movers, *_: len(movers))
    noting(blending, "bring_together", lambda patches, *_: len(patches))
    roi = RoiConfig(enabled=True, sizes="64x64, 64x96", margin_px=8)
    config = HarmonizerConfig(roi=roi, temporal=TemporalConfig(enabled=True, max_gap_s=0.01))
    network = darker()
    Harmonizer(config, network).warm_up([(120, 160)] * 3)
    assert met == {"run_on_crops": {1, 2}, "_followers": {1}, "bring_together": {2}}
    assert {tuple(images.shape[1:]) for images in network.seen} == {(3, 64, 64)}, "crops around each actor"


def test_pictures_of_a_warm_up_are_parts_of_one_tensor() -> None:
    """As a renderer's are: the second does not begin where the first would."""
    moment = grey_moment((3, 5), torch.device("meta"), cameras=2)
    surfaces = [frame.surfaces for frame in moment.frames]
    assert [one is not None and one.rgb8.storage_offset() for one in surfaces] == [0, 3 * 3 * 5]
    assert moment.names == ("warm-up 0", "warm-up 1")


@pytest.mark.parametrize(
    ("function", "reason"),
    [(out_of_memory, "OutOfMemoryError: CUDA out of memory"), (lambda images: images / 0 * 0, "NaN or infinite")],
)
def test_a_network_that_fails_for_every_frame_is_not_ready(
    function: Callable[[Tensor], Tensor], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = "expected a network that works for a grey frame of 120 x 160"
    with pytest.raises(InputError, match=f"{expected}, got .*{reason}"):
        harmonizing(Network(function)).warm_up()
    tracebacks = [record for record in caplog.records if record.exc_info]
    assert len(tracebacks) == (function is out_of_memory), "one that says where"


@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize("roi", [False, True])
def test_an_image_of_one_pixel_is_harmonized(roi: bool, temporal: bool) -> None:
    config = HarmonizerConfig(temporal=TemporalConfig(enabled=temporal), roi=RoiConfig(enabled=roi))
    grey = grey_moment((1, 1), torch.device("cpu"))
    ([picture], _) = Harmonizer(config, darker()).apply(grey)
    assert isinstance(picture, Harmonized)
    np.testing.assert_array_equal(picture.rgb, [[[102, 102, 102]]])


def test_whole_frames_of_two_sizes_are_never_in_one_batch() -> None:
    network = darker()
    Harmonizer(HarmonizerConfig(runtime=RuntimeConfig(max_batch=2)), network).warm_up([(16, 24), (16, 32), (16, 24)])
    assert set(network.prepared) == {(1, 16, 24), (2, 16, 24), (1, 16, 32)}


def test_a_backend_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sim.yaml"
    path.write_text("harmonizer: {backend: r3d2}\n")
    with pytest.raises(InputErrors, match="harmonizer: expected the folder of a checkpoint"):
        load_config(path)


def flickering(levels: Iterator[float]) -> Network:
    """Darker by a number of grey levels that differs from call to call."""
    return Network(lambda images: images - next(levels) / 255)


def test_temporal_harmonizing_carries_the_last_change_and_depends_on_its_history_alone() -> None:
    config = HarmonizerConfig(temporal=TemporalConfig(enabled=True, blend=0.8))
    sim = harmonizing(flickering(itertools.cycle([20.0, 30.0])), config)
    first, history = sim.step(state(), History())
    assert history.temporal is not None
    second, _ = sim.step(state_at(100_000_000), history)
    front = first.frames[0]
    full = (front.mask == 1) & (front.rendered.min(axis=-1) > 40)
    darker_by = [(f.frames[0].rendered[full].astype(int) - f.frames[0].rgb[full]).mean() for f in (first, second)]
    # The second is 0.8 * 20 + 0.2 * 30 = 22 where what it sees can be carried, which is nearly everywhere here.
    assert darker_by[0] == pytest.approx(20, abs=0.1) and darker_by[1] == pytest.approx(22, abs=0.5)
    # Without the history the same moment is harmonized for itself; the call before gave 30, so this one gives 20.
    alone, _ = sim.step(state_at(100_000_000), History())
    assert hashes(alone) == hashes(first)
    again, _ = sim.step(state_at(100_000_000), history)
    assert hashes(again) == hashes(second)


def test_a_failed_camera_leaves_nothing_to_carry() -> None:
    config = HarmonizerConfig(temporal=TemporalConfig(enabled=True))
    answers = itertools.cycle([lambda x: x - 0.1, lambda x: x * torch.nan, lambda x: x - 0.05])
    sim = harmonizing(Network(lambda images: next(answers)(images)), config)
    _, history = sim.step(state(), History())
    failed, history = sim.step(state_at(100_000_000), history)
    assert [f.camera.name for f in failed.failures] == ["front"]
    third, _ = sim.step(state_at(200_000_000), history)
    alone, _ = harmonizing(Network(lambda x: x - 0.05)).step(state(), History())
    assert hashes(third) == hashes(alone)
