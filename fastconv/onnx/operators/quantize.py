"""Quantisation to and from uint8 and int32."""
import numpy as np

from ... import ops
from ...array import FLOATS
from .registry import OPERATORS, OnnxError, operator


def _along(p, x, node):
    """A scale or zero point, one for all, for each slice along an axis, or for each block of it."""
    if p is None or p.size == 1 and p.ndim <= 1:
        return p if p is None else ops.reshape(p, ())
    axis = node.get("axis") % x.ndim
    if p.ndim == 1:
        return ops.reshape(p, tuple(-1 if d == axis else 1 for d in range(x.ndim)))
    block = node.get("block_size") or -(-x.shape[axis] // p.shape[axis])
    repeated = ops.index_select(p, np.arange(x.shape[axis]) // block, axis)
    if repeated.shape != x.shape:
        raise OnnxError(f"scales of shape {p.shape} for x {x.shape}")
    return repeated


@operator("QuantizeLinear")
def _(node, context, x, scale, zero=None):
    dtype = np.uint8 if zero is None else zero.dtype
    if dtype != np.uint8:
        raise OnnxError(f"quantisation to {dtype}")
    y = ops.round(ops.cast(x, np.float32) / ops.cast(_along(scale, x, node), np.float32))
    y = y if zero is None else y + ops.cast(_along(zero, x, node), np.float32)
    return ops.cast(ops.clip(y, 0.0, 255.0), dtype)


@operator("DequantizeLinear")
def _(node, context, x, scale, zero=None):
    if scale.dtype not in FLOATS:
        raise OnnxError(f"a scale of dtype {scale.dtype}")
    wide = ops.cast(x, np.int32)
    wide = wide if zero is None else wide - ops.cast(_along(zero, x, node), np.int32)
    return ops.cast(wide, scale.dtype) * _along(scale, x, node)


@operator("DynamicQuantizeLinear")
def _(node, context, x):
    low, high = ops.minimum(ops.min(x), 0.0), ops.maximum(ops.max(x), 0.0)
    scale = (high - low) / 255.0
    zero = ops.round(ops.clip(0.0 - low / scale, 0.0, 255.0))
    y = ops.cast(ops.clip(ops.round(x / scale) + zero, 0.0, 255.0), np.uint8)
    return y, scale, ops.cast(zero, np.uint8)


def _whole(x, zero, axis=None):
    """Quantised values minus their zero point, in float64, where products of bytes and their sums are exact."""
    x = ops.cast(x, np.float64)
    if zero is None:
        return x
    zero = ops.cast(zero, np.float64)
    if zero.ndim == 1 and zero.size > 1:
        zero = ops.reshape(zero, tuple(-1 if d == axis % x.ndim else 1 for d in range(x.ndim)))
    return x - (zero if zero.size > 1 else ops.reshape(zero, ()))


@operator("MatMulInteger")
def _(node, context, a, b, a_zero=None, b_zero=None):
    return ops.cast(ops.matmul(_whole(a, a_zero, -2), _whole(b, b_zero, -1)), np.int32)


@operator("QLinearMatMul")
def _(node, context, a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero):
    y = ops.matmul(_whole(a, a_zero, -2), _whole(b, b_zero, -1))
    factor = ops.cast(a_scale, np.float64) * ops.cast(b_scale, np.float64) / ops.cast(y_scale, np.float64)
    y = ops.round(y * factor) + ops.cast(y_zero, np.float64)
    return ops.cast(ops.clip(y, 0.0, 255.0), y_zero.dtype)


@operator("ConvInteger")
def _(node, context, x, w, x_zero=None, w_zero=None):

    y = OPERATORS["Conv"](node, context, _whole(x, x_zero), _whole(w, w_zero, 0))
    return ops.cast(y, np.int32)


@operator("QLinearConv")
def _(node, context, x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias=None):

    y = OPERATORS["Conv"](node, context, _whole(x, x_zero), _whole(w, w_zero, 0),
                          None if bias is None else ops.cast(bias, np.float64))
    scale = ops.cast(w_scale, np.float64)
    scale = ops.reshape(scale, (1, -1) + (1,) * (x.ndim - 2)) if scale.size > 1 else ops.reshape(scale, ())
    factor = scale * ops.cast(ops.reshape(x_scale, ()), np.float64) / ops.cast(ops.reshape(y_scale, ()), np.float64)
    y = ops.round(y * factor) + ops.cast(ops.reshape(y_zero, ()), np.float64)
    return ops.cast(ops.clip(y, 0.0, 255.0), y_zero.dtype)
