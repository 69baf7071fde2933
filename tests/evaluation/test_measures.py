"""Measures against pictures whose values were worked out by hand."""

from __future__ import annotations

import json
import math
import weakref
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from r3d2_ros.dataset.meta import SampleActor, rows
from r3d2_ros.dataset.samples import DatasetWriter, Pair, Sample, open_dataset
from r3d2_ros.evaluation import inserts as of
from r3d2_ros.evaluation.flicker import Flicker
from r3d2_ros.evaluation.similarity import mean_db, psnr, similarity, ssim_map
from r3d2_ros.evaluation.subjects import Subject, load_subject
from r3d2_ros.evaluation.tally import Tally
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.compositing.region import actor_region
from r3d2_ros.harmonizer.settings import RegionConfig
from tests.evaluation.small import (
    BOX,
    GREY,
    HEIGHT,
    INSERT,
    SHADED,
    SHADOW,
    TARGET_INSERT,
    WIDTH,
    meta,
    picture,
    shifted,
    view,
    write_dataset,
)

REGION = RegionConfig()


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return load_subject(open_dataset(write_dataset(tmp_path / "d")).samples[0], REGION)


def test_psnr_over_a_part_counts_its_pixels_only() -> None:
    a, b = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)
    b[0, 0] = 51  # a fifth of the peak in one of 24 pixels
    part = np.zeros((4, 6), bool)
    part[0, :2] = True
    assert psnr(a, b) == pytest.approx(10 * math.log10(25 * 24))
    assert psnr(a, b, part) == pytest.approx(10 * math.log10(25 * 2))
    assert psnr(a, b, ~part) == math.inf
    assert psnr(a, b, np.zeros((4, 6), bool)) is None


def test_ssim_of_flat_pictures_is_its_luminance_term() -> None:
    a, b = np.full((32, 32, 3), 51, np.uint8), np.full((32, 32, 3), 102, np.uint8)  # 0.2 and 0.4
    c1 = 0.01**2
    expected = (2 * 0.2 * 0.4 + c1) / (0.2**2 + 0.4**2 + c1)
    half = np.zeros((32, 32), bool)
    half[:, :16] = True
    found = similarity(a, b, {"full": None, "half": half})
    assert found["full"].ssim == pytest.approx(expected, abs=1e-9)
    assert found["half"].ssim == pytest.approx(expected, abs=1e-9)


