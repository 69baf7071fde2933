"""How images of one size are handed to the network. Nothing here imports torch.

On a GPU a call of several costs less than as many calls: the coarsest levels of one image leave it partly idle.
"""

from __future__ import annotations


def batches_of(images: int, most: int, *, any_number: bool) -> list[int]:
    """`images` as a sum of batches of `most` or fewer, largest first; each number of images is a program of its own.

    any_number  programs cost little: as few batches as it takes, as equal as can be. Else those of `most` images, half
                as many, and so on down to one
    """
    if any_number:
        calls = -(-images // most)
        return [images // calls + (call < images % calls) for call in range(calls)]
    batches, size = [], most
    while images:
        whole, images = divmod(images, size)
        batches += [size] * whole
        size //= 2
    return batches
