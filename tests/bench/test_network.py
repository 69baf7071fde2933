"""Rows of the network's benchmark, with runtimes whose length, output and faults are known."""

from __future__ import annotations

import json
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch, which is not installed here")
pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")

from r3d2_ros.bench.harmonizer.faults import BrokenPathError  # noqa: E402
from r3d2_ros.bench.harmonizer.network import Bench, Candidate, Work  # noqa: E402
from r3d2_ros.bench.harmonizer.protocol import Protocol  # noqa: E402
from r3d2_ros.bench.harmonizer.report import PAPER_ROWS, candidates, chosen_switches, network_table  # noqa: E402
from r3d2_ros.bench.harmonizer.stopwatch import WallStopwatch  # noqa: E402
from r3d2_ros.errors import InputError  # noqa: E402
from r3d2_ros.harmonizer.model.flops import measure_size  # noqa: E402
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RewritesConfig, RuntimeConfig  # noqa: E402
from tests.bench.fake_clock import FakeClock  # noqa: E402
from tests.harmonizer.small import TINY, seeded  # noqa: E402

CPU = torch.device("cpu")
SIZE = (24, 40)
TEN = Protocol("ten", warm_up_passes=4, warm_up_s=0, passes=10, window=5, tolerance=0.01)


class FakeRuntime:
    """The plain module, off by `error` everywhere; a pass takes `length_ms`."""

    def __init__(self, model: Any, clock: FakeClock, *, length_ms: float, error: float = 0.0) -> None:
        self._model, self._clock, self._length_ms, self._error = model, clock, length_ms, error
        self.inputs: list[torch.Tensor] = []
        self.warmed: list[Any] = []

    def warm_up(self, shapes: Any) -> None:
        self.warmed = list(shapes)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self._clock.work(self._length_ms)
        self.inputs.append(images.clone())
        return self._model(images) + self._error


def bench(work: Work, *, length_ms: float = 25.0, error: float = 0.0) -> tuple[Bench, list[FakeRuntime]]:
    clock, made = FakeClock(), []

    def make(model: Any, config: HarmonizerConfig) -> FakeRuntime:
        made.append(FakeRuntime(model, clock, length_ms=length_ms, error=error))
        return made[-1]

    return Bench(seeded(TINY), work, CPU, stopwatch=WallStopwatch(clock, clock), make=make), made


def test_passes_of_25_ms_are_40_fps_and_the_row_says_how_it_was_measured() -> None:
    timed, made = bench(Work(SIZE, batch=1, protocol=TEN, runs=2, profile=True))
    row = timed.measure(Candidate("fake", HarmonizerConfig(dtype="float32")))
    assert row["fps_mean"] == pytest.approx(40.0) and row["fps_std"] == pytest.approx(0.0, abs=1e-9)
    assert row["ms_p50"] == row["ms_p99"] == pytest.approx(25.0)
    assert row["accepted"] is True
    assert len(row["runs"]) == 2 and row["warm_up_passes"] == 4
    flop = measure_size(TINY, height_px=SIZE[0], width_px=SIZE[1]).total_flop
    assert row["flop_per_pass"] == flop
    assert row["tflop_per_s"] == pytest.approx(flop / 0.025 / 1e12)
    assert row["accuracy"]["relative_l2"] == 0.0
    assert row["telemetry"] is None and row["telemetry_reason"] == "the network ran on a CPU"
    assert 1 <= len(row["kernels"]) <= 20
    assert row["kernels"][0]["share"] == max(kernel["share"] for kernel in row["kernels"])
    assert made[0].warmed == [(1, *SIZE)]
    json.dumps(row, allow_nan=False)


def test_eight_inputs_take_turns() -> None:
    timed, made = bench(Work(SIZE, batch=1, protocol=TEN, runs=1))
    timed.measure(Candidate("fake", HarmonizerConfig(dtype="float32")))
    passes = made[0].inputs[-10:]
    for k in range(1, 8):
        assert not torch.equal(passes[0], passes[k])
    assert torch.equal(passes[0], passes[8]) and torch.equal(passes[1], passes[9])


def test_what_is_compared_is_the_batch_that_is_timed() -> None:
    timed, made = bench(Work(SIZE, batch=3, protocol=TEN, runs=1))
    row = timed.measure(Candidate("fake", HarmonizerConfig(dtype="float32")))
    assert {len(images) for images in made[0].inputs} == {3}
    assert row["fps_mean"] == pytest.approx(120.0)
    assert row["accuracy"]["relative_l2"] < 1e-5


