"""RowGradient: the gradient of a table of which few rows were used, without the zeros of the others."""
import numpy as np

from .array import Array, array, empty, full


class RowGradient:
    """Like an Array of `shape` (n, width) that is 0 but for `values` (k, width) in some rows.

    rows     int64 NumPy array (k,), sorted, each row once
    values   Array

    The plain walk hands it to leaves only; sums with others of its kind stay rows, those with an Array are
    one. All results have the bits that the Array with its zeros would give.
    """

    __slots__ = ("rows", "values", "shape")

    def __init__(self, rows, values, shape):
        self.rows, self.values, self.shape = rows, values, shape

    @property
    def dtype(self): return self.values.dtype

    @property
    def device(self): return self.values.device

    @property
    def index(self):
        """The rows on the device."""
        return array(self.rows, device=self.device)

    def dense(self):
        """The Array with its zeros."""
        return self._added_to(full(self.shape, 0, self.dtype, self.device))

    def __add__(self, other):
        if isinstance(other, Array):
            return self._added_to(other.astype(other.dtype))
        rows = np.union1d(self.rows, other.rows)
        total = full((len(rows), self.shape[1]), 0, self.dtype, self.device)
        for part in (self, other):
            part._added_to(total, np.searchsorted(rows, part.rows))
        return RowGradient(rows, total, self.shape)

    __radd__ = __add__

    def _added_to(self, out, rows=None):
        """`out` with the values added to these rows of it (by default its own)."""
        if self.values.size:
            index = self.index if rows is None else array(rows, device=self.device)
            each = array(np.arange(len(self.rows) + 1), device=self.device)
            self.device.add_rows(out, index, each, each[:-1], self.values)
        return out


def take(table, rows):
    """The rows of an Array (n, width) by an int64 Array of indices, all in range."""
    out = empty((rows.size, table.shape[1]), table.dtype, table.device)
    if out.size:
        table.device.take(out, table, rows)
    return out
