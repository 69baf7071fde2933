"""The Triton kernels of `fuse_attention` and of `float8.attention`: softmax(queries tokens^T) tokens, for tokens wider
than one kernel can hold.

Sums of 128 queries 512 wide do not fit into a multiprocessor beside what they are formed of. So there are two products:
`weigh` gives exp2(scores - largest of the tile) in 16 or 8 bit, tile by tile, with that largest and the sum; `attend`
multiplies each tile's weights by what its largest lacks to the row's, and sums them times the tokens (softmax in parts
as in FlashAttention, arXiv 2205.14135). Scores are never rounded and never in memory; of the weights there are those of
PART queries at a time.

In 8 bit a weight is 448 at most, since numbers below a 4 millionth of that are lost, and a tile's product is multiplied
instead of its weights, which are rounded already. Matrix units take 8-bit tokens only if they lie next to each other
for each of their numbers, so the second product has them across, too.
"""

from __future__ import annotations

import math

import torch
import triton
from torch import Tensor
from triton import language as tl

from r3d2_ros.harmonizer.triton_tiles import Arguments, TiledKernel, descriptor, tile

LOG2_E = 1.4426950408889634

PART = 8192
"""Queries whose weights are in memory at the same time: 0.5 GB of them at 1080x1920."""

TILE_QUERIES, TILE_TOKENS = 128, 128
"""Of weights."""

STEP_BYTES = 128
"""Of a token that are multiplied at a time."""

TILES_AT_A_TIME = 32
"""Whose largest scores and sums are read together."""


@triton.jit(do_not_specialize=["FIRST", "TOKENS", "ROWS"])
def weigh(
    queries,  # [N, WIDTH]
    tokens,  # [N, WIDTH]
    weights,  # [ROWS, tiles TILE_TOKENS]
    largest,  # [tiles, ROWS]
    sums,  # [tiles, ROWS]
    scale,  # [N] of scores, if SCALED
    FIRST,
    TOKENS,
    ROWS,
    LOG2_E: tl.constexpr,
    LOG2_MOST: tl.constexpr,
    SCALED: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    TILE_QUERIES: tl.constexpr,
    TILE_TOKENS: tl.constexpr,
):
    """One program computes the weights of a tile of tokens for TILE_QUERIES of the ROWS queries from FIRST on."""
    tile, first = tl.program_id(0), tl.program_id(1) * TILE_QUERIES
    scores = tl.full((TILE_QUERIES, TILE_TOKENS), 0.0, tl.float32)
    for start in range(0, WIDTH, STEP):
        query, token = queries.load([FIRST + first, start]), tokens.load([tile * TILE_TOKENS, start])
        scores = tl.dot(query, token.T, scores)
    rows = first + tl.arange(0, TILE_QUERIES)
    if SCALED:
        scores *= tl.load(scale + FIRST + rows, mask=FIRST + rows < TOKENS, other=0.0)[:, None]
    there = tile * TILE_TOKENS + tl.arange(0, TILE_TOKENS) < TOKENS
    scores = tl.where(there[None, :], scores * LOG2_E, -float("inf"))
    top = tl.max(scores, axis=1)
    rounded = tl.exp2(scores - (top - LOG2_MOST)[:, None]).to(weights.dtype)
    weights.store([first, tile * TILE_TOKENS], rounded)
    tl.store(largest + tile * ROWS + rows, top)
    tl.store(sums + tile * ROWS + rows, tl.sum(rounded.to(tl.float32), axis=1))


