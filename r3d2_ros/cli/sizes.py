"""Image sizes as arguments."""

from __future__ import annotations

import argparse


def size_px(text: str) -> tuple[int, int]:
    """`HEIGHTxWIDTH` as (height, width) in pixels."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and 1 <= int(height) <= 16384 and 1 <= int(width) <= 16384):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 1080x1920 (height x width)")
    return int(height), int(width)
