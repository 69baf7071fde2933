"""What numba has no function for: sharing work among threads, fetching ahead, adding vectors at any distance.

Threads take the next piece of the work when they are free. numba's own parallel loops give every thread an equal run
of iterations in advance, which is slow where the pieces differ (sky and street) or another process has one of the
cores.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from r3d2_ros.rendering.kernels_layout import BLOCK


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


@intrinsic
def prefetch(typing_context, array, index):
    """Bring the cache line where array[index] begins nearer, without waiting for it."""

    def generate(context, builder, signature, arguments):
        array_type = signature.args[0]
        header = context.make_array(array_type)(context, builder, arguments[0])
        stride = builder.extract_value(header.strides, 0)
        offset = builder.mul(context.cast(builder, arguments[1], signature.args[1], types.intp), stride)
        address = builder.add(builder.ptrtoint(header.data, offset.type), offset)
        pointer = builder.inttoptr(address, ir.PointerType(ir.IntType(8)))
        number = ir.IntType(32)
        form = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], form)
        builder.call(function, [pointer, number(0), number(3), number(1)])  # to read, keep it, data
        return context.get_dummy_value()

    return types.void(array, index), generate


@intrinsic
def add_block(typing_context, sums, at, values, begin):
    """sums[at + i] += values[begin + i] for the BLOCK numbers i, float32, as one vector.

    As a loop it would stay scalar: the compiler would have to test whether the arrays overlap.
    """

    def generate(context, builder, signature, arguments):
        vector = ir.VectorType(ir.FloatType(), BLOCK)
        places = []
        for array, index in ((0, 1), (2, 3)):
            header = context.make_array(signature.args[array])(context, builder, arguments[array])
            place = builder.gep(header.data, [arguments[index]])
            places.append(builder.bitcast(place, vector.as_pointer()))
        to, values = (builder.load(place, align=4) for place in places)
        builder.store(builder.fadd(to, values), places[0], align=4)
        return context.get_dummy_value()

    return types.void(sums, at, values, begin), generate