def test_ssim_map_is_that_of_the_formula_in_every_pixel() -> None:
    """Wang et al. 2004, with Gaussian means by OpenCV, borders reflected."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    b = np.clip(a.astype(int) + rng.integers(-60, 60, a.shape), 0, 255).astype(np.uint8)

    def mean(image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT_101)

    x, y = a / 255, b / 255
    mx, my, c1, c2 = mean(x), mean(y), 0.01**2, 0.03**2
    sx, sy, sxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    expected = ((2 * mx * my + c1) * (2 * sxy + c2) / ((mx**2 + my**2 + c1) * (sx + sy + c2))).mean(axis=2)
    part = rng.random((40, 50)) < 0.3
    found = similarity(a, b, {"full": None, "part": part})
    assert found["full"].ssim == pytest.approx(expected.mean(), abs=1e-9)
    assert found["part"].ssim == pytest.approx(expected[part].mean(), abs=1e-9)


@pytest.mark.parametrize("place", [np.s_[0:3, 0:2], np.s_[90:140, 30:60], np.s_[149:, 79:], np.s_[0:0, 0:0]])
def test_ssim_of_windows_with_a_difference_alone_is_that_of_the_whole_frame(place: tuple[slice, slice]) -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(0, 256, (150, 80, 3), dtype=np.uint8)
    b = a.copy()
    b[place] //= 2
    tensors = [torch.from_numpy(image).double().permute(2, 0, 1)[None] / 255 for image in (a, b)]
    _, whole = structural_similarity_index_measure(*tensors, data_range=1.0, return_full_image=True)
    assert ssim_map(a, b) == pytest.approx(whole[0].mean(dim=0).numpy(), abs=1e-9)


def test_infinite_psnr_is_told_and_does_not_enter_the_mean() -> None:
    assert mean_db([20.0, 30.0]) == (25.0, "")
    mean, remark = mean_db([20.0, math.inf])
    assert mean == 20.0 and "1 of 2" in remark
    assert mean_db([math.inf])[0] is None


def test_the_region_is_the_one_that_the_harmonizer_may_change(subject: Subject) -> None:
    left, top, right, bottom = BOX
    assert subject.mask.sum() == 24 * 16
    assert subject.region[subject.mask].all() and subject.beside.sum() == subject.region.sum() - 24 * 16
    weight = subject.mask.astype(np.float32)
    boxes = [actor.box for actor in meta().actors]
    config = replace(REGION, depth_test=False)
    mask = actor_region(actor_weight=weight, depth=np.ones_like(weight), view=view(), boxes=boxes, config=config)
    assert mask is not None and np.array_equal(subject.region, mask > 0)
    assert subject.region[SHADOW].all() and not subject.region[0].any()
    assert (subject.inserts[0].bottom, left, top, right) == (bottom, 36, 24, 60)


def test_shadow_score_is_darkening_per_pixel_of_the_insert(subject: Subject) -> None:
    base = of.luminance(subject.input)
    darker = of.darkening(of.luminance(picture(shadow=SHADED)), base)
    # 24 x 6 pixels at half the luminance, for an insert of 24 x 16 pixels
    assert of.shadow_score(darker, subject.inserts[0]) == pytest.approx(24 * 6 * 0.5 / (24 * 16))
    assert of.shadow_score(of.darkening(base, base), subject.inserts[0]) == 0
    brighter = of.darkening(of.luminance(picture(ground=250)), base)
    assert of.shadow_score(brighter, subject.inserts[0]) == 0


def test_shadow_score_leaves_out_the_upper_part_of_the_region(subject: Subject) -> None:
    dark_above = picture()
    dark_above[: BOX[1]] = 0
    darker = of.darkening(of.luminance(dark_above), of.luminance(subject.input))
    assert subject.region[: BOX[1]].any()
    assert of.shadow_score(darker, subject.inserts[0]) == 0


def test_luminance_ratio_and_how_far_it_is_from_the_right_one(subject: Subject) -> None:
    nothing = np.zeros_like(subject.mask)
    before = of.luminance_ratio(of.luminance(subject.input), subject.inserts[0], nothing)
    after = of.luminance_ratio(of.luminance(picture(insert=TARGET_INSERT)), subject.inserts[0], nothing)
    assert before == pytest.approx(INSERT / GREY) and after == pytest.approx(TARGET_INSERT / GREY)
    assert of.log_ratio(before, after) == pytest.approx(math.log(INSERT / TARGET_INSERT))
    assert of.log_ratio(after, before) == pytest.approx(math.log(INSERT / TARGET_INSERT))
    assert of.luminance_ratio(of.luminance(picture(ground=0)), subject.inserts[0], nothing) is None


def test_a_black_insert_or_ring_has_the_worst_luminance_error(subject: Subject) -> None:
    """Left out, it would be better than one that is nearly right."""
    worst = math.log(255)
    dark = of.log_ratio(1 / GREY, TARGET_INSERT / GREY)
    assert dark == pytest.approx(math.log(150))
    assert of.log_ratio(0.0, TARGET_INSERT / GREY) == of.log_ratio(None, TARGET_INSERT / GREY) == worst > dark
    assert of.log_ratio(1e-9, 1.0) == worst
    assert of.log_ratio(1.0, None) is None and of.log_ratio(0.0, 0.0) is None
    for shown, ratio in ((picture(insert=0), 0.0), (picture(ground=0), None)):
        tally = Tally(None, "no trunk")
        tally.add(subject, picture(insert=TARGET_INSERT))  # the right one: an error of 0
        tally.add(subject, shown)
        facts = tally.facts()
        assert facts["region"]["luminance_error"] == pytest.approx(worst / 2)
        assert "region.luminance_error" not in facts["reasons"]
        told = facts["reasons"].get("region.luminance_ratio", "")
        assert ("1 of 2 inserts are left out: the ring around them is black" in told) == (ratio is None)


def test_an_insert_that_is_black_in_the_target_has_no_luminance_error_and_is_counted(subject: Subject) -> None:
    tally = Tally(None, "no trunk")
    tally.add(replace(subject, target=picture(insert=0)), picture())
    facts = tally.facts()
    assert facts["region"]["luminance_error"] is None and facts["region"]["luminance_ratio"] is not None
    assert "1 of 1 inserts are left out: in the target they or" in facts["reasons"]["region.luminance_error"]


def test_shadow_overlap_with_the_true_shadow(subject: Subject) -> None:
    assert subject.shadow is not None
    base = of.luminance(subject.input)

    def iou(image: np.ndarray) -> float:
        darker = of.darkening(of.luminance(image), base)
        intersection, union, true = of.shadow_overlap(darker, subject.shadow, subject.beside)
        assert true == 24 * 6
        return intersection / union

    half, moved = picture(), picture()
    half[40:46, 36:48] = SHADED
    moved[40:46, 30:54] = SHADED
    moved[BOX[1] : BOX[3], BOX[0] : BOX[2]] = INSERT
    assert iou(picture(shadow=SHADED)) == 1
    assert iou(half) == pytest.approx(0.5)
    assert iou(moved) == pytest.approx(18 / 30)  # of 24 columns 18 are common, 30 are in either
    assert iou(subject.input) == 0
    everything = picture(ground=SHADED)
    assert iou(everything) == pytest.approx(24 * 6 / subject.beside.sum())  # merely darkening the ground does not pass
    assert iou(picture(shadow=GREY - 18)) == 0  # 15 % darker is none


@pytest.mark.parametrize(("x_m", "z_m", "gap_m"), [(10.0, 0.0, 0.0), (8.0, 0.0, 0.2), (10.0, -0.1, 0.1)])
def test_ground_gap_of_a_short_box(x_m: float, z_m: float, gap_m: float) -> None:
    """Row of the contact: 32 + 80 (1 - z) / x. The insert's lowest edge is row 40; a row is x / 80 metres."""
    subject = _subject_of(shifted(meta(), x_m, z_m))
    assert of.ground_gap_m(subject.inserts[0], view()) == pytest.approx(gap_m)


