"""The script that somebody with a GPU runs: what it begins, what it keeps, and what it says, without a GPU."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch, which is not installed here")
pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")

import torch

from r3d2_ros.bench.harmonizer import network
from r3d2_ros.bench.harmonizer.protocol import QUICK
from r3d2_ros.harmonizer.model.variants import variant
from tests.gpu import run as script
from tests.gpu.alone import choose_anew, measured
from tests.gpu.ladder import BEST, REHEARSED, RUNGS, Pace, rungs_in_time
from tests.gpu.markdown import fragment
from tests.gpu.references import CHOSEN, make_references, reference_file
from tests.gpu.report import DONE, FAILED, PARTIAL, RUNNING, SKIPPED, Part, Report
from tests.gpu.rung import Task, rung_config
from tests.gpu.setting import Setting
from tests.gpu.shapes import layers_of
from tests.gpu.steps import BY_NAME, STEPS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of the machine, and all of it is there."""
    monkeypatch.setattr(script, "machine_facts", lambda device: {"date": "2026-01-02T03:04:05", "gpu": "Some GPU"})
    monkeypatch.setattr(script, "package_faults", lambda: "")
    monkeypatch.setattr(script, "cuda_fault", lambda: "")


def options(path: Path, **changes: Any) -> argparse.Namespace:
    found = script._options(["--json", str(path)])
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def child(path: Path, body: str) -> list[str]:
    """A process in place of a step, with `report` and `part` of the step `norms`."""
    begin = f"""
        import os, signal, sys, time
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from tests.gpu.report import Part, Report
        report = Report(Path({str(path)!r}))
        part = Part(report, "norms")
    """
    return [sys.executable, "-c", textwrap.dedent(begin) + textwrap.dedent(body)]


def run_child(
    path: Path, body: str, monkeypatch: pytest.MonkeyPatch, *, limit_s: float = 60.0
) -> tuple[int, dict[str, Any]]:
    monkeypatch.setattr(script, "_child_command", lambda *arguments: child(path, body))
    code = script.main(["--json", str(path), "--steps", "norms", "--limit-s", str(limit_s)])
    return code, json.loads(path.read_text())["steps"]["norms"]


def test_every_step_has_a_name_and_a_time_and_can_be_begun_in_one_command() -> None:
    """Those that measure rung by rung take several, and go on with the next rung."""
    assert len(BY_NAME) == len(STEPS)
    for step in STEPS:
        assert 0 < step.least_s <= min(step.expected_s, script.LIMIT_S) <= 600
        assert step.expected_s <= script.LIMIT_S or step.name.startswith("r3d2")


def test_without_names_all_that_is_not_done_is_run_and_gsplat_is_built_before_it_is_needed(tmp_path: Path) -> None:
    report = Report(tmp_path / "gpu.json")
    names = [step.name for step in script.chosen(options(tmp_path / "gpu.json"), report)]
    assert names == [step.name for step in STEPS if step.name != "quality"]
    assert report.state("quality") == SKIPPED
    report.update("r3d2", state=DONE)
    report.update("rig", state=PARTIAL)
    report.update("gsplat-build", state=DONE)
    names = [step.name for step in script.chosen(options(tmp_path / "gpu.json", steps="r3d2,norms,rig"), report)]
    assert names == ["norms", "gsplat-build", "rig"]
    names = [step.name for step in script.chosen(options(tmp_path / "gpu.json", steps="r3d2", again=True), report)]
    assert names == ["r3d2"]
    with_weights = options(tmp_path / "gpu.json", steps="quality", checkpoint=tmp_path)
    assert [step.name for step in script.chosen(with_weights, report)] == ["gsplat-build", "quality"]


