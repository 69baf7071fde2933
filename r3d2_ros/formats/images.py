"""Sky images: PNG or JPEG to float32 and back."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output
from r3d2_ros.input_files import open_input

MAX_PIXELS = 16384 * 8192


def read_image(path: Path) -> NDArray[np.float32]:
    """RGB [H, W, 3] in [0, 1] of a PNG or JPEG file. InputError when it is not one, damaged, or too large."""
    expected, few = "a PNG or JPEG image", f"at most {MAX_PIXELS} pixels"
    with open_input(path, expected=expected) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # from fewer pixels than are read here
        try:
            with Image.open(file, formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(str(path), few, f"{image.width}x{image.height}")
                if image.mode.startswith("I"):  # grey of 16 bits, which convert clips to 255: all white
                    raise InputError(str(path), "8 bits per channel", "16", "Convert the image to 8 bits")
                return np.asarray(image.convert("RGB"), np.float32) / np.float32(255)
        except InputError:
            raise
        except Image.DecompressionBombError as error:  # Pillow's own limit, which is asked before ours
            raise InputError(str(path), few, "far more") from error
        except UnidentifiedImageError as error:
            raise InputError(str(path), expected, "another or a damaged file") from error
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
            raise InputError(str(path), expected, f"a damaged file: {error}") from error


def write_png(path: Path, image: NDArray[np.float32]) -> None:
    """Write RGB [H, W, 3] in [0, 1] as 8-bit PNG."""
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    with atomic_output(path) as file:
        Image.fromarray(pixels).save(file, format="PNG")
