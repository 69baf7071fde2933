from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from r3d2_ros.errors import InputError, InputErrors, MissingPackageError
from r3d2_ros.harmonizer.convert.choices import Choices, PromptInput
from r3d2_ros.harmonizer.convert.diffusers import read_autoencoder, read_unet, read_weights
from r3d2_ros.harmonizer.convert.folders import files_to_fetch, local_folder
from r3d2_ros.harmonizer.convert.prompts import embed_prompt, read_prompt
from r3d2_ros.harmonizer.convert.untrained import model_from_base
from r3d2_ros.harmonizer.diffusers_layout import WEIGHTS
from r3d2_ros.harmonizer.model.checkpoints import empty_model
from r3d2_ros.harmonizer.model.config import Licence, Padding, SkipOptions
from r3d2_ros.harmonizer.model.licences import licence_of, licences_of, parse_licence, write_readme
from r3d2_ros.harmonizer.model.variants import VARIANTS
from tests.harmonizer.small import TINY, picture, write_base, write_tiny

PROMPT = PromptInput(embedding=torch.ones(1, 5, 8))

NESTED_ALIASES = "a0: &a0 {license: mit, x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 9)
)
"""474 bytes that are a hundred million mappings where merged."""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "sd-turbo")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "taesd")


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_parts_are_the_folders_and_the_skips_are_zero(base: Path, tiny: Path) -> None:
    choices = Choices(timestep=199, padding=Padding(multiple_px=64), skips=SkipOptions(kernel_size=3))
    model = model_from_base(base, tiny, PROMPT, choices)
    assert (model.config.variant, model.config.unet, model.config.autoencoder) == (
        "custom", TINY.unet, TINY.autoencoder,
    )  # fmt: skip
    assert (model.config.timestep, model.config.padding.multiple_px) == (199, 64)
    state = model.state_dict()
    for key, tensor in read_unet(base).tensors.items():
        assert torch.equal(state[f"unet.{key}"], tensor)
    for key, tensor in read_autoencoder(tiny).tensors.items():
        assert torch.equal(state[key], tensor)
    assert [tuple(skip.weight.shape) for skip in model.decoder.skips] == [(8, 8, 3, 3)] * 3
    assert all(int(skip.weight.count_nonzero()) == 0 for skip in model.decoder.skips)
    assert [licence.name for licence in model.config.licences] == ["stability-ai-community", "mit"]
    assert bool(model(picture(24, 40)).isfinite().all())


def test_the_base_folders_own_autoencoder(base: Path) -> None:
    model = model_from_base(base, base, PROMPT, Choices())
    assert model.config.autoencoder.kind == "kl" and len(model.decoder.skips) == 4
    assert len(model.config.licences) == 1


def test_a_variant_refuses_other_sizes(base: Path, tiny: Path) -> None:
    with pytest.raises(InputError, match="unet of variant r3d2: expected UNetConfig"):
        model_from_base(base, tiny, PROMPT, Choices(variant="r3d2"))


def test_settings_that_this_unet_does_not_have_are_named(base: Path) -> None:
    edit(base / "unet/config.json", act_fn="gelu", class_embed_type="timestep", sample_size=96, new_option=True)
    with pytest.raises(InputErrors) as caught:
        read_unet(base)
    text = str(caught.value)
    assert "act_fn: expected 'silu', got 'gelu'" in text and "class_embed_type: expected None" in text
    assert "new_option" in text and "sample_size" not in text


def test_one_number_of_heads_stands_for_all(base: Path) -> None:
    edit(base / "unet/config.json", attention_head_dim=2)
    assert read_unet(base).config.attention_heads == (2, 2, 2, 2)


def test_what_a_file_leaves_out_is_diffusers_default(base: Path) -> None:
    """Not SD-Turbo's, whose configuration has 5 to 20 heads and linear projections."""
    path = base / "unet/config.json"
    data = json.loads(path.read_text())
    del data["attention_head_dim"], data["mid_block_type"]
    path.write_text(json.dumps({**data, "use_linear_projection": None}))
    built = UNet2DConditionModel.from_config(json.loads(path.read_text()))
    config = read_unet(base).config
    assert config.attention_heads == (built.config.attention_head_dim,) * 4 == (8, 8, 8, 8)
    assert config.linear_projection is False


