"""Resizing: along each axis a choice of elements (nearest) or a product with a matrix of weights."""
import math

import numpy as np

from ... import ops
from ...array import FLOATS, array
from ...tensor import Tensor
from .registry import OnnxError, ints, operator, wrapped


@operator("Resize", host=(1, 2, 3))
def _(node, context, x, roi=None, scales=None, sizes=None):
    axes = wrapped(node.get("axes"), x.ndim) if node.get("axes") else tuple(range(x.ndim))
    scales = None if scales is None or not scales.size else [float(s) for s in scales.numpy().reshape(-1)]
    sizes = None if sizes is None or not sizes.size else list(ints(sizes))
    given = scales if sizes is None else sizes
    if given is None or len(given) != len(axes) or min(given) <= 0:
        raise OnnxError(f"scales {scales}, sizes {sizes} for axes {axes}")
    lengths = [x.shape[a] for a in axes]
    if sizes is not None:
        scales, sizes = _policy(node.get("keep_aspect_ratio_policy", "stretch"), lengths, sizes)
    cropped = node.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    region = None if roi is None or not roi.size or not cropped else roi.numpy().astype(float).reshape(2, -1)
    if sizes is None:
        reach = [1.0] * len(axes) if region is None else region[1] - region[0]
        sizes = [math.floor(n * s * r) for n, s, r in zip(lengths, scales, reach)]
    context.check([dict(zip(axes, sizes)).get(a, n) for a, n in enumerate(x.shape)], x.dtype)
    for i, axis in enumerate(axes):
        ends = (0.0, 1.0) if region is None else (region[0][i], region[1][i])
        x = _along(node, x, axis, scales[i], sizes[i], ends)
    return x


def _policy(policy, lengths, sizes):
    """(scales, sizes) for sizes that are wanted."""
    scales = [m / n for m, n in zip(sizes, lengths)]
    if policy != "stretch":
        scale = min(scales) if policy == "not_larger" else max(scales)
        scales = [scale] * len(scales)
        sizes = [math.floor(scale * n + 0.5) for n in lengths]
    return scales, sizes


def _along(node, x, axis, scale, size, ends):
    n = x.shape[axis]
    mode = node.get("coordinate_transformation_mode")
    if scale == 1 and size == n and mode != "tf_crop_and_resize":
        return x
    at, outside = _coordinates(mode, n, size, scale, ends)
    if node.get("mode") == "nearest":
        index = np.clip(_nearest(node.get("nearest_mode"), at), 0, n - 1).astype(np.int64)
        y = ops.index_select(x, index, axis)
    else:
        if x.dtype not in FLOATS:
            raise OnnxError(f"interpolation of dtype {x.dtype}")
        matrix = _weights(node, at, n, scale).astype(x.dtype)
        last = ops.transpose(x, axis, -1)
        y = ops.transpose(ops.matmul(last, Tensor(array(matrix.T, device=x.device))), axis, -1)
    if mode == "tf_crop_and_resize" and outside.any():
        mask = outside.reshape(tuple(-1 if d == axis else 1 for d in range(x.ndim)))
        y = ops.where(array(mask, device=x.device), float(node.get("extrapolation_value")), y)
    return y


def _coordinates(mode, n, size, scale, ends):
    """Where each output lies in the input, and which lie outside it."""
    i = np.arange(size)
    if mode == "half_pixel":
        at = (i + 0.5) / scale - 0.5
    elif mode == "half_pixel_symmetric":
        wanted = scale * n
        at = n / 2 * (1 - size / wanted) + (i + 0.5) / scale - 0.5
    elif mode == "pytorch_half_pixel":
        at = (i + 0.5) / scale - 0.5 if size > 1 else np.zeros(1)
    elif mode == "align_corners":
        at = i * (n - 1) / (scale * n - 1) if scale * n != 1 else np.zeros(size)
    elif mode == "asymmetric":
        at = i / scale
    elif mode == "tf_crop_and_resize":
        low, high = ends
        at = low * (n - 1) + i * (high - low) * (n - 1) / (size - 1) if size > 1 else np.array([0.5 * (low + high) * (n - 1)])
    else:
        raise OnnxError(f"coordinate_transformation_mode {mode!r}")
    return at, (at < 0) | (at > n - 1)


def _nearest(mode, at):
    at = np.round(at, 9)              # what is meant as a half should be one
    if mode == "round_prefer_floor":
        return np.ceil(at - 0.5)
    if mode == "round_prefer_ceil":
        return np.floor(at + 0.5)
    return np.floor(at) if mode == "floor" else np.ceil(at)


def _cubic(t, a):
    """Keys' kernel (1981)."""
    t = np.abs(t)
    near = (a + 2) * t ** 3 - (a + 3) * t ** 2 + 1
    return np.where(t <= 1, near, np.where(t < 2, a * t ** 3 - 5 * a * t ** 2 + 8 * a * t - 4 * a, 0))


def _weights(node, at, n, scale):
    """(outputs, n): the weight of each input in each output."""
    cubic = node.get("mode") == "cubic"
    kernel = (lambda t: _cubic(t, node.get("cubic_coeff_a"))) if cubic else (lambda t: np.maximum(1 - np.abs(t), 0))
    stretch = min(scale, 1.0) if node.get("antialias") else 1.0
    reach = math.ceil((2 if cubic else 1) / stretch)
    taps = np.floor(at)[:, None] + np.arange(-reach, reach + 2)
    weights = kernel((taps - at[:, None]) * stretch)
    inside = (taps >= 0) & (taps < n)
    if node.get("exclude_outside"):
        weights = weights * inside
    weights = weights / weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((len(at), n))
    np.add.at(matrix, (np.arange(len(at))[:, None], np.clip(taps, 0, n - 1).astype(np.int64)), weights)
    return matrix
