"""Backend `pipeline`: folders of strangers are run as they are, or refused before anything of them runs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, UNet2DModel
from huggingface_hub import is_offline_mode

from r3d2_ros.errors import InputError, InputErrors, MissingPackageError
from r3d2_ros.harmonizer.backends import load_network
from r3d2_ros.harmonizer.pipelines.calls import to_tensor
from r3d2_ros.harmonizer.pipelines.folders import read_pipeline_folder
from r3d2_ros.harmonizer.pipelines.network import Pipeline, load_pipeline
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RuntimeConfig
from tests.harmonizer.released import edit_index, edit_weights, write_released
from tests.harmonizer.small import TINY, picture, seeded
from tests.harmonizer.test_harmonizer import step

MODEL = replace(TINY, timestep=199)


def load(folder: Path, *, allow: bool = True, **settings: Any) -> Pipeline:
    config = HarmonizerConfig(backend="pipeline", checkpoint=str(folder), allow_remote_code=allow, **settings)
    return load_pipeline(config)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "executed"


@pytest.fixture
def folder(tmp_path: Path, marker: Path) -> Path:
    return write_released(tmp_path / "released", seeded(MODEL), marker=marker)


def test_a_released_folder_gives_the_pictures_of_its_model(folder: Path, marker: Path) -> None:
    pipeline, images = load(folder), picture(40, 56, batch=3)
    pipeline.warm_up([(3, 40, 56)])
    assert marker.exists()
    assert pipeline.form is not None and (pipeline.form.image, pipeline.form.output) == ("tensor", "pt")
    output = pipeline(images)
    assert (output.shape, output.dtype, output.device) == (images.shape, torch.float32, pipeline.device)
    torch.testing.assert_close(output, seeded(MODEL)(images), atol=1e-5, rtol=0)
    assert torch.equal(pipeline(images), output)


def test_the_configuration_names_it(folder: Path) -> None:
    config = HarmonizerConfig(backend="pipeline", checkpoint=str(folder), allow_remote_code=True)
    assert isinstance(load_network(config), Pipeline)


def test_a_folder_in_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load(Path("~/released")).where == str(folder)


def test_float32_is_not_tf32_and_deterministic_is_what_it_says(folder: Path) -> None:
    """cuDNN's convolutions take TF32 where nobody forbids it."""
    for deterministic in (False, True):
        pipeline, seen = load(folder, runtime=RuntimeConfig(deterministic=deterministic)), []
        pipeline.pipe.unet.register_forward_pre_hook(
            lambda *args, seen=seen: seen.append(
                (torch.backends.cudnn.allow_tf32, torch.are_deterministic_algorithms_enabled())
            )
        )
        pipeline.device = torch.device("cuda:0")
        pipeline(picture(16, 16))
        assert set(seen) == {(False, deterministic)}
    assert torch.backends.cudnn.allow_tf32 and not torch.are_deterministic_algorithms_enabled()


def test_another_size_is_resized_back(folder: Path) -> None:
    """The pipeline works in multiples of 8 and gives those."""
    pipeline, image = load(folder), picture(41, 59)
    assert pipeline.pipe(image[0], output_type="pt").images.shape == (1, 3, 40, 56)
    output = pipeline(image)
    assert output.shape == image.shape
    assert float(output.min()) >= 0 and float(output.max()) <= 1


