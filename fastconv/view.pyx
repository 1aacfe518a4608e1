"""View: what a kernel sees of an Array; and the arithmetic of shapes and strides, in C.

Every operation runs through here several times, so that a microsecond more would show in each. Shapes and
strides are tuples of ints, strides count elements. What comes out equal to what went in is the same tuple:
most comparisons of layouts end at the first pointer.
"""
import math
import operator

import numpy as np

cimport cython
from cpython.ref cimport Py_INCREF
from cpython.slice cimport PySlice_GetIndicesEx
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport INT64_MAX, int64_t

MAX_DIMS = MOST_DIMS
cdef object FLOAT32 = np.dtype(np.float32), FLOAT64 = np.dtype(np.float64)      # Arrays hold no others like them


cdef class Kernels:
    """The entries of a device that every small op calls: fields of C, where its others are in a dict."""


@cython.no_gc                   # nothing that a view holds leads back to it
@cython.freelist(64)
@cython.auto_pickle(False)
cdef class View:
    """`buffer`, `shape`, `strides` and `offset` (in elements), `dtype`, `device`."""


cpdef bint is_float(object dtype) noexcept:
    """Whether an Array's dtype is float32 or float64."""
    return dtype is FLOAT32 or dtype is FLOAT64


cpdef int64_t itemsize_of(object dtype) except -1:
    """Bytes of one element."""
    return 4 if dtype is FLOAT32 else dtype.itemsize


# --- tuples and C arrays -----------------------------------------------------------------------

cdef int load(tuple values, int64_t *out) except -1:
    """The ints of a tuple, at most MAX_DIMS. How many."""
    cdef Py_ssize_t n = PyTuple_GET_SIZE(values), i
    if n > MOST_DIMS:
        raise ValueError(f"{n} dimensions in shape {values}; at most {MAX_DIMS} are supported")
    try:
        for i in range(n):
            out[i] = <object>PyTuple_GET_ITEM(values, i)
    except OverflowError:
        raise ValueError(f"sizes and strides have 64 bits: {values}") from None
    return <int>n


cdef tuple pack(const int64_t *values, Py_ssize_t n):
    cdef tuple out = PyTuple_New(n)
    cdef object item
    cdef Py_ssize_t i
    for i in range(n):
        item = values[i]
        Py_INCREF(item)
        PyTuple_SET_ITEM(out, i, item)
    return out


cdef tuple pack_like(tuple known, const int64_t *values, int n):
    """These values as a tuple: `known` itself when it holds them."""
    cdef int64_t old[MOST_DIMS]
    cdef int i
    if load(known, old) != n:
        return pack(values, n)
    for i in range(n):
        if old[i] != values[i]:
            return pack(values, n)
    return known


cdef inline int64_t magnitude(int64_t x) noexcept:
    return -x if x < 0 else x


# --- sizes, axes -------------------------------------------------------------------------------

cpdef int64_t elements(tuple shape) except? -1:
    """The product of the sizes; INT64_MAX when it is no smaller than that."""
    cdef int64_t sizes[MOST_DIMS]
    cdef int64_t product = 1
    cdef int n = load(shape, sizes), i
    for i in range(n):
        if sizes[i] == 0:
            return 0
    for i in range(n):
        if product > INT64_MAX // sizes[i]:
            return INT64_MAX
        product *= sizes[i]
    return product


cpdef tuple as_shape(object shape, object known=None):
    """A tuple of ints from a sequence (or a sequence in a sequence); one -1 is filled in so that the product is `known`."""
    cdef int64_t sizes[MOST_DIMS]
    cdef int i, n, guessed = -1
    cdef int64_t rest = 1
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = shape[0]
    cdef tuple given = shape if type(shape) is tuple else tuple(shape)
    for size in given:
        if type(size) is not int:
            given = ints(given, "a shape holds ints")
            break
    n = load(given, sizes)
    for i in range(n):
        if sizes[i] == -1 and known is not None and guessed < 0:
            guessed = i
        elif sizes[i] < 0:
            raise ValueError(f"negative size in shape {given}")
        else:
            rest *= sizes[i]
    if guessed < 0:
        return given
    if rest == 0 or known % rest:
        raise ValueError(f"cannot reshape {known} elements into shape {given}")
    sizes[guessed] = known // rest
    return pack(sizes, n)


cdef tuple ints(object values, str what):
    try:
        return tuple(map(operator.index, values))
    except TypeError:
        raise TypeError(f"{what}, not {values!r}") from None


