"""How the threads of a kernel share its work: each takes the next piece when it is free.

numba's own parallel loops give every thread an equal run of iterations in advance, which is slow where the pieces
differ (sky and street) or another process has one of the cores.
"""

from __future__ import annotations

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def fetch_add(typing_context, array, amount):
    """array[0] += amount as one atomic step; returns the value before. array: int64 [1]."""

    def generate(context, builder, signature, arguments):
        array_type = signature.args[0]
        header = context.make_array(array_type)(context, builder, arguments[0])
        zero = context.get_constant(types.intp, 0)
        pointer = cgutils.get_item_pointer(context, builder, array_type, header, [zero], wraparound=False)
        step = context.cast(builder, arguments[1], signature.args[1], types.int64)
        return builder.atomic_rmw("add", pointer, step, "monotonic")

    return types.int64(array, amount), generate