def test_a_path_in_16_bit_is_judged_by_the_plain_module_in_16_bit() -> None:
    timed, _ = bench(Work(SIZE, batch=1, protocol=TEN, runs=1), error=0.5)
    row = timed.measure(Candidate("off", HarmonizerConfig(dtype="bfloat16")))
    accuracy = row["accuracy"]
    assert accuracy["max_abs"] == pytest.approx(0.5, abs=1e-3)
    assert accuracy["ratio_l2"] == pytest.approx(accuracy["relative_l2"] / accuracy["eager_16bit"]["relative_l2"])
    assert accuracy["within_limit"] is False
    table = network_table([row], variant="tiny test", random_weights=True)
    assert "BEYOND THE LIMIT" in table


def test_a_runtime_that_does_not_write_is_not_timed() -> None:
    clock = FakeClock()
    buffer = torch.zeros(1, 3, *SIZE)

    class Lazy(FakeRuntime):
        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return buffer

    timed = Bench(
        seeded(TINY),
        Work(SIZE, batch=1, protocol=TEN, runs=1),
        CPU,
        stopwatch=WallStopwatch(clock, clock),
        make=lambda model, config: Lazy(model, clock, length_ms=1.0),
    )
    with pytest.raises(BrokenPathError):
        timed.measure(Candidate("lazy", HarmonizerConfig(dtype="float32")))


def test_the_table_ends_with_the_papers_rows_and_says_what_is_not_compared() -> None:
    timed, _ = bench(Work(SIZE, batch=1, protocol=TEN, runs=1))
    row = timed.measure(Candidate("fake", HarmonizerConfig(dtype="float32")))
    fault = {"name": "broken", "dtype": "float16", "fault": "no output"}
    text = network_table([row, fault], variant="tiny test", random_weights=True)
    lines = text.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert "| ten" in table[2] and "40.000 +- 0.000" in table[2] and "25.0 / 25.0 / 25.0" in table[2]
    assert "FAILED" in table[3]
    assert [line.split("|")[1].strip() for line in table[-4:]] == [
        "the paper's, RTX 5090, stable-fast", "the paper's, RTX 5090, stable-fast",
        "the paper's, H200, stable-fast", "the paper's, H200, stable-fast",
    ]  # fmt: skip
    figures = ("13.359 +- 0.024", "4.067 +- 0.005", "18.129 +- 0.078", "5.964 +- 0.037")
    assert all(figure in line for figure, line in zip(figures, table[-4:], strict=True))
    assert len({line.count("|") for line in table}) == 1
    assert "broken: FAILED: no output" in lines
    assert "Rows of different protocols, sizes and batches are not compared with each other or the paper's." in lines
    assert lines[-1] == "random weights: quality unmeasured"
    trained = network_table([row], variant="tiny test", random_weights=False)
    assert "unmeasured" not in trained


def test_a_run_that_had_not_settled_is_marked() -> None:
    timed, _ = bench(Work(SIZE, batch=1, protocol=TEN, runs=1))
    row = timed.measure(Candidate("fake", HarmonizerConfig(dtype="float32")))
    row |= {"accepted": False, "runs": [{"window_change": 0.2}]}
    text = network_table([row], variant="tiny test", random_weights=False)
    assert "ten (not accepted)" in text
    assert "fake: NOT ACCEPTED, the last two windows differ by 20.0% (limit 1%): the speed had not settled." in text


def test_the_papers_figures_are_the_papers() -> None:
    fps = {(row["gpu"], row["variant"]): (row["fps_mean"], row["fps_std"]) for row in PAPER_ROWS}
    assert fps == {
        ("RTX 5090", "r3d2"): (13.359, 0.024),
        ("RTX 5090", "r3d2-big"): (4.067, 0.005),
        ("H200", "r3d2"): (18.129, 0.078),
        ("H200", "r3d2-big"): (5.964, 0.037),
    }


def test_candidates() -> None:
    config = HarmonizerConfig(device="cuda:0", dtype="float8", runtime=RuntimeConfig(kind="torch-compile"))
    baseline, path, pinned = candidates(config, compare=True, deterministic=True)
    assert path.config == config
    assert (baseline.config.dtype, baseline.config.runtime.kind) == ("float16", "eager")
    assert not baseline.config.runtime.cuda_graph and not baseline.config.rewrites.fold_upsample
    assert pinned.config.runtime.deterministic and not path.config.runtime.deterministic
    on_cpu = candidates(HarmonizerConfig(device="cpu", dtype="float32"), compare=True, deterministic=False)
    assert [c.name for c in on_cpu] == ["eager 32-bit baseline", "eager"]


def test_rewrites_by_name() -> None:
    assert chosen_switches(RewritesConfig, None, "--rewrites").fold_upsample
    some = chosen_switches(RewritesConfig, "fold_upsample, merge_skips", "--rewrites")
    assert some.fold_upsample and some.merge_skips and not some.fuse_relu
    assert not chosen_switches(RewritesConfig, "", "--rewrites").constant_prompt
    with pytest.raises(InputError, match="'fold'"):
        chosen_switches(RewritesConfig, "fold", "--rewrites")
