"""Reductions over any set of axes: axis is None (all), an int or a tuple, () = unchanged."""
import math

from ..array import FLOAT32, FLOATS, as_axes
from ..autograd import broadcast_to, cast, op
from .elementwise import equal, exp, where
from .shape import reshape


def _kept(x, axis):
    """x's shape with 1 in the reduced axes."""
    axes = as_axes(axis, x.ndim)
    return tuple(1 if d in axes else n for d, n in enumerate(x.shape))


def _count(x, axis):
    return math.prod(x.shape[a] for a in as_axes(axis, x.ndim))


def _spread(g, x, axis):
    """A gradient of a reduction of x, repeated to x's shape."""
    return broadcast_to(reshape(g, _kept(x, axis)), x.shape)


@op(inputs=1)
def sum(x, axis=None, keepdims=False):
    """The sum over axes; integers and bools as int64.

    >>> import fastconv as fc
    >>> fc.ops.sum(fc.array([[1.0, 2.0], [3.0, 4.0]]), axis=1).numpy()
    array([3., 7.], dtype=float32)
    """
    return x.sum(axis, keepdims)


@sum.gradient
def _(g, y, x, axis=None, keepdims=False):
    return _spread(g, x, axis)


@op(inputs=1)
def mean(x, axis=None, keepdims=False):
    """The arithmetic mean over axes."""
    return x.mean(axis, keepdims)


@mean.gradient
def _(g, y, x, axis=None, keepdims=False):
    return _spread(g / _count(x, axis), x, axis)


@op(inputs=1)
def max(x, axis=None, keepdims=False):
    """The largest element over axes; equal ones share the gradient evenly."""
    return x.max(axis, keepdims)


@op(inputs=1)
def min(x, axis=None, keepdims=False):
    """The smallest element over axes; equal ones share the gradient evenly."""
    return x.min(axis, keepdims)


@max.gradient
@min.gradient
def _(g, y, x, axis=None, keepdims=False):
    wins = equal(x, _spread(y, x, axis))
    shared = reshape(g, _kept(x, axis)) / sum(cast(wins, x.dtype), axis, keepdims=True)
    return where(wins, _spread(shared, x, axis), 0.0)


@op(inputs=1, differentiable=False)
def argmax(x, axis=None, keepdims=False):
    """int64 index of the first largest element along an axis; of several axes (None: all) in them flattened."""
    return x.argmax(axis, keepdims)


@op(inputs=1, differentiable=False)
def argmin(x, axis=None, keepdims=False):
    """int64 index of the first smallest element along an axis; of several axes (None: all) in them flattened."""
    return x.argmin(axis, keepdims)


def var(x, axis=None, keepdims=False, correction=0):
    """The variance over axes: sum of squared deviations over (count - correction)."""
    centred = x - mean(x, axis, keepdims=True)
    freedom = _count(x, axis) - correction
    if freedom <= 0:
        raise ValueError(f"variance with correction {correction} of {_count(x, axis)} elements of shape {x.shape}")
    return sum(centred * centred, axis, keepdims) / freedom


@op(inputs=1)
def logsumexp(x, axis=None, keepdims=False):
    """log(sum(exp(x))) over axes, without overflow."""
    x = x if x.dtype in FLOATS else x.astype(FLOAT32)
    top = x.max(axis, keepdims=True)
    top = top._map("isfinite", result=bool).where(top, 0.0)
    y = (x - top).exp().sum(axis, keepdims=True).log() + top
    return y if keepdims else y.squeeze(as_axes(axis, x.ndim))


@logsumexp.gradient
def _(g, y, x, axis=None, keepdims=False):
    return _spread(g, x, axis) * exp(x - _spread(y, x, axis))