def test_ground_gap_of_a_vehicle_is_at_its_nearest_wheels() -> None:
    """Rear wheels of a box of 4.4 m at 12 m: 12 - (2.2 - 0.7) = 10.5 m, row 32 + 80 / 10.5."""
    one = shifted(meta(), 12.0, 0.0)
    one = replace(one, actors=(replace(one.actors[0], size_m=(4.4, 1.8, 1.5)),))
    subject = _subject_of(one)
    assert of.ground_gap_m(subject.inserts[0], view()) == pytest.approx((32 + 80 / 10.5 - 40) * 10.5 / 80)


def test_an_insert_that_the_image_cuts_off_has_no_ground_gap() -> None:
    subject = _subject_of(meta())
    assert of.ground_gap_m(replace(subject.inserts[0], bottom=None), view()) is None


def test_flicker_is_what_changes_beside_what_changes_in_the_input(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path / "d", names=("s0", "s1", "s2"), film=True))
    subjects = [load_subject(sample, REGION) for sample in dataset.samples]
    steady, restless = Flicker(), Flicker()
    for k, subject in enumerate(subjects):
        steady.add(subject, picture(ground=100, insert=150))
        restless.add(subject, picture(ground=100 + 4 * (k % 2), insert=(148, 152, 148)[k]))
    assert steady.facts() == {"flicker_surroundings": 0.0, "flicker_insert_percent": 0.0}
    facts = restless.facts()
    assert facts["flicker_surroundings"] == pytest.approx(4)
    # differences +4 and -4: standard deviation 4, of a mean of (148 + 152 + 148) / 3
    assert facts["flicker_insert_percent"] == pytest.approx(100 * 4 / (448 / 3))
    assert restless.pairs == 2


