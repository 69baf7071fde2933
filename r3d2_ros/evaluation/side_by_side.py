"""One picture of what a row did: input, output, target; whole frames above, a small region enlarged below."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from r3d2_ros.dataset.samples import Sample
from r3d2_ros.evaluation.inserts import Part, Picture
from r3d2_ros.evaluation.subjects import Subject
from r3d2_ros.formats.files import atomic_output, make_folder

PANEL_PX = 620
GAP_PX, HEAD_PX, LABEL_PX = 8, 44, 26
WORTH_ENLARGING = 0.75
"""Where the region is at most this share of the frame's width or height, it is shown enlarged."""
BACKGROUND, TEXT, FAINT, FRAME = (18, 20, 24), (238, 240, 243), (150, 156, 166), (255, 176, 64)

Box = tuple[int, int, int, int]
"""left, top, right, bottom; the last two exclusive"""


def side_by_side(row: str, subject: Subject, output: Picture, facts: str = "") -> Image.Image:
    """The sheet; `facts` stands in its head beside the names of the row and of the sample."""
    height, width = subject.mask.shape
    box = zoom_box(subject.region)
    panels = (("input", subject.input), (row, output), ("target", subject.target))  # a row may be named like another
    whole, part = _scaled(width, height), _scaled(box[2] - box[0], box[3] - box[1])
    enlarged = min((box[2] - box[0]) / width, (box[3] - box[1]) / height) <= WORTH_ENLARGING
    below = part[1] + GAP_PX if enlarged else 0
    size = (3 * PANEL_PX + 4 * GAP_PX, HEAD_PX + LABEL_PX + whole[1] + GAP_PX + below)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP_PX, 10), f"{row}   {subject.sample.name}   {facts}", fill=TEXT, font=ImageFont.load_default(20))
    for k, (name, picture) in enumerate(panels):
        left, top = GAP_PX + k * (PANEL_PX + GAP_PX), HEAD_PX
        draw.text((left, top), name, fill=FAINT, font=ImageFont.load_default(17))
        top += LABEL_PX
        sheet.paste(_resized(picture, whole), (left, top))
        if enlarged:
            x, y = (np.array(box[k::2]) * (whole[0] / width) for k in (0, 1))
            draw.rectangle([left + x[0], top + y[0], left + x[1], top + y[1]], outline=FRAME)
            cut = picture[box[1] : box[3], box[0] : box[2]]
            sheet.paste(_resized(cut, part), (left, top + whole[1] + GAP_PX))
    return sheet


def zoom_box(region: Part) -> Box:
    """The region's bounding box, made as wide as it is high where it is narrower than that."""
    left, top, width, height = cv2.boundingRect(region.astype(np.uint8))
    missing = max(height - width, 0)
    first = min(max(left - missing // 2, 0), max(region.shape[1] - width - missing, 0))
    return first, top, min(first + width + missing, region.shape[1]), top + height


def picture_file(folder: Path, row: str, sample: Sample) -> Path:
    """FOLDER/<row>/<split>/<sample>.png, as rows of kind `images` read it."""
    return folder / row / sample.split / f"{sample.folder.name}.png"


def write_picture(path: Path, image: Image.Image | Picture) -> None:
    """As PNG, the folder made where it is missing. InputError when that is not possible."""
    make_folder(path.parent)
    with atomic_output(path) as file:
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, format="PNG")


def _scaled(width: int, height: int) -> tuple[int, int]:
    """Width and height of a panel."""
    return PANEL_PX, max(1, round(height * PANEL_PX / width))


def _resized(picture: Picture, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.LANCZOS)