def test_code_is_not_run_without_leave(folder: Path, marker: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(folder, allow=False)
    text = str(caught.value)
    assert "code that would be run: pipeline.py (ReleasedPipeline), vae/skip_autoencoder.py (SkipAutoencoder)" in text
    assert "harmonizer.allow_remote_code: true" in text and "Nothing of it was run" in text
    assert not marker.exists()


def test_code_that_the_index_does_not_name_needs_leave_too(folder: Path, marker: Path) -> None:
    """Users give the folder to diffusers as `custom_pipeline`, which runs its pipeline.py."""
    edit_index(folder, _class_name="StableDiffusionImg2ImgPipeline")
    with pytest.raises(InputError, match=r"would be run: pipeline.py \(StableDiffusionImg2ImgPipeline\)"):
        load(folder, allow=False)
    assert not marker.exists()
    torch.testing.assert_close(load(folder)(picture(16, 16)), seeded(MODEL)(picture(16, 16)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"vae": ["skip_autoencoder", "SkipAutoencoder"]}, "vae/skip_autoencoder.py"),
        ({"vae": ["antigravity", "geohash"]}, "the installed package 'antigravity'"),
    ],
)
def test_code_of_a_part_needs_leave(folder: Path, marker: Path, changes: dict[str, Any], code: str) -> None:
    (folder / "pipeline.py").unlink()
    edit_index(folder, _class_name="StableDiffusionImg2ImgPipeline", **changes)
    with pytest.raises(InputError, match=f"would be run: {code}"):
        load(folder, allow=False)


def test_classes_that_a_configuration_names_need_leave(folder: Path) -> None:
    config = folder / "unet/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoModel": "evil.Evil"}}))
    assert read_pipeline_folder(folder).code[1] == "what unet/config.json names in auto_map"


def test_two_folders_keep_their_code_apart(folder: Path, tmp_path: Path) -> None:
    """diffusers imports both `pipeline.py` as one module; the second would change what the first one calls."""
    image = picture(16, 16)
    first = load(folder)
    before = first(image)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    steps = other / "steps.py"
    steps.write_text(steps.read_text().replace("return unet(", "return 0.5 * unet("))
    second = load(other)
    assert float((second(image) - before).abs().max()) > 1e-2
    assert torch.equal(first(image), before)


def test_commercial_use_needs_a_licence_that_allows_it(folder: Path, marker: Path) -> None:
    with pytest.raises(InputError, match="licences that allow commercial use, got 'waymo-dataset-license' of released"):
        load(folder, require_commercial=True)
    (folder / "README.md").unlink()
    (folder.parent / "README.md").write_text("---\nlicense: mit\n---\nof something else\n")
    with pytest.raises(InputError, match="got 'not stated' of released"):
        load(folder, require_commercial=True)
    assert not marker.exists()
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    load(folder, require_commercial=True)


def test_no_pipeline_folder(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="harmonizer.checkpoint: expected the folder of .*absent': no such folder"):
        load(tmp_path / "absent")
    with pytest.raises(InputError, match="config/models/nano: expected a pipeline folder with model_index.json"):
        load(Path("nano"))
    (folder / "model_index.json").unlink()
    with pytest.raises(InputError, match="a pipeline folder with model_index.json, got none in it"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"_class_name": 7}, "_class_name: expected the name of a class"),
        ({"_class_name": ["../pipeline", "X"]}, "_class_name: expected the name of a class"),
        ({"_class_name": ["absent", "X"]}, "_class_name: expected absent.py in the folder, got no such file"),
        ({"unet": ["diffusers"]}, r"unet: expected \[library, class\]"),
        ({"../unet": ["diffusers", "UNet2DConditionModel"]}, r"../unet: expected \[library, class\]"),
    ],
)
def test_wrong_index(folder: Path, marker: Path, changes: dict[str, Any], fault: str) -> None:
    edit_index(folder, **changes)
    with pytest.raises(InputError, match=f"model_index.json: {fault}"):
        load(folder)
    assert not marker.exists()


def test_a_class_that_is_nowhere(folder: Path) -> None:
    (folder / "pipeline.py").unlink()
    edit_index(folder, _class_name="ReleasedPipeline")
    with pytest.raises(InputError, match="a pipeline of diffusers, or its code, got 'ReleasedPipeline'. Its code lies"):
        load(folder)


def test_missing_truncated_and_pickled_parts(folder: Path, marker: Path, tmp_path: Path) -> None:
    """All faults in one pass, and no code was run before they were found."""
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    (folder / "vae/diffusion_pytorch_model.safetensors").rename(folder / "vae/diffusion_pytorch_model.bin")
    shutil.rmtree(folder / "scheduler")
    with pytest.raises(InputErrors) as caught:
        load(folder)
    text = str(caught.value)
    assert "unet/diffusion_pytorch_model.safetensors: expected a complete safetensors file" in text
    assert "vae: expected weights as safetensors, got only diffusion_pytorch_model.bin. Pickles can hold code" in text
    assert "scheduler: expected the folder of a part, got no such folder" in text
    assert not marker.exists()