def test_a_change_of_the_input_is_no_flicker(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path / "d", names=("s0", "s1"), film=True))
    first, second = (load_subject(sample, REGION) for sample in dataset.samples)
    brighter = replace(second, input=picture(ground=GREY + 30))
    flicker = Flicker()
    flicker.add(first, picture(ground=100))
    flicker.add(brighter, picture(ground=130))
    assert flicker.facts()["flicker_surroundings"] == 0


def test_of_films_that_follow_one_another_one_frame_is_kept(tmp_path: Path) -> None:
    """A frame is tens of megabytes, and a dataset may have hundreds of films."""
    dataset = open_dataset(write_dataset(tmp_path / "d", names=("s0", "s1"), film=True))
    flicker, kept = Flicker(), []
    for sequence in ("a", "b", "c"):
        for sample in dataset.samples:
            frame = load_subject(replace(sample, meta=replace(sample.meta, sequence=sequence)), REGION)
            flicker.add(frame, picture())
            kept.append(weakref.ref(frame))
    del frame
    assert [frame() is not None for frame in kept] == [False] * 5 + [True]
    assert flicker.pairs == 3


def test_samples_without_stamps_are_no_film(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path / "d", names=("s0", "s1")))
    flicker = Flicker()
    for sample in dataset.samples:
        flicker.add(load_subject(sample, REGION), picture())
    assert flicker.facts() == {"flicker_surroundings": None, "flicker_insert_percent": None}


def _overlapping(tmp_path: Path, left: int) -> Subject:
    """An L of 396 pixels at grey 200 in the box (30, 20, 66, 44), and behind it an insert of 10 x 12 pixels at grey 40,
    from the column `left` on."""
    top, width = 22, 10
    first = np.zeros((HEIGHT, WIDTH), bool)
    first[20:44, 30:40] = first[38:44, 30:66] = True
    second = np.zeros_like(first)
    second[top : top + 12, left : left + width] = True
    image = picture(insert=GREY)
    image[second], image[first] = 40, 200
    place = rows(Rigid.from_xyz_yaw(10, 0, 0, 0).matrix())
    boxes = {"first": (30, 20, 66, 44), "second": (left, top, left + width, top + 12)}
    actors = tuple(SampleActor(name, "car", box, (1.5, 3.0, 2.0), place) for name, box in boxes.items())
    writer = DatasetWriter(tmp_path / str(left), {"how": "by hand"})
    pixels = image / np.float32(255)
    writer.write("test", replace(meta(), actors=actors), Pair(pixels, pixels, first | second))
    return load_subject(open_dataset(writer.folder).samples[0], REGION)


def test_pixels_in_the_boxes_of_two_inserts_count_for_neither(tmp_path: Path) -> None:
    apart, half = _overlapping(tmp_path, 70), _overlapping(tmp_path, 61)
    luma = of.luminance(half.input)
    assert [insert.mask.sum() for insert in apart.inserts] == [396, 120]
    assert [insert.mask.sum() for insert in half.inserts] == [396, 60]  # columns 61 to 65 are in both boxes
    assert [set(luma[insert.mask].round()) for insert in half.inserts] == [{200}, {40}]
    assert not any(insert.region[22:34, 61:66].any() for insert in half.inserts)


