"""TAESD in its original key layout, the numbered layers of one Sequential: https://github.com/madebyollin/taesd"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file
from torch import nn

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.convert.diffusers import read_autoencoder
from r3d2_ros.harmonizer.convert.taesd import read_taesd, write_taesd
from tests.harmonizer.small import picture

CHANNELS = 8


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv(), nn.ReLU(), conv(), nn.ReLU(), conv())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x) + x)


class Clamp(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x / 3) * 3


def conv(n_in: int = CHANNELS, n_out: int = CHANNELS, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1, **options)


def blocks(count: int) -> list[nn.Module]:
    return [Block() for _ in range(count)]


def original_encoder() -> nn.Sequential:
    halve = {"stride": 2, "bias": False}
    layers = [conv(3), *blocks(1), conv(**halve), *blocks(3), conv(**halve), *blocks(3), conv(**halve), *blocks(3)]
    return nn.Sequential(*layers, conv(n_out=4))


def original_decoder() -> nn.Sequential:
    layers: list[nn.Module] = [Clamp(), conv(4), nn.ReLU()]
    for _ in range(3):
        layers += [*blocks(3), nn.Upsample(scale_factor=2), conv(bias=False)]
    return nn.Sequential(*layers, *blocks(1), conv(n_out=3))


@pytest.fixture
def originals(tmp_path: Path) -> tuple[Path, nn.Sequential, nn.Sequential]:
    torch.manual_seed(0)
    encoder, decoder = original_encoder(), original_decoder()
    torch.save(encoder.state_dict(), tmp_path / "taesd_encoder.pth")
    torch.save(decoder.state_dict(), tmp_path / "taesd_decoder.pth")
    return tmp_path, encoder, decoder


def test_converted_folder_gives_the_originals_pictures(
    originals: tuple[Path, nn.Sequential, nn.Sequential], tmp_path: Path
) -> None:
    folder, encoder, decoder = originals
    tensors = read_taesd(folder)
    assert len(tensors) == 67 + 67
    write_taesd(tensors, tmp_path / "out")
    loaded = AutoencoderTiny.from_pretrained(tmp_path / "out", low_cpu_mem_usage=False)
    image = picture(32, 40)
    with torch.no_grad():
        latents = encoder(image)
        torch.testing.assert_close(loaded.encode(image * 2 - 1).latents, latents, rtol=1e-5, atol=1e-6)
        decoded = (loaded.decode(latents).sample + 1) / 2
        torch.testing.assert_close(decoded, decoder(latents), rtol=1e-5, atol=1e-6)


def test_original_files_serve_as_autoencoder_folder(originals: tuple[Path, nn.Sequential, nn.Sequential]) -> None:
    folder, encoder, decoder = originals
    read = read_autoencoder(folder)
    assert read.config.kind == "tiny" and read.config.channels == CHANNELS
    assert torch.equal(read.tensors["encoder.layers.14.weight"], encoder[14].weight)
    assert torch.equal(read.tensors["decoder.layers.0.weight"], decoder[1].weight)
    assert torch.equal(read.tensors["decoder.layers.18.bias"], decoder[19].bias)


def test_safetensors_copies_are_read(originals: tuple[Path, nn.Sequential, nn.Sequential], tmp_path: Path) -> None:
    _, encoder, decoder = originals
    copies = tmp_path / "copies"
    copies.mkdir()
    save_file(encoder.state_dict(), copies / "taesd_encoder.safetensors")
    save_file(decoder.state_dict(), copies / "taesd_decoder.safetensors")
    assert torch.equal(read_taesd(copies)["decoder.layers.6.weight"], decoder[7].weight)


def test_other_layouts_are_named(originals: tuple[Path, nn.Sequential, nn.Sequential]) -> None:
    folder, encoder, _ = originals
    cut = {key: tensor for key, tensor in encoder.state_dict().items() if not key.startswith("5.")}
    torch.save({**cut, "15.weight": torch.zeros(1)}, folder / "taesd_encoder.pth")
    with pytest.raises(InputErrors) as caught:
        read_taesd(folder)
    assert "6 missing: encoder.layers.5.conv.0.bias" in str(caught.value)
    assert "1 unexpected: encoder.layers.15.weight" in str(caught.value)
    torch.save({"encoder.0.weight": torch.zeros(1)}, folder / "taesd_encoder.pth")
    with pytest.raises(InputError, match="begins with the number of a layer"):
        read_taesd(folder)


def test_sixteen_latent_channels_are_refused(originals: tuple[Path, nn.Sequential, nn.Sequential]) -> None:
    folder, encoder, _ = originals
    wide = {**encoder.state_dict(), "14.weight": torch.zeros(16, CHANNELS, 3, 3), "14.bias": torch.zeros(16)}
    torch.save(wide, folder / "taesd_encoder.pth")
    with pytest.raises(InputErrors, match=r"encoder.layers.14.weight \[4, 8, 3, 3\]"):
        read_taesd(folder)


def test_code_in_a_pickle_does_not_run(originals: tuple[Path, nn.Sequential, nn.Sequential]) -> None:
    folder = originals[0]
    marker = folder / "executed"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return marker.touch, ()

    torch.save({"0.weight": Evil()}, folder / "taesd_encoder.pth")
    with pytest.raises(InputError, match="tensors and plain values.*nothing of it was executed"):
        read_taesd(folder)
    assert not marker.exists()


@pytest.mark.parametrize("keep", [0, 10, 5000, -30])
def test_truncated_pickle(originals: tuple[Path, nn.Sequential, nn.Sequential], keep: int) -> None:
    path = originals[0] / "taesd_decoder.pth"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="taesd_decoder.pth: expected"):
        read_taesd(originals[0])


def test_missing_file(originals: tuple[Path, nn.Sequential, nn.Sequential]) -> None:
    (originals[0] / "taesd_decoder.pth").unlink()
    with pytest.raises(InputError, match="taesd_decoder: expected a file of that name"):
        read_autoencoder(originals[0])