def test_an_autoencoder_of_one_level_is_not_taken_for_sds(base: Path) -> None:
    """As diffusers has one whose file does not say how many."""
    path = base / "vae/config.json"
    data = json.loads(path.read_text())
    del data["block_out_channels"]
    path.write_text(json.dumps(data))
    with pytest.raises(InputErrors, match="block_out_channels"):
        read_autoencoder(base)


def test_other_classes_are_named(base: Path) -> None:
    edit(base / "vae/config.json", _class_name="VQModel")
    with pytest.raises(InputError, match="AutoencoderTiny or AutoencoderKL, got 'VQModel'"):
        read_autoencoder(base)


def test_wide_latents_are_named(tiny: Path) -> None:
    edit(tiny / "config.json", latent_channels=16)
    with pytest.raises(InputErrors, match="latent_channels: expected 4, got 16"):
        read_autoencoder(tiny)


def test_old_attention_names_are_understood(base: Path) -> None:
    path = base / "vae/diffusion_pytorch_model.safetensors"
    tensors, old = load_file(path), {}
    for key, tensor in tensors.items():
        for new, name in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            if f"attentions.0.{new}." in key:
                key = key.replace(new, name)
                tensor = tensor[:, :, None, None] if key.endswith("weight") else tensor
        old[key] = tensor.contiguous()
    assert old.keys() != tensors.keys()
    save_file(old, path)
    read = read_autoencoder(base).tensors
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[key], tensors[key]) for key in tensors)


def test_two_names_for_one_tensor_are_refused(base: Path) -> None:
    path = base / "vae/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    key = "encoder.mid_block.attentions.0.to_q.weight"
    save_file({**tensors, key.replace("to_q", "query"): torch.zeros(16, 16)}, path)
    with pytest.raises(InputError, match=f"one tensor for {key}, got .*"):
        read_autoencoder(base)
    save_file({**tensors, "encoder.quant_conv.weight": torch.zeros(8, 8, 1, 1)}, path)
    with pytest.raises(InputError, match="one tensor for encoder.quant_conv.weight, got encoder.quant_conv.weight and"):
        model_from_base(base, base, PROMPT, Choices())


def test_shards_are_joined_and_counted(base: Path) -> None:
    folder = base / "unet"
    tensors = load_file(folder / "diffusion_pytorch_model.safetensors")
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    keys = sorted(tensors)
    for number, part in enumerate((keys[:50], keys[50:]), start=1):
        name = f"diffusion_pytorch_model-{number:05d}-of-00002.safetensors"
        save_file({key: tensors[key] for key in part}, folder / name)
    assert read_unet(base).tensors.keys() == tensors.keys()
    second = folder / "diffusion_pytorch_model-00002-of-00002.safetensors"
    whole = second.read_bytes()
    save_file({key: tensors[key] for key in keys[49:]}, second)
    with pytest.raises(InputError, match=f"each tensor once, got 1 twice: {keys[49]}"):
        read_unet(base)
    second.write_bytes(whole)
    (folder / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match="2 shards of diffusion_pytorch_model, got 1"):
        read_unet(base)


def write_shards(folder: Path, tensors: dict[str, torch.Tensor], name: str, count: int) -> list[Path]:
    """`name` has the places {} of what tells the shards apart."""
    keys, files = sorted(tensors), []
    for number in range(count):
        files.append(folder / name.format(f"-{number + 1:05d}-of-{count:05d}"))
        save_file({key: tensors[key] for key in keys[number::count]}, files[-1])
    return files


HALF_SHARDS = pytest.mark.parametrize("half", [f"{WEIGHTS}.fp16{{}}.safetensors", f"{WEIGHTS}{{}}.fp16.safetensors"])
"""The names that diffusers writes now, and wrote before."""


@HALF_SHARDS
def test_of_weights_in_both_precisions_the_full_ones_are_read(half: str, base: Path) -> None:
    folder = base / "unet"
    tensors = load_file(folder / f"{WEIGHTS}.safetensors")
    halves = {key: tensor.half() for key, tensor in tensors.items()}
    (folder / f"{WEIGHTS}.safetensors").unlink()
    in_half = write_shards(folder, halves, half, 3)
    read = read_weights(folder)
    assert read.keys() == tensors.keys() and {tensor.dtype for tensor in read.values()} == {torch.float16}
    in_full = write_shards(folder, tensors, f"{WEIGHTS}{{}}.safetensors", 2)
    read = read_weights(folder)
    assert read.keys() == tensors.keys() and {tensor.dtype for tensor in read.values()} == {torch.float32}
    names = [f"unet/{path.name}" for path in (*in_half, *in_full)]
    assert files_to_fetch(names, ["unet"]) == files_to_fetch(names, ["released"]) == sorted(names[3:])
    assert files_to_fetch(names[:3], ["unet"]) == names[:3]
    in_half[0].unlink()
    for path in in_full:
        path.unlink()
    with pytest.raises(InputError, match=f"3 shards of {WEIGHTS}, got 2"):
        read_weights(folder)