def test_missing_weights_and_missing_shards(folder: Path) -> None:
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))
    index = {"weight_map": {"a": weights.name.replace(".s", "-00001-of-00002.s"), "b": "second.safetensors"}}
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputErrors, match="expected 2 files that it names, got missing: second.safetensors"):
        load(folder)
    for file in (folder / "unet").glob("*.safetensors*"):
        file.unlink()
    with pytest.raises(InputErrors, match="unet: expected weights as safetensors, got none"):
        load(folder)


@pytest.mark.parametrize("files", [None, [], {"a": ["x"]}, {"a": 1, "b": "x"}], ids=repr)
def test_an_index_of_weights_of_another_form(folder: Path, files: Any) -> None:
    index = folder / "unet/diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": files}))
    with pytest.raises(InputErrors, match=f"{index}: weight_map: expected names of tensors, each with the name of its"):
        load(folder)


def test_a_library_that_is_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_index(folder, text_encoder=["transformers", "CLIPTextModel"])
    find = "r3d2_ros.harmonizer.pipelines.folders.find_spec"
    monkeypatch.setattr(find, lambda name: None if name == "transformers" else name)
    with pytest.raises(MissingPackageError, match="The part 'text_encoder' of .* pip install transformers"):
        load(folder)


def test_code_that_needs_a_package_or_fails(folder: Path) -> None:
    code = folder / "pipeline.py"
    text = code.read_text()
    code.write_text("import no_such_package_here\n" + text)
    with pytest.raises(MissingPackageError, match="The code of .* pip install no_such_package_here"):
        load(folder)
    code.write_text(text + "\nraise RuntimeError('not today')\n")
    with pytest.raises(InputError, match="a pipeline that diffusers can load, got RuntimeError: not today"):
        load(folder)


def test_code_that_wants_to_end_the_program(folder: Path) -> None:
    code = folder / "pipeline.py"
    text = code.read_text()
    code.write_text(text + "\nraise SystemExit(3)\n")
    with pytest.raises(InputError, match="a pipeline that diffusers can load, got SystemExit: 3"):
        load(folder)
    code.write_text(text.replace("        x = self.processor", "        1 / 0\n        x = self.processor"))
    with pytest.raises(InputError, match="released: expected .* with tensor ZeroDivisionError: division by zero"):
        load(folder)(picture(16, 16))
    code.write_text(text + "\n    def to(self, *_):\n        assert False, 'not there'\n")
    with pytest.raises(InputError, match="a pipeline that diffusers can load, got AssertionError: not there"):
        load(folder)


def test_a_pipeline_that_needs_a_prompt(folder: Path) -> None:
    code = folder / "pipeline.py"
    code.write_text(code.read_text().replace("self, image, output_type", "self, prompt, image, output_type"))
    with pytest.raises(InputError, match="called with an image alone, got one that also needs prompt"):
        load(folder)


def test_dtypes(folder: Path) -> None:
    assert load(folder).pipe.unet.dtype == torch.float32
    assert load(folder, dtype="bfloat16").pipe.unet.dtype == torch.bfloat16
    with pytest.raises(InputError, match="harmonizer.dtype: expected float32, float16 or bfloat16"):
        load(folder, dtype="float8")


def test_half_precision_folders_compute_as_they_are_stored(tmp_path: Path) -> None:
    folder = write_released(tmp_path / "half", seeded(MODEL).to(torch.float16))
    assert load(folder).pipe.unet.dtype == torch.float16
    for part in ("unet", "vae"):
        weights = folder / part / "diffusion_pytorch_model.safetensors"
        weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert load(folder).pipe.unet.dtype == torch.float16


