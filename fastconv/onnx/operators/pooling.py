"""Pooling. Windows are laid out here as ONNX wants them; the sums and maxima are fastconv.ops's kernels."""
import math

import numpy as np

from ... import ops
from ...array import FLOATS, array, full
from ...ops.conv import triple
from ...ops.pool import Window, _elements_per_window, _max_pool, _window_sum
from ...tensor import Tensor
from .convolution import spatial
from .registry import OnnxError, ints, operator


def _windows(node, x):
    """(Window of x, pads as pairs) of a pooling node; its last windows may reach beyond the padding with ceil_mode."""
    size = node.get("kernel_shape")
    stride, dilation, pads = spatial(node, x, size)
    if len(size) > 3:
        raise OnnxError(f"x of shape {x.shape}: one to three spatial dimensions")
    out = []
    for n, k, s, d, (lo, hi) in zip(x.shape[2:], size, stride, dilation, pads):
        room = n + lo + hi - (k - 1) * d - 1
        steps = -(-room // s) if node.get("ceil_mode") else room // s
        if node.get("ceil_mode") and steps * s >= n + lo:
            steps -= 1                       # a window must begin inside the image or its left padding
        out.append(steps + 1)
    if min(out) < 1:
        raise OnnxError(f"window {size} with dilation {dilation} is larger than the padded image")
    window = Window(triple(size, 1), triple(stride, 1), triple([lo for lo, _ in pads], 0), triple(dilation, 1), x.shape,
                    (*x.shape[:2], *out))
    return window, pads


@operator("MaxPool")
def _(node, context, x):
    window, _ = _windows(node, x)
    wide = x if x.dtype in FLOATS else ops.cast(x, np.float32)          # uint8 is exact in float32
    y, taps = _max_pool(wide, window)
    y = ops.cast(y, x.dtype)
    if len(node.outputs) < 2:
        return y
    return y, Tensor(array(_flat_indices(taps.numpy(), window, node.get("storage_order")), device=x.device))


def _flat_indices(taps, window, column_major):
    """The place of each largest element in the whole image, from the number of its tap."""
    dims = len(window.x_shape) - 2
    sizes, at = window.x_shape[2:], []
    parts = zip(np.unravel_index(taps, window.size[-dims:]), window.stride[-dims:], window.padding[-dims:],
                window.dilation[-dims:], np.indices(taps.shape, sparse=True)[2:])
    for tap, s, p, d, o in parts:
        at.append(o * s - p + tap * d)
    places = np.zeros(taps.shape, np.int64)
    order = range(dims) if not column_major else reversed(range(dims))
    for i in order:
        places = places * sizes[i] + at[i]
    n, c = np.indices(taps.shape, sparse=True)[:2]
    return (n * taps.shape[1] + c) * math.prod(sizes) + places


@operator("MaxUnpool", host=(1, 2))
def _(node, context, x, indices, shape=None):
    size = node.get("kernel_shape")
    stride, _, pads = spatial(node, x, size)
    small = (*x.shape[:2], *((n - 1) * s - lo - hi + k for n, s, k, (lo, hi) in zip(x.shape[2:], stride, size, pads)))
    wanted = small if shape is None else ints(shape)
    context.check(wanted, x.dtype)
    at = indices.numpy().reshape(-1)
    if len(wanted) != len(small) or any(n < m for n, m in zip(wanted, small)):
        raise OnnxError(f"output_shape {wanted}, less than {small}")
    if at.size and not 0 <= at.min() <= at.max() < math.prod(small):
        raise OnnxError(f"indices from {at.min()} to {at.max()} for shape {small}")
    flat = Tensor(full((math.prod(small),), 0, x.dtype, x.device))
    y = ops.reshape(ops.put_along_axis(flat, at, ops.reshape(x, (-1,)), 0), small)
    return y if wanted == small else ops.pad(y, tuple((0, n - m) for n, m in zip(wanted, small)))


@operator("AveragePool")
def _(node, context, x):
    window, pads = _windows(node, x)
    if node.get("count_include_pad"):
        padded = tuple(n + lo + hi for n, (lo, hi) in zip(x.shape[2:], pads))
        counted = Window(window.size, window.stride, (0, 0, 0), window.dilation, (*x.shape[:2], *padded), window.y_shape)
    else:
        counted = window
    return _window_sum(x, window) / Tensor(_elements_per_window(counted, x.dtype, x.device))


@operator("LpPool")
def _(node, context, x):
    window, _ = _windows(node, x)
    p = float(node.get("p"))
    return _window_sum(ops.abs(x) ** p, window) ** (1 / p)


@operator("GlobalAveragePool")
def _(node, context, x):
    return ops.mean(x, tuple(range(2, x.ndim)), keepdims=True)


@operator("GlobalMaxPool")
def _(node, context, x):
    return ops.max(x, tuple(range(2, x.ndim)), keepdims=True)


@operator("GlobalLpPool")
def _(node, context, x):
    p = float(node.get("p"))
    return ops.sum(ops.abs(x) ** p, tuple(range(2, x.ndim)), keepdims=True) ** (1 / p)


@operator("LRN")
def _(node, context, x):
    """Divided by a power of the mean square over neighbouring channels (Krizhevsky et al. 2012)."""
    size = node.get("size")
    n, c = x.shape[:2]
    squares = ops.reshape(x * x, (n, 1, c, math.prod(x.shape[2:])))
    window = Window((1, size, 1), (1, 1, 1), (0, (size - 1) // 2, 0), (1, 1, 1), squares.shape, squares.shape)
    total = ops.reshape(_window_sum(squares, window), x.shape)
    return x / (total * (node.get("alpha") / size) + node.get("bias")) ** node.get("beta")