def test_half_precision_in_one_file_beside_full_shards(base: Path) -> None:
    folder = base / "unet"
    (folder / f"{WEIGHTS}.safetensors").rename(folder / f"{WEIGHTS}.fp16.safetensors")
    tensors = load_file(folder / f"{WEIGHTS}.fp16.safetensors")
    shards = write_shards(folder, {key: 2 * tensor for key, tensor in tensors.items()}, f"{WEIGHTS}{{}}.safetensors", 2)
    assert all(torch.equal(tensor, 2 * tensors[key]) for key, tensor in read_weights(folder).items())
    names = [f"unet/{WEIGHTS}.fp16.safetensors", *(f"unet/{path.name}" for path in shards)]
    assert files_to_fetch(names, ["unet"]) == names[1:]


def test_pickled_weights_are_not_opened(base: Path) -> None:
    (base / "unet/diffusion_pytorch_model.safetensors").rename(base / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match="got only diffusion_pytorch_model.bin"):
        read_unet(base)


def test_a_key_less_is_named(base: Path, tiny: Path) -> None:
    path = base / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["conv_out.bias"]
    save_file(tensors, path)
    with pytest.raises(InputErrors, match="1 missing: unet.conv_out.bias"):
        model_from_base(base, tiny, PROMPT, Choices())


def test_prompt_files(tmp_path: Path, base: Path, tiny: Path) -> None:
    path = tmp_path / "prompt.safetensors"
    save_file({"anything": torch.arange(16.0).reshape(2, 8)}, path)
    assert torch.equal(read_prompt(path), torch.arange(16.0).reshape(1, 2, 8))
    save_file({"prompt_embedding": torch.ones(1, 2, 8), "other": torch.ones(1)}, path)
    assert read_prompt(path).shape == (1, 2, 8)
    save_file({"a": torch.ones(1, 2, 8), "b": torch.ones(1)}, path)
    with pytest.raises(InputError, match="one tensor, or one named 'prompt_embedding', got a, b"):
        read_prompt(path)
    save_file({"a": torch.ones(2, 3, 8)}, path)
    with pytest.raises(InputError, match=r"got \[2, 3, 8\]"):
        read_prompt(path)
    with pytest.raises(InputError, match="a width of 8, the UNet's, got 4"):
        model_from_base(base, tiny, PromptInput(embedding=torch.ones(1, 2, 4)), Choices())


def test_prompt_text_needs_encoder_and_package(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="tokenizer: expected a folder"):
        embed_prompt(base, "a street")
    for name in ("tokenizer", "text_encoder"):
        (base / name).mkdir()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match="pip install transformers"):
        embed_prompt(base, "a street")


