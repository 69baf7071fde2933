"""Numbers that the CPU kernels share: gsplat 1.5.3's constants, block sizes, and what stands in which column."""

from __future__ import annotations

import numpy as np

from r3d2_ros.rendering import base
from r3d2_ros.rendering.numba_cache import block_width

ALPHA_MIN = np.float32(1 / 255)
"""A Gaussian adds nothing to a pixel where its alpha is below this."""
ALPHA_MAX = np.float32(0.999)
TRANSMITTANCE_STOP = np.float32(1e-4)
"""Compositing of a pixel ends before the Gaussian that would leave this or less of the light behind it."""

SIGMAS_MAX = np.float32(3.33)
"""Half extent of a Gaussian in standard deviations: sqrt(2 ln 255), where even an opaque one falls below ALPHA_MIN."""
MIN_DEPTH_ALPHA = np.float32(base.MIN_DEPTH_ALPHA)

TILE = 32
"""Width and height of a tile in pixels; six float32 planes of one tile fit the first-level cache."""
BLOCK = block_width()
"""Pixels of a tile row that are computed at once, without branches."""
CHUNK = 2048
"""Gaussians projected by one thread at a time; the visible ones are packed at the start of the chunk's rows."""

# Columns of a node as seen by one camera, float32.
NODE_LINEAR = 0  # [3, 3] node -> camera, row by row; may scale and shear
NODE_TRANSLATION = 9  # [3] node's origin in the camera frame, metres
NODE_SH_ROTATION = 12  # [3, 3] camera -> node's SH frame
NODE_STRETCH = 21  # largest singular value of the linear part
NODE_ACTOR = 22  # 1 for inserted actors, 0 for the background
NODE_SLOT = 23  # index into the frame's instance numbers, 0 for the background
NODE_COLUMNS = 24

# Columns of a camera, float32.
FX, FY, CX, CY, WIDTH, HEIGHT, NEAR, FAR, EPS2D = range(9)

# Columns of a projected Gaussian, float32; 16 of them are one cache line.
U, V = 0, 1  # centre in pixels, corner of the first pixel at 0
# exponent = HALF_A (dx + SLANT dy)^2 + HALF_C dy^2: a sum of squares, since the expanded form of a long thin Gaussian
# cancels in float32 to negative exponents far from its centre, which would make it opaque there.
HALF_A, SLANT, HALF_C = 2, 3, 4
OPACITY = 5
RED, GREEN, BLUE, DEPTH = 6, 7, 8, 9
REACH_U, REACH_V = 10, 11  # half extents in pixels of the ellipse where alpha >= ALPHA_MIN
ACTOR, SLOT = 12, 13
ROW_COLUMNS = 16
