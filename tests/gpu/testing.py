"""Runs a module of GPU tests: with pytest where there is one, several at a time if it can, else one by one."""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback
import types
from collections.abc import Callable, Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MESSAGE_END = 2000
"""Characters of a failure's text that the report keeps."""

CORES_EACH = 5
"""That a process with tests needs: they compile. No test measures time."""

Result = dict[str, object]
Put = Callable[[str, Result], None]


def run_tests(module: str, put: Put, *, done: Collection[str] = ()) -> None:
    """`put` gets each test's result at once: outcome (passed, failed, skipped), seconds, a message if not passed.

    done  names of tests that are not run again
    """
    try:
        import pytest  # noqa: F401
    except ImportError:
        _run_directly(module, put, done)
    else:
        _run_with_pytest(module, put, done)


class _Outcomes:
    """A pytest plug-in that says what each test came to, in whatever process."""

    def __init__(self, put: Put) -> None:
        self._put = put

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.passed:
            return
        result: Result = {"outcome": report.outcome, "seconds": round(report.duration, 3)}
        if not report.passed:
            result["message"] = report.longreprtext[-MESSAGE_END:]
        self._put(report.nodeid.split("::", 1)[-1], result)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._put(report.nodeid, {"outcome": "failed", "message": report.longreprtext[-MESSAGE_END:]})


def _run_with_pytest(module: str, put: Put, done: Collection[str]) -> None:
    import pytest

    here = Path(__file__).resolve().parent
    # Its own configuration: the project's asks for plug-ins that this Python need not have.
    options = ["-c", str(here / "pytest.ini"), f"--rootdir={ROOT}", f"--confcutdir={here}", "-p", "no:cacheprovider"]
    file = here / f"{module}.py"
    options += [f"--deselect={file.relative_to(ROOT).as_posix()}::{name}" for name in done]
    workers = (os.cpu_count() or 1) // CORES_EACH
    if workers > 1 and find_spec("xdist") is not None:
        options += ["-n", str(workers), "--dist", "worksteal"]
    code = pytest.main([*options, "-q", "-rs", "--durations=0", str(file)], plugins=[_Outcomes(put)])
    nothing_left = code == pytest.ExitCode.NO_TESTS_COLLECTED and done
    if code not in (0, 1) and not nothing_left:
        put("pytest", {"outcome": "failed", "message": f"exit code {int(code)}"})


def _run_directly(module: str, put: Put, done: Collection[str]) -> None:
    """The same tests without pytest, whose few names in the test module are stood in for."""
    sys.modules["pytest"] = _stand_in()
    tests = importlib.import_module(f"tests.gpu.{module}")
    for name, test in list(vars(tests).items()):
        if not name.startswith("test_") or name in done:
            continue
        start = time.perf_counter()
        try:
            test()
            result: Result = {"outcome": "passed"}
        except _Skipped as skipped:
            result = {"outcome": "skipped", "message": str(skipped)}
        except Exception:
            result = {"outcome": "failed", "message": traceback.format_exc()[-MESSAGE_END:]}
        put(name, {**result, "seconds": round(time.perf_counter() - start, 3)})
        print(f"{name}: {result['outcome']} {result.get('message', '')}", flush=True)


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
            return importlib.import_module(name)
        except ImportError:
            raise _Skipped(reason) from None

    def skip(reason: str) -> None:
        raise _Skipped(reason)

    mark = types.SimpleNamespace(gpu=None, skipif=lambda condition, reason: None)
    vars(module).update(
        importorskip=importorskip, skip=skip, raises=lambda error, match: _Raises(error, match), mark=mark
    )
    return module
