"""Masks that image-to-3D of a partly hidden object needs: what hides it, and what Amodal3R is conditioned on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

ERODE_PX = 10
"""Kernel with which an amodal mask is eroded (R3D2, supplement D.1): pix2gestalt makes objects too large."""

OCCLUDER, OBJECT, BACKGROUND = 0, 188, 255
"""Grey values of Amodal3R's condition masks: it takes what is below 127 for the occluder, above 230 for background."""

WHITE = 245
"""pix2gestalt shows the whole object on white: darker pixels belong to it."""


def occlusion_mask(amodal: Mask, instance: Mask, erode_px: int = ERODE_PX) -> Mask:
    """Where something stands before an object [H, W]: its whole outline, eroded, without what is seen of it.

    amodal    the whole object, also where it is hidden
    instance  what is seen of it
    """
    if amodal.shape != instance.shape:
        raise ValueError(f"expected masks of one size, got {amodal.shape} and {instance.shape}")
    kernel = np.ones((erode_px, erode_px), np.uint8)
    # Beyond the image nothing is known: its edge does not erode.
    eroded = cv2.erode(amodal.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return (eroded > 0) & ~instance


def condition_mask(occlusion: Mask, instance: Mask) -> NDArray[np.uint8]:
    """Grey image [H, W] for Amodal3R: the object, what occludes it, and background."""
    image = np.full(instance.shape, BACKGROUND, np.uint8)
    image[occlusion] = OCCLUDER
    image[instance] = OBJECT
    return image


def amodal_mask(completed: NDArray[np.uint8]) -> Mask:
    """The object's outline [H, W] in a picture [H, W, 3] of it on white, as pix2gestalt gives it."""
    return np.any(completed < WHITE, axis=-1)
