"""Operators that move elements: shapes, joins, slices, padding."""
import math

import numpy as np

from ... import ops
from ...array import array, full
from ...tensor import Tensor
from ..reading import dtype_of
from .registry import OnnxError, axis_of, ints, number, on_host, operator, wrapped


@operator("Shape")
def _(node, context, x):
    return on_host(np.array(x.shape[slice(node.get("start"), node.get("end"))], np.int64))


@operator("Size")
def _(node, context, x):
    return on_host(np.array(x.size, np.int64))


@operator("Reshape", host=(1,))
def _(node, context, x, shape):
    sizes = list(ints(shape))
    if not node.get("allowzero"):
        if any(n == 0 and i >= x.ndim for i, n in enumerate(sizes)):
            raise OnnxError(f"shape {tuple(sizes)} keeps an axis that is not there")
        sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(sizes)]
    if 0 in sizes and -1 in sizes:
        raise OnnxError(f"shape {tuple(sizes)}: -1 beside 0")
    return ops.reshape(x, tuple(sizes))


@operator("Flatten")
def _(node, context, x):
    axis = node.get("axis")
    if not -x.ndim <= axis <= x.ndim:
        raise OnnxError(f"axis {axis} of {x.ndim} dimensions")
    axis += x.ndim if axis < 0 else 0
    return ops.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@operator("Transpose")
def _(node, context, x):
    return ops.permute(x, node.get("perm", tuple(reversed(range(x.ndim)))))


@operator("Squeeze", host=(1,))
def _(node, context, x, axes=None):
    return ops.squeeze(x, None if axes is None else wrapped(ints(axes), x.ndim))


@operator("Unsqueeze", host=(1,))
def _(node, context, x, axes):
    axes = ints(axes)
    return ops.unsqueeze(x, wrapped(axes, x.ndim + len(axes)))


@operator("Expand", host=(1,))
def _(node, context, x, shape):
    shape = ints(shape)
    shape = (1,) * (x.ndim - len(shape)) + shape
    lead = (1,) * (len(shape) - x.ndim) + x.shape
    target = tuple(b if a == 1 else a for a, b in zip(lead, shape))
    context.check(target, x.dtype)
    return ops.broadcast_to(x, target)


@operator("Concat")
def _(node, context, *xs):
    return ops.concatenate(xs, node.get("axis"))


@operator("Split", host=(1,))
def _(node, context, x, sizes=None):
    axis = axis_of(node, x.ndim)
    n, parts = x.shape[axis], node.get("num_outputs") or len(node.outputs)
    if sizes is None:
        each = -(-n // parts) if node.get("num_outputs") else n // parts
        sections = [each] * (parts - 1) + [n - each * (parts - 1)]
    else:
        sections = list(ints(sizes))
    return ops.split(x, axis, sections)


@operator("Slice", host=(1, 2, 3, 4))
def _(node, context, x, starts, ends, axes=None, steps=None):
    starts, ends = ints(starts), ints(ends)
    axes = tuple(range(len(starts))) if axes is None else wrapped(ints(axes), x.ndim)
    steps = (1,) * len(starts) if steps is None else ints(steps)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps or len(set(axes)) != len(axes):
        raise OnnxError(f"starts {starts}, ends {ends}, axes {axes}, steps {steps}")
    key = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps):
        key[axis] = _slice(start, end, step, x.shape[axis])
    return ops.getitem(x, tuple(key))


def _slice(start, end, step, n):
    """ONNX's bounds as Python's: clamped first, and before the first element is None."""
    def clamp(at, low, high):
        return min(max(at + n if at < 0 else at, low), high)
    if step > 0:
        return slice(clamp(start, 0, n), clamp(end, 0, n), step)
    end = clamp(end, -1, n)
    return slice(clamp(start, 0, n - 1), None if end < 0 else end, step) if n else slice(0, 0)


@operator("Tile", host=(1,))
def _(node, context, x, repeats):
    repeats = ints(repeats)
    if len(repeats) != x.ndim:
        raise OnnxError(f"repeats {repeats}")
    context.check(tuple(n * r for n, r in zip(x.shape, repeats)), x.dtype)
    spread = ops.broadcast_to(ops.unsqueeze(x, tuple(range(0, 2 * x.ndim, 2))),
                              tuple(s for pair in zip(repeats, x.shape) for s in pair)) if x.ndim else x
    return ops.reshape(spread, tuple(n * r for n, r in zip(x.shape, repeats)))


