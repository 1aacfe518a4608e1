"""Rows by index: gather, its deterministic scatter-add, and the embedding."""
import math

import numpy as np

from ..array import INTS, Array, array, as_axes, empty, full
from ..autograd import Variable, op
from .shape import permute, reshape


class _Rows:
    """Indices of rows on the host, checked, and what the devices need of them, uploaded when asked for.

    Grouping by target row makes the scatter-add deterministic and touches only the rows that occur.
    """

    def __init__(self, what, indices, n):
        if isinstance(indices, Variable):
            indices = indices.data
        if isinstance(indices, Array):
            if indices.dtype not in INTS:
                raise TypeError(f"{what}: indices have dtype {indices.dtype}, not an integer one")
            indices = indices.numpy()
        indices = np.asarray(indices)
        if indices.dtype.kind not in "iu" and indices.size:
            raise TypeError(f"{what}: indices have dtype {indices.dtype}, not an integer one")
        if indices.size and not (0 <= indices.min() and indices.max() < n):
            raise ValueError(f"{what}: indices from {indices.min()} to {indices.max()} for {n} rows (0 to {n - 1})")
        self.shape = indices.shape
        self.flat = np.ascontiguousarray(indices.reshape(-1), np.int64)

    def on(self, device):
        """The indices (m,) on a device."""
        return array(self.flat, device=device)

    def grouped(self, device):
        """(rows, starts, order) on a device: see add_rows in reference.py."""
        order = np.argsort(self.flat, kind="stable")
        rows, first = np.unique(self.flat[order], return_index=True)
        starts = np.append(first, len(order)).astype(np.int64)
        return tuple(array(np.asarray(a, np.int64), device=device) for a in (rows, starts, order))


@op(inputs=1)
def _take_rows(x, rows):
    out = empty((rows.flat.size, x.shape[1]), x.dtype, x.device)
    if out.size:
        x.device.take(out, x, rows.on(x.device))
    return out


@op(inputs=1)
def _add_rows(g, rows, n):
    """Zeros (n, width) with the rows of g added at their indices."""
    out = full((n, g.shape[1]), 0, g.dtype, g.device)
    if g.size:
        g.device.add_rows(out, *rows.grouped(g.device), g)
    return out


@_take_rows.gradient
def _(g, y, x, rows):
    return _add_rows(g, rows, x.shape[0])


@_add_rows.gradient
def _(gg, y, g, rows, n):
    return _take_rows(gg, rows)


def index_select(x, indices, axis=0):
    """The slices of x at integer `indices` (m,) along an axis; repeated ones add up in the gradient.

    indices: NumPy array or list (checked on the host), or an Array or Tensor (read back for the check).
    ValueError when one is out of range; negative indices are.
    """
    (a,) = as_axes(axis, x.ndim)
    rows = _Rows(f"index_select of axis {a} of shape {x.shape}", indices, x.shape[a])
    if len(rows.shape) != 1:
        raise ValueError(f"index_select: indices of shape {rows.shape}, not one-dimensional")
    order = (a, *(d for d in range(x.ndim) if d != a))
    rest = tuple(x.shape[d] for d in order[1:])
    taken = _take_rows(reshape(permute(x, order), (x.shape[a], math.prod(rest))), rows)
    return permute(reshape(taken, (rows.flat.size, *rest)), tuple(order.index(d) for d in range(x.ndim)))


def embedding(indices, weight):
    """Rows of weight (n, width) by integer indices of any shape: (*indices.shape, width).

    The gradient of weight is a scatter-add in a fixed order. indices as in `index_select`.

    >>> import fastconv as fc
    >>> fc.ops.embedding([[1, 0]], fc.array([[1.0, 2.0], [3.0, 4.0]])).numpy()
    array([[[3., 4.],
            [1., 2.]]], dtype=float32)
    """
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight of shape {weight.shape}, not (n, width)")
    rows = _Rows(f"embedding of weight {weight.shape}", indices, weight.shape[0])
    return reshape(_take_rows(weight, rows), (*rows.shape, weight.shape[1]))


__all__ = ["embedding", "index_select"]
