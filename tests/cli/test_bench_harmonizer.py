"""`r3d2 bench harmonizer`: arguments, what it refuses, and what it writes, with networks that take milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch, which is not installed here")
pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")

import torch

from r3d2_ros.bench.harmonizer import protocol
from r3d2_ros.bench.harmonizer.network import Bench, Work
from r3d2_ros.bench.harmonizer.quality import chosen_modes
from r3d2_ros.cli.bench_arguments import DEFAULTS
from r3d2_ros.cli.bench_checks import MEASURED_BY, NETWORK, QUALITY, RIG, checked
from r3d2_ros.cli.main import build_parser, main
from r3d2_ros.harmonizer.model.checkpoints import save_checkpoint
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from tests.harmonizer.small import TINY, seeded

SMALL = ["bench", "harmonizer", "--size", "32x48"]


@pytest.fixture(autouse=True)
def short_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        protocol, "QUICK_CPU", protocol.Protocol("quick, CPU", 1, warm_up_s=0.0, passes=4, window=2, tolerance=1e9)
    )


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    save_checkpoint(seeded(TINY), tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The same numbers, in a checkpoint that does not say that they are random."""
    model = seeded(TINY)
    fresh = R3D2(TINY)
    fresh.load_state_dict(model.state_dict())
    save_checkpoint(fresh, tmp_path / "trained")
    return tmp_path / "trained"


