"""The network on crops: nothing shows that it saw crops only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from r3d2_ros.harmonizer.base import ImageModel
from r3d2_ros.harmonizer.compositing.composite import composite_region
from r3d2_ros.harmonizer.compositing.crops import run_on_crops
from r3d2_ros.harmonizer.compositing.reduced import run_reduced, scale_of
from r3d2_ros.harmonizer.compositing.roi import Crop, crops_cost, grid_of
from r3d2_ros.rendering.cuda_copies import rgb8_tensor
from tests.harmonizer.small import picture
from tests.harmonizer.test_roi import MARGIN, chosen, crops_of, region


def on_crops(image: Tensor, crops: tuple[Crop, ...], network: ImageModel) -> Tensor:
    """`run_on_crops` for one image [3, H, W]."""
    return next(run_on_crops([image], [crops], network, margin_px=MARGIN))[1]


def noise(height: int = 240, width: int = 400) -> Tensor:
    return picture(height, width, seed=3)[0]


def never(batch: Tensor) -> Tensor:
    raise AssertionError("the network must not run")


def test_no_crop_no_run() -> None:
    image = noise()
    assert torch.equal(on_crops(image, (), never), image)


def test_the_network_gets_one_batch_for_each_size_with_the_crops_of_all_images() -> None:
    shapes = []

    def identity(batch: Tensor) -> Tensor:
        shapes.append(tuple(batch.shape))
        return batch

    first = chosen((100, 100, 120, 120), (20, 300, 40, 320), (150, 200, 230, 290))
    second = chosen((100, 300, 120, 320))
    images = [noise(), noise()]
    outputs = dict(run_on_crops(images, [first, second], identity, margin_px=MARGIN))
    assert all(torch.equal(outputs[number], image) for number, image in enumerate(images))
    assert shapes == [(3, 3, 64, 64), (1, 3, 128, 128)]


def test_every_image_gets_its_own_changes() -> None:
    """The network adds what it sees at the middle of a crop, which differs from image to image."""
    images = [torch.full((3, 240, 400), value) for value in (0.1, 0.3)]
    crops = [chosen((100, 100, 120, 120)), chosen((60, 200, 80, 220), (180, 20, 200, 40))]
    outputs = dict(run_on_crops(images, crops, lambda batch: 2 * batch, margin_px=MARGIN))
    for out, boxes, value in (
        (outputs[0], [(100, 100)], 0.2),
        (outputs[1], [(60, 200), (180, 20)], 0.6),
    ):
        for top, left in boxes:
            torch.testing.assert_close(out[:, top : top + 20, left : left + 20], torch.full((3, 20, 20), value))


def test_an_image_comes_as_soon_as_its_crops_have_been_run() -> None:
    """The smallest crops are run first, and an image without crops waits for nothing."""
    images, sizes = [torch.full((3, 240, 400), 0.5)] * 3, []
    small, large = Crop(64, 64, 0, 0), Crop(128, 128, 64, 64)

    def network(batch: Tensor) -> Tensor:
        sizes.append((len(batch), batch.shape[-1]))
        return batch

    came = [
        (number, list(sizes))
        for number, _ in run_on_crops(images, [(small, large), (small,), ()], network, margin_px=MARGIN)
    ]
    assert came == [(2, []), (1, [(2, 64)]), (0, [(2, 64), (1, 128)])]


OVERLAPPING = ((60, 100, 160, 180), (100, 205, 130, 240), (20, 230, 50, 270))


def test_a_constant_change_is_the_same_in_all_crops_and_fades_out_without_a_seam() -> None:
    image = torch.full((3, 240, 400), 0.25)
    crops = crops_of(region(*OVERLAPPING))
    used = np.zeros((240, 400), int)
    for crop in crops:
        used[crop.slices] += 1
    assert used.max() == 2, "the case is one of overlapping crops"
    out = on_crops(image, crops, lambda batch: batch + 8 / 255)
    change = (out - image)[0].numpy() * 255
    np.testing.assert_allclose(change[region(*OVERLAPPING) > 0], 8, atol=1e-3)
    assert (change[used == 0] == 0).all() and change.max() < 8.001
    # 8 grey levels over a margin of 8 pixels: no step is more than one.
    assert max(np.abs(np.diff(change, axis=axis)).max() for axis in (0, 1)) <= 1


def blur(batch: Tensor) -> Tensor:
    return functional.avg_pool2d(functional.pad(batch, (2, 2, 2, 2), mode="replicate"), 5, stride=1)


def test_a_local_filter_gives_what_it_gives_on_the_whole_frame() -> None:
    image, mask = noise(), region((100, 100, 130, 140), (0, 300, 30, 330), (200, 0, 240, 30))
    crops = crops_of(mask)
    assert crops_cost(crops) < 240 * 400 / 4
    out, full = on_crops(image, crops, blur), blur(image[None])[0]
    inside = torch.from_numpy(mask > 0)
    torch.testing.assert_close(out[:, inside], full[:, inside])
    render = rgb8_tensor(image.movedim(0, -1))
    pasted, expected = (composite_region(render, picture, torch.from_numpy(mask)).int() for picture in (out, full))
    assert (pasted - expected).abs().max() <= 1


def test_the_whole_frame_is_a_crop_like_others_and_crops_can_be_reduced() -> None:
    image, whole = noise(48, 64), (Crop(48, 64, 0, 0),)
    torch.testing.assert_close(on_crops(image, whole, blur), blur(image[None])[0])
    smooth = torch.full((3, 240, 400), 0.6)
    mask = region((100, 100, 130, 140))
    crops = crops_of(mask)
    out = on_crops(smooth, crops, lambda batch: run_reduced(batch, lambda small: small * 0.5 + 0.1, 0.5))
    inside = torch.from_numpy(mask > 0)
    torch.testing.assert_close(out[:, inside], torch.full_like(out[:, inside], 0.4))


def blocks(batch: Tensor) -> Tensor:
    """Each pixel halfway to the mean of its block of 8x8, which is what a latent pixel stands for."""
    means = functional.avg_pool2d(batch, 8, ceil_mode=True, count_include_pad=False)
    enlarged = functional.interpolate(means, scale_factor=8)[..., : batch.shape[-2], : batch.shape[-1]]
    return (batch + enlarged) / 2


@pytest.mark.parametrize(
    ("resolution", "rows"), [("full", 1080), ("half", 1080), ("720p", 1080), ("720p", 900), ("648p", 1080)]
)
def test_reduced_crops_see_the_blocks_of_the_reduced_frame(resolution: str, rows: int) -> None:
    image, scale = noise(rows, 960), scale_of(resolution, rows)
    mask = region((300, 310, 420, 430), (610, 610, 660, 660), (0, 0, 50, 60), shape=(rows, 960))
    crops = crops_of(mask, sizes=((200, 200), (256, 256)), margin_px=32, grid_px=grid_of(scale, 8))
    assert len(crops) == 3

    def network(batch: Tensor) -> Tensor:
        return run_reduced(batch, blocks, scale)

    out, full = dict(run_on_crops([image], [crops], network, margin_px=32))[0], network(image[None])[0]
    inside = torch.from_numpy(mask > 0)
    torch.testing.assert_close(out[:, inside], full[:, inside], rtol=0, atol=1e-4)
