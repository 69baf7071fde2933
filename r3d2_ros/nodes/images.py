"""Image messages: one copy, into the message; through cv_bridge where it is installed."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from r3d2_ros.published import COMPRESSED_FORMAT

ENCODINGS: dict[str, tuple[np.dtype[Any], int]] = {
    "rgb8": (np.dtype(np.uint8), 3),
    "32FC1": (np.dtype(np.float32), 1),
    "16UC1": (np.dtype(np.uint16), 1),
    "mono8": (np.dtype(np.uint8), 1),
}


def load_cv_bridge() -> Any | None:
    """A CvBridge where the package is installed, else None."""
    try:
        from cv_bridge import CvBridge
    except ImportError:
        return None
    return CvBridge()


class ImageWriter:
    """Fills one re-used Image message per topic; publish serialises before the next fill.

    With `bridge` (a CvBridge) the message's data comes from cv_bridge: the same bytes, one more copy.
    """

    def __init__(self, *, frame_id: str, encoding: str, bridge: Any | None = None) -> None:
        self._dtype, self._channels = ENCODINGS[encoding]
        self._bridge = bridge
        self._message = Image()
        self._message.header.frame_id = frame_id
        self._message.encoding = encoding
        self._message.is_bigendian = 0

    def fill(self, pixels: NDArray, stamp: Time) -> Image:
        """`pixels` [H, W] or [H, W, 3] in the encoding's type -> message with `stamp`."""
        height, width = pixels.shape[:2]
        if pixels.dtype != self._dtype or pixels.size != height * width * self._channels:
            raise ValueError(f"expected {self._dtype} x {self._channels}, got {pixels.dtype} {pixels.shape}")
        message = self._message
        message.header.stamp = stamp
        if self._bridge is not None:
            made = self._bridge.cv2_to_imgmsg(pixels, encoding=message.encoding, header=message.header)
            made.is_bigendian = 0
            return made
        message.height, message.width = height, width
        message.step = width * self._channels * self._dtype.itemsize
        if len(message.data) != pixels.nbytes:
            message.data = array.array("B", bytes(pixels.nbytes))
        # The message owns its array: writing through a view is several times faster than the checked setter.
        np.copyto(np.frombuffer(message.data, self._dtype).reshape(pixels.shape), pixels)
        return message


class JpegWriter:
    """Fills CompressedImage messages."""

    def __init__(self, *, frame_id: str) -> None:
        self._message = CompressedImage()
        self._message.header.frame_id = frame_id
        self._message.format = COMPRESSED_FORMAT

    def fill(self, jpeg: bytes, stamp: Time) -> CompressedImage:
        """A picture as JPEG -> message with `stamp`."""
        self._message.header.stamp = stamp
        self._message.data = array.array("B", jpeg)
        return self._message
