"""One picture of the whole drive: a row for each moment, a column for each camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from r3d2_ros.formats.files import atomic_output

SHEET_WIDTH_PX = 2000
MAX_TILE_PX = 640
MARGIN_PX, GAP_PX, LABEL_PX, HEADER_PX = 40, 8, 46, 118
BACKGROUND, TEXT, FAINT, ACCENT = (18, 20, 24), (238, 240, 243), (150, 156, 166), (255, 176, 64)


@dataclass(frozen=True, eq=False)
class SheetRow:
    """A moment: `time_s` since the start, what it shows, and the pictures [H, W, 3] uint8 by camera."""

    time_s: float
    label: str
    images: Mapping[str, NDArray[np.uint8]]


def tile_size(sizes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Width and height in pixels of every tile, for cameras of these sizes (width, height)."""
    width = min(MAX_TILE_PX, (SHEET_WIDTH_PX - 2 * MARGIN_PX - GAP_PX * (len(sizes) - 1)) // len(sizes))
    aspect = float(np.median([h / w for w, h in sizes.values()]))
    return width, max(1, round(width * aspect))


def fitted(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture inside a tile of `size` (width, height), its shape kept, on the sheet's background."""
    image = Image.fromarray(rgb)
    scale = min(size[0] / image.width, size[1] / image.height)
    image = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
    )
    tile = Image.new("RGB", size, BACKGROUND)
    tile.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return np.asarray(tile)


def contact_sheet(rows: Sequence[SheetRow], *, cameras: Sequence[str], title: str, subtitle: str) -> Image.Image:
    """The sheet. Every picture of `rows` is a tile of one size (`fitted`)."""
    height, width = rows[0].images[cameras[0]].shape[:2]
    sheet_width = max(2 * MARGIN_PX + len(cameras) * width + (len(cameras) - 1) * GAP_PX, 900)
    sheet_height = HEADER_PX + len(rows) * (LABEL_PX + height + GAP_PX) + MARGIN_PX
    sheet = Image.new("RGB", (sheet_width, sheet_height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN_PX, 30), title, fill=TEXT, font=ImageFont.load_default(34))
    draw.text((MARGIN_PX, 76), subtitle, fill=FAINT, font=ImageFont.load_default(19))
    y = HEADER_PX
    for row in rows:
        _draw_row(sheet, draw, row, cameras, y)
        y += LABEL_PX + height + GAP_PX
    return sheet


def _draw_row(sheet: Image.Image, draw: ImageDraw.ImageDraw, row: SheetRow, cameras: Sequence[str], y: int) -> None:
    font, small = ImageFont.load_default(22), ImageFont.load_default(16)
    time_text = f"{row.time_s:.1f} s"
    draw.text((MARGIN_PX, y + 13), time_text, fill=ACCENT, font=font)
    draw.text((MARGIN_PX + draw.textlength(time_text, font=font) + 14, y + 13), row.label, fill=TEXT, font=font)
    x = MARGIN_PX
    for camera in cameras:
        tile = row.images[camera]
        sheet.paste(Image.fromarray(tile), (x, y + LABEL_PX))
        right = x + tile.shape[1]
        draw.text((right, y + LABEL_PX - 6), camera, fill=FAINT, font=small, anchor="rs")
        x = right + GAP_PX


def write_contact_sheet(path: Path, sheet: Image.Image) -> None:
    """Write it as PNG. InputError when that is not possible."""
    with atomic_output(path) as file:
        sheet.save(file, format="PNG")