def test_prompt_text_is_padded_and_encoded(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for transformers that embeds each token by its number."""

    class Tokenizer:
        model_max_length = 5

        def __call__(self, text: str, *, max_length: int, padding: str, truncation: bool, return_tensors: str) -> Any:
            assert padding == "max_length" and truncation and return_tensors == "pt"
            words = [len(word) for word in text.split()]
            return SimpleNamespace(input_ids=torch.tensor([words + [0] * (max_length - len(words))]))

    class Part:
        def __init__(self, made: Any) -> None:
            self.made = made

        def from_pretrained(self, folder: Path, *, local_files_only: bool, **_: Any) -> Any:
            assert local_files_only and folder.is_dir()
            return self.made

    fake = ModuleType("transformers")
    fake.CLIPTokenizer = Part(Tokenizer())  # type: ignore[attr-defined]
    encoder, facts = lambda ids: (ids[..., None].expand(-1, -1, 8).float(),), {"missing_keys": set[str]()}
    fake.CLIPTextModel = Part((encoder, facts))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", fake)
    for name in ("tokenizer", "text_encoder"):
        (base / name).mkdir()
    assert embed_prompt(base, "a street")[0, :, 0].tolist() == [1, 6, 0, 0, 0]
    # transformers fills what is missing with random numbers, and what is damaged it reports in its own ways
    facts["missing_keys"] |= {"final_layer_norm.weight"}
    with pytest.raises(InputError, match="text_encoder: expected all weights .* got without final_layer_norm.weight"):
        embed_prompt(base, "a street")

    def damaged(folder: Path, **_: Any) -> Any:
        raise SafetensorError("Error while deserializing header: HeaderTooLarge")

    monkeypatch.setattr(fake.CLIPTextModel, "from_pretrained", damaged)
    with pytest.raises(InputError, match="text_encoder: expected a text encoder .* SafetensorError: Error while des"):
        embed_prompt(base, "a street")


@pytest.mark.parametrize(
    ("readme", "name", "commercial"),
    [
        ("---\nlicense: mit\n---\n", "mit", True),
        ("---\nlicense: Apache-2.0\n---\n", "Apache-2.0", True),
        ("---\nlicense: other\nlicense_name: sai-nc-community\n---\n", "sai-nc-community", False),
        ("---\nlicense: openrail++\n---\n", "openrail++", False),
        ("# model\nno front matter", "not stated", False),
        ("---\n: [\n---\n", "not stated", False),
        ("---\nlicense: mit\ndate: 2001-13-45\n---\n", "not stated", False),
        ("---\nlicense: mit\nlicense: other\n---\n", "not stated", False),
        ("---\nlicense: mit\ncount: !!int ''\n---\n", "not stated", False),
        pytest.param("---\nlicense: mit\nsize: " + "1:" * 400_000 + "1\n---\n", "not stated", False, id="number"),
        pytest.param(f"---\n{NESTED_ALIASES}---\n", "not stated", False, id="aliases"),
        (None, "not stated", False),
    ],
)
def test_licence_of_a_folder(tmp_path: Path, readme: str | None, name: str, commercial: bool) -> None:
    folder = tmp_path / "up" / "weights"
    folder.mkdir(parents=True)
    if readme is not None:
        (folder / "README.md").write_text(readme)
    assert licence_of(folder) == Licence(name=name, source="weights", commercial=commercial)


def test_what_is_from_the_hub_has_its_name_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "models--stabilityai--sd-turbo--x" / "snapshots" / ("b2" * 20)
    (snapshot / "vae").mkdir(parents=True)
    assert licence_of(snapshot).source == licence_of(snapshot / "vae").source == "stabilityai/sd-turbo--x"
    monkeypatch.chdir(snapshot / "vae")
    (tmp_path / "mine").mkdir()
    assert licence_of(Path("../../../../mine/../mine")).source == "mine"


def test_a_part_has_the_licence_of_its_pipeline(tmp_path: Path) -> None:
    """A README above a folder is its own only where that is a pipeline: else it is about something else."""
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "vae").mkdir()
    assert licence_of(tmp_path / "vae").name == "not stated"
    (tmp_path / "model_index.json").touch()
    assert licence_of(tmp_path / "vae") == Licence(name="mit", source="vae", commercial=True)


def test_a_chain_that_this_program_wrote(tmp_path: Path) -> None:
    mit = Licence(name="MIT", source="TAESD", commercial=True)
    chain = (mit, Licence(name="own: terms", source="ours\n---\n", commercial=False))
    write_readme(tmp_path, chain, text="text")
    assert licences_of(tmp_path) == chain
    assert not licence_of(tmp_path).commercial
    write_readme(tmp_path, (mit,), text="text")
    assert licences_of(tmp_path) == (mit,) and licence_of(tmp_path).name == "mit"
    (tmp_path / "README.md").write_text("---\nr3d2_ros_licences: [{name: MIT}]\n---\n")
    with pytest.raises(InputErrors, match=r"README.md: r3d2_ros_licences.0: source: expected a value"):
        licences_of(tmp_path)
    (tmp_path / "README.md").write_text("---\nr3d2_ros_licences: MIT\n---\n")
    with pytest.raises(InputError, match="r3d2_ros_licences: expected a list of at least one licence, got str"):
        licences_of(tmp_path)


def test_a_licence_can_be_stated(base: Path, tiny: Path) -> None:
    stated = parse_licence("CC BY 4.0; my data ;commercial")
    assert stated == Licence(name="CC BY 4.0", source="my data", commercial=True)
    assert model_from_base(base, tiny, PROMPT, Choices(licences=(stated,))).config.licences == (stated,)
    for text in ("MIT", "MIT;x;maybe", ";x;commercial", "a;b;commercial;c"):
        with pytest.raises(InputError, match="NAME;SOURCE;commercial"):
            parse_licence(text)


SD_TURBO = [
    "README.md", "model_index.json", "sd_turbo.safetensors", "output_tile.jpg", "LICENSE.md", "run.py",
    "scheduler/scheduler_config.json", "tokenizer/merges.txt", "tokenizer/vocab.json",
    *(
        f"{part}/{name}"
        for part, weights in (("text_encoder", "model"), ("unet", WEIGHTS), ("vae", WEIGHTS))
        for name in ("config.json", f"{weights}.safetensors", f"{weights}.fp16.safetensors", f"{weights}.bin")
    ),
]  # fmt: skip
"""As in stabilityai/sd-turbo, and some more that is not read."""

UNET_FILES = ["unet/config.json", f"unet/{WEIGHTS}.safetensors"]


def test_of_the_hub_what_is_read_is_fetched() -> None:
    always = ["README.md", "model_index.json", "scheduler/scheduler_config.json"]
    variant = f"unet/{WEIGHTS}.non_ema.safetensors"
    assert files_to_fetch([*SD_TURBO, variant], ["unet"]) == [*always, *UNET_FILES]
    every = files_to_fetch(SD_TURBO, ["unet", "autoencoder", "text_encoder"])
    text = ["text_encoder/config.json", "text_encoder/model.safetensors"]
    tokenizer = ["tokenizer/merges.txt", "tokenizer/vocab.json"]
    vae = ["vae/config.json", f"vae/{WEIGHTS}.safetensors"]
    assert every == [*always, *text, *tokenizer, *UNET_FILES, *vae]


def test_half_precision_is_fetched_where_there_is_no_other() -> None:
    names = [name for name in SD_TURBO if name != UNET_FILES[1]]
    assert f"unet/{WEIGHTS}.fp16.safetensors" in files_to_fetch(names, ["unet"])


def test_shards_and_parts_in_the_root_are_fetched() -> None:
    shards = [f"unet/{WEIGHTS}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    assert files_to_fetch(shards, ["unet"]) == shards
    text = [f"text_encoder/model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    text.append("text_encoder/model.safetensors.index.json")
    assert files_to_fetch(text, ["text_encoder"]) == text
    taesd = ["config.json", f"{WEIGHTS}.safetensors", "taesd_decoder.safetensors", "taesd_encoder.safetensors"]
    others = ["taesd_decoder.pth", "taesdxl_encoder.safetensors"]
    assert files_to_fetch([*taesd, *others], ["autoencoder"]) == taesd
    assert files_to_fetch([*taesd, *others], ["taesd"]) == taesd[2:]


def test_of_a_released_folder_every_tensor_is_fetched_but_the_text_encoders() -> None:
    names = [*SD_TURBO, "adapters/skip.safetensors", "half.fp16.safetensors", "vae/skip_autoencoder.py"]
    fetched = files_to_fetch(names, ["released"])
    weights = [*UNET_FILES[1:], f"vae/{WEIGHTS}.safetensors"]
    assert [name for name in fetched if name.endswith(".safetensors")] == [
        "adapters/skip.safetensors", "half.fp16.safetensors", "sd_turbo.safetensors", *weights
    ]  # fmt: skip
    assert not any(name.startswith(("text_encoder", "tokenizer")) or name.endswith(".py") for name in fetched)
    assert "text_encoder/model.safetensors" in files_to_fetch(names, ["released", "text_encoder"])


def test_hub_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked = []

    def download(name: str, *, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        if name == "nobody/nothing":
            raise OSError("unreachable")
        return str(tmp_path)

    def info(repository: str) -> SimpleNamespace:
        if repository == "nobody/nothing":
            raise RuntimeError("whatever it is")
        names = ("unet/config.json", "unet/[odd].safetensors")
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "model_info", info)
    assert local_folder("stabilityai/sd-turbo", reads=["released"]) == tmp_path
    assert asked == [("stabilityai/sd-turbo", ["unet/[[]odd].safetensors"])]
    assert local_folder(str(tmp_path), reads=["unet"]) == tmp_path
    with pytest.raises(InputError, match="unreachable"):
        local_folder("nobody/nothing", reads=["unet"])
    assert f"unet/{WEIGHTS}.safetensors" in asked[1][1] and f"unet/{WEIGHTS}-*-of-*.safetensors" in asked[1][1]
    monkeypatch.undo()
    for name in ("ab/cd--ef", "ab/" + "c" * 90):
        with pytest.raises(InputError, match="a hub repository that can be reached, got "):
            local_folder(name, reads=["unet"])
    for text in ("no such folder", "a/b/c", "../up", "x" * 5000, "a\0b"):
        with pytest.raises(InputError, match="a folder, or a hub repository"):
            local_folder(text, reads=["unet"])


def test_half_precision_folders_become_float32(base: Path, tiny: Path) -> None:
    path = base / "unet/diffusion_pytorch_model.safetensors"
    half = {key: tensor.half() for key, tensor in load_file(path).items()}
    path.unlink()
    save_file(half, path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    model = model_from_base(base, tiny, replace(PROMPT, text="x"), Choices())
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}


def test_published_settings_are_those_of_the_variants(tmp_path: Path) -> None:
    """What SD-Turbo's and TAESD's config.json say; their weights are a stand-in that is not looked into."""
    unet = {
        "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.24.0.dev0", "act_fn": "silu",
        "addition_embed_type": None, "attention_head_dim": [5, 10, 20, 20], "attention_type": "default",
        "block_out_channels": [320, 640, 1280, 1280], "center_input_sample": False, "class_embed_type": None,
        "conv_in_kernel": 3, "cross_attention_dim": 1024, "downsample_padding": 1, "dropout": 0.0,
        "dual_cross_attention": False, "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 4,
        "layers_per_block": 2, "mid_block_type": "UNetMidBlock2DCrossAttn", "norm_eps": 1e-05,
        "norm_num_groups": 32, "only_cross_attention": False, "out_channels": 4, "sample_size": 64,
        "transformer_layers_per_block": 1, "upcast_attention": None, "use_linear_projection": True,
    }  # fmt: skip
    tiny = {
        "_class_name": "AutoencoderTiny", "_diffusers_version": "0.30.0", "act_fn": "relu",
        "decoder_block_out_channels": [64, 64, 64, 64], "encoder_block_out_channels": [64, 64, 64, 64],
        "force_upcast": False, "in_channels": 3, "latent_channels": 4, "latent_magnitude": 3, "latent_shift": 0.5,
        "num_decoder_blocks": [3, 3, 3, 1], "num_encoder_blocks": [1, 3, 3, 3], "out_channels": 3,
        "scaling_factor": 1.0, "shift_factor": 0.0, "upsample_fn": "nearest", "upsampling_scaling_factor": 2,
    }  # fmt: skip
    vae = {
        "_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4, "force_upcast": True, "in_channels": 3,
        "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3, "sample_size": 768,
        "scaling_factor": 0.18215, "up_block_types": ["UpDecoderBlock2D"] * 4,
    }  # fmt: skip
    for name, config in {"unet": unet, "vae": vae, "taesd": tiny}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        save_file({"x": torch.zeros(1)}, tmp_path / name / "diffusion_pytorch_model.safetensors")
    assert read_unet(tmp_path).config == VARIANTS["r3d2"].unet
    assert read_autoencoder(tmp_path / "taesd").config == VARIANTS["r3d2"].autoencoder
    assert read_autoencoder(tmp_path).config == VARIANTS["r3d2-big"].autoencoder


def test_full_size_keys_are_the_published_ones() -> None:
    big, small = (empty_model(VARIANTS[name]).state_dict() for name in ("r3d2-big", "r3d2"))
    assert sum(key.startswith("unet.") for key in big) == 686
    assert sum(key.startswith(("encoder.", "decoder.")) for key in big) == 248 + 4
    assert sum(key.startswith(("encoder.", "decoder.")) for key in small) == 67 + 67 + 3
    shapes = {key: list(tensor.shape) for key, tensor in big.items()}
    assert shapes["unet.down_blocks.0.attentions.0.proj_in.weight"] == [320, 320]
    assert shapes["unet.down_blocks.1.attentions.1.transformer_blocks.0.attn2.to_k.weight"] == [640, 1024]
    assert shapes["encoder.mid_block.attentions.0.to_out.0.weight"] == [512, 512]
    assert [shapes[f"decoder.skips.{level}.weight"][:2] for level in range(4)] == [
        [512, 512], [512, 256], [512, 128], [256, 128],
    ]  # fmt: skip
    assert shapes["prompt_embedding"] == [1, 77, 1024]
