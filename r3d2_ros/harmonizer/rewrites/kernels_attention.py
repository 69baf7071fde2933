"""The Triton kernel of `fuse_attention`: softmax(queries tokens^T) tokens, without the scores ever in memory.

Keys and values are the same numbers, so each tile of tokens is loaded once for both products. Softmax is formed as in
FlashAttention (arXiv 2205.14135): with the largest score so far, and what was summed before shrunk when it grows.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

from r3d2_ros.harmonizer.triton_tiles import Arguments, TiledKernel, descriptor, tile

LOG2_E = 1.4426950408889634

WIDTHS = (64, 128, 256, 512)
"""Numbers of a token that the kernel takes."""


def _blocks(arguments: Arguments) -> dict[str, list[int]]:
    queries, tokens, width = (arguments[name] for name in ("TILE_QUERIES", "TILE_TOKENS", "WIDTH"))
    return {"queries": [1, queries, width], "tokens": [1, tokens, width], "output": [1, queries, width]}


def _tile(queries: int, tokens: int, *, warps: int, stages: int) -> triton.Config:
    return tile({"TILE_QUERIES": queries, "TILE_TOKENS": tokens}, blocks=_blocks, warps=warps, stages=stages)


TILES = [_tile(64, 64, warps=8, stages=2), _tile(64, 32, warps=8, stages=3)]
"""Of 64 queries 512 wide two warpgroups hold the sums in registers; of more they cannot."""


@triton.jit(do_not_specialize=["ROWS"])
def attend(
    queries,  # [B, ROWS, WIDTH]
    tokens,  # [B, ROWS, WIDTH]
    output,  # [B, ROWS, WIDTH]
    ROWS,
    LOG2_E: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE_QUERIES: tl.constexpr,
    TILE_TOKENS: tl.constexpr,
):
    """One program computes the results of TILE_QUERIES queries of an image."""
    first, image = tl.program_id(0) * TILE_QUERIES, tl.program_id(1)
    query = queries.load([image, first, 0]).reshape(TILE_QUERIES, WIDTH)
    largest = tl.full((TILE_QUERIES,), -float("inf"), tl.float32)
    total = tl.full((TILE_QUERIES,), 0.0, tl.float32)
    attended = tl.full((TILE_QUERIES, WIDTH), 0.0, tl.float32)
    for start in range(0, ROWS, TILE_TOKENS):
        token = tokens.load([image, start, 0]).reshape(TILE_TOKENS, WIDTH)
        scores = tl.dot(query, token.T) * LOG2_E
        scores = tl.where((start + tl.arange(0, TILE_TOKENS) < ROWS)[None, :], scores, -float("inf"))
        larger = tl.maximum(largest, tl.max(scores, axis=1))
        weights = tl.exp2(scores - larger[:, None])
        shrink = tl.exp2(largest - larger)
        total = total * shrink + tl.sum(weights, axis=1)
        attended = tl.dot(weights.to(token.dtype), token, attended * shrink[:, None])
        largest = larger
    result = (attended / total[:, None]).to(output.dtype)
    output.store([image, first, 0], result.reshape(1, TILE_QUERIES, WIDTH))


def _grid(arguments: Arguments) -> tuple[int, int]:
    return triton.cdiv(arguments["ROWS"], arguments["TILE_QUERIES"]), arguments["output"].shape[0]


ATTEND = TiledKernel(attend, TILES, grid=_grid, key=["ROWS", "WIDTH"])


def launch(queries: Tensor, tokens: Tensor) -> Tensor:
    """`fuse_attention.attended_at_once` on the device of its arguments, dense, in 16 bit, of one of WIDTHS."""
    output = torch.empty_like(queries)
    ATTEND(arguments_of(queries, tokens, output))
    return output


def arguments_of(queries: Tensor, tokens: Tensor, output: Tensor) -> Arguments:
    """Of `attend`, all but the sizes of its tiles."""
    return {
        "queries": descriptor(queries),
        "tokens": descriptor(tokens),
        "output": descriptor(output),
        "ROWS": queries.shape[1],
        "LOG2_E": LOG2_E,
        "WIDTH": queries.shape[2],
    }
