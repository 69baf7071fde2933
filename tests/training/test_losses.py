"""LPIPS and Gram against independent references, on a trunk with seeded random weights: no pretrained one is needed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.training.config import LossConfig
from r3d2_ros.training.data import Batch
from r3d2_ros.training.losses import TrainingLoss, gram_crop, sun_loss
from r3d2_ros.training.perceptual import LpipsHeads, crop_features, gram_loss, gram_matrix
from r3d2_ros.training.stages import Made
from r3d2_ros.training.trunk import TRUNK_FILE, Trunk, load_trunk, random_trunk, torchvision_state

WEIGHTS = (1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return random_trunk(0)


def images(count: int, seed: int, size: int = 48) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def vgg16_features(trunk: Trunk) -> nn.Sequential:
    """torchvision's `vgg16().features` as its documentation lists them, M being a pooling."""
    plan = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
    layers: list[nn.Module] = []
    channels = 3
    for entry in plan:
        if isinstance(entry, int):
            layers += [nn.Conv2d(channels, entry, 3, padding=1), nn.ReLU()]
            channels = entry
        else:
            layers.append(nn.MaxPool2d(2, 2))
    features = nn.Sequential(*layers)
    state = torchvision_state(trunk)
    features.load_state_dict({key.removeprefix("features."): tensor for key, tensor in state.items()})
    return features


