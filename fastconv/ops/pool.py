"""Pooling. Images are (n, c, ...) with one to three spatial dimensions, as in torch.nn.functional."""
import functools
import math
from dataclasses import dataclass

import numpy as np

from ..array import FLOATS, array, compact_strides, empty
from ..autograd import op
from .conv import hashable, per_dim, positive, residues_1d, triple
from .linalg import matmul
from .shape import transpose


@dataclass(frozen=True)
class Window:
    """A pooling call without its data; triples are padded in front for fewer dimensions."""

    size: tuple
    stride: tuple
    padding: tuple
    dilation: tuple
    x_shape: tuple
    y_shape: tuple


@functools.lru_cache(maxsize=1024)
def _window(name, x_shape, size, stride, padding, dilation, ceil_mode, dims):
    what = f"{name} of x {x_shape}"
    if len(x_shape) != dims + 2:
        raise ValueError(f"{what}: needs (n, c) and {dims} spatial dimensions")
    size = per_dim(size, "kernel_size", dims, what)
    stride = size if stride is None else per_dim(stride, "stride", dims, what)
    padding = per_dim(padding, "padding", dims, what, least=0)
    dilation = per_dim(dilation, "dilation", dims, what)
    if any(2 * p > k for p, k in zip(padding, size)):
        raise ValueError(f"{what}: padding {padding} is more than half of kernel_size {size}")
    out = []
    for n, k, s, p, d in zip(x_shape[2:], size, stride, padding, dilation):
        room = n + 2 * p - d * (k - 1) - 1
        steps = -(-room // s) if ceil_mode else room // s
        if ceil_mode and steps * s >= n + p:
            steps -= 1                       # the last window must start inside the image or its left padding
        out.append(steps + 1)
    if any(o < 1 for o in out):
        raise ValueError(f"{what}: kernel_size {size} with dilation {dilation} is larger than the padded image")
    return Window(triple(size, 1), triple(stride, 1), triple(padding, 0), triple(dilation, 1), x_shape,
                  (*x_shape[:2], *out))


def _canonical(x):
    """(n, c, ...) as (n, D, H, W, c): a view."""
    fill = 5 - x.ndim
    return x._view((x.shape[0], *(1,) * fill, *x.shape[2:], x.shape[1]),
                   (x.strides[0], *(0,) * fill, *x.strides[2:], x.strides[1]))


def _new(shape, dtype, device):
    """An uninitialised (n, c, ...) image, channels-last in memory."""
    memory = compact_strides((shape[0], *shape[2:], shape[1]))
    return empty(shape, dtype, device, (memory[0], memory[-1], *memory[1:-1]))


# --- maximum ---------------------------------------------------------------------------------

@op(inputs=1, outputs=1)
def _max_pool(x, window):
    """Returns (largest element of each window, which tap of the window it is)."""
    y, index = _new(window.y_shape, x.dtype, x.device), _new(window.y_shape, np.int32, x.device)
    if y.size:
        x.device.max_pool(_canonical(y), _canonical(index), _canonical(x), window.size, window.stride, window.padding,
                          window.dilation)
    return y, index


@_max_pool.gradient
def _(g, y, x, window):
    return _unpool(g[0], y[1], window)


@op(inputs=2)
def _unpool(g, index, window):
    """Each g at the element of its window that `index` names, summed where windows overlap."""
    dx = _new(window.x_shape, g.dtype, g.device)
    if dx.size and g.size:
        g.device.max_pool_grad(_canonical(dx), _canonical(g), _canonical(index), window.size, window.stride,
                               window.padding, window.dilation)
    return dx


@_unpool.gradient("g")
def _(gg, y, g, index, window):
    return _pick(gg, index, window)


@op(inputs=2)
def _pick(x, index, window):
    """The element of each window that `index` names."""
    y = _new(window.y_shape, x.dtype, x.device)
    if y.size:
        x.device.max_pool_pick(_canonical(y), _canonical(x), _canonical(index), window.size, window.stride,
                               window.padding, window.dilation)
    return y


@_pick.gradient("x")
def _(g, y, x, index, window):
    return _unpool(g, index, window)


# --- sum and average -------------------------------------------------------------------------

@op(inputs=1)
def _window_sum(x, window):
    """The sum of each window, padding counting as 0."""
    y = _new(window.y_shape, x.dtype, x.device)
    if y.size:
        x.device.window_sum(_canonical(y), _canonical(x), window.size, window.stride, window.padding, window.dilation)
    return y


@_window_sum.gradient
def _(g, y, x, window):
    return _window_spread(g, window)


@op(inputs=1)
def _window_spread(g, window):
    """The adjoint: every element the sum of g over the windows that hold it. Window sums of g again,
    one for each residue of the stride (see the input gradient in conv.py)."""
    dx = _new(window.x_shape, g.dtype, g.device)
    if not dx.size or not g.size:
        return dx
    sizes = triple(window.x_shape[2:], 1)
    dims = [residues_1d(*dim) for dim in zip(sizes, window.size, window.stride, window.padding, window.dilation)]
    dxv, gv = _canonical(dx), _canonical(g)
    for a in dims[0]:
        for b in dims[1]:
            for c in dims[2]:
                out, taps, padding, dilation = zip(a, b, c)
                target = dxv[(slice(None),) + out]
                if None in taps:
                    target._fill(0)
                else:
                    counts = tuple(len(range(k)[t]) for k, t in zip(window.size, taps))
                    g.device.window_sum(target, gv, counts, (1, 1, 1), padding, dilation)
    return dx


@_window_spread.gradient
def _(gg, y, g, window):
    return _window_sum(gg, window)


@functools.lru_cache(maxsize=64)
def _elements_per_window(window, dtype, device):
    """(1, 1, ...): how many elements of the image each window holds."""
    spatial = len(window.x_shape) - 2
    counts = np.ones((1, 1))
    per = list(zip(triple(window.x_shape[2:], 1), triple(window.y_shape[2:], 1), window.size, window.stride,
                   window.padding, window.dilation))[-spatial:]
    for n, o, k, s, p, d in per:
        at = np.arange(o)[:, None] * s - p + np.arange(k) * d
        counts = counts[..., None] * ((at >= 0) & (at < n)).sum(axis=1)
    return array(counts.astype(dtype), device=device)


# --- public ----------------------------------------------------------------------------------

def _max(dims, x, kernel_size, stride, padding, dilation, ceil_mode):
    _check(f"max_pool{dims}d", x)
    window = _window(f"max_pool{dims}d", x.shape, *map(hashable, (kernel_size, stride, padding, dilation)),
                     ceil_mode, dims)
    return _max_pool(x, window)[0]


def _avg(dims, x, kernel_size, stride, padding, ceil_mode, count_include_pad):
    _check(f"avg_pool{dims}d", x)
    window = _window(f"avg_pool{dims}d", x.shape, *map(hashable, (kernel_size, stride, padding)), 1, ceil_mode, dims)
    total = _window_sum(x, window)
    if count_include_pad and not ceil_mode:
        return total / math.prod(window.size)
    device = getattr(x, "data", x).device
    return total / _divisors(window, count_include_pad, x.dtype, device)


@functools.lru_cache(maxsize=64)
def _divisors(window, count_include_pad, dtype, device):
    if not count_include_pad:
        return _elements_per_window(window, dtype, device)
    # With ceil_mode a window may reach beyond the padding; what lies there does not count.
    padded = tuple(n + 2 * p for n, p in zip(window.x_shape[2:], window.padding[-(len(window.x_shape) - 2):]))
    wide = Window(window.size, window.stride, (0, 0, 0), window.dilation, (*window.x_shape[:2], *padded), window.y_shape)
    return _elements_per_window(wide, dtype, device)


def _check(name, x):
    if x.dtype not in FLOATS:
        raise TypeError(f"{name} of dtype {x.dtype}, not float32 or float64")


def max_pool1d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The largest element of each window of (n, c, l); see max_pool2d."""
    return _max(1, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The largest element of each window of (n, c, h, w); padding never wins, NaN always does.

    stride is kernel_size by default; sizes are ints or pairs. The first of equal elements gets the
    gradient. With ceil_mode a last window may reach over the edge.

    >>> import fastconv as fc
    >>> fc.ops.max_pool2d(fc.array([[[[1.0, 2.0], [3.0, 4.0]]]]), 2).numpy()
    array([[[[4.]]]], dtype=float32)
    """
    return _max(2, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The largest element of each window of (n, c, d, h, w); see max_pool2d."""
    return _max(3, x, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool1d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window of (n, c, l); see avg_pool2d."""
    return _avg(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window of (n, c, h, w).

    count_include_pad: the zeros of the padding count; else only elements of the image do.
    """
    return _avg(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool3d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window of (n, c, d, h, w); see avg_pool2d."""
    return _avg(3, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def adaptive_avg_pool(x, output_size):
    """Means over windows chosen so that the spatial sizes of (n, c, ...) become `output_size`.

    output_size: an int, or one int or None (unchanged) per spatial dimension. Output i averages the
    inputs floor(i * n / o) to ceil((i + 1) * n / o), as torch has it. Where every size divides, that is
    avg_pool; else a product with a fixed matrix along each dimension (which turns an infinity in one
    window into NaN in others).
    """
    dims = x.ndim - 2
    _check("adaptive_avg_pool", x)
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * dims
    if dims < 1 or len(sizes) != dims:
        raise ValueError(f"adaptive_avg_pool to {output_size} of x {x.shape}")
    what = f"adaptive_avg_pool of x {x.shape}"
    sizes = [n if size is None else positive(size, "output_size", what) for n, size in zip(x.shape[2:], sizes)]
    if dims <= 3 and all(n and n % size == 0 for n, size in zip(x.shape[2:], sizes)):
        return _avg(dims, x, tuple(n // size for n, size in zip(x.shape[2:], sizes)), None, 0, False, True)
    device = getattr(x, "data", x).device
    for axis, size in enumerate(sizes, start=2):
        matrix = _averaging(x.shape[axis], size, x.dtype, device)
        x = transpose(matmul(transpose(x, axis, -1), matrix), axis, -1)
    return x


@functools.lru_cache(maxsize=64)
def _averaging(n, size, dtype, device):
    """(n, size): column i averages the inputs of window i."""
    matrix = np.zeros((n, size))
    for i in range(size):
        low, high = i * n // size, -(-(i + 1) * n // size)
        matrix[low:high, i] = 1 / (high - low)
    return array(matrix.astype(dtype), device=device)


__all__ = ["max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool"]
