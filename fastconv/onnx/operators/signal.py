"""Samples of an image at given places, and Fourier transforms as products with a matrix."""
import itertools

import numpy as np

from ... import ops
from ...array import array
from ...tensor import Tensor
from .registry import OnnxError, number, operator
from .resize import _cubic


@operator("GridSample", host=(1,))
def _(node, context, x, grid):
    """The gradient reaches x; the places are taken as they are."""
    if grid.requires_grad:
        raise OnnxError("there is no gradient with respect to the places of the samples")
    n, c, *size = x.shape
    places = grid.numpy().astype(np.float64)
    if places.shape[0] != n or places.shape[-1] != len(size) or 0 in x.shape:
        raise OnnxError(f"x {x.shape} with places {places.shape}")
    out = places.shape[1:-1]
    context.check((n, c, *out), x.dtype)
    mode, padding, aligned = node.get("mode").removeprefix("bi"), node.get("padding_mode"), node.get("align_corners")
    taps = [_taps(mode, padding, aligned, m, places[..., d].reshape(n, -1)) for d, m in zip(reversed(range(len(size))), size)]
    rows = ops.reshape(ops.permute(ops.reshape(x, (n, c, -1)), (0, 2, 1)), (-1, c))
    first = np.arange(n)[:, None] * int(np.prod(size))
    total = None
    for corner in itertools.product(*(zip(*t) for t in taps)):
        index, weight = np.zeros(places[..., 0].reshape(n, -1).shape, np.int64), 1.0
        for (at, w), m in zip(corner, size):
            index, weight = index * m + at, weight * w
        picked = ops.index_select(rows, (first + index).reshape(-1), 0)
        picked = picked * array(weight.reshape(-1, 1).astype(x.dtype), device=x.device)
        total = picked if total is None else total + picked
    return ops.permute(ops.reshape(total, (n, *out, c)), (0, len(out) + 1, *range(1, len(out) + 1)))


def _taps(mode, padding, aligned, n, at):
    """(places, weights) along one axis of size n: lists with an array for each neighbour that counts."""
    at = (at + 1) / 2 * (n - 1) if aligned else ((at + 1) * n - 1) / 2
    ends = (0.0, n - 1.0) if aligned else (-0.5, n - 0.5)
    if padding == "border" and mode != "cubic":
        at = np.clip(at, 0, n - 1)
    elif padding == "reflection" and mode != "cubic":
        at = np.clip(_reflected(at, *ends), 0, n - 1)
    if mode == "nearest":
        near, weights = [np.rint(at)], [np.ones(at.shape)]
    else:
        base = np.floor(at)
        reach = range(2) if mode == "linear" else range(-1, 3)
        near = [base + k for k in reach]
        weights = [np.maximum(1 - np.abs(at - p), 0) if mode == "linear" else _cubic(at - p, -0.75) for p in near]
    if padding == "zeros":
        weights = [w * ((p >= 0) & (p < n)) for p, w in zip(near, weights)]
    elif padding == "reflection":
        near = [_reflected(p, *ends) for p in near]
    return [np.clip(p, 0, n - 1).astype(np.int64) for p in near], weights


def _reflected(at, low, high):
    """Mirrored at both ends until it lies between them."""
    width = high - low
    if not width:
        return np.full(at.shape, low)
    turn = np.mod(at - low, 2 * width)
    return low + np.where(turn > width, 2 * width - turn, turn)


@operator("DFT", host=(1, 2))
def _(node, context, x, length=None, axis=None):
    axis = int(number(axis)) if axis is not None else node.get("axis", -2)
    axis %= x.ndim
    inverse, onesided, parts = bool(node.get("inverse")), bool(node.get("onesided")), x.shape[-1]
    if axis == x.ndim - 1 or parts not in (1, 2):
        raise OnnxError(f"x {x.shape} along axis {axis}: the last axis holds the real and the imaginary part")
    n = int(number(length)) if length is not None else 2 * (x.shape[axis] - 1) if inverse and onesided else x.shape[axis]
    context.check((4, max(n, 1), max(n, 1)), x.dtype)
    order = (*(d for d in range(x.ndim - 1) if d != axis), axis, x.ndim - 1)
    matrix = _transform(x.shape[axis], n, inverse, onesided)[:, :parts]
    taken, _, made, out = matrix.shape
    rows = ops.getitem(ops.permute(x, order), (Ellipsis, slice(0, taken), slice(None)))
    lead = rows.shape[:-2]
    y = ops.matmul(ops.reshape(rows, (*lead, taken * parts)),
                   Tensor(array(matrix.reshape(taken * parts, made * out).astype(x.dtype), device=x.device)))
    return ops.permute(ops.reshape(y, (*lead, made, out)), tuple(order.index(d) for d in range(x.ndim)))


def _transform(given, n, inverse, onesided):
    """(inputs, 2, outputs, 2 or 1): what each part of an input adds to each part of an output."""
    taken, made = min(given, n), n // 2 + 1 if onesided and not inverse else n
    angle = 2 * np.pi * np.outer(np.arange(taken), np.arange(made)) / max(n, 1) * (1 if inverse else -1)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]).transpose(2, 0, 3, 1)
    if inverse:
        matrix = matrix / n
        if onesided:                    # the other half of the frequencies are conjugates: each pair gives twice its real part
            twice = np.array([1 if k == 0 or 2 * k == n else 2 for k in range(taken)])
            matrix = (matrix * twice[:, None, None, None])[..., :1]
    return matrix