cpdef tuple as_axes(object axis, int64_t ndim):
    """A sorted tuple of axes from None (all), an int or a tuple of ints."""
    cdef int64_t axes[MOST_DIMS]
    cdef int64_t a
    cdef int n = 0, at
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    for value in given:
        try:
            value = operator.index(value)
        except TypeError:
            raise TypeError(f"an axis is an int, a tuple of ints or None, not {axis!r}") from None
        if not -ndim <= value < ndim:
            raise ValueError(f"axis {value} is out of range for {ndim} dimensions")
        a = value + ndim if value < 0 else value
        at = n
        while at > 0 and axes[at - 1] > a:
            axes[at] = axes[at - 1]
            at -= 1
        if (at > 0 and axes[at - 1] == a) or n == MOST_DIMS:
            raise ValueError(f"repeated axis in {axis!r}")
        axes[at] = a
        n += 1
    return pack(axes, n)


# --- layouts -----------------------------------------------------------------------------------

cdef void row_major(const int64_t *shape, int n, int64_t *strides) noexcept:
    cdef int64_t step = 1
    cdef int d
    for d in range(n - 1, -1, -1):
        strides[d] = step
        step *= max(shape[d], 1)


cpdef tuple compact_strides(object shape):
    """Row-major strides in elements."""
    cdef int64_t sizes[MOST_DIMS]
    cdef int64_t strides[MOST_DIMS]
    cdef int n = load(tuple(shape), sizes)
    row_major(sizes, n, strides)
    return pack(strides, n)


cpdef bint is_row_major(tuple shape, tuple strides) except -1:
    """Whether the elements lie one after the other, in order."""
    cdef int64_t sizes[MOST_DIMS]
    cdef int64_t steps[MOST_DIMS]
    cdef int n = load(shape, sizes), d
    cdef int64_t step = 1
    load(strides, steps)
    for d in range(n - 1, -1, -1):
        if sizes[d] != 1 and steps[d] != step:
            return elements(shape) == 0
        step *= sizes[d]
    return True


cpdef bint repeats(tuple shape, tuple strides) except -1:
    """Whether an axis longer than 1 stands still: a broadcast view."""
    cdef int64_t sizes[MOST_DIMS]
    cdef int64_t steps[MOST_DIMS]
    cdef int n = load(shape, sizes), d
    load(strides, steps)
    for d in range(n):
        if steps[d] == 0 and sizes[d] > 1:
            return True
    return False


cpdef tuple dense_strides(tuple shape, tuple strides):
    """Strides of a dense array whose axes lie in memory in the order of these; None for a broadcast view."""
    cdef int64_t sizes[MOST_DIMS]
    cdef int64_t steps[MOST_DIMS]
    cdef int64_t dense[MOST_DIMS]
    cdef int order[MOST_DIMS]
    cdef int n = load(shape, sizes), d, e
    cdef int64_t step = 1
    load(strides, steps)
    if is_row_major(shape, strides):
        row_major(sizes, n, dense)
        return pack_like(strides, dense, n)
    for d in range(n):
        if steps[d] == 0 and sizes[d] > 1:
            return None
        e = d
        while e > 0 and magnitude(steps[order[e - 1]]) < magnitude(steps[d]):
            order[e] = order[e - 1]
            e -= 1
        order[e] = d
    for e in range(n - 1, -1, -1):
        dense[order[e]] = step
        step *= max(sizes[order[e]], 1)
    return pack_like(strides, dense, n)


# --- broadcasting ------------------------------------------------------------------------------

cpdef tuple broadcast_two(tuple a, tuple b):
    """The common shape of two, or None."""
    if a is b:
        return a
    cdef int64_t x[MOST_DIMS]
    cdef int64_t y[MOST_DIMS]
    cdef int n = load(a, x), m = load(b, y), d
    if n < m:
        return broadcast_two(b, a)
    for d in range(n - m, n):
        if x[d] == 1:
            x[d] = y[d - n + m]
        elif y[d - n + m] != 1 and y[d - n + m] != x[d]:
            return None
    return pack_like(a, x, n)


def broadcast_shapes(*shapes):
    """The common shape, as in NumPy; ValueError that shows them all when there is none."""
    cdef tuple common = ()
    for shape in shapes:
        common = broadcast_two(common, shape)
        if common is None:
            raise ValueError(f"shapes do not broadcast: {', '.join(map(str, shapes))}")
    return common


cpdef tuple broadcast_strides(tuple shape, tuple strides, tuple target):
    """Strides that show `shape` as `target`, missing and size-1 axes repeated (stride 0); None when it does not fit."""
    cdef int64_t sizes[MOST_DIMS]
    cdef int64_t steps[MOST_DIMS]
    cdef int64_t wanted[MOST_DIMS]
    cdef int64_t out[MOST_DIMS]
    cdef int n = load(shape, sizes), m = load(target, wanted), lead = m - n, d
    load(strides, steps)
    if lead < 0:
        return None
    for d in range(m):
        if d < lead:
            out[d] = 0
        elif sizes[d - lead] == wanted[d]:
            out[d] = steps[d - lead]
        elif sizes[d - lead] == 1:
            out[d] = 0
        else:
            return None
    return pack_like(strides, out, m)


