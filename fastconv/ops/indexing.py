"""Rows by index: gather, its deterministic scatter-add, and the embedding."""
import functools
import math
import operator

import numpy as np

from ..array import INTS, Array, array, as_axes, full
from ..autograd import Variable, op
from ..row_gradient import RowGradient, take
from .elementwise import where
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
        rows, *groups = self._grouped
        return tuple(array(a, device=device) for a in (rows, *groups))

    def gradient(self, g, n):
        """The gradient of a table of n rows, given the gradient g (m, width) of its rows."""
        rows, *groups = self._grouped
        values = full((len(rows), g.shape[1]), 0, g.dtype, g.device)
        if g.size:
            each = array(np.arange(len(rows)), device=g.device)
            g.device.add_rows(values, each, *(array(a, device=g.device) for a in groups), g)
        return RowGradient(rows, values, (n, g.shape[1]))

    @functools.cached_property
    def _grouped(self):
        """(rows (k,), each once and sorted; starts (k + 1,) of their groups in order; order (m,)): int64."""
        order = np.argsort(self.flat, kind="stable")
        rows, first = np.unique(self.flat[order], return_index=True)
        return rows, np.append(first, len(order)).astype(np.int64), np.asarray(order, np.int64)


@op(inputs=1)
def _take_rows(x, rows):
    return take(x, rows.on(x.device))


@op(inputs=1)
def _add_rows(g, rows, n):
    """Zeros (n, width) with the rows of g added at their indices."""
    out = full((n, g.shape[1]), 0, g.dtype, g.device)
    if g.size:
        g.device.add_rows(out, *rows.grouped(g.device), g)
    return out


@_take_rows.gradient
def _(g, y, x, rows):
    return rows.gradient(g, x.shape[0]) if isinstance(g, Array) else _add_rows(g, rows, x.shape[0])


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


def embedding(indices, weight, padding_idx=None):
    """Rows of weight (n, width) by integer indices of any shape: (*indices.shape, width).

    indices as in `index_select`. The gradient of weight is a scatter-add in a fixed order; a plain backward
    of a weight that is a leaf keeps the rows that were used, and not the zeros of the others, until somebody
    asks for `weight.grad`. The row padding_idx (negative: from the end) gets no gradient.

    >>> import fastconv as fc
    >>> fc.ops.embedding([[1, 0]], fc.array([[1.0, 2.0], [3.0, 4.0]])).numpy()
    array([[[3., 4.],
            [1., 2.]]], dtype=float32)
    """
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight of shape {weight.shape}, not (n, width)")
    n, width = weight.shape
    rows = _Rows(f"embedding of weight {weight.shape}", indices, n)
    taken = _take_rows(weight, rows)
    if padding_idx is not None and isinstance(taken, Variable):
        padding = rows.flat == as_row("embedding", padding_idx, n)
        taken = where(array(padding[:, None], device=taken.data.device), taken.data, taken)
    return reshape(taken, (*rows.shape, width))


def as_row(what, index, n):
    """A row 0..n-1 from an int that may count from the end; ValueError when there is none."""
    if not -n <= operator.index(index) < n:
        raise ValueError(f"{what}: padding_idx {index} for {n} rows")
    return operator.index(index) % n


__all__ = ["embedding", "index_select"]