def test_a_step_that_is_done(tmp_path: Path, no_machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    body = 'part.put("a", {"layers": None, "forms": {"eager": {"ms": 2.5, "tflop_per_s": None}}})\n'
    body += 'report.update("norms", state="done", fault=None)'
    code, step = run_child(tmp_path / "gpu.json", body, monkeypatch)
    assert code == 0 and step["state"] == DONE and step["rows"]["a"]["forms"]["eager"]["ms"] == 2.5
    assert step["seconds"] > 0
    text = (tmp_path / "gpu.md").read_text()
    assert "### Measured 2026-01-02 on Some GPU" in text and "| a |  | 2.500 |" in text


def test_a_step_whose_time_is_over_keeps_its_rows_and_is_gone_on_with(
    tmp_path: Path, no_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gpu.json"
    monkeypatch.setitem(BY_NAME, "norms", script.Step("norms", "", lambda s, p: None, 1.0, 0.1))
    body = 'part.put("a", {"forms": {}, "layers": None})\ntime.sleep(60)'
    code, step = run_child(path, body, monkeypatch, limit_s=6.0)
    assert code == script.UNFINISHED and step["state"] == PARTIAL and "its time" in step["fault"]
    body = 'assert part.has("a") and not part.has("b")\npart.put("b", {"forms": {}, "layers": None})\n'
    body += 'report.update("norms", state="done", fault=None)'
    code, step = run_child(path, body, monkeypatch)
    assert code == 0 and set(step["rows"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV"),
        ("sys.exit(3)", "exit code 3"),
        ("raise RuntimeError('out of memory')", "exit code 1"),
    ],
)
def test_a_step_that_crashes_is_a_failure_and_costs_no_other(
    body: str, fault: str, tmp_path: Path, no_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, step = run_child(tmp_path / "gpu.json", f'part.put("a", {{"fault": "x"}})\n{body}', monkeypatch)
    assert code == script.FAILED and step["state"] == FAILED and fault in step["fault"]
    assert "a" in step["rows"]


def test_a_step_that_does_not_fit_is_not_begun(
    tmp_path: Path, no_machine: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gpu.json"
    assert script.main(["--json", str(path), "--steps", "rig", "--limit-s", "30"]) == script.UNFINISHED
    assert "rig: not begun" in capsys.readouterr().out
    assert "rig" not in json.loads(path.read_text())["steps"]


def test_without_cuda_there_is_a_report_and_exit_code_2(
    tmp_path: Path, no_machine: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "cuda_fault", lambda: "no NVIDIA driver")
    path = tmp_path / "gpu.json"
    assert script.main(["--json", str(path)]) == script.NO_CUDA
    assert json.loads(path.read_text())["fault"] == "no NVIDIA driver"
    assert "no NVIDIA driver" in capsys.readouterr().err


def test_unknown_steps_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        script.main(["--json", str(tmp_path / "gpu.json"), "--steps", "r3d2,rendring"])
    assert left.value.code == 2 and "rendring" in capsys.readouterr().err


def test_a_row_that_failed_is_tried_again_and_counts_as_a_failure(tmp_path: Path) -> None:
    report = Report(tmp_path / "gpu.json")
    part = Part(report, "r3d2")
    part.put("good", {"fps_mean": 1.0})
    part.put("bad", {"fault": "no"})
    report.update("r3d2", state=DONE)
    assert part.has("good") and not part.has("bad") and not part.has("never")
    assert script.exit_code(options(tmp_path / "gpu.json", steps="r3d2"), report) == script.FAILED


def test_a_command_that_was_killed_in_a_step_is_gone_on_with(tmp_path: Path) -> None:
    report = Report(tmp_path / "gpu.json")
    report.update("norms", state=RUNNING)
    again = Report(tmp_path / "gpu.json")
    assert [step.name for step in script.chosen(options(tmp_path / "gpu.json", steps="norms"), again)] == ["norms"]
    assert script.exit_code(options(tmp_path / "gpu.json", steps="norms"), again) == script.UNFINISHED


def test_infinities_do_not_spoil_the_file_and_other_files_are_left_alone(tmp_path: Path) -> None:
    report = Report(tmp_path / "gpu.json")
    Part(report, "quality").put("roi", {"psnr_db": float("inf")})
    assert json.loads((tmp_path / "gpu.json").read_text())["steps"]["quality"]["rows"]["roi"]["psnr_db"] is None
    (tmp_path / "other.json").write_text('{"precious": 1}')
    with pytest.raises(ValueError, match="no report of this script"):
        Report(tmp_path / "other.json")
    assert json.loads((tmp_path / "other.json").read_text()) == {"precious": 1}


def network_row(**changes: Any) -> dict[str, Any]:
    return {
        "protocol": {"label": "quick"}, "accepted": True, "batch": 1, "size": {"height": 1080, "width": 1920},
        "fps_mean": 27.5, "fps_std": 0.1, "ms_mean": 36.36, "ms_p50": 36.3, "ms_p99": 37.0, "tflop_per_s": 417.0,
        "memory": {"of": "x", "allocated_mib": 5000.4, "reserved_mib": 6000.6}, "telemetry_reason": "",
        "telemetry": {"sm_clock_mhz": {"median": 1755.0}, "power_w": {"median": 650.2}, "temperature_c": None},
        "accuracy": {"relative_l2": 2.4e-4, "ratio_l2": 1.31, "within_limit": False}, "prepare_s": 95.0, **changes,
    }  # fmt: skip


def test_the_tables_have_what_was_measured() -> None:
    late = {f"latency_ms_{key}": value for key, value in (("p50", 81.2), ("p99", None), ("max", None))}
    tests = {
        "test_a": {"outcome": "passed", "seconds": 1.0},
        "test_b": {"outcome": "failed", "seconds": 1.0, "message": "x\nAssertionError: 44 dB"},
    }
    products = {
        "1 x 2": {
            "layers": {"r3d2": 20, "r3d2-big": 0},
            "forms": {"linear": {"ms": 0.5, "tflop_per_s": 600.0}, "8": {"ms": 0.25, "tflop_per_s": 1.0}},
        },
        "3 x 4": {
            "layers": {"r3d2": 2, "r3d2-big": 1},
            "forms": {"linear": {"ms": 1.0, "tflop_per_s": 1.0}, "8": {"not_possible": "x"}},
        },
    }
    data = {
        "machine": {
            "date": "2026-12-01T00:00:00", "gpu": "NVIDIA H200", "driver": "580.1", "cuda": "13.0",
            "cudnn": 91900, "versions": {"torch": "2.11.0", "rclpy": None},
            "git": {"commit": "abc", "changed_files": 2},
        },
        "steps": {
            "r3d2": {"state": DONE, "seconds": 500.2, "rows": {
                "4 compiled": network_row(), "7": {"fault": "no | fp8"},
            }},
            "rig": {"state": PARTIAL, "seconds": 100.0, "fault": "no time", "rows": {"roi": {
                "ticks": 600, "made": 590, "achieved_hz": 9.83, "deadline_misses": 12, "splats": 3_000_000,
                "actors": 20, "cameras": 6, "renderer": "gsplat",
                "stages_ms": {"render": {"p50": 14.0, "p99": 16.0}}, **late,
            }}},
            "gsplat-tests": {"state": FAILED, "seconds": 3.0, "rows": tests},
            "products": {"state": DONE, "seconds": 1.0, "rows": products},
        },
    }  # fmt: skip
    text = fragment(data)
    assert "### Measured 2026-12-01 on NVIDIA H200" in text
    assert "driver 580.1, CUDA 13.0, cuDNN 91900, torch 2.11.0; commit abc with 2 changed files." in text
    row = "| 4 compiled | quick | 1 x 1080x1920 | 27.500 +- 0.100 | 36.36 / 36.30 / 37.00 | 417 | 5000 / 6001 "
    assert f"{row}| 1755, 650, - | 2.4e-04 | 1.31 BEYOND THE LIMIT | 95 |" in text
    assert "| 7 | FAILED: no \\| fp8 |" in text
    assert "| rig | partial | 100 | no time |" in text
    assert "| roi | 590 of 600 | 9.83 | 12 | 81.2 / never / never | render 14.0 / 16.0 |" in text
    assert "1 passed, 1 failed, 0 skipped" in text and "AssertionError: 44 dB" in text
    assert "All layers one by one: r3d2: 12.00 ms, fastest forms 7.00 ms; r3d2-big: 1.00 ms" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert all(len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1 for table in tables)
    assert "products" in text and "#### products" not in fragment(data, details=False)


def test_the_layers_are_those_of_the_published_network() -> None:
    """TFLOP at 1080x1920: UNet 13.0703 and TAESD 0.9676 + 1.1181, without the skips' 0.02."""
    layers = layers_of(variant("r3d2"), (1080, 1920))
    attention = sum(shape.flop * count for shape, count in layers.attentions.items())
    level_0 = [(shape, count) for shape, count in layers.attentions.items() if shape.queries == shape.keys == 32_400]
    assert [(shape.heads, shape.head_dim, count) for shape, count in level_0] == [(5, 64, 5)]
    assert level_0[0][0].flop * 5 == pytest.approx(6.719e12, rel=1e-3)
    rest = sum(shape.flop * count for counter in (layers.convs, layers.gemms) for shape, count in counter.items())
    assert attention + rest == pytest.approx((13.0703 + 0.9676 + 1.1181 + 0.02) * 1e12, rel=2e-3)


def test_a_rehearsal_is_small_and_a_gpu_is_not() -> None:
    cpu = Setting(torch.device("cpu"), rehearsal=True, deadline_s=0.0)
    gpu = Setting(torch.device("cuda:0"), rehearsal=False, deadline_s=0.0)
    assert gpu.size(1080, 1920) == (1080, 1920) and cpu.size(1080, 1920) == (64, 128)
    assert gpu.variant("r3d2-big") == "r3d2-big" and cpu.variant("r3d2-big") == "nano"
    assert gpu.dtype("float16") == "float16" and cpu.dtype("float16") == "bfloat16"


def test_every_rung_can_be_asked_for_by_its_name() -> None:
    gpu = Setting(torch.device("cuda:0"), rehearsal=False, deadline_s=0.0)
    configs = {rung.name: rung_config(rung, gpu) for rung in RUNGS}
    assert len(configs) == len(RUNGS) and {BEST, *REHEARSED} <= set(configs)
    asked = {(str(config), rung.batch, rung.size) for rung, config in zip(RUNGS, configs.values(), strict=True)}
    assert len(asked) == len(RUNGS), "two rungs are the same"
    assert all(config.runtime.max_batch == rung.batch for rung, config in zip(RUNGS, configs.values(), strict=True))


def test_a_wave_has_the_rungs_that_there_are_cores_and_time_for() -> None:
    pace = Pace(prepare_s=120.0, timing_s=30.0)
    assert [rungs_in_time(seconds, pace, most=5) for seconds in (0, 149, 150, 211, 500)] == [0, 0, 1, 3, 5]


def test_a_rung_is_judged_by_the_reference_that_the_rungs_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To make it takes minutes, and one process makes it for all of them."""
    rehearsal = Setting(torch.device("cpu"), rehearsal=True, deadline_s=0.0)
    (rung,) = (rung for rung in RUNGS if rung.name == BEST)
    task = Task(rung, rehearsal, "r3d2", rehearsal.protocol(QUICK), profile=False, references=tmp_path)
    shared = make_references(task.model(), task.size, torch.device("cpu"), dtypes={"bfloat16"})
    torch.save(shared, reference_file(tmp_path, task.size))
    (tmp_path / CHOSEN).touch()

    def made_anew(*arguments: Any) -> None:
        raise AssertionError("made anew")

    monkeypatch.setattr(network, "make_reference", made_anew)
    monkeypatch.setattr(network, "plain_path", made_anew)
    waited = []
    accuracy = measured(task, wait=lambda: waited.append(True))["accuracy"]
    assert waited == [True] and accuracy["saturated"] == shared[0].saturated
    assert accuracy["eager_16bit"] == asdict(shared[1]["bfloat16"])


def test_tiles_that_were_chosen_beside_others_are_forgotten() -> None:
    pytest.importorskip("triton", reason="needs Triton, which is not installed here")
    from r3d2_ros.harmonizer.rewrites.kernels_geglu import MULTIPLY

    MULTIPLY._fastest(())
    runtime = SimpleNamespace(_programs={"a shape": print}, _graphs=None, device=torch.device("cuda:0"))
    choose_anew(runtime)  # type: ignore[arg-type]
    assert runtime._programs == {} and MULTIPLY._fastest.cache_info().currsize == 0


RUN = """
import json, os, sys
os.cpu_count = lambda: {cores}
from tests.gpu.testing import run_tests
found = {{}}
run_tests("test_rewrites", found.__setitem__, done=["test_accumulated_skip"])
print()
print(json.dumps(found))
"""


@pytest.mark.parametrize("cores", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_tests_that_passed_in_an_earlier_command_are_not_run_again(cores: int) -> None:
    """One by one, and two at a time; without a GPU all others are skipped."""
    program = [sys.executable, "-c", RUN.format(cores=cores)]
    text = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = json.loads(text.splitlines()[-1])
    assert "test_gated_product" in found and "test_accumulated_skip" not in found
    if not torch.cuda.is_available():
        assert {result["outcome"] for result in found.values()} == {"skipped"}
    assert ("bringing up nodes" in text) == (cores == 10)
