"""Reductions and softmaxes."""
import math

import numpy as np

from ... import ops
from ...array import BOOL, FLOATS, array, full
from ...tensor import Tensor
from .registry import OnnxError, axis_of, ints, operator, wrapped


def _axes(node, x, axes):
    """The axes of a reduction, an input or an attribute by opset; None: none at all."""
    given = node.get("axes", ()) if axes is None else ints(axes)
    if not given:
        return None if node.get("noop_with_empty_axes") else tuple(range(x.ndim))
    return wrapped(given, x.ndim)


def _prepared(x):
    return x if x.dtype in FLOATS else ops.cast(x, np.float32)


def _prod(x, axis, keepdims):
    """By products of halves, so that it has a gradient where factors are 0."""
    for a in sorted(axis, reverse=True):
        while x.shape[a] > 1:
            half, rest = x.shape[a] // 2, x.shape[a] % 2
            lead = (slice(None),) * a
            y = ops.getitem(x, (*lead, slice(0, half))) * ops.getitem(x, (*lead, slice(half, 2 * half)))
            x = ops.concatenate([y, ops.getitem(x, (*lead, slice(2 * half, None)))], a) if rest else y
        if not x.shape[a]:
            shape = tuple(1 if d == a else n for d, n in enumerate(x.shape))
            x = Tensor(full(shape, 1, x.dtype, x.device))
    return x if keepdims else ops.squeeze(x, axis)


def _extremum(function, lowest):
    def reduce(x, axis, keepdims):
        if x.dtype == BOOL:
            return ops.cast(reduce(ops.cast(x, np.uint8), axis, keepdims), BOOL)
        if any(x.shape[a] == 0 for a in axis):
            kept = tuple(1 if d in axis else n for d, n in enumerate(x.shape))
            value = lowest * math.inf if x.dtype in FLOATS else (np.iinfo(x.dtype).min if lowest < 0 else np.iinfo(x.dtype).max)
            y = Tensor(full(kept, value if x.dtype in FLOATS else int(value), x.dtype, x.device))
            return y if keepdims else ops.squeeze(y, axis)
        return function(x, axis, keepdims)
    return reduce


_REDUCTIONS = {
    "ReduceSum": ops.sum, "ReduceMean": lambda x, a, k: ops.mean(_prepared(x), a, k), "ReduceProd": _prod,
    "ReduceMax": _extremum(ops.max, -1), "ReduceMin": _extremum(ops.min, 1),
    "ReduceL1": lambda x, a, k: ops.sum(ops.abs(x), a, k),
    "ReduceL2": lambda x, a, k: ops.sqrt(ops.sum(_prepared(x) ** 2, a, k)),
    "ReduceSumSquare": lambda x, a, k: ops.sum(x * x, a, k),
    "ReduceLogSum": lambda x, a, k: ops.log(ops.sum(_prepared(x), a, k)),
    "ReduceLogSumExp": _extremum(lambda x, a, k: ops.logsumexp(_prepared(x), a, k), -1),
}
# What they do to each element before they reduce, which is all that is left when there is nothing to reduce.
_ALONE = {"ReduceL1": ops.abs, "ReduceL2": ops.abs, "ReduceSumSquare": lambda x: x * x, "ReduceLogSum": ops.log}


def _enter(name, function):
    @operator(name, host=(1,))
    def _(node, context, x, axes=None):
        axes = _axes(node, x, axes)
        if axes is None:
            return _ALONE.get(name, lambda x: x)(x)
        return ops.cast(function(x, axes, bool(node.get("keepdims"))), x.dtype)


for _name, _function in _REDUCTIONS.items():
    _enter(_name, _function)


@operator("ArgMax", "ArgMin")
def _(node, context, x):
    axis, keepdims = axis_of(node, x.ndim), bool(node.get("keepdims"))
    function = ops.argmax if node.op == "ArgMax" else ops.argmin
    if not node.get("select_last_index"):
        return function(x, axis, keepdims)
    return x.shape[axis] - 1 - function(ops.flip(x, axis), axis, keepdims)


@operator("Softmax")
def _(node, context, x):
    return ops.softmax(x, axis_of(node, x.ndim))


@operator("LogSoftmax")
def _(node, context, x):
    return ops.log_softmax(x, axis_of(node, x.ndim))


@operator("Hardmax")
def _(node, context, x):
    axis = axis_of(node, x.ndim)
    first = ops.argmax(x, axis, True)
    places = np.arange(x.shape[axis]).reshape(tuple(-1 if d == axis else 1 for d in range(x.ndim)))
    return ops.cast(ops.equal(array(places, device=x.device), first), x.dtype)


@operator("LpNormalization")
def _(node, context, x):
    axis, p = axis_of(node, x.ndim), node.get("p")
    if p not in (1, 2):
        raise OnnxError(f"p={p}")
    norm = ops.sum(ops.abs(x), axis, True) if p == 1 else ops.sqrt(ops.sum(x * x, axis, True))
    zero = ops.equal(norm, 0.0)
    return ops.where(zero, 0.0, x / ops.where(zero, 1.0, norm))
