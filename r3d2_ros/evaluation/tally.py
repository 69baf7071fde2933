"""The measures of one row, added up over its samples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.evaluation import inserts as of
from r3d2_ros.evaluation.flicker import Flicker
from r3d2_ros.evaluation.inserts import Picture
from r3d2_ros.evaluation.similarity import mean_db, psnr, similarity
from r3d2_ros.evaluation.subjects import Subject

FULL, REGION = "full", "region"

FULL_KEYS = ("psnr", "ssim", "lpips", "psnr_outside", "raw_psnr_outside", "changed_outside_px")
REGION_KEYS = (
    "psnr", "ssim", "lpips", "shadow_iou", "shadow_iou_pooled", "shadow_score", "shadow_share", "luminance_ratio",
    "luminance_error", "flicker_surroundings", "flicker_insert_percent", "ground_gap_m",
)  # fmt: skip
"""Keys of a row's facts, in this order."""

INSERT_KEYS = ("shadow_score", "shadow_share", "luminance_ratio", "luminance_error")
"""Means over the inserts that have pixels of their own."""


class Perceptual(Protocol):
    """LPIPS of two pictures [H, W, 3] uint8, and its map [H, W]; the map's mean is about LPIPS."""

    def __call__(self, picture: Picture, target: Picture) -> tuple[float, NDArray[np.float32]]: ...


@dataclass
class Tally:
    """`add` every sample, films in order of their stamps; `facts` at the end."""

    perceptual: Perceptual | None
    why_no_lpips: str
    samples: int = 0
    _values: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _changed_outside: int = 0
    _intersection: int = 0
    _union: int = 0
    _inserts: int = 0
    _left_out: Counter[str] = field(default_factory=Counter)
    _no_ratio: int = 0
    _no_error: int = 0
    _flicker: Flicker = field(default_factory=Flicker)

    def add(self, subject: Subject, picture: Picture, raw: Picture | None = None) -> None:
        """picture, raw [H, W, 3]: a row's picture, and what its model gave before the composite."""
        self.samples += 1
        outside = ~subject.region
        for part, found in similarity(picture, subject.target, {FULL: None, REGION: subject.region}).items():
            self._put(part, psnr=found.psnr, ssim=found.ssim)
        self._put(FULL, psnr_outside=psnr(picture, subject.target, outside))
        if raw is not None:
            self._put(FULL, raw_psnr_outside=psnr(raw, subject.input, outside))
        if self.perceptual is not None:
            whole, image = self.perceptual(picture, subject.target)
            self._put(FULL, lpips=whole)
            self._put(REGION, lpips=float(image[subject.region].mean()))
        self._changed_outside += int(((picture != subject.input).any(axis=2) & outside).sum())
        self._add_inserts(subject, picture)
        self._flicker.add(subject, picture)

    def _add_inserts(self, subject: Subject, picture: Picture) -> None:
        luma, base, right = (of.luminance(image) for image in (picture, subject.input, subject.target))
        darker = of.darkening(luma, base)
        if subject.shadow is not None:
            intersection, union, true = of.shadow_overlap(darker, subject.shadow, subject.beside)
            if true:
                self._intersection, self._union = self._intersection + intersection, self._union + union
                self._put(REGION, shadow_iou=intersection / union)
        for insert in subject.inserts:
            self._inserts += 1
            others = subject.mask & ~insert.mask
            score = of.shadow_score(darker, insert)
            ratio = of.luminance_ratio(luma, insert, others)
            error = of.log_ratio(ratio, of.luminance_ratio(right, insert, others))
            if not insert.mask.any():
                self._left_out[TOO_FEW_PIXELS if insert.seen else NOT_SEEN] += 1
            else:
                self._no_ratio += ratio is None
                self._no_error += error is None
            self._put(
                REGION,
                shadow_score=score,
                shadow_share=None if score is None else float(score >= of.HAS_SHADOW),
                luminance_ratio=ratio,
                luminance_error=error,
                ground_gap_m=of.ground_gap_m(insert, subject.view),
            )

    def _put(self, part: str, **values: float | None) -> None:
        for key, value in values.items():
            if value is not None:
                self._values.setdefault((part, key), []).append(value)

    def facts(self) -> dict[str, Any]:
        """`full` and `region` (metric -> mean over samples or inserts, None where there is no value), `counts`, and
        `reasons` for what is None or says less than it seems to."""
        reasons: dict[str, str] = {}
        full = {key: self._mean(FULL, key, reasons) for key in FULL_KEYS}
        region = {key: self._mean(REGION, key, reasons) for key in REGION_KEYS}
        full["changed_outside_px"] = self._changed_outside
        region["shadow_iou_pooled"] = self._intersection / self._union if self._union else None
        region |= self._flicker.facts()
        left_out = [self._told(count, why) for why, count in self._left_out.items()]
        no_ratio, no_error = self._told(self._no_ratio, BLACK_RING), self._told(self._no_error, BLACK_TARGET)
        for key in INSERT_KEYS:
            more = {"luminance_ratio": no_ratio, "luminance_error": no_error}.get(key, "")
            if told := "; ".join(filter(None, [*left_out, more])):
                reasons[f"{REGION}.{key}"] = told
        if left_out and region["flicker_insert_percent"] is not None:
            reasons[f"{REGION}.flicker_insert_percent"] = "; ".join(left_out)
        for part, values in ((FULL, full), (REGION, region)):
            for key, value in values.items():
                if value is None and f"{part}.{key}" not in reasons:
                    reasons[f"{part}.{key}"] = self.why_no_lpips if key == "lpips" else WHY_NONE.get(key, NO_PIXELS)
        counts = {
            "samples": self.samples,
            "inserts": self._inserts,
            "inserts_left_out": self._left_out.total(),
            "samples_with_shadow": len(self._values.get((REGION, "shadow_iou"), [])),
            "frame_pairs": self._flicker.pairs,
        }
        return {FULL: full, REGION: region, "counts": counts, "reasons": reasons}

    def _told(self, count: int, why: str) -> str:
        """Empty for none."""
        return f"{count} of {self._inserts} inserts are left out: {why}" if count else ""

    def _mean(self, part: str, key: str, reasons: dict[str, str]) -> float | None:
        values = self._values.get((part, key), [])
        if "psnr" in key:
            mean, remark = mean_db(values)
            if remark:
                reasons[f"{part}.{key}"] = remark
            return mean
        if not values:
            return None
        return float(np.median(values) if key == "luminance_ratio" else np.mean(values))


TOO_FEW_PIXELS = "too few of their pixels lie in no other insert's box"
NOT_SEEN = "mask.png has no pixels in their boxes"
BLACK_RING = "the ring around them is black, or has no pixels"
BLACK_TARGET = "in the target they or the ring around them are black, or the ring has no pixels"
NO_PIXELS = "no pixels to measure it on"
WHY_NONE = {
    "raw_psnr_outside": "the row has no output before a composite",
    "shadow_iou": "no sample says where the true shadow is (shadow.png)",
    "shadow_iou_pooled": "no sample says where the true shadow is (shadow.png)",
    "flicker_surroundings": "no two samples are neighbouring frames of a film (stamp_ns in meta.json)",
    "flicker_insert_percent": "no insert is seen in three neighbouring frames of a film (stamp_ns in meta.json)",
    "ground_gap_m": "no insert has its lowest row in the picture",
}
