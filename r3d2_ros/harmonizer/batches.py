"""How images of one size are handed to the network. Nothing here imports torch."""

from __future__ import annotations


def batch_sizes(most: int) -> list[int]:
    """Images in one call of the network, largest first: `most`, half as many, and so on down to one.

    On a GPU a call of several costs less than as many calls: the coarsest levels of one image leave it partly idle.
    Each size of a batch is a program of its own, hence not every number.
    """
    sizes = [most]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] // 2)
    return sizes


def batches_of(images: int, most: int) -> list[int]:
    """`images` as a sum of `batch_sizes`, largest first."""
    batches = []
    for size in batch_sizes(most):
        whole, images = divmod(images, size)
        batches += [size] * whole
    return batches