def test_an_insert_that_lies_in_the_box_of_another_has_no_measures_and_is_counted(tmp_path: Path) -> None:
    tally = Tally(None, "no trunk")
    for left in (70, 44):
        subject = _overlapping(tmp_path, left)
        tally.add(subject, subject.input)
    assert [insert.mask.sum() for insert in subject.inserts] == [396, 0]
    facts = tally.facts()
    assert facts["counts"]["inserts"] == 4 and facts["counts"]["inserts_left_out"] == 1
    assert "1 of 4 inserts are left out" in facts["reasons"]["region.shadow_score"]
    assert facts["region"]["luminance_ratio"] == pytest.approx(200 / GREY)  # the median of 200, 40 and 200


def test_an_insert_without_a_pixel_of_the_mask_is_told_as_that(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d")
    path = dataset / "test" / "s0" / "meta.json"
    facts = json.loads(path.read_text())
    facts["actors"].append(facts["actors"][0] | {"id": "unseen", "box_px": [0, 0, 8, 8]})
    path.write_text(json.dumps(facts))
    subject = load_subject(open_dataset(dataset).samples[0], REGION)
    assert [insert.seen for insert in subject.inserts] == [True, False]
    tally = Tally(None, "no trunk")
    tally.add(subject, subject.input)
    tally.add(shared := _overlapping(tmp_path, 44), shared.input)
    found = tally.facts()
    assert found["counts"]["inserts_left_out"] == 2
    assert found["reasons"]["region.shadow_score"] == (
        "1 of 4 inserts are left out: mask.png has no pixels in their boxes; "
        "1 of 4 inserts are left out: too few of their pixels lie in no other insert's box"
    )


def test_frames_in_which_an_insert_is_left_out_part_its_film(tmp_path: Path) -> None:
    flicker = Flicker()
    for k, left in enumerate((70, 44, 70, 70)):
        subject = _overlapping(tmp_path / str(k), left)
        facts = replace(subject.sample.meta, stamp_ns=k * 100_000_000)
        flicker.add(replace(subject, sample=replace(subject.sample, meta=facts)), subject.input // (1 + k % 2))
    # Of the second insert no three frames follow one another; the first one's 200, 100, 200, 100 differ by -, +, - 100.
    expected = 100 * float(np.std([-100, 100, -100])) / 150
    assert flicker.facts()["flicker_insert_percent"] == pytest.approx(expected)


def test_a_tally_has_every_key_and_says_why_a_value_is_missing(tmp_path: Path) -> None:
    subject = load_subject(open_dataset(write_dataset(tmp_path / "d", shadow=False)).samples[0], REGION)
    tally = Tally(None, "no trunk")
    tally.add(subject, subject.input)
    facts = tally.facts()
    missing = {f"{part}.{key}" for part in ("full", "region") for key, value in facts[part].items() if value is None}
    assert missing == set(facts["reasons"])
    assert missing >= {"full.lpips", "region.lpips", "region.shadow_iou", "region.flicker_surroundings"}
    assert facts["reasons"]["region.lpips"] == "no trunk"
    assert facts["full"]["changed_outside_px"] == 0
    squares = (INSERT - TARGET_INSERT) ** 2 * 24 * 16 + (GREY - SHADED) ** 2 * 24 * 6
    assert facts["full"]["psnr"] == pytest.approx(10 * math.log10(255**2 * HEIGHT * WIDTH / squares))
    assert facts["region"]["psnr"] == pytest.approx(10 * math.log10(255**2 * subject.region.sum() / squares))
    assert list(facts["region"])[:3] == ["psnr", "ssim", "lpips"]


def _subject_of(one: object) -> Subject:
    """The pictures of `small` under other facts of the sample."""
    from tests.evaluation.small import pair

    sample = Sample(Path("nowhere"), "test", one)  # type: ignore[arg-type]
    found = pair()
    mask = found.mask
    insert = of.Insert(mask, ~mask, sample.meta.actors[0].box, BOX[3])
    return Subject(sample, picture(), picture(), mask, mask, None, (insert,))