def test_settings_that_a_pipeline_cannot_have(folder: Path, marker: Path) -> None:
    with pytest.raises(InputError, match="runtime.kind: expected eager with backend pipeline, got torch-compile"):
        load(folder, runtime=RuntimeConfig(kind="torch-compile"))
    with pytest.raises(InputError, match="harmonizer.device: expected auto, cpu, or a CUDA device that works"):
        load(folder, device="abacus")
    assert not marker.exists()


def test_nan_is_not_hidden(folder: Path) -> None:
    """As an 8-bit picture it would be black."""
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    edit_weights(weights, add={"conv_out.bias": torch.full((4,), float("nan"))})
    with pytest.raises(InputError, match="finite pictures, got NaN or infinite values"):
        load(folder).warm_up([(1, 16, 16)])


def test_nan_of_a_pipeline_that_gives_8_bits_fails_the_camera(folder: Path) -> None:
    code = folder / "pipeline.py"
    code.write_text(code.read_text().replace('image, output_type="pil"):', 'image):\n        output_type = "pil"'))
    pipeline = load(folder)
    pipeline.warm_up([(1, 120, 160)])
    assert pipeline.form is not None and pipeline.form.eight_bit
    assert not step(pipeline).failures
    torch.nn.init.constant_(pipeline.pipe.unet.conv_out.bias, float("nan"))
    failed = step(pipeline)
    assert [failure.camera.name for failure in failed.failures] == ["front"]
    assert "the harmonizer's output has NaN or infinite values in" in failed.failures[0].reason


class Shading(DiffusionPipeline):
    """Stands for a pipeline that diffusers has: it draws noise, and gives a picture of half the size as an array."""

    def __init__(self, unet: UNet2DModel) -> None:
        super().__init__()
        self.register_modules(unet=unet)

    def __call__(self, image: Any, output_type: str = "np") -> ImagePipelineOutput:
        x = to_tensor(image)[None, :, ::2, ::2].to(self.unet.dtype)
        shade = self.unet(x + 0.1 * torch.randn(x.shape), 0).sample.sigmoid()
        return ImagePipelineOutput(images=shade.permute(0, 2, 3, 1).float().numpy())


@pytest.fixture
def builtin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that loads without code of its own."""
    monkeypatch.setattr(diffusers, "Shading", Shading, raising=False)
    torch.manual_seed(0)
    unet = UNet2DModel(
        block_out_channels=(4,),
        norm_num_groups=2,
        layers_per_block=1,
        add_attention=False,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )
    Shading(unet).save_pretrained(tmp_path / "builtin")
    edit_index(tmp_path / "builtin", unet=["diffusers", "UNet2DModel"])
    return tmp_path / "builtin"


def test_a_pipeline_of_diffusers_needs_no_leave(builtin: Path) -> None:
    """Noise is the same for every image, so that a frame set stays a function of the world's state."""
    assert read_pipeline_folder(builtin).code == ()
    pipeline, image = load(builtin, allow=False), picture(16, 24)
    first, second = pipeline(image), pipeline(image)
    assert first.shape == image.shape and torch.equal(first, second)


def test_loading_without_code_is_offline(builtin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part's configuration can refer to repositories of the hub, which only code that is allowed may fetch."""
    seen = []

    class Curious(Shading):
        def __init__(self, unet: UNet2DModel) -> None:
            super().__init__(unet)
            seen.append(is_offline_mode())

    monkeypatch.setattr(diffusers, "Shading", Curious)
    before = is_offline_mode()
    load(builtin, allow=False)
    assert seen == [True] and is_offline_mode() == before


def test_a_part_with_other_tensors_is_refused(builtin: Path) -> None:
    """diffusers would fill what is missing with random numbers and say so in its log."""
    weights = builtin / "unet/diffusion_pytorch_model.safetensors"
    edit_weights(weights, drop="conv_in.bias", add={"mystery": torch.ones(2)})
    with pytest.raises(InputErrors) as caught:
        load(builtin, allow=False)
    assert "1 missing: conv_in.bias" in str(caught.value) and "1 unexpected: mystery" in str(caught.value)
