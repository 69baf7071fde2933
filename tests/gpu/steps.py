"""Everything that a GPU is needed for, in the order of what one wants to know first."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.gpu.report import Part

if TYPE_CHECKING:
    from tests.gpu.setting import Setting


@dataclass(frozen=True)
class Step:
    """One part of the report.

    work       imports what it needs by itself, so that one step's missing package costs no other step
    expected_s on an H100 with 16 cores, when nothing is compiled yet
    least_s    with less time than this left it is not begun
    """

    name: str
    what: str
    work: Callable[[Setting, Part], None]
    expected_s: float
    least_s: float


class StepError(RuntimeError):
    """A step whose result is a failure, such as tests that failed."""


def _ceilings(setting: Setting, part: Part) -> None:
    from tests.gpu.ceilings import measure_ceilings

    measure_ceilings(setting, part)


def _build_gsplat(setting: Setting, part: Part) -> None:
    from tests.gpu.measure import make_renderer

    print("preparing gsplat's kernels (minutes on first use)", flush=True)
    start = time.perf_counter()
    with make_renderer(setting):
        part.put("ready_s", time.perf_counter() - start)


def _test(modules: tuple[str, ...], setting: Setting, part: Part) -> None:
    from tests.gpu.testing import run_tests

    done = [name for name, result in part.rows.items() if result["outcome"] != "failed"]
    for module in modules:
        run_tests(module, part.put, done=done)
    failed = [name for name, result in part.rows.items() if result["outcome"] == "failed"]
    if failed:
        raise StepError(f"{len(failed)} of {len(part.rows)} tests failed: {', '.join(failed)}")


def _gsplat_speed(setting: Setting, part: Part) -> None:
    from tests.gpu.measure import measure_cases

    measure_cases(setting, part)


def _rendering(setting: Setting, part: Part) -> None:
    from tests.gpu.rigs import measure_rendering

    measure_rendering(setting, part)


def _ladder(variant: str, setting: Setting, part: Part) -> None:
    from tests.gpu.ladder import measure_ladder

    measure_ladder(setting, part, variant=variant)


def _paper(variant: str, setting: Setting, part: Part) -> None:
    from tests.gpu.ladder import measure_paper

    measure_paper(setting, part, variant=variant)


def _rig(setting: Setting, part: Part) -> None:
    from tests.gpu.rigs import measure_rigs

    measure_rigs(setting, part)


def _quality(setting: Setting, part: Part) -> None:
    from tests.gpu.rigs import measure_modes

    measure_modes(setting, part)


def _kernels(name: str, setting: Setting, part: Part) -> None:
    from tests.gpu import kernels

    getattr(kernels, f"measure_{name}")(setting, part)


GSPLAT_TESTS = ("test_gsplat",)
OTHER_TESTS = tuple(sorted({path.stem for path in Path(__file__).parent.glob("test_*.py")} - {*GSPLAT_TESTS}))
STEPS = (
    Step("ceilings", "bandwidth, matrix products, JPEG, order of the attention kernels", _ceilings, 30, 20),
    Step("harmonizer-tests", "the runtime on the GPU", functools.partial(_test, OTHER_TESTS), 300, 120),
    Step("r3d2", "the network alone, rung by rung", functools.partial(_ladder, "r3d2"), 1250, 165),
    Step("r3d2-paper", "the paper's protocol", functools.partial(_paper, "r3d2"), 700, 220),
    Step("gsplat-build", "gsplat's kernels compiled and loaded", _build_gsplat, 240, 200),
    Step("gsplat-tests", "the gsplat renderer on the GPU", functools.partial(_test, GSPLAT_TESTS), 90, 60),
    Step("gsplat-speed", "the gsplat renderer alone", _gsplat_speed, 90, 60),
    Step("rendering", "six cameras, 3 M splats, 20 actors: rendering alone", _rendering, 90, 60),
    Step("rig", "six cameras at 10 Hz for 60 s, mode by mode", _rig, 540, 150),
    Step("r3d2-big", "the network alone, rung by rung", functools.partial(_ladder, "r3d2-big"), 1900, 215),
    Step("r3d2-big-paper", "the paper's protocol", functools.partial(_paper, "r3d2-big"), 1450, 365),
    Step("attention", "attention kernels one by one", functools.partial(_kernels, "attention"), 90, 30),
    Step("convolutions", "convolutions one by one", functools.partial(_kernels, "convolutions"), 90, 30),
    Step("products", "linear layers one by one", functools.partial(_kernels, "products"), 40, 20),
    Step("norms", "GroupNorm and SiLU", functools.partial(_kernels, "norms"), 40, 20),
    Step("quality", "approximate modes against the exact one; needs --checkpoint", _quality, 300, 100),
)

BY_NAME = {step.name: step for step in STEPS}
GSPLAT_BUILD = "gsplat-build"
NEEDS_GSPLAT = ("gsplat-tests", "gsplat-speed", "rendering", "rig", "quality")
"""Steps before which gsplat's kernels are built: in each command, since they stay on the machine and not in the report.
It takes seconds where they are there."""