@pytest.fixture
def lpips_package(trunk: Trunk, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The package itself, with a stand-in for torchvision that knows VGG16 alone."""
    stand_in = ModuleType("torchvision")
    stand_in.models = SimpleNamespace(vgg16=lambda pretrained: SimpleNamespace(features=vgg16_features(trunk)))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", stand_in)
    yield importlib.import_module("lpips")
    for name in [name for name in sys.modules if name.split(".")[0] == "lpips"]:
        del sys.modules[name]


def test_lpips_is_that_of_the_package(lpips_package: ModuleType, trunk: Trunk) -> None:
    theirs = lpips_package.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    one, other = images(2, 1), images(2, 2)
    with torch.no_grad():
        expected = theirs(one, other, normalize=True).flatten()
        got = LpipsHeads()(trunk(one), trunk(other))
    assert got.shape == (2,) and float(got.min()) > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=0)


def test_lpips_of_equal_images_is_zero_and_has_a_gradient_where_no_feature_is_active(trunk: Trunk) -> None:
    heads = LpipsHeads()
    features = [torch.zeros(1, c, 2, 2, requires_grad=True) for c in (64, 128, 256, 512, 512)]
    distance = heads(features, [torch.ones_like(f) for f in features])
    distance.sum().backward()
    assert float(heads(trunk(images(1, 0)), trunk(images(1, 0)))) == 0
    assert all(torch.isfinite(f.grad).all() for f in features if f.grad is not None)


def gram_reference(one: list[np.ndarray], other: list[np.ndarray], normalisation: str) -> float:
    """Of one sample, number by number, in float64."""
    total = 0.0
    for weight, a, b in zip(WEIGHTS, one, other, strict=True):
        d, h, w = a.shape
        squares = []
        for i in range(d):
            for j in range(d):
                ga, gb = (float((f[i] * f[j]).sum()) for f in (a, b))
                if normalisation == "film":
                    ga, gb = ga / (h * w), gb / (h * w)
                squares.append((ga - gb) ** 2)
        loss = weight * float(np.mean(squares))
        total += loss if normalisation == "film" else loss / (d * h * w)
    return total


@pytest.mark.parametrize("normalisation", ["film", "difix"])
def test_gram_loss_sample_by_sample(normalisation: str) -> None:
    rng = np.random.default_rng(0)
    shapes = [(4, 16, 24), (6, 8, 12), (3, 4, 6), (5, 2, 3), (2, 1, 2)]
    one, other = ([rng.normal(size=(2, *shape)) for shape in shapes] for _ in range(2))
    got = gram_loss([torch.tensor(f) for f in one], [torch.tensor(f) for f in other], normalisation)  # type: ignore[arg-type]
    expected = [gram_reference([f[i] for f in one], [f[i] for f in other], normalisation) for i in range(2)]
    assert got.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_two_gram_normalisations_differ_by_pixels_over_channels() -> None:
    """64 channels of 400 x 400 pixels: 2500."""
    one, other = [torch.rand(1, 64, 400, 400)], [torch.rand(1, 64, 400, 400)]
    both = [gram_loss(one * 5, other * 5, name) for name in ("film", "difix")]
    assert float(both[1] / both[0]) == pytest.approx(400 * 400 / 64)


def test_gram_matrices_are_formed_in_float32_under_autocast() -> None:
    """The mean of 3 * 7 over 100 x 100 pixels is 21. In bfloat16, 10,000 summands of 0.0021 are off by a percent."""
    features = torch.stack([torch.full((100, 100), 3.0), torch.full((100, 100), 7.0)])[None]
    with torch.autocast("cpu", torch.bfloat16):
        gram = gram_matrix(features.bfloat16())
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, torch.tensor([[[9.0, 21.0], [21.0, 49.0]]]), rtol=1e-4, atol=0)


def test_trunk_is_torchvisions_vgg16(trunk: Trunk) -> None:
    image = images(1, 3, 32)
    normalised = (image - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    taps, x, taken = trunk(image), normalised, []
    for index, layer in enumerate(vgg16_features(trunk)):
        x = layer(x)
        if index in (3, 8, 15, 22, 29):
            taken.append(x)
    assert [tuple(tap.shape[1:]) for tap in taps] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
        (512, 2, 2),
    ]
    for got, expected in zip(taps, taken, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_trunk_weights_come_from_a_path_or_from_torchvisions_cache(
    trunk: Trunk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = torchvision_state(trunk) | {"classifier.0.weight": torch.zeros(2, 2)}
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=f"checkpoints/{TRUNK_FILE}.*no such file.*Download https://download.pytorch"):
        load_trunk()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(state, tmp_path / "hub" / "checkpoints" / TRUNK_FILE)
    torch.save(state, tmp_path / "mine.pth")
    for loaded in (load_trunk(), load_trunk(tmp_path / "mine.pth")):
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), trunk.parameters(), strict=True))
        assert not any(parameter.requires_grad for parameter in loaded.parameters())


class Harmful:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("harm_was_done"),))


def test_a_trunk_file_of_another_kind_is_refused(trunk: Trunk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = torchvision_state(trunk)
    torch.save({"a": Harmful()}, "code.pth")
    torch.save({key: value for key, value in state.items() if key != "features.28.bias"}, "short.pth")
    Path("text.pth").write_text("hello")
    for name, text in (
        ("code.pth", "tensors and plain values"),
        ("short.pth", "features.28.bias"),
        ("text.pth", "a complete file"),
    ):
        with pytest.raises((InputError, InputErrors), match=text):
            load_trunk(name)
    assert not Path("harm_was_done").exists()


def test_terms_are_weighted_and_added(trunk: Trunk) -> None:
    config = LossConfig(lpips=1.0, gram=0.5, l1=2.0)
    batch = Batch(images(2, 4), images(2, 5), torch.zeros(2, 1, 48, 48), torch.full((2, 3), torch.nan), ("a", "b"))
    terms = TrainingLoss(config, trunk)(Made(batch.input), batch, torch.Generator())
    expected = terms["lpips"] + 0.5 * terms["gram"] + 2.0 * terms["l1"]
    assert float(terms["total"]) == pytest.approx(float(expected)) and set(terms) == {
        "lpips",
        "gram",
        "l1",
        "l2",
        "total",
    }
    with torch.no_grad():
        got, wanted = trunk(batch.input), trunk(batch.target)
    assert float(terms["gram"]) == pytest.approx(float(gram_loss(got, wanted, "film").mean()), rel=1e-5)


def test_pictures_too_small_for_the_trunk_are_named(trunk: Trunk) -> None:
    small = images(1, 4)[..., :15, :]
    batch = Batch(small, small, torch.zeros(1, 1, 15, 48), torch.full((1, 3), torch.nan), ("street/7",))
    with pytest.raises(InputError, match=r"samples street/7: expected 16 px or more a side, .* got 15x48"):
        TrainingLoss(LossConfig(), trunk)(Made(small), batch, torch.Generator())


def test_the_gram_crop_is_the_same_place_in_both_images_and_all_levels(trunk: Trunk) -> None:
    top, left, size_px = gram_crop(torch.Size((96, 128)), 40, torch.Generator().manual_seed(1)) or (0, 0, 0)
    assert size_px == 32 and top % 16 == left % 16 == 0 and top + 32 <= 96 and left + 32 <= 128
    coordinates = torch.arange(96.0)[:, None] * 1000 + torch.arange(128.0)
    levels = [coordinates[None, None, :: 2**k, :: 2**k] for k in range(5)]
    for level, part in enumerate(crop_features(levels, top=top, left=left, size_px=size_px)):
        assert part.shape[-2:] == (32 >> level, 32 >> level)
        assert float(part[0, 0, 0, 0]) == top * 1000 + left
    assert gram_crop(torch.Size((96, 128)), 0, torch.Generator()) is None
    assert gram_crop(torch.Size((96, 128)), 400, torch.Generator()) == (
        0,
        gram_crop(torch.Size((96, 128)), 400, torch.Generator())[1],
        96,
    )  # type: ignore[index]


def test_differences_by_hand() -> None:
    """Of 4 pixels one is an insert's (off by 0.2), the others are not (off by 0.1, 0.1 and 0): l1 (0.5 * 0.2 + 0.1 +
    0.1) / 4 = 0.075, l2 (0.5 * 0.04 + 0.01 + 0.01) / 4 = 0.01."""
    target = torch.full((1, 3, 2, 2), 0.5)
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    output = target + torch.tensor([[0.2, 0.1], [0.1, 0.0]])
    config = LossConfig(lpips=0, gram=0, l1=1.0, l2=10.0, insert_weight=0.5)
    batch = Batch(target, target, mask, torch.full((1, 3), torch.nan), ("a",))
    terms = TrainingLoss(config)(Made(output), batch, torch.Generator())
    got = {name: value.item() for name, value in terms.items()}
    assert got == pytest.approx({"l1": 0.075, "l2": 0.01, "total": 0.175})


def test_the_sun_by_hand() -> None:
    """Two places tell (0, -1, 0) and (0.3, -1, 0), and the sun is at (0, -0.8, 0.6): (0.04 + 0.36 + 0.09 + 0.04 +
    0.36) / 6. The other sample's sun is not known: it counts nothing, and the mean of both is half."""
    told = torch.tensor([[0.0, -1.0, 0.0], [0.3, -1.0, 0.0]]).T.reshape(1, 3, 1, 2).repeat(2, 1, 1, 1).requires_grad_()
    sun = torch.tensor([[0.0, -0.8, 0.6], [torch.nan] * 3])
    assert sun_loss(told, sun).detach().tolist() == pytest.approx([0.89 / 6, 0.0])
    image = torch.full((2, 3, 2, 2), 0.5)
    batch = Batch(image, image, torch.zeros(2, 1, 2, 2), sun, ("a", "b"))
    terms = TrainingLoss(LossConfig(lpips=0, gram=0, l2=1.0, sun=2.0))(Made(image, told), batch, torch.Generator())
    assert terms["total"].item() == pytest.approx(2 * 0.89 / 12)
    terms["total"].backward()
    assert told.grad is not None and torch.isfinite(told.grad).all() and not told.grad[1].any()