@operator("Pad", host=(1, 2, 3))
def _(node, context, x, pads, value=None, axes=None):
    axes = tuple(range(x.ndim)) if axes is None else wrapped(ints(axes), x.ndim)
    pads, width = ints(pads), [(0, 0)] * x.ndim
    if len(pads) != 2 * len(axes):
        raise OnnxError(f"pads {pads} for axes {axes}")
    for i, axis in enumerate(axes):
        width[axis] = (pads[i], pads[i + len(axes)])
    context.check(tuple(n + max(lo, 0) + max(hi, 0) for n, (lo, hi) in zip(x.shape, width)), x.dtype)
    mode = node.get("mode")
    if mode != "constant":
        return _pad_by_index(x, width, {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}[mode])
    cut = tuple(slice(max(-lo, 0), n - max(-hi, 0)) for n, (lo, hi) in zip(x.shape, width))
    if any(lo < 0 or hi < 0 for lo, hi in width):
        x = ops.getitem(x, cut)
    width = tuple((max(lo, 0), max(hi, 0)) for lo, hi in width)
    return ops.pad(x, width, 0 if value is None else number(value))


def _pad_by_index(x, width, mode):
    for axis, (lo, hi) in enumerate(width):
        if lo or hi:
            at = np.arange(x.shape[axis])
            at = at[max(-lo, 0):len(at) - max(-hi, 0)]
            x = ops.index_select(x, np.pad(at, (max(lo, 0), max(hi, 0)), mode=mode), axis)
    return x


@operator("ConstantOfShape", host=(0,))
def _(node, context, shape):
    value = node.get("value")
    value = np.zeros(1, np.float32) if value is None else value
    if value.size != 1:
        raise OnnxError(f"a value of shape {value.shape}")
    context.check(ints(shape), value.dtype)
    place = {"device": "reference"} if value.dtype.kind != "f" else {"device": context.device}
    return Tensor(full(ints(shape), value.reshape(-1)[0].item(), value.dtype, **place))


@operator("Range", host=(0, 1, 2))
def _(node, context, start, limit, delta):
    first, last, step = number(start), number(limit), number(delta)
    if not step or not all(map(math.isfinite, (first, last, step))):
        raise OnnxError(f"from {first} to {last} by {step}")
    count = max(math.ceil((last - first) / step), 0)
    context.check((count,), start.dtype)
    return on_host((first + np.arange(count) * np.asarray(step, start.dtype)).astype(start.dtype))


@operator("EyeLike")
def _(node, context, x):
    dtype = dtype_of(node.get("dtype"), "the result") if node.get("dtype") else x.dtype
    return Tensor(array(np.eye(*x.shape, k=node.get("k"), dtype=dtype), device=x.device))


@operator("DepthToSpace")
def _(node, context, x):
    n, c, h, w = x.shape
    b = node.get("blocksize")
    if node.get("mode") == "DCR":
        x = ops.permute(ops.reshape(x, (n, b, b, c // b ** 2, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        x = ops.permute(ops.reshape(x, (n, c // b ** 2, b, b, h, w)), (0, 1, 4, 2, 5, 3))
    return ops.reshape(x, (n, c // b ** 2, h * b, w * b))


@operator("SpaceToDepth")
def _(node, context, x):
    n, c, h, w = x.shape
    b = node.get("blocksize")
    x = ops.reshape(x, (n, c, h // b, b, w // b, b))
    order = (0, 3, 5, 1, 2, 4) if node.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return ops.reshape(ops.permute(x, order), (n, c * b * b, h // b, w // b))


@operator("Col2Im", host=(1, 2))
def _(node, context, x, image, block):
    """The image that these columns are the patches of: sums where they overlap, what lies in the padding left out."""
    size, block = ints(image), ints(block)
    dims = len(size)
    pads = node.get("pads") or (0,) * 2 * dims
    padded = tuple(n + lo + hi for n, lo, hi in zip(size, pads[:dims], pads[dims:]))
    context.check((*x.shape[:1], *padded), x.dtype)
    y = ops.fold(x, padded, block, node.get("dilations") or (1,) * dims, 0, node.get("strides") or (1,) * dims)
    return ops.getitem(y, (slice(None), slice(None), *(slice(lo, lo + n) for lo, n in zip(pads, size))))
