from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.model import checkpoints
from r3d2_ros.harmonizer.model.checkpoints import load_checkpoint, load_config, save_checkpoint
from r3d2_ros.harmonizer.model.config import Licence
from r3d2_ros.harmonizer.model.tensor_files import save_tensors
from r3d2_ros.harmonizer.model.verify import verify
from r3d2_ros.harmonizer.runtime.numerics import numerics
from tests.harmonizer.small import KL, TINY, picture, seeded

MIT = Licence(name="MIT", source="taesd", commercial=True)
STABILITY = Licence(name="stability-ai-community", source="sd-turbo", commercial=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(seeded(TINY), tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder: Path, *, drop: tuple[str, ...] = (), add: dict[str, torch.Tensor] | None = None) -> None:
    path = folder / "model.safetensors"
    tensors = {key: tensor.clone() for key, tensor in load_file(path).items() if key not in drop}
    save_file(tensors | (add or {}), path)


@pytest.mark.parametrize("config", [TINY, KL], ids=["tiny", "kl"])
def test_round_trip_keeps_every_bit(config: Any, tmp_path: Path) -> None:
    model = seeded(replace(config, timestep=199, licences=(MIT, STABILITY)))
    model.config = replace(model.config, licences=(MIT, STABILITY))
    save_checkpoint(model, tmp_path / "a")
    loaded = load_checkpoint(tmp_path / "a")
    assert loaded.config == model.config
    assert not any(parameter.requires_grad for parameter in loaded.parameters()) and not loaded.training
    difference = verify(model, loaded, [picture(40, 56)])
    assert (difference.max_abs, difference.psnr_db) == (0.0, float("inf"))


def test_two_that_save_to_one_folder_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first one writes, the second is refused, and the first one's checkpoint is whole."""
    folder, save = tmp_path / "model", checkpoints.save_tensors
    one, other = seeded(TINY), seeded(replace(TINY, timestep=199))

    def while_it_writes(path: Path, tensors: Any) -> None:
        monkeypatch.setattr(checkpoints, "save_tensors", save)
        with pytest.raises(InputError, match="expected a folder that no other run is writing, got one that anoth"):
            save_checkpoint(other, folder, overwrite=True)
        save(path, tensors)

    monkeypatch.setattr(checkpoints, "save_tensors", while_it_writes)
    save_checkpoint(one, folder)
    assert load_checkpoint(folder).config == one.config
    save_checkpoint(other, folder, overwrite=True)
    assert load_checkpoint(folder).config == other.config


def test_tensors_that_share_memory_are_written_one_by_one(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    save_tensors(tmp_path / "x", {"a": whole[:4].view(2, 2), "b": whole[2:], "c": whole, "d": whole})
    written = load_file(tmp_path / "x")
    assert written["a"].tolist() == [[0, 1], [2, 3]] and written["b"].tolist() == [2, 3, 4, 5]
    assert torch.equal(written["c"], whole) and torch.equal(written["d"], whole)


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    model = seeded(TINY)
    model.config = replace(model.config, licences=(Licence(name="x" * 2**20, source="s", commercial=True),))
    with pytest.raises(InputError, match="expected a configuration of at most 1048576 bytes, got 10"):
        save_checkpoint(model, tmp_path / "long")
    with pytest.raises(InputError, match="expected a name in UTF-8"):
        save_checkpoint(seeded(TINY), Path(os.fsdecode(bytes(tmp_path) + b"/\xff")))
    assert list(tmp_path.iterdir()) == []


def test_dtype_is_kept_and_can_be_chosen(tmp_path: Path) -> None:
    save_checkpoint(seeded(TINY).to(torch.float16), tmp_path / "half")
    assert load_config(tmp_path / "half").dtype == "float16"
    assert load_checkpoint(tmp_path / "half").dtype == torch.float16
    exact = load_checkpoint(tmp_path / "half", dtype=torch.float32)
    assert {parameter.dtype for parameter in exact.parameters()} == {torch.float32}


def test_files_can_be_read_by_others(folder: Path) -> None:
    modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
    assert sorted(modes) == ["config.json", "model.safetensors"]
    assert modes["model.safetensors"] == modes["config.json"]


def test_a_folder_with_files_is_not_overwritten(folder: Path) -> None:
    with pytest.raises(InputError, match="an empty or new folder"):
        save_checkpoint(seeded(TINY, 1), folder)
    save_checkpoint(seeded(TINY, 1), folder, overwrite=True)
    assert verify(load_checkpoint(folder), seeded(TINY, 1), [picture(16, 16)]).max_abs == 0


def test_a_full_disk_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(path: Path, tensors: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_tensors", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(seeded(TINY, 1), folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(seeded(TINY, 1), folder.parent / "new")
    assert list((folder.parent / "new").iterdir()) == [], "the next try needs no --force"


def test_a_configuration_that_could_not_be_read_again_is_not_written(folder: Path) -> None:
    model = seeded(TINY)
    model.config = replace(model.config, variant="")
    with pytest.raises(InputErrors, match="variant: expected"):
        save_checkpoint(model, folder, overwrite=True)
    assert load_config(folder).variant == TINY.variant


def test_missing_keys_are_named_and_counted(folder: Path) -> None:
    unet = tuple(key for key in load_file(folder / "model.safetensors") if key.startswith("unet.down_blocks.0"))
    edit_weights(folder, drop=unet)
    with pytest.raises(InputErrors) as caught:
        load_checkpoint(folder)
    text = str(caught.value)
    assert f"{len(unet)} missing" in text and sorted(unet)[0] in text and f"and {len(unet) - 5} more" in text


def test_unexpected_keys_and_wrong_shapes_are_named(folder: Path) -> None:
    edit_weights(folder, add={"extra.weight": torch.zeros(1), "prompt_embedding": torch.zeros(1, 9, 8)})
    with pytest.raises(InputErrors) as caught:
        load_checkpoint(folder)
    assert "1 unexpected: extra.weight" in str(caught.value)
    assert "prompt_embedding [1, 3, 8]" in str(caught.value) and "prompt_embedding [1, 9, 8]" in str(caught.value)


def test_tensors_of_whole_numbers_are_named(folder: Path) -> None:
    """PyTorch would take them, and fail in the first picture."""
    key = "unet.conv_in.weight"
    tensor = load_file(folder / "model.safetensors")[key]
    edit_weights(folder, add={key: tensor.to(torch.int8)})
    with pytest.raises(InputError, match=r"floating-point .* got 1 of another kind: unet.conv_in.weight \(I8\)"):
        load_checkpoint(folder)


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_truncated_weights(folder: Path, size: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match="a complete safetensors file"):
        load_checkpoint(folder)


def test_missing_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="model.safetensors: expected a safetensors file, got no such file"):
        load_checkpoint(folder)


def test_a_pickle_under_our_name_is_not_opened(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return marker.touch, ()

    torch.save({"w": Evil()}, folder / "model.safetensors")
    with pytest.raises(InputError, match="a complete safetensors file"):
        load_checkpoint(folder)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"format": "other"}, "format: expected 'r3d2-harmonizer', got 'other'"),
        ({"version": 2}, "version: expected 1, got 2"),
        ({"version": True}, "version: expected 1, got True"),
        ({"timestep": 1000}, "timestep: expected 0 to 999"),
        ({"timestep": "soon"}, "timestep"),
        ({"timestep": "999"}, "timestep"),
        ({"timestep": True}, "timestep"),
        ({"timestep": 999.0}, "timestep"),
        ({"schedule": {"beta_end": True}}, "schedule.beta_end"),
        ({"skips": {"image": "false"}}, "skips.image"),
        ({"weights": "../../elsewhere"}, "weights: expected one of the keys"),
        ({"padding": {"mode": "zeros"}}, "padding.mode"),
        ({"padding": {"multiple_px": 7}}, "padding.multiple_px"),
        ({"autoencoder": {"kind": "vq"}}, "autoencoder"),
        ({"autoencoder": {"kind": "tiny", "channels": 10**9}}, "channels"),
        ({"unet": {"layers_per_block": 10**9}}, "unet.layers_per_block"),
        ({"unet": {"norm_groups": 7}}, "unet.norm_groups: expected a divisor of 320"),
        ({"licences": [{"name": "MIT", "source": "x"}]}, "licences.0.commercial"),
        ({"licences": [{"name": "MIT", "source": "x", "commercial": "yes"}]}, "licences.0.commercial"),
    ],
)
def test_wrong_configuration(folder: Path, changes: dict[str, Any], fault: str) -> None:
    edit(folder, **changes)
    with pytest.raises((InputError, InputErrors)) as caught:
        load_checkpoint(folder)
    assert fault in str(caught.value) and "config.json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "[" * 100_000, '{"format": NaN}', "\x00"])
def test_damaged_json(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match="config.json"):
        load_config(folder)


def test_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="got no such folder"):
        load_checkpoint(tmp_path / "absent")
    with pytest.raises(InputError, match="got a file"):
        load_checkpoint(tmp_path / "file")
    with pytest.raises(InputError, match="config.json: expected a JSON file, got no such file"):
        load_checkpoint(tmp_path)


