"""Everything that needs CUDA, in one command: `PYTHON tests/gpu/run.py --json FILE`.

Prints what is installed, runs the GPU tests (with pytest where there is one), measures, and writes a JSON file with
the device, the versions, the outcome of every test and the measurements. Nothing is downloaded. The exit code is 1
when a test fails and 2 when CUDA does not work.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
import traceback
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # The folder of this script must not shadow packages.
# As many compilers at a time as there are processors; gsplat's own limit is 10.
os.environ.setdefault("MAX_JOBS", str(os.cpu_count() or 1))

from tests.gpu.machine import cuda_fault, describe  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    report: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": describe(),
    }
    for name, value in report["machine"].items():
        print(f"{name}: {value}", flush=True)
    fault = cuda_fault()
    if fault:
        report["fault"] = fault
        _write(options.json, report)
        print(f"needs an NVIDIA GPU with CUDA: {fault}", file=sys.stderr)
        return 2
    try:
        report["kernels_ready_s"] = _prepare()
        if not options.only_measure:
            report["tests"] = run_tests()
            _write(options.json, report)
        if not options.only_test:
            report["measurements"] = _measure()
    except Exception as error:
        report["fault"] = f"{type(error).__name__}: {error}"
        traceback.print_exc()
        return 1
    finally:
        _write(options.json, report)
    failed = [name for name, result in report.get("tests", {}).items() if result["outcome"] == "failed"]
    for name in failed:
        print(f"FAILED {name}", file=sys.stderr)
    return 1 if failed else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the report goes")
    parser.add_argument("--only-test", action="store_true", help="no measurements")
    parser.add_argument("--only-measure", action="store_true", help="no tests")
    return parser.parse_args(arguments)


def _prepare() -> float:
    """Seconds until the first Gaussian is drawn; the first time on a machine the kernels are compiled."""
    from r3d2_ros.rendering.base import RenderSettings
    from r3d2_ros.rendering.gsplat import GsplatRenderer

    print("preparing gsplat's kernels (minutes on first use)", flush=True)
    start = time.perf_counter()
    GsplatRenderer(RenderSettings())
    seconds = time.perf_counter() - start
    print(f"kernels ready after {seconds:.1f} s", flush=True)
    return seconds


def run_tests() -> dict[str, dict[str, object]]:
    """Outcome of each test: passed, failed or skipped, with the message where it is not passed."""
    try:
        import pytest  # noqa: F401
    except ImportError:
        return _run_directly()
    return _run_with_pytest()


class _Outcomes:
    """A pytest plug-in that keeps what each test came to."""

    def __init__(self) -> None:
        self.results: dict[str, dict[str, object]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.passed:
            return
        result: dict[str, object] = {"outcome": report.outcome, "seconds": round(report.duration, 3)}
        if not report.passed:
            result["message"] = report.longreprtext[-2000:]
        self.results[report.nodeid.split("::", 1)[-1]] = result

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.results[report.nodeid] = {"outcome": "failed", "message": report.longreprtext[-2000:]}


def _run_with_pytest() -> dict[str, dict[str, object]]:
    import pytest

    outcomes = _Outcomes()
    here = Path(__file__).resolve().parent
    # Its own configuration: the project's asks for plug-ins that this Python need not have.
    options = ["-c", str(here / "pytest.ini"), f"--rootdir={ROOT}", f"--confcutdir={here}", "-p", "no:cacheprovider"]
    code = pytest.main([*options, "-q", "-rs", "--durations=0", str(here)], plugins=[outcomes])
    if code not in (0, 1):
        outcomes.results["pytest"] = {"outcome": "failed", "message": f"exit code {int(code)}"}
    return outcomes.results


def _run_directly() -> dict[str, dict[str, object]]:
    """The same tests without pytest, whose few names in the test module are stood in for."""
    sys.modules["pytest"] = _stand_in()
    from tests.gpu import test_gsplat, test_harmonizer

    tests = {name: test for module in (test_gsplat, test_harmonizer) for name, test in vars(module).items()}
    results: dict[str, dict[str, object]] = {}
    for name, test in tests.items():
        if not name.startswith("test_"):
            continue
        start = time.perf_counter()
        try:
            test()
            result: dict[str, object] = {"outcome": "passed"}
        except _Skipped as skipped:
            result = {"outcome": "skipped", "message": str(skipped)}
        except Exception:
            result = {"outcome": "failed", "message": traceback.format_exc()[-2000:]}
        results[name] = {**result, "seconds": round(time.perf_counter() - start, 3)}
        print(f"{name}: {results[name]['outcome']} {results[name].get('message', '')}", flush=True)
    return results


class _Skipped(Exception):
    pass


class _Raises:
    """pytest.raises as a context manager."""

    def __init__(self, error: type[Exception], match: str) -> None:
        self._error, self._match = error, match

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        import re

        assert isinstance(error, self._error), f"expected {self._error.__name__}, got {error!r}"
        assert re.search(self._match, str(error)), f"'{self._match}' is not in '{error}'"
        return True


def _stand_in() -> types.ModuleType:
    module = types.ModuleType("pytest")

    def importorskip(name: str, reason: str) -> Any:
        try:
            return __import__(name)
        except ImportError:
            raise _Skipped(reason) from None

    def skip(reason: str) -> None:
        raise _Skipped(reason)

    mark = types.SimpleNamespace(gpu=None, skipif=lambda condition, reason: None)
    vars(module).update(
        importorskip=importorskip, skip=skip, raises=lambda error, match: _Raises(error, match), mark=mark
    )
    return module


def _measure() -> list[dict[str, object]]:
    from tests.gpu.measure import as_json, cases, measure, table

    measurements = []
    for case in cases():
        measurements.append(measure(case))
        print(measurements[-1], flush=True)
    print(table(measurements))
    return as_json(measurements)


def _write(path: Path | None, report: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