def document(*arguments: str, capsys: pytest.CaptureFixture[str], status: int = 0) -> dict[str, Any]:
    assert main([*SMALL, *arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_a_table_and_a_file(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "rows.json"
    assert main([*SMALL, "--checkpoint", str(tiny), "--device", "cpu", "--compare", "--json", str(path)]) == 0
    captured = capsys.readouterr()
    assert "| eager " in captured.out and "| the paper's, H200, stable-fast" in captured.out
    assert captured.out.rstrip().endswith("random weights: quality unmeasured")
    facts = json.loads(path.read_text())
    assert facts["measured"] == "network" and facts["variant"] == "tiny test"
    assert facts["quality"] == "unmeasured" and facts["weights"] == "random"
    assert facts["arguments"]["compare"] is True
    assert {"date", "cpus", "processor", "git", "versions", "gpu", "driver", "cuda", "cudnn"} <= facts["machine"].keys()
    assert {"torch", "triton", "diffusers"} <= facts["machine"]["versions"].keys()
    baseline, row = facts["rows"]
    assert baseline["rewrites"] == [] and len(row["rewrites"]) == 8
    assert "fuse_norm" not in row["rewrites"], "which a CPU does without"
    assert row["size"] == {"height": 32, "width": 48} and row["batch"] == 1
    assert row["protocol"]["label"] == "quick, CPU" and row["protocol"]["passes"] == 4
    assert row["fps_mean"] > 0 and row["ms_p99"] >= row["ms_p50"] > 0
    assert row["accuracy"]["relative_l2"] < 1e-4  # the runtime's eager float32 path is the plain module
    assert row["memory"]["resident_mib"] > 0
    assert facts["paper"][2] == {"gpu": "H200", "variant": "r3d2", "fps_mean": 18.129, "fps_std": 0.078}


def test_bfloat16_is_judged_and_deterministic_is_a_row_of_its_own(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = document("--checkpoint", str(tiny), "--dtype", "bfloat16", "--deterministic", "--profile", capsys=capsys)
    free, pinned = facts["rows"]
    assert free["accuracy"]["eager_16bit"]["relative_l2"] > 0
    assert free["accuracy"]["ratio_l2"] == pytest.approx(1.0, abs=0.5)
    assert (free["runtime"]["deterministic"], pinned["runtime"]["deterministic"]) == (False, True)
    assert pinned["name"] == "eager, deterministic" and len(free["kernels"]) == 20


def test_rewrites_can_be_chosen(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = document("--checkpoint", str(tiny), "--rewrites", "fuse_relu", capsys=capsys)
    assert facts["rows"][0]["rewrites"] == ["fuse_relu"]
    facts = document("--checkpoint", str(tiny), "--no-rewrites", "--batch", "2", capsys=capsys)
    assert facts["rows"][0]["rewrites"] == [] and facts["rows"][0]["batch"] == 2


def test_a_path_that_cannot_be_made_is_a_row_and_a_failure(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = document("--checkpoint", str(tiny), "--runtime", "stable-fast", "--compare", capsys=capsys, status=1)
    baseline, row = facts["rows"]
    assert baseline["fps_mean"] > 0
    assert row["name"] == "stable-fast" and "stable" in row["fault"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "paper"], "expected size 1080x1920 and batch 1, got 32x48 and 1"),
        (["--rewrites", "fold"], "got 'fold'"),
        (["--float8", "products"], "--float8: expected --dtype float8 with it, got no --dtype"),
        (["--dtype", "float8", "--float8", "linears"], "products, convolutions, attention, got 'linears'"),
        (["--quality"], "expected trained weights given by --checkpoint, got random weights. Quality is unmeasured"),
        (["--quality", "--rig", "2"], "--quality: expected nothing with --rig"),
        *(
            (["--checkpoint", "nano", "--quality", *words], f"the exact network to compare with, got {words[0]}")
            for words in (
                ["--resolution", "half"], ["--roi"], ["--dtype", "float8"], ["--temporal"], ["--composite", "full"],
                ["--deterministic"],
            )
        ),
        (["--rig", "2", "--protocol", "paper"], "the paper timed the network alone"),
        (["--device", "cuda:7"], "cuda:7"),
        (["--checkpoint", "no/such/folder"], "no/such/folder"),
        (["--checkpoint", "a", "--variant", "nano"], "which has its own sizes"),
        (["--checkpoint", "a", "--seed", "0"], "--seed: expected nothing with --checkpoint, which has its own numbers"),
        (["--seed", "99999999999999999999999"], "seed of random weights: expected a whole number from -2**63 to 2**64"),
        (["--rig", "1", "--roi", "--composite", "full"], "--roi: expected --composite region with it"),
        (["--roi", "--composite", "full"], "--roi: expected --composite region with it"),
        (["--checkpoint", "nano", "--quality", ""], "--quality: expected names by commas of roi, half, 720p, fp8"),
        (["--checkpoint", "nano", "--quality", "full"], "half, 720p, fp8, got 'full'. Several joined by +"),
        (["--checkpoint", "nano", "--quality", "648p+720p"], "--quality: expected one resolution for a mode"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


VALUES = {"variant": "nano", "protocol": "quick", "size": "32x48", "rewrites": "fuse_relu", "float8": "products"}
CHOSEN = {NETWORK: [], RIG: ["--rig", "1"], QUALITY: ["--checkpoint", "nano", "--quality"]}
FLAGS = (
    "deterministic", "no_cuda_graph", "no_channels_last", "no_rewrites", "compare", "profile", "roi", "temporal"
)  # fmt: skip


def words_of(name: str) -> list[str]:
    """The words of an argument that says what is so without it, where it has a value."""
    flag = f"--{name.replace('_', '-')}"
    return [flag] if name in FLAGS else [flag, VALUES.get(name, str(DEFAULTS.get(name, 1)).removesuffix(".0"))]


REFUSED = [(asked, name) for asked in CHOSEN for name, by in MEASURED_BY.items() if asked not in by and name != "rig"]


@pytest.mark.parametrize(("asked", "name"), [pair for pair in REFUSED if pair != (NETWORK, "quality")])
def test_an_argument_has_an_effect_or_is_refused_by_name(
    asked: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "harmonizer", *CHOSEN[asked], *words_of(name)]) == 1
    error = capsys.readouterr().err
    assert f"--{name.replace('_', '-')}" in error and "Traceback" not in error
    reasons = ("It has an effect where", "the exact network to compare with", "nothing with --")
    assert any(reason in error for reason in reasons)


def test_every_argument_without_effect_is_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--resolution", "half", "--roi", "--frames", "9"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"r3d2 bench: {flag}: expected no argument without effect, where the network alone is measured, got {got}. "
        f"It has an effect where {owner} is given"
        for flag, got, owner in (
            ("--roi", "--roi", "--rig"), ("--resolution", "--resolution half", "--rig"),
            ("--frames", "--frames 9", "--quality"),
        )
    ]  # fmt: skip


def test_the_table_of_effects_has_every_argument() -> None:
    parsed = vars(build_parser("bench").parse_args(["bench", "harmonizer"]))
    assert set(MEASURED_BY) == set(parsed) - {"command", "what", "json", "quick", "version"}
    assert all(parsed[name] in (None, False) for name in MEASURED_BY), "a default cannot be told from what is given"
    filled = vars(checked(build_parser("bench").parse_args(["bench", "harmonizer"])))
    assert {name: filled[name] for name in DEFAULTS} == DEFAULTS


def test_the_record_has_the_arguments_with_an_effect_alone(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = document("--checkpoint", str(tiny), "--batch", "2", capsys=capsys)["arguments"]
    assert (arguments["batch"], arguments["runtime"], arguments["size"]) == (2, "eager", [32, 48])
    assert not {"seed", "roi", "resolution", "frames", "rate", "max_batch"} & arguments.keys()


def test_what_stands_before_harmonizer_is_not_lost(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bench.json"
    assert main(["bench", "--json", str(path), *SMALL[1:], "--checkpoint", str(tiny)]) == 0
    assert json.loads(path.read_text())["measured"] == "network"
    assert main(["bench", "--quick", *SMALL[1:]]) == 1
    assert "--quick: expected nothing with harmonizer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--size", "1080"], "'1080' is not a size such as 1080x1920 (height x width)"),
        (["--rate", "0"], "--rate: expected a number above 0 and at most 100000, got '0'"),
        (["--rate", "10Hz"], "--rate: expected a number above 0 and at most 100000, got '10Hz'"),
        (["--deadline-ms", "nan"], "--deadline-ms: expected a number above 0 and at most 100000, got 'nan'"),
        (["--rig", "0"], "--rig: expected a whole number from 1 to 16, got '0'"),
        (["--runs", "-1"], "--runs: expected a whole number from 1 to 100, got '-1'"),
        (["--resolution", "720"], "--resolution: expected full, half, or rows from 100p to 9999p"),
    ],
)
def test_wrong_arguments(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["bench", "harmonizer", *arguments])
    assert left.value.code == 2 and told in capsys.readouterr().err


def test_without_a_size_a_checkpoint_is_measured_at_its_variants(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """540x960 is nano's own."""
    works: list[Work] = []

    class Watched(Bench):
        def __init__(self, model: R3D2, work: Work, device: torch.device, **others: Any) -> None:
            works.append(work)

        def measure(self, candidate: Any) -> dict[str, Any]:
            raise RuntimeError("not measured")

    monkeypatch.setattr("r3d2_ros.bench.harmonizer.network.Bench", Watched)
    for checkpoint in (str(tiny), "nano"):
        main(["bench", "harmonizer", "--device", "cpu", "--checkpoint", checkpoint])
    assert [work.size for work in works] == [(1080, 1920), (540, 960)]


def test_quality_is_refused_for_random_weights(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--checkpoint", str(tiny), "--quality"]) == 1
    assert "Quality is unmeasured with random weights" in capsys.readouterr().err
    assert main([*SMALL, "--checkpoint", str(tiny), "--quality", "roi,sharper"]) == 1
    assert "'sharper'" in capsys.readouterr().err
    assert main([*SMALL, "--checkpoint", str(tiny), "--quality", "half+720p"]) == 1
    assert "one resolution" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("r3d2_ros.bench.harmonizer.network.Bench.measure", lambda *_: pytest.fail("measured"))
    assert main([*SMALL, "--json", str(tmp_path)]) == 1
    assert "expected the name of a file to write, got a folder" in capsys.readouterr().err


def test_a_mode_that_is_named_twice_is_measured_once() -> None:
    assert chosen_modes("roi, 720p,roi") == ("roi", "720p")


@pytest.mark.slow
def test_a_rig_to_the_encoded_picture(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig = ["--rig", "2", "--rate", "1", "--seconds", "3", "--deadline-ms", "60000", "--actors", "3", "--roi"]
    facts = document(
        "--checkpoint", str(tiny), *rig, "--to", "encoded", "--renderer", "cpu", "--splats", "20000", capsys=capsys
    )
    result = facts["rig"]
    assert facts["measured"] == "rig" and facts["harmonizer"]["roi"]["enabled"] is True
    assert result["ticks"] == result["made"] == 3 and result["deadline_misses"] == 0
    assert result["to"] == "the last encoded picture"
    assert (result["splats"], result["actors"], result["cameras"], result["renderer"]) == (20000, 3, 2, "cpu")
    assert result["stages_ms"].keys() == {"render", "harmonize", "encode"}
    assert all(times["p50"] > 0 for times in result["stages_ms"].values())
    assert result["latency_ms_p50"] > result["stages_ms"]["render"]["p50"]


@pytest.mark.slow
def test_a_rig_to_a_subscriber(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("r3d2_ros.nodes.rig_client", reason="needs ROS 2 and the built messages")
    rig = ["--rig", "2", "--rate", "1", "--seconds", "2", "--deadline-ms", "60000", "--actors", "3"]
    facts = document("--checkpoint", str(tiny), *rig, "--to", "subscriber", "--renderer", "cpu", capsys=capsys)
    result = facts["rig"]
    assert result["ticks"] == result["made"] == 2 and result["pictures_missing"] == {}
    assert result["to"] == "the last image at a subscriber"
    assert result["stages_ms"].keys() == {"render", "harmonize", "encode", "publish"}
    assert result["latency_ms_max"] > 0


@pytest.mark.slow
def test_quality_of_the_modes(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = document(
        "--checkpoint", str(trained), "--quality", "roi+half,half,720p,fp8", "--frames", "2", "--size", "96x160",
        "--renderer", "cpu", "--splats", "20000", capsys=capsys,
    )  # fmt: skip
    rows = {row["mode"]: row for row in facts["rows"]}
    assert facts["measured"] == "quality" and facts["weights"] == "trained"
    assert rows["720p"]["identical"] is True  # 96 rows are less than 720: nothing is reduced
    assert rows["720p"]["counts_towards_goal"] is True and rows["720p"]["line_step"] == 0.0
    assert rows["half"]["identical"] is False and 5 < rows["half"]["psnr_db"] < 60
    assert rows["half"]["flicker_mode"] is not None
    assert rows["roi+half"]["psnr_db"] == rows["half"]["psnr_db"], "no crop is as small as that"
    assert "float8" in rows["fp8"].get("not_measured", "") or rows["fp8"]["psnr_db"] > 5
