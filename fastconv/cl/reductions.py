"""Launch code of the reductions: how the work is split, and the structs that say so."""
import math

import numpy as np

from . import layout
from .layout import merge, round_up, struct
from .types import C_TYPES, kernel_index

TERMS = {"sum": "TERM_SUM", "prod": "TERM_PROD", "max": "TERM_MAX", "min": "TERM_MIN",
         "mean": "TERM_MEAN", "squares": "TERM_SQUARES", "products": "TERM_PRODUCTS"}
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
    """A plan for one reduction of kernels/reduce.cl: split, structs, kernels."""

    def __init__(self, runtime, term, outs, mean, inputs, axes):
        params = runtime.params
        x, ndim = inputs[0], len(inputs[0].shape)
        dtype = x.dtype
        kept_axes = [d for d in range(ndim) if d not in axes]
        sides = [*outs, *([] if mean is None else [mean]), *inputs]
        # Walk the outputs in the order of the input: reads are what there is more of.
        kept_shape, kept = merge([x.shape[d] for d in kept_axes],
                                 *([v.strides[d] for d in kept_axes] for v in [*reversed(sides)]))
        kept = kept[::-1]
        shape, strides = merge([x.shape[d] for d in axes], *([v.strides[d] for d in axes] for v in inputs))
        kept_shape, kept = kept_shape or (1,), [s or (0,) for s in kept]
        shape, strides = shape or (1,), [s or (0,) for s in strides]
        self.outputs, count = math.prod(kept_shape), math.prod(shape)
        outer, inner = count // shape[-1], shape[-1]
        self.vector, row = self._form(params, kept_shape, kept[-len(inputs):], inner, strides, dtype, params.reduce_lanes)
        lanes = params.reduce_lanes if row else 1
        items = params.reduce_items // (lanes if row else 1) or 1
        parts = parts_for(items * (1 if row else self.vector), self.outputs, count, params.reduce_least)
        outer_chunk, inner_chunk = split(outer, inner, parts)
        if row:
            inner_chunk = min(inner, round_up(inner_chunk, self.vector * lanes))
        outer_parts, inner_parts = -(-outer // outer_chunk), -(-inner // inner_chunk)
        parts = outer_parts * inner_parts

        def five(of):
            """out0, out1, mean, x0, x1, where absent ones repeat a present one."""
            o, m, i = of[:len(outs)], of[len(outs):len(sides) - len(inputs)], of[-len(inputs):]
            return [o[0], o[-1], (m or o)[0], i[0], i[-1]]
        offsets = five([v.offset for v in sides])
        numbers = [math.prod(v.shape) for v in sides]
        index, wide = kernel_index(*numbers, self.outputs * parts, *(n for s in [*kept, *strides] for n in s),
                                   *(layout.reach(v.shape, v.strides, v.offset) for v in sides))
        self.struct = struct(wide, self.outputs, outer, inner, outer_parts, outer_chunk, inner_parts, inner_chunk,
                             kept_shape, five(kept), shape, [strides[0], strides[-1]], offsets)
        c_type = C_TYPES[dtype.name]
        summing = term not in ("max", "min")
        double = summing and dtype == np.float32 and params.double_sums and runtime.has_double
        accumulator = "double" if double else c_type
        # Sums of float32 depend on no order, so that all devices give the same bits; squares do not cancel.
        compensated = dtype == np.float32 and (term in ("sum", "mean", "products") or term == "squares" and not double)
        defines = {"T": c_type, "A": accumulator, **index, TERMS[term]: 1,
                   **({"COMPENSATED": 1} if compensated else {}),
                   **({"NOTHING": (LEAST if term == "max" else MOST)[c_type]} if not summing else {}),
                   "KD": len(kept_shape), "RD": len(shape), "INPUTS": len(inputs),
                   "SUMS": 2 if term in ("squares", "products") else 1}
        group = lanes if row else (1 if params.reduce_lanes == 1 else params.reduce_lanes)
        self.kernel = runtime.kernel("reduce", "reduce.cl", (group,), **defines, ROW=int(row), V=self.vector, LANES=lanes,
                                     **({"PARTIAL": 1} if parts > 1 else {}))
        if row:
            self.size = (self.outputs * parts * lanes,)
        else:
            self.size = (round_up(self.outputs // self.vector * parts, group),)
        self.count = np.asarray(count).astype(np.float64 if accumulator == "double" else dtype)
        self.partial_bytes = 0
        if parts > 1:
            sum_bytes = self.count.dtype.itemsize * (2 if compensated else 1)
            self.partial_bytes = defines["SUMS"] * self.outputs * parts * sum_bytes
            lanes = params.reduce_lanes
            self.combine = runtime.kernel("combine", "reduce.cl", (lanes,), **defines, ROW=1, V=1, LANES=lanes, PARTIAL=1)
            self.combine_size = (self.outputs * lanes,)

    @staticmethod
    def _form(params, kept_shape, kept, inner, strides, dtype, lanes):
        """(vector width, whether vectors lie along the reduced row)."""
        # A vector holds as many of a wider type, but int64 and uint8 sums stay narrow: they are rare.
        width = max(1, params.vector * 4 // max(dtype.itemsize, 4))
        if all(s[-1] == 1 for s in strides) and inner >= (4 if lanes == 1 else 2 * lanes):
            while width > inner:
                width //= 2
            return width, True
        if all(s[-1] == 1 for s in kept):
            while kept_shape[-1] % width:
                width //= 2
            return width, False
        return 1, False

    def run(self, runtime, outs, mean, inputs):
        out0, out1 = outs[0].buffer.memory, outs[-1].buffer.memory
        x0, x1 = inputs[0].buffer.memory, inputs[-1].buffer.memory
        m = x0 if mean is None else mean.buffer.memory
        if not self.partial_bytes:
            runtime.launch(self.kernel, self.size, self.struct, (out0, out1, out0, x0, x1, m), (self.count,))
            return
        partial = runtime.allocate(self.partial_bytes)
        runtime.launch(self.kernel, self.size, self.struct, (out0, out1, partial.memory, x0, x1, m),
                       (self.count,))
        runtime.launch(self.combine, self.combine_size, self.struct, (out0, out1, partial.memory), (self.count,))


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


