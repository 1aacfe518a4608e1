"""Elements by an index each along an axis, and running sums and products."""
import math
import operator

import numpy as np

from ..array import FLOATS, array, as_axes, full
from ..autograd import Variable
from .elementwise import add, maximum, minimum, multiply, where
from .indexing import _add_rows, _Rows, _take_rows
from .shape import concatenate, flip, getitem, pad, reshape

_REDUCTIONS = {"add": add, "multiply": multiply, "maximum": maximum, "minimum": minimum}


def take_elements(x, places, shape):
    """The elements of x at int64 `places` (NumPy, counted row-major) in this shape; the gradient adds up."""
    rows = _Rows(f"elements of shape {x.shape}", places.reshape(-1), math.prod(x.shape))
    return reshape(_take_rows(reshape(x, (-1, 1)), rows), shape)


def put_elements(x, places, values, reduction=None):
    """x with `values` at int64 `places` (NumPy, counted row-major, one each): the last one wins, or all are
    combined with what is there by "add", "multiply", "maximum" or "minimum"."""
    count = math.prod(x.shape)
    flat, values, y = places.reshape(-1), reshape(values, (-1, 1)), reshape(x, (-1, 1))
    if not flat.size:
        return x
    if reduction == "add" and x.dtype in FLOATS:
        return reshape(y + _add_rows(values, _Rows("places", flat, count), count), x.shape)
    for chosen in [_last(flat)] if reduction is None else _rounds(flat):
        spread, hit = _spread(values, chosen, flat, count), np.zeros((count, 1), bool)
        hit[flat[chosen]] = True
        hit = _like(hit, y)
        y = where(hit, spread if reduction is None else _REDUCTIONS[reduction](y, spread), y)
    return reshape(y, x.shape)


def _spread(values, chosen, flat, count):
    """Zeros (count, 1) with the chosen values at their places, each of which occurs once."""
    values, rows = _take_rows(values, _Rows("values", chosen, flat.size)), _Rows("places", flat[chosen], count)
    if values.dtype in FLOATS:
        return _add_rows(values, rows, count)
    values = values.data if isinstance(values, Variable) else values        # add_rows is for what has gradients
    out = full((count, 1), 0, values.dtype, values.device)
    out.device.put(out, values, rows.on(values.device))
    return out


def _like(mask, x):
    return array(mask, device=x.data.device if isinstance(x, Variable) else x.device)


def _last(flat):
    """For each place that occurs, which entry names it last."""
    return flat.size - 1 - np.unique(flat[::-1], return_index=True)[1]


def _rounds(flat):
    """Sets of entries, each set without a place twice, together all of them, in order."""
    order = np.argsort(flat, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(flat[order]) != 0])
    turn = np.arange(flat.size) - np.repeat(starts, np.diff(np.r_[starts, flat.size]))
    return [order[turn == t] for t in range(turn.max() + 1)]


def _indices(what, indices, x, axis):
    indices = np.asarray(indices.numpy() if hasattr(indices, "numpy") else indices)
    (a,) = as_axes(operator.index(axis), x.ndim)
    n = x.shape[a]
    if indices.dtype.kind not in "iu" or indices.ndim != x.ndim:
        raise ValueError(f"{what} of x {x.shape}: indices of dtype {indices.dtype} and shape {indices.shape}")
    if any(i > s for d, (i, s) in enumerate(zip(indices.shape, x.shape)) if d != a):
        raise ValueError(f"{what} of x {x.shape}: indices of shape {indices.shape} reach beyond it outside axis {axis}")
    if indices.size and not (-n <= indices.min() and indices.max() < n):
        raise ValueError(f"{what} along axis {axis} of x {x.shape}: indices from {indices.min()} to {indices.max()}")
    grid = list(np.indices(indices.shape, sparse=True))
    grid[a] = indices.astype(np.int64) % max(n, 1)
    places = np.zeros(indices.shape, np.int64)
    for g, size in zip(grid, x.shape):
        places = places * size + g
    return places


def take_along_axis(x, indices, axis):
    """y[i, j, ...] = x[i, indices[i, j, ...], ...] for the given axis; negative indices count from the end.

    indices (host or device, read back for the check) has x's rank; other axes at most x's sizes.

    >>> import fastconv as fc
    >>> fc.ops.take_along_axis(fc.array([[1.0, 2.0], [3.0, 4.0]]), [[1], [0]], 1).numpy()
    array([[2.],
           [3.]], dtype=float32)
    """
    places = _indices("take_along_axis", indices, x, axis)
    return take_elements(x, places, places.shape)


def put_along_axis(x, indices, values, axis, reduction=None):
    """x with values[i, j, ...] at [i, indices[i, j, ...], ...]: what take_along_axis would read, written.

    reduction: None (of several values for one place the last wins), "add", "multiply", "maximum" or "minimum",
    which combine with the element that is there.
    """
    places = _indices("put_along_axis", indices, x, axis)
    if places.shape != values.shape:
        raise ValueError(f"put_along_axis: indices of shape {places.shape}, values of shape {values.shape}")
    if reduction is not None and reduction not in _REDUCTIONS:
        raise ValueError(f"put_along_axis: reduction {reduction!r}; there are {', '.join(_REDUCTIONS)}")
    return put_elements(x, places, values, reduction)


def cumsum(x, axis, exclusive=False, reverse=False):
    """Running sums along an axis; `exclusive` leaves each element itself out, `reverse` runs from the end.

    Adds in log2(n) rounds over the whole axis, so rounding grows with log n only.

    >>> import fastconv as fc
    >>> fc.ops.cumsum(fc.array([1.0, 2.0, 3.0]), 0).numpy()
    array([1., 3., 6.], dtype=float32)
    """
    return _running(add, 0, x, axis, exclusive, reverse)


def cumprod(x, axis, exclusive=False, reverse=False):
    """Running products along an axis; see cumsum."""
    return _running(multiply, 1, x, axis, exclusive, reverse)


def _running(combine, neutral, x, axis, exclusive, reverse):
    (a,) = as_axes(operator.index(axis), x.ndim)
    n = x.shape[a]
    x = flip(x, a) if reverse else x

    def part(y, start, stop):
        return getitem(y, (slice(None),) * a + (slice(start, stop),))

    if exclusive and n:
        x = pad(part(x, 0, n - 1), ((0, 0),) * a + ((1, 0),) + ((0, 0),) * (x.ndim - a - 1), neutral)
    step = 1
    while step < n:
        x = concatenate([part(x, 0, step), combine(part(x, step, n), part(x, 0, n - step))], a)
        step *= 2
    return flip(x, a) if reverse else x


__all__ = ["cumprod", "cumsum", "put_along_axis", "put_elements", "take_along_axis", "take_elements"]
