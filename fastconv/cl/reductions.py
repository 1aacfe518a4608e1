"""Launch code of the reductions: how the work is split, and the structs that say so."""
import math

import numpy as np

from ..reference import sum_order
from . import layout
from .layout import merge, round_up, struct
from .types import C_TYPES, kernel_index

LEAST = {"float": "-INFINITY", "double": "-INFINITY", "int": "INT_MIN", "long": "LONG_MIN", "uchar": "0"}
MOST = {"float": "INFINITY", "double": "INFINITY", "int": "INT_MAX", "long": "LONG_MAX", "uchar": "255"}


def split(outer, inner, parts):
    """Cut `outer` x `inner` elements into about `parts` parts: (outer chunk, inner chunk).

    `parts` comes from sizes and the device's tunables only, so that sums have one order.
    """
    outer_parts = min(outer, max(1, parts))
    inner_parts = max(1, min(inner, parts // outer_parts))
    return -(-outer // outer_parts), -(-inner // inner_parts)


def parts_for(items, count, length, least):
    """Parts that make `items` work-items of `count` outputs, each of `least` elements or more."""
    return max(1, min(-(-items // count), length // least))


class Reduction:
    """A plan for one reduction of kernels/reduce.cl: split, struct, kernels."""

    def __init__(self, runtime, name, out, x, axes):
        params, dtype = runtime.params, x.dtype
        kept_axes = [d for d in range(len(x.shape)) if d not in axes]
        # Walk the outputs in the order of the input: reads are what there is more of.
        kept_shape, kept = merge([x.shape[d] for d in kept_axes], *([v.strides[d] for d in kept_axes] for v in (x, out)))
        shape, (strides,) = merge([x.shape[d] for d in axes], [x.strides[d] for d in axes])
        kept_shape, (x_kept, out_kept) = kept_shape or (1,), [s or (0,) for s in kept]
        shape, strides = shape or (1,), strides or (0,)
        self.outputs, count = math.prod(kept_shape), math.prod(shape)
        outer, inner = count // shape[-1], shape[-1]
        ordered = name == "sum" and dtype == np.float32         # the order is part of the contract
        if ordered:
            row, _, outer_chunk, inner_chunk, together = sum_order(x.shape, x.strides, axes)
            lanes = together if params.reduce_lanes > 1 and row else 1
            self.vector = together // lanes if row else self._columns(params, kept_shape, x_kept, dtype)
        else:
            self.vector, row = self._form(params, kept_shape, x_kept, inner, strides, dtype)
            lanes = params.reduce_lanes if row else 1
            items = params.reduce_items // lanes or 1
            parts = parts_for(items * (1 if row else self.vector), self.outputs, count, params.reduce_least)
            outer_chunk, inner_chunk = split(outer, inner, parts)
            if row:
                inner_chunk = min(inner, round_up(inner_chunk, self.vector * lanes))
        outer_parts, inner_parts = -(-outer // outer_chunk), -(-inner // inner_chunk)
        parts = outer_parts * inner_parts
        index, wide = kernel_index(math.prod(x.shape), self.outputs * parts, *x_kept, *out_kept, *strides,
                                   *(layout.reach(v.shape, v.strides, v.offset) for v in (x, out)))
        self.struct = struct(wide, self.outputs, outer, inner, outer_parts, outer_chunk, inner_parts, inner_chunk,
                             kept_shape, [out_kept, x_kept], shape, strides, [out.offset, x.offset])
        c_type, summing = C_TYPES[dtype.name], name in ("sum", "prod")
        double = summing and dtype == np.float32 and params.double_sums and runtime.has_double
        compensated = ordered and not double
        defines = {"T": c_type, "A": "double" if double else c_type, **index, f"TERM_{name.upper()}": 1,
                   **({"ORDERED": 1} if ordered else {}), **({"COMPENSATED": 1} if compensated else {}),
                   **({"STEP": 1} if row and strides[-1] != 1 else {}),
                   **({} if summing else {"NOTHING": (LEAST if name == "max" else MOST)[c_type]}),
                   "KD": len(kept_shape), "RD": len(shape)}
        group = lanes if row else params.reduce_lanes
        self.kernel = runtime.kernel("reduce", "reduce.cl", (group,), **defines, ROW=int(row), V=self.vector, LANES=lanes,
                                     **({"PARTIAL": 1} if parts > 1 else {}))
        if row:
            self.size = (self.outputs * parts * lanes,)
        else:
            self.size = (round_up(self.outputs // self.vector * parts, group),)
        self.partial_bytes = 0
        if parts > 1:
            self.partial_bytes = self.outputs * parts * (8 if double else dtype.itemsize) * (2 if compensated else 1)
            group = params.reduce_lanes
            self.combine = runtime.kernel("combine", "reduce.cl", (group,), **defines, ROW=1, V=1, LANES=1, PARTIAL=1)
            self.combine_size = (round_up(self.outputs, group),)

    @staticmethod
    def _columns(params, kept_shape, kept, dtype):
        """How many neighbouring outputs make a vector."""
        width = max(1, params.vector * 4 // max(dtype.itemsize, 4)) if kept[-1] == 1 else 1
        while kept_shape[-1] % width:
            width //= 2
        return width

    @classmethod
    def _form(cls, params, kept_shape, kept, inner, strides, dtype):
        """(vector width, whether vectors lie along the reduced row)."""
        # A vector holds as many of a wider type, but int64 and uint8 sums stay narrow: they are rare.
        width, lanes = max(1, params.vector * 4 // max(dtype.itemsize, 4)), params.reduce_lanes
        if strides[-1] == 1 and inner >= (4 if lanes == 1 else 2 * lanes):
            while width > inner:
                width //= 2
            return width, True
        return cls._columns(params, kept_shape, kept, dtype), False

    def run(self, runtime, out, x):
        if not self.partial_bytes:
            runtime.launch(self.kernel, self.size, self.struct, (out.buffer.memory, out.buffer.memory, x.buffer.memory))
            return
        partial = runtime.allocate(self.partial_bytes)
        runtime.launch(self.kernel, self.size, self.struct, (out.buffer.memory, partial.memory, x.buffer.memory))
        runtime.launch(self.combine, self.combine_size, self.struct, (out.buffer.memory, partial.memory))


class ArgReduction:
    """A plan for argmax or argmin: kernels/arg_reduce.cl."""

    def __init__(self, runtime, name, out, x, axis):
        params = runtime.params
        kept_axes = [d for d in range(len(x.shape)) if d != axis]
        shape, (x_strides, out_strides) = merge([x.shape[d] for d in kept_axes], [x.strides[d] for d in kept_axes],
                                                [out.strides[d] for d in kept_axes])
        shape, x_strides, out_strides = shape or (1,), x_strides or (0,), out_strides or (0,)
        outputs, length, step = math.prod(shape), x.shape[axis], x.strides[axis]
        _, chunk = split(1, length, parts_for(params.reduce_items, outputs, length, params.reduce_least))
        parts = -(-length // chunk)
        index, wide = kernel_index(outputs * parts, math.prod(x.shape), step, *x_strides, *out_strides,
                                   layout.reach(x.shape, x.strides, x.offset), layout.reach(out.shape, out.strides, out.offset))
        self.struct = struct(wide, outputs, length, parts, chunk, step, shape, out_strides, x_strides, out.offset, x.offset)
        group = min(params.map_group, 64) if params.reduce_lanes > 1 else 1
        defines = {"T": C_TYPES[x.dtype.name], **index, "BETTER": ">" if name == "argmax" else "<", "KD": len(shape)}
        self.kernel = runtime.kernel("arg_reduce", "arg_reduce.cl", (group,), **defines)
        self.size = (round_up(outputs * parts, group),)
        self.partial_bytes = 8 * outputs * parts if parts > 1 else 0
        if parts > 1:
            self.combine = runtime.kernel("combine", "arg_reduce.cl", (group,), **defines)
            self.combine_size = (round_up(outputs, group),)

    def run(self, runtime, out, x):
        target, source = out.buffer.memory, x.buffer.memory
        partial = runtime.allocate(self.partial_bytes) if self.partial_bytes else None
        scratch = partial.memory if partial else target
        runtime.launch(self.kernel, self.size, self.struct, (target, scratch, source))
        if partial:
            runtime.launch(self.combine, self.combine_size, self.struct, (target, scratch, source))