# --- reshape, extent, index --------------------------------------------------------------------

cpdef tuple reshaped_strides(tuple shape, tuple strides, tuple target):
    """Strides that show the same elements in the shape `target`, or None when only a copy can.

    Both shapes, of one size, are cut into matching groups of axes with equal products; a group is viewable
    when its old axes lie in memory like one.
    """
    cdef int64_t sizes[MOST_DIMS]
    cdef int64_t steps[MOST_DIMS]
    cdef int64_t wanted[MOST_DIMS]
    cdef int64_t out[MOST_DIMS]
    cdef int n = load(shape, sizes), m = load(target, wanted), i = 0, j = 0, first, d, kept = 0
    cdef int64_t have, want, step
    load(strides, steps)
    if elements(shape) == 0:
        return compact_strides(target)
    for d in range(n):
        if sizes[d] != 1:
            sizes[kept], steps[kept] = sizes[d], steps[d]
            kept += 1
    while j < m:
        if wanted[j] == 1:
            out[j] = 0
            j += 1
            continue
        first, have, want = j, sizes[i], wanted[j]
        while have != want:
            if have < want:
                if steps[i] != steps[i + 1] * sizes[i + 1]:
                    return None
                i += 1
                have *= sizes[i]
            else:
                j += 1
                want *= wanted[j]
        step = steps[i]
        for d in range(j, first - 1, -1):
            out[d] = step
            step *= wanted[d]
        i += 1
        j += 1
    return pack_like(strides, out, m)


def extent(shape, strides, offset):
    """First and last element (inclusive) that a non-empty view touches, in Python's ints: the user's strides may be huge."""
    low = high = offset
    for size, stride in zip(shape, strides):
        if stride < 0:
            low += (size - 1) * stride
        else:
            high += (size - 1) * stride
    return low, high


cpdef tuple indexed(object key, tuple shape, tuple strides, int64_t offset):
    """(shape, strides, offset) of x[key]: ints, slices, None and one Ellipsis; missing axes are whole."""
    cdef int64_t sizes[MOST_DIMS]
    cdef int64_t steps[MOST_DIMS]
    cdef int64_t out[MOST_DIMS]
    cdef int64_t out_steps[MOST_DIMS]
    cdef int n = load(shape, sizes), axis = 0, kept = 0, used = 0, added = 0, dropped = 0, dots = 0, after
    cdef Py_ssize_t start, stop, step, length
    cdef tuple keys = tuple(key) if isinstance(key, tuple) else (key,)
    load(strides, steps)
    for k in keys:
        if k is Ellipsis:
            dots += 1
        elif k is None:
            added += 1
        else:
            used += 1
            dropped += type(k) is not slice
    if dots > 1:
        raise IndexError(f"more than one Ellipsis in index {key!r}")
    if used > n:
        check_key(keys)
        raise IndexError(f"{used} indices for an array of shape {shape}")
    if n + added - dropped > MOST_DIMS:
        raise ValueError(f"{n + added - dropped} dimensions in index {key!r} of shape {shape}; at most {MAX_DIMS} are supported")
    if not dots:
        keys += (Ellipsis,)
    for k in keys:
        if type(k) is slice:
            PySlice_GetIndicesEx(k, sizes[axis], &start, &stop, &step, &length)
            if length:
                offset += start * steps[axis]
            out[kept], out_steps[kept] = length, steps[axis] * step
            kept += 1
            axis += 1
        elif k is None:
            out[kept], out_steps[kept] = 1, 0
            kept += 1
        elif k is Ellipsis:
            for after in range(n - used):
                out[kept], out_steps[kept] = sizes[axis], steps[axis]
                kept += 1
                axis += 1
        else:
            i = as_index(k)
            if not -sizes[axis] <= i < sizes[axis]:
                raise IndexError(f"index {i} is out of range for axis {axis} of shape {shape}")
            offset += <int64_t>(i + sizes[axis] if i < 0 else i) * steps[axis]
            axis += 1
    return pack_like(shape, out, kept), pack_like(strides, out_steps, kept), offset


cdef object as_index(object k):
    if type(k) is int:
        return k
    if not isinstance(k, bool) and type(k).__name__ not in ("bool", "bool_"):
        try:
            return operator.index(k)
        except TypeError:
            pass
    raise TypeError(f"an index is an int, slice, None or Ellipsis, not {k!r}")


cdef int check_key(tuple keys) except -1:
    for k in keys:
        if k is not None and k is not Ellipsis and type(k) is not slice:
            as_index(k)
    return 0
