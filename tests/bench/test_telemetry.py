"""What nvidia-smi's lines say, with a program of that name that is not NVIDIA's."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from r3d2_ros.bench.harmonizer.telemetry import FIELDS, Telemetry, digest


def install(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nvidia-smi that runs `body`, first on the PATH."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!{sys.executable}\nimport sys, time\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_lowest_middle_and_highest_of_each_field() -> None:
    facts = digest(["1980, 500.0, 60\n", "345, 90.5, 40\n", "1900, 520.5, 62\n"])
    assert facts is not None and facts["samples"] == 3 and facts["period_ms"] == 200
    assert facts["sm_clock_mhz"] == {"min": 345.0, "median": 1900.0, "max": 1980.0}
    assert facts["power_w"] == {"min": 90.5, "median": 500.0, "max": 520.5}
    assert facts["temperature_c"] == {"min": 40.0, "median": 60.0, "max": 62.0}


def test_a_field_that_the_gpu_does_not_report_is_none() -> None:
    facts = digest(["1980, [N/A], 60\n"])
    assert facts is not None and facts["power_w"] is None and facts["sm_clock_mhz"]["max"] == 1980.0


@pytest.mark.parametrize("lines", [[], ["No devices were found\n"], ["[N/A], [N/A], [N/A]\n"]])
def test_no_sample_is_none(lines: list[str]) -> None:
    assert digest(lines) is None


def test_it_samples_while_the_block_runs_and_only_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "arguments"
    body = f"open({str(log)!r}, 'w').write(' '.join(sys.argv[1:]))\nwhile True:\n"
    body += "    print('1500, 300, 50')\n    time.sleep(0.01)"
    install(tmp_path, body, monkeypatch)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # the program may keep its lines to itself in a pipe
    with Telemetry("GPU-1") as telemetry:
        end = time.monotonic() + 20
        while not telemetry._lines and time.monotonic() < end:
            time.sleep(0.01)
    assert telemetry.facts is not None and telemetry.facts["samples"] >= 1 and telemetry.reason == ""
    assert telemetry.facts["sm_clock_mhz"]["median"] == 1500.0
    query = ",".join(FIELDS.values())
    assert log.read_text() == f"-i GPU-1 --query-gpu={query} --format=csv,noheader,nounits --loop-ms=200"
    assert telemetry._process is not None and telemetry._process.returncode is not None


def test_without_nvidia_smi_the_reason_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Telemetry("0") as telemetry:
        pass
    assert telemetry.facts is None and telemetry.reason == "nvidia-smi is not installed"


def test_an_nvidia_smi_that_fails_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "print('No devices were found'); sys.exit(6)", monkeypatch)
    with Telemetry("0") as telemetry:
        assert telemetry._process is not None
        telemetry._process.wait(20)
    assert telemetry.facts is None and telemetry.reason == "nvidia-smi gave no sample: No devices were found"


def test_on_a_cpu_nothing_is_started() -> None:
    with Telemetry(None) as telemetry:
        pass
    assert telemetry._process is None and telemetry.reason == "the network ran on a CPU"
