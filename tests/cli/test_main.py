"""The command line as a whole: help, exit codes, and what people read when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from r3d2_ros.cli import main as cli
from r3d2_ros.cli import scene
from r3d2_ros.errors import InputError, InputErrors


def run_module(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "r3d2_ros.cli", *arguments], capture_output=True, text=True, timeout=60, **options
    )


def test_help_names_every_command_with_examples() -> None:
    done = run_module("--help")
    assert done.returncode == 0
    for command in cli.COMMANDS:
        assert f"    {command}" in done.stdout
    assert "examples:" in done.stdout
    assert "Exit status" in done.stdout


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from r3d2_ros.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print([m for m in ('numpy', 'pydantic', 'rclpy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([command, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert f"  r3d2 {command}" in text
    assert "Exit status" in text


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_help_of_every_command_below_a_command_can_be_printed(command: str) -> None:
    parsers = [cli.build_parser(command)]
    while parsers:
        parser = parsers.pop()
        parser.format_help()
        parsers += [p for a in parser._actions if isinstance(a.choices, dict) for p in a.choices.values()]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["render"],
        ["render", "--ego", "1", "2"],
        ["check"],
        ["model", "verify", "nano", "nano", "--tolerance", "nan"],
        ["model", "verify", "nano", "nano", "--tolerance", "-1"],
    ],
)
def test_wrong_arguments_are_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 2
    assert "usage: r3d2" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == "r3d2 0.1.0\n"


FAULTS = InputErrors([InputError("a.yaml: x", "1", "2"), InputError("a.yaml: y", "3", "4", "Do this")])
RAISED = [
    (FAULTS, 1, ["r3d2 scene: a.yaml: x: expected 1, got 2", "r3d2 scene: a.yaml: y: expected 3, got 4. Do this"]),
    (MemoryError(), 1, ["r3d2 scene: not enough memory"]),
    (InputError("a", "1", "\x1b[2J\ud800"), 1, [r"r3d2 scene: a: expected 1, got \x1b[2J\ud800"]),
    (InputError("a", "1", "x" * 20_000), 1, [f"r3d2 scene: a: expected 1, got {'x' * 9981}... (20019 characters)"]),
    (OSError(28, "No space left on device", "/full/disk"), 1, ["r3d2 scene: /full/disk: No space left on device"]),
    (KeyboardInterrupt(), 130, ["r3d2 scene: interrupted"]),
]


@pytest.mark.parametrize(("error", "status", "lines"), RAISED)
def test_what_goes_wrong_is_one_line_per_fault(
    error: BaseException,
    status: int,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr(scene, "run", fail)
    assert cli.main(["scene", "info", "any.ply"]) == status
    captured = capsys.readouterr()
    assert captured.err.splitlines() == lines
    assert captured.out == ""


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    (tmp_path / "bad.yaml").write_text("[]\n")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "r3d2_ros.cli", "check", str(tmp_path / "bad.yaml")],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""


def test_scene_commands_need_no_ros(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('rclpy', 'r3d2_ros.msg', 'sensor_msgs'): sys.modules[name] = None\n"
        "from r3d2_ros.cli.main import main; sys.exit(main(['scene', 'info', 'absent.ply']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 1
    assert "absent.ply: expected a Gaussian file" in done.stderr


@pytest.mark.parametrize("text", ["-1", "-1.5", "-1.", "-1e-3", "-.5"])
def test_negative_numbers_are_values(text: str) -> None:
    parser = cli.build_parser("render")
    words = ["render", "--scene", "s", "--rig", "r", "--out", "o", "--ego", text, "0", text, "-180"]
    args = parser.parse_args([cli._shielded(word) for word in words])
    assert args.ego == [float(text), 0.0, float(text), -180.0]