@triton.jit(do_not_specialize=["FIRST", "TILES", "ROWS"])
def attend(
    weights,  # [ROWS, TILES TILE_TOKENS]
    tokens,  # [N, WIDTH], if SCALED [WIDTH, N]
    output,  # [N, WIDTH]
    largest,  # [TILES, ROWS]
    sums,  # [TILES, ROWS]
    scale,  # [1] of the tokens, if SCALED
    FIRST,
    TILES,
    ROWS,
    SCALED: tl.constexpr,
    TILES_AT_A_TIME: tl.constexpr,
    TILE_QUERIES: tl.constexpr,
    TILE_TOKENS: tl.constexpr,
    PIECE: tl.constexpr,
    TILE_WIDTH: tl.constexpr,
):
    """One program computes TILE_WIDTH numbers of the results of TILE_QUERIES queries, PIECE tokens at a time."""
    column, first = tl.program_id(0) * TILE_WIDTH, tl.program_id(1) * TILE_QUERIES
    rows = first + tl.arange(0, TILE_QUERIES)
    top = tl.full((TILE_QUERIES,), -float("inf"), tl.float32)
    for start in range(0, TILES, TILES_AT_A_TIME):
        tiles = start + tl.arange(0, TILES_AT_A_TIME)
        known, place = (tiles < TILES)[:, None], tiles[:, None] * ROWS + rows[None, :]
        top = tl.maximum(top, tl.max(tl.load(largest + place, mask=known, other=-float("inf")), axis=0))
    total = tl.full((TILE_QUERIES,), 0.0, tl.float32)
    for start in range(0, TILES, TILES_AT_A_TIME):
        tiles = start + tl.arange(0, TILES_AT_A_TIME)
        known, place = (tiles < TILES)[:, None], tiles[:, None] * ROWS + rows[None, :]
        shrink = tl.exp2(tl.load(largest + place, mask=known, other=-float("inf")) - top[None, :])
        total += tl.sum(tl.load(sums + place, mask=known, other=0.0) * shrink, axis=0)
    attended = tl.full((TILE_QUERIES, TILE_WIDTH), 0.0, tl.float32)
    pieces: tl.constexpr = TILE_TOKENS // PIECE
    tops = tl.load(largest + rows)
    for piece in range(TILES * pieces):
        shrink = tl.exp2(tops - top)
        # Of the next piece, on its way while this one is multiplied.
        tops = tl.load(largest + tl.minimum((piece + 1) // pieces, TILES - 1) * ROWS + rows)
        weight = weights.load([first, piece * PIECE])
        if SCALED:
            attended += tl.dot(weight, tokens.load([column, piece * PIECE]).T) * shrink[:, None]
        else:
            token = tokens.load([piece * PIECE, column])
            attended = tl.dot(weight * shrink.to(weights.dtype)[:, None], token, attended)
    attended /= total[:, None]
    if SCALED:
        attended *= tl.load(scale)
    output.store([FIRST + first, column], attended.to(output.dtype))


def _blocks_of_weigh(arguments: Arguments) -> dict[str, list[int]]:
    step = arguments["STEP"]
    blocks = {"queries": [TILE_QUERIES, step], "tokens": [TILE_TOKENS, step]}
    return {**blocks, "weights": [TILE_QUERIES, TILE_TOKENS]}


def _blocks_of_attend(arguments: Arguments) -> dict[str, list[int]]:
    piece, width = arguments["PIECE"], arguments["TILE_WIDTH"]
    tokens = [width, piece] if arguments["SCALED"] else [piece, width]
    return {"weights": [TILE_QUERIES, piece], "tokens": tokens, "output": [TILE_QUERIES, width]}


def _tile_of_attend(piece: int, width: int, *, stages: int) -> triton.Config:
    return tile({"PIECE": piece, "TILE_WIDTH": width}, blocks=_blocks_of_attend, warps=8, stages=stages)


WEIGH = TiledKernel(
    weigh,
    [tile({}, blocks=_blocks_of_weigh, warps=8, stages=3)],
    grid=lambda arguments: (arguments["weights"].shape[1] // TILE_TOKENS, arguments["ROWS"] // TILE_QUERIES),
    key=["ROWS", "TOKENS", "WIDTH"],
)
ATTEND = TiledKernel(
    attend,
    [_tile_of_attend(128, 128, stages=3), _tile_of_attend(64, 128, stages=3), _tile_of_attend(64, 64, stages=4)],
    grid=lambda arguments: (
        triton.cdiv(arguments["output"].shape[1], arguments["TILE_WIDTH"]),
        arguments["ROWS"] // TILE_QUERIES,
    ),
    key=["ROWS", "TILES"],
)


def launch(queries: Tensor, tokens: Tensor) -> Tensor:
    """`fuse_attention.attended_at_once` on the device of its arguments, dense, in 16 bit, of one of its WIDTHS."""
    output = torch.empty_like(queries)
    for query, token, result in zip(queries, tokens, output, strict=True):
        _attend(query, token, result)
    return output


def launch_8_bit(
    queries: Tensor, tokens: Tensor, across: Tensor, scale: Tensor, token_scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """`float8.attention.attended` on the device of its arguments, dense, of one of `fuse_attention.WIDTHS`."""
    output = torch.empty_like(queries, dtype=dtype)
    for image, (query, token, result) in enumerate(zip(queries, tokens, output, strict=True)):
        _attend(query, token, result, across=across[image], scale=scale[image], token_scale=token_scale[image])
    return output


def _attend(query: Tensor, token: Tensor, result: Tensor, **in_8_bit: Tensor) -> None:
    for first in range(0, len(query), PART):
        weighing, attending = arguments_of(query, token, result, first, **in_8_bit)
        WEIGH(weighing)
        ATTEND(attending)


def arguments_of(
    queries: Tensor,
    tokens: Tensor,
    output: Tensor,
    first: int,
    *,
    across: Tensor | None = None,
    scale: Tensor | None = None,
    token_scale: Tensor | None = None,
) -> tuple[Arguments, Arguments]:
    """Of `weigh` and of `attend` for the queries [N, WIDTH] of an image from `first` on, all but the sizes of tiles.

    In 8 bit with the tokens `across` [WIDTH, N or more], the scales of each query's scores [N] and of the tokens [],
    both float32. Rows beyond the last query are zeros to begin with and are not stored.
    """
    count, width = tokens.shape
    rows = triton.cdiv(min(PART, count - first), TILE_QUERIES) * TILE_QUERIES
    tiles = triton.cdiv(count, TILE_TOKENS)
    weights = tokens.new_empty((rows, tiles * TILE_TOKENS))
    largest, sums = torch.empty((2, tiles, rows), dtype=torch.float32, device=tokens.device).unbind()
    shared = {
        "largest": largest, "sums": sums, "FIRST": first, "ROWS": rows, "SCALED": scale is not None,
        "TILE_QUERIES": TILE_QUERIES, "TILE_TOKENS": TILE_TOKENS,
    }  # fmt: skip
    weighing = {
        **shared,
        "queries": descriptor(queries),
        "tokens": descriptor(tokens),
        "weights": descriptor(weights),
        "scale": sums if scale is None else scale,
        "TOKENS": count,
        "LOG2_E": LOG2_E,
        "LOG2_MOST": 0.0 if scale is None else math.log2(torch.finfo(weights.dtype).max),
        "WIDTH": width,
        "STEP": STEP_BYTES // tokens.dtype.itemsize,
    }
    attending = {
        **shared,
        "weights": descriptor(weights),
        "tokens": descriptor(tokens if across is None else across),
        "output": descriptor(output),
        "scale": sums if token_scale is None else token_scale,
        "TILES": tiles,
        "TILES_AT_A_TIME": TILES_AT_A_TIME,
    }
    return weighing, attending
