from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from r3d2_ros.cli import model as command
from r3d2_ros.cli import model_arguments
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.diffusers_layout import WEIGHTS
from r3d2_ros.harmonizer.model.autoencoders import tiny_autoencoder
from r3d2_ros.harmonizer.model.checkpoints import load_checkpoint, load_config
from r3d2_ros.harmonizer.model.config import TinyConfig
from r3d2_ros.harmonizer.model.verify import verify
from tests.harmonizer.small import write_base, write_tiny


def run(*words: str | Path) -> int:
    parser = argparse.ArgumentParser(prog="r3d2")
    command.add_parser(parser.add_subparsers(dest="command"))
    return command.run(parser.parse_args(["model", *map(str, words)]))


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    assert run("init", tmp_path / "nano", "--variant", "nano", "--random", "0") == 0
    return tmp_path / "nano"


def test_info_of_a_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "--variant", "r3d2-big", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parameters"]["unet"] == 865_910_724
    assert facts["flop"]["total_without_skips"] / 1e12 == pytest.approx(45.55, abs=5e-3)
    assert (facts["timestep"], facts["padding"]) == (999, {"mode": "replicate", "multiple_px": 8})
    assert facts["size_px"] == {"height": 1080, "width": 1920}


def test_info_of_a_checkpoint(nano: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("info", nano, "--size", "540x960", "--require-commercial") == 0
    text = capsys.readouterr().out
    assert "TFLOP at 540x960" in text and "999 (alpha bar 0.00466010)" in text
    assert "none needed (random numbers): commercial use allowed" in text
    assert "text not stated, 4 tokens" in text and "multiples of 64 px" in text


def test_info_of_a_damaged_checkpoint(nano: Path) -> None:
    (nano / "model.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match="a complete safetensors file"):
        run("info", nano)


def test_init_from_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, tiny = write_base(tmp_path / "base"), write_tiny(tmp_path / "tiny")
    save_file({"x": torch.ones(6, 8)}, tmp_path / "prompt.safetensors")
    words = ("init", tmp_path / "out", "--base", base, "--autoencoder", tiny)
    with pytest.raises(InputError, match="--prompt-embedding: expected a file, or --prompt TEXT"):
        run(*words)
    options = (
        "--timestep",
        "199",
        "--pad-multiple",
        "64",
        "--pad-mode",
        "reflect",
        "--skip-position",
        "after_upsample",
        "--input-range",
        "unit",
    )
    assert run(*words, "--prompt-embedding", tmp_path / "prompt.safetensors", *options, "--dtype", "float16") == 0
    config = load_config(tmp_path / "out")
    assert (config.timestep, config.padding.multiple_px, config.padding.mode) == (199, 64, "reflect")
    assert (config.skips.position, config.prompt.tokens, config.dtype) == ("after_upsample", 6, "float16")
    assert config.input_range == "unit"
    assert "note: no scheduler in the folder" in capsys.readouterr().out
    with pytest.raises(InputError, match="licences that allow commercial use, got 'stability-ai-community' of base"):
        run("info", tmp_path / "out", "--require-commercial")


def test_of_the_hub_init_fetches_what_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else: copies of the whole in one file, and in half precision, are gigabytes."""
    import huggingface_hub

    hub = {"some/base": write_base(tmp_path / "base"), "some/tiny": write_tiny(tmp_path / "tiny")}
    for name in ("all.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors", "text_encoder/model.safetensors"):
        (tmp_path / "base" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "base" / name).write_bytes(b"large")
    fetched: dict[str, list[str]] = {}

    def names_of(repository: str) -> list[str]:
        folder = hub[repository]
        return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]

    def fetch(repository: str, *, allow_patterns: list[str]) -> str:
        copy = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        fetched[repository] = [name for name in names_of(repository) if any(fnmatch(name, p) for p in allow_patterns)]
        for name in fetched[repository]:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(hub[repository] / name, copy / name)
        return str(copy)

    def info(repository: str) -> SimpleNamespace:
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names_of(repository)])

    monkeypatch.setattr(huggingface_hub, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    save_file({"x": torch.ones(6, 8)}, tmp_path / "prompt.safetensors")
    words = ("--base", "some/base", "--prompt-embedding", tmp_path / "prompt.safetensors")
    unet, vae = ([f"{part}/{name}" for name in ("config.json", f"{WEIGHTS}.safetensors")] for part in ("unet", "vae"))
    assert run("init", tmp_path / "kl", *words) == 0
    assert fetched == {"some/base": ["README.md", *unet, *vae]}
    assert run("init", tmp_path / "tiny_out", *words, "--autoencoder", "some/tiny") == 0
    tiny = ["README.md", "config.json", f"{WEIGHTS}.safetensors"]
    assert fetched == {"some/base": ["README.md", *unet], "some/tiny": tiny}
    with pytest.raises(InputError, match="tokenizer: expected a folder, to embed the prompt"):
        run("init", tmp_path / "text", "--base", "some/base", "--prompt", "a street")
    assert "text_encoder/model.safetensors" in fetched["some/base"]


def test_init_does_not_overwrite(nano: Path) -> None:
    with pytest.raises(InputError, match="Overwrite it with --force"):
        run("init", nano, "--variant", "nano", "--random", "1")
    before = load_checkpoint(nano).prompt_embedding
    assert run("init", nano, "--variant", "nano", "--random", "1", "--force") == 0
    assert not torch.equal(load_checkpoint(nano).prompt_embedding, before)


@pytest.mark.slow
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """No file of the process may be longer than a MB, which is what a full disk looks like from inside."""
    words = ["model", "init", str(tmp_path / "out"), "--variant", "nano", "--random", "0"]
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)); "
    code += f"from r3d2_ros.cli.main import main; sys.exit(main({words}))"
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert f"{tmp_path / 'out'}: expected a folder with room that can be written to, got" in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_weights_beyond_the_range_of_the_dtype(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    path = base / "unet/diffusion_pytorch_model.safetensors"
    save_file({key: tensor * 1e6 for key, tensor in load_file(path).items()}, path)
    save_file({"x": torch.ones(6, 8)}, tmp_path / "prompt.safetensors")
    words = ("init", tmp_path / "out", "--base", base, "--prompt-embedding", tmp_path / "prompt.safetensors")
    with pytest.raises(InputError, match="--dtype: expected .* got float16, too small for unet"):
        run(*words, "--dtype", "float16")
    assert not (tmp_path / "out").exists()


def test_init_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--base: expected the folder of SD-Turbo, or --random SEED"):
        run("init", tmp_path / "out")
    with pytest.raises(InputError, match=r"--variant: expected r3d2 \| r3d2-big \| nano"):
        run("init", tmp_path / "out", "--random", "0")
    with pytest.raises(InputError, match="a folder, or a hub repository as owner/name"):
        run("init", tmp_path / "out", "--base", tmp_path / "absent")


def test_verify_tells_equal_from_different(nano: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("init", tmp_path / "same", "--variant", "nano", "--random", "0")
    run("init", tmp_path / "other", "--variant", "nano", "--random", "1")
    Image.fromarray(np.full((40, 60, 3), 128, np.uint8)).save(tmp_path / "grey.png")
    capsys.readouterr()
    assert run("verify", nano, tmp_path / "same", tmp_path / "grey.png", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["images"], facts["max_abs"], facts["mean_abs"], facts["psnr_db"]) == (1, 0.0, 0.0, None)
    assert (facts["tolerance"], facts["equal"], facts["eight_bit"]) == (1e-3, True, [])
    assert run("verify", nano, tmp_path / "other", "--size", "64x64") == 1
    assert "they differ by more than 0.001" in capsys.readouterr().out


def test_verify_shows_a_wrong_padding_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without any option; and it says so where the sizes that were asked for cannot show one."""
    for multiple in ("8", "16", "64"):
        words = ("init", tmp_path / multiple, "--variant", "nano", "--random", "0", "--pad-multiple", multiple)
        assert run(*words) == 0
    a, b = tmp_path / "8", tmp_path / "64"
    capsys.readouterr()
    assert run("verify", a, b, "--json") == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["padded"] == ["B"] and facts["max_abs"] > 0.1
    assert run("verify", tmp_path / "16", b, "--json") == 1
    assert json.loads(capsys.readouterr().out)["padded"] == ["A", "B"]
    assert run("verify", a, b, "--size", "64x128") == 0
    text = "No image was padded, for A or for B: these sizes cannot show a wrong padding rule"
    assert text in capsys.readouterr().out
    assert run("verify", a, a, "--size", "20x64") == 0
    assert text not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("grey.png", "--size", "64x64"), "--size: expected the size of the noise"),
        (("--mean-latents",), "--mean-latents: expected a pipeline's folder as A or B"),
        (("--allow-remote-code",), "--allow-remote-code: expected a pipeline's folder as A or B"),
    ],
)
def test_verify_refuses_options_without_effect(nano: Path, tmp_path: Path, words: tuple[str, ...], fault: str) -> None:
    Image.fromarray(np.full((32, 32, 3), 128, np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(InputError, match=fault):
        run("verify", nano, nano, *(tmp_path / word if word.endswith(".png") else word for word in words))


def test_verify_says_whose_output_is_not_finite() -> None:
    image = torch.zeros(3, 8, 8)
    for a, b, which in ((torch.nan, 0, "A"), (0, torch.inf, "B"), (torch.nan, torch.inf, "A and B")):
        with pytest.raises(InputError, match=f"got NaN or infinite values from {which}$"):
            verify(lambda x, add=a: x + add, lambda x, add=b: x + add, [image])


def test_timesteps_of_any_size_are_refused_in_words(tmp_path: Path) -> None:
    for timestep in ("9223372036854775808", "-100000000000000000000000"):
        with pytest.raises((InputError, InputErrors), match="timestep"):
            run("init", tmp_path / "out", "--variant", "nano", "--random", "0", f"--timestep={timestep}")


def test_verify_names_a_wrong_picture(nano: Path, tmp_path: Path) -> None:
    (tmp_path / "not.png").write_text("text")
    with pytest.raises(InputError, match="not.png: expected a PNG or JPEG image"):
        run("verify", nano, nano, tmp_path / "not.png")
    with pytest.raises(InputError, match="--device: expected auto, cpu, or a CUDA device"):
        run("verify", nano, nano, "--device", "abacus")


def test_convert_a_released_folder(nano: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = load_checkpoint(nano).state_dict()
    prefixed = {key if key.startswith(("unet.", "prompt")) else f"vae.{key}": t for key, t in state.items()}
    (tmp_path / "released").mkdir()
    save_file(prefixed | {"vae.mystery": torch.ones(1)}, tmp_path / "released" / "weights.safetensors")
    capsys.readouterr()
    assert run("convert", "r3d2", tmp_path / "released", tmp_path / "out", "--variant", "nano") == 0
    printed = capsys.readouterr().out
    assert "not mapped: vae.mystery" in printed and "note: no timestep in the folder: 999 is assumed" in printed
    assert run("verify", nano, tmp_path / "out", "--size", "32x32", "--tolerance", "0") == 0


def test_convert_taesd_makes_an_autoencoder_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = tiny_autoencoder(TinyConfig(channels=8)).state_dict()
    (tmp_path / "pth").mkdir()
    for part, shift in (("encoder", 0), ("decoder", 1)):
        numbered = {}
        for key, tensor in tensors.items():
            if key.startswith(f"{part}.layers."):
                number, _, rest = key.removeprefix(f"{part}.layers.").partition(".")
                numbered[f"{int(number) + shift}.{rest}"] = tensor
        torch.save(numbered, tmp_path / "pth" / f"taesd_{part}.pth")
    stated = ("--licence", "MIT;TAESD;commercial", "--licence", "CC BY 4.0;its pictures;commercial")
    assert run("convert", "taesd", tmp_path / "pth", tmp_path / "taesd", *stated) == 0
    base = write_base(tmp_path / "base")
    save_file({"x": torch.ones(6, 8)}, tmp_path / "prompt.safetensors")
    prompt = ("--prompt-embedding", tmp_path / "prompt.safetensors")
    assert run("init", tmp_path / "out", "--base", base, "--autoencoder", tmp_path / "taesd", *prompt) == 0
    assert [(one.name, one.source, one.commercial) for one in load_config(tmp_path / "out").licences] == [
        ("stability-ai-community", "base", False), ("MIT", "TAESD", True), ("CC BY 4.0", "its pictures", True),
    ]  # fmt: skip
    state = load_checkpoint(tmp_path / "out").state_dict()
    assert torch.equal(state["decoder.layers.18.weight"], tensors["decoder.layers.18.weight"])


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("init OUT --variant nano --random 0 --base /no --autoencoder /no", "--autoencoder, --base: .* with --random"),
        ("init OUT --variant nano --random 0 --licence X;Y;non-commercial", "--licence: .* with --random"),
        ("init OUT --variant nano --random 0 --prompt a", "--prompt: .* with --random"),
        ("convert taesd IN OUT --dtype float16 --timestep 0", "--dtype, --timestep: .* with taesd"),
        ("convert taesd IN OUT --base /nope --variant nano", "--base, --variant: .* with taesd"),
        ("convert pix2pix-turbo IN OUT --base /nope --variant r3d2", "--variant: .* with pix2pix-turbo"),
        ("convert difix IN OUT --skip-position after_upsample", "--skip-position: .* with difix"),
        ("convert difix IN OUT --input-range unit --size 8x8", "--input-range, --size: .* with difix"),
        ("convert difix IN OUT --lora-alpha 99 --device cuda:7", "--device, --lora-alpha: .* with difix"),
        ("convert difix IN OUT --allow-remote-code", "--allow-remote-code: .* with difix"),
        ("convert r3d2 IN OUT --base /nope", "--base: .* with r3d2 without --allow-remote-code"),
        ("convert r3d2 IN OUT --size 64x64 --device cpu", "--device, --size: .* with r3d2 without --allow"),
        ("convert r3d2 IN OUT --allow-remote-code --pad-mode replicate", "--pad-mode: .* with --allow-remote-code"),
        ("convert r3d2 IN OUT --allow-remote-code --input-range unit", "--input-range: .* with --allow-remote-code"),
    ],
)
def test_options_that_would_change_nothing_are_refused(words: str, fault: str, tmp_path: Path) -> None:
    folders = {"OUT": tmp_path / "out", "IN": tmp_path / "in"}
    with pytest.raises(InputError, match=rf"^{fault.replace('.*', 'expected nothing')}"):
        run(*(folders.get(word, word) for word in words.split()))


def test_every_option_is_used_by_some_way() -> None:
    init, convert = argparse.ArgumentParser(), argparse.ArgumentParser()
    model_arguments.add_init(init)
    model_arguments.add_convert(convert)
    every = {action.dest for parser in (init, convert) for action in parser._actions}
    used = {name for names in model_arguments.USED.values() for name in names}
    assert every - used == {"help", "layout", "input", "output", "force"} and used <= every


@pytest.mark.parametrize("alpha", ["nan", "inf", "0", "-1", "much"])
def test_alphas_that_are_none(alpha: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run("convert", "r3d2", tmp_path, tmp_path / "out", f"--lora-alpha={alpha}")


def test_seeds_beyond_64_bits(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seed of random weights: expected a whole number from .* got 9999"):
        run("init", tmp_path / "out", "--variant", "nano", "--random", "9" * 23)


def test_sizes_alone_have_no_licence_that_allows_anything() -> None:
    with pytest.raises(InputError, match="variant r3d2, .*licences that allow commercial use, got none recorded"):
        run("info", "--variant", "r3d2", "--require-commercial")


def test_texts_of_a_checkpoint_cannot_forge_lines(nano: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The terminal obeys escape sequences, and cannot encode half of a surrogate pair."""
    path = nano / "config.json"
    forged = {"name": "MIT\n\x1b[31mlicence: fake", "source": "x", "commercial": False}
    prompt = {"text": "\ud800" + "a" * 900_000, "tokens": 4}
    path.write_text(json.dumps({**json.loads(path.read_text()), "licences": [forged], "prompt": prompt}))
    capsys.readouterr()
    assert run("info", nano) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text and len(text) < 2000 and text.isascii()
    assert r"licence:  MIT\n\x1b[31mlicence: fake (x): commercial use not allowed" in text
    assert r"prompt:   '\ud800aaa" in text and "... (900001 characters)'" in text
    with pytest.raises(InputError) as caught:
        run("info", nano, "--require-commercial")
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    assert run("info", nano, "--json") == 0
    assert json.loads(capsys.readouterr().out)["licences"] == [forged]


def test_convert_needs_a_base_and_the_file_for_changes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--base: expected the folder of SD-Turbo, which the file changes"):
        run("convert", "difix", tmp_path / "x.pkl", tmp_path / "out")
    (tmp_path / "base").mkdir()
    with pytest.raises(InputError, match=r"x\.pkl: expected a file written by torch\.save, got no such file"):
        run("convert", "difix", tmp_path / "x.pkl", tmp_path / "out", "--base", tmp_path / "base", "--prompt", "x")


def test_an_empty_path_is_no_variant() -> None:
    with pytest.raises(InputError, match=r"config\.json: expected a JSON file"):
        run("info", "")


@pytest.mark.parametrize("words", [("info",), ("info", "--variant", "huge"), ("info", "x", "--size", "1080")])
def test_wrong_arguments(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2


def test_neither_the_command_nor_the_configuration_imports_torch() -> None:
    names = "r3d2_ros.cli.model, r3d2_ros.harmonizer.base, r3d2_ros.harmonizer.model.variants"
    code = f"import sys, {names}; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