def test_commercial_use_needs_every_link(tmp_path: Path) -> None:
    for name, licences in {"free": (MIT,), "mixed": (MIT, STABILITY), "unknown": ()}.items():
        model = seeded(TINY)
        model.config = replace(model.config, licences=licences)
        save_checkpoint(model, tmp_path / name)
    assert load_checkpoint(tmp_path / "free", require_commercial=True).config.licences == (MIT,)
    with pytest.raises(InputError, match="'stability-ai-community' of sd-turbo"):
        load_checkpoint(tmp_path / "mixed", require_commercial=True)
    with pytest.raises(InputError, match="none recorded"):
        load_checkpoint(tmp_path / "unknown", require_commercial=True)
    load_checkpoint(tmp_path / "mixed")


def test_verify_measures_by_definition() -> None:
    def half(image: torch.Tensor) -> torch.Tensor:
        return image / 2

    image = torch.full((3, 4, 4), 0.2)
    image[0, 0, 0] = 1.0
    difference = verify(lambda x: x, half, [image, image])
    assert difference.images == 2
    assert difference.max_abs == pytest.approx(0.5)
    assert difference.mean_abs == pytest.approx((47 * 0.1 + 0.5) / 48)
    mean_square = (47 * 0.01 + 0.25) / 48
    assert difference.psnr_db == pytest.approx(-10 * torch.log10(torch.tensor(mean_square)).item(), abs=1e-4)


def test_verify_refuses_what_says_nothing() -> None:
    with pytest.raises(InputError, match="at least one image"):
        verify(lambda x: x, lambda x: x, [])
    with pytest.raises(InputError, match="NaN"):
        verify(lambda x: x, lambda x: x * float("nan"), [picture(4, 4)])
    with pytest.raises(InputError, match=r"shape \[1, 3, 2, 4\]"):
        verify(lambda x: x, lambda x: x[..., :2, :], [picture(4, 4)])


def test_verify_compares_in_float32_without_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def model(image: torch.Tensor) -> torch.Tensor:
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return image

    def as_on_cuda(device: torch.device, *, deterministic: bool) -> Any:
        return numerics(torch.device("cuda:0"), deterministic=deterministic)

    monkeypatch.setattr("r3d2_ros.harmonizer.model.verify.numerics", as_on_cuda)
    verify(model, model, [picture(4, 4)])
    assert seen == [(False, False)] * 2
