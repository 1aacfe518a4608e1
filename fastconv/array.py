"""Array: a strided n-dimensional view of a device buffer. Every view is arithmetic here, once.

Shape inference, broadcasting, dtype promotion and argument checks happen in this file and in
`fastconv.ops`; kernels get operands that fit (see `fastconv.reference`). The arithmetic on shapes and strides
stands in view.pyx. This file is plain Python that Cython compiles; array.pxd gives it the C types.
"""
import math
import operator
import os

import numpy as np

from .device import default_device
from .device import device as as_device
from .reference import view
from .view import (
    View,
    as_axes,
    as_shape,
    broadcast_shapes,
    broadcast_strides,
    compact_strides,
    dense_strides,
    elements,
    extent,
    indexed,
    is_float,
    is_row_major,
    itemsize_of,
    repeats,
    reshaped_strides,
)

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
INTS = (np.dtype(np.uint8), np.dtype(np.int32), np.dtype(np.int64))
BOOL = np.dtype(np.bool_)
DTYPES = FLOATS + INTS + (BOOL,)
FLOAT32, FLOAT64 = FLOATS
INT64 = INTS[-1]

# NumPy dtypes that have no kernels, and the one that holds all their values.
_WIDER = {"float16": FLOAT32, "int8": INTS[1], "int16": INTS[1], "uint16": INTS[1], "uint32": INT64}

# With FASTCONV_POISON=1 fresh arrays start as NaN (or 0x7f bytes), so an unwritten element shows.
_POISON = bool(int(os.environ.get("FASTCONV_POISON") or 0))

_BEYOND = (1 << 63) - 1           # what `elements` says of more than it can count


# --- dtypes ----------------------------------------------------------------------------------

def as_dtype(dtype):
    """The np.dtype for `dtype`, one object for each kind; TypeError when fastconv has none like it."""
    for known in DTYPES:
        if dtype is known:
            return known
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"not a dtype: {dtype!r}") from None
    if found not in DTYPES:
        raise TypeError(f"dtype {found} is not supported; there are {', '.join(map(str, DTYPES))}")
    return DTYPES[DTYPES.index(found)]


def promote(a, b):
    """The dtype that holds both: as the Array API says; an int or bool beside a float becomes that float."""
    if a is b or a == b:
        return a
    if a in FLOATS or b in FLOATS:
        return max([d for d in (a, b) if d in FLOATS], key=FLOATS.index)
    return max(a, b, key=(BOOL, *INTS).index)


def _same_order_strides(shape, inputs):
    """Strides of a dense array laid out in memory like the first input that has this shape and repeats nothing.

    So a channels-last activation stays channels-last through elementwise ops.
    """
    for x in inputs:
        if isinstance(x, Array) and x.shape == shape:
            strides = dense_strides(shape, x.strides)
            if strides is not None:
                return strides
    return compact_strides(shape)


# --- construction ----------------------------------------------------------------------------

def array(obj, dtype=None, device=None):
    """An Array with a copy of `obj`: a NumPy array, nested lists, numbers, an Array, or what NumPy takes.

    dtype   float32, float64, int32, int64, uint8 or bool. By default NumPy arrays keep theirs
            (float16 becomes float32, smaller integers int32 or int64), Python floats are float32,
            Python ints int64.
    device  a Device or its name; the default device when None.

    Raises TypeError for dtypes without kernels (complex, object, strings).

    >>> import fastconv as fc
    >>> fc.array([[1.0, 2.0], [3.0, 4.0]]).sum(axis=0).numpy()
    array([4., 6.], dtype=float32)
    """
    device = default_device() if device is None else as_device(device)
    if isinstance(obj, Array):
        moved = obj.to(device)
        return moved.astype(dtype or obj.dtype, copy=moved is obj)
    typed = isinstance(obj, (np.ndarray, np.generic)) or hasattr(obj, "__array__")
    try:
        source = np.asarray(obj)
    except ValueError as error:
        raise ValueError(f"not an array: {error}") from None
    if dtype is None:
        dtype = source.dtype.newbyteorder("=") if typed else FLOAT32 if source.dtype.kind == "f" else source.dtype
        dtype = _WIDER.get(dtype.name, dtype)
    if source.dtype.kind not in "fiub":
        raise TypeError(f"cannot make an Array of dtype {source.dtype}")
    source = np.ascontiguousarray(source, as_dtype(dtype)).reshape(as_shape(source.shape))
    out = empty(source.shape, dtype, device)
    if out.size:
        device.upload(out, source)
    return out


def empty(shape, dtype=FLOAT32, device=None, strides=None):
    """An uninitialised Array; `strides`, where given, permute a dense layout."""
    device = default_device() if device is None else as_device(device)
    shape = tuple(shape)
    return _allocate(shape, compact_strides(shape) if strides is None else strides, as_dtype(dtype), device)


def _allocate(shape, strides, dtype, device):
    """An uninitialised Array of a dense layout."""
    size, itemsize = elements(shape), itemsize_of(dtype)
    if size >= 1 << 58:
        raise MemoryError(f"an array of shape {shape} and dtype {dtype} does not fit any memory")
    out = _new(device.allocate(size * itemsize), shape, strides, 0, dtype, device)
    if _POISON and size:
        value = math.nan if dtype in FLOATS else True if dtype == BOOL else 0x7f
        device.map("copy", out, value)
    return out


def _new(buffer, shape, strides, offset, dtype, device):
    """What Array(...) makes, without its checks."""
    x = Array.__new__(Array)
    x.buffer = buffer
    x.shape = shape
    x.strides = strides
    x.offset = offset
    x.dtype = dtype
    x.device = device
    return x


def full(shape, value, dtype=FLOAT32, device=None):
    """An Array filled with one number."""
    out = empty(shape, dtype, device)
    out._fill(value)
    return out


# --- the class -------------------------------------------------------------------------------

class Array(View):
    """A strided view of a buffer: shape, strides and offset (in elements), dtype, device.

    Indexing, reshape (where the strides allow), permute, broadcast_to, flip and as_strided return
    views that share the `buffer` object. Arithmetic follows NumPy's broadcasting; dtypes promote as
    in the Array API standard and Python scalars never widen. Make one with `fastconv.array`.

    >>> import fastconv as fc
    >>> x = fc.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> x.flip(1).strides, x.flip(1).offset
    ((3, -1), 2)
    >>> (x[:, ::2] * 2).numpy()
    array([[ 2.,  6.],
           [ 8., 12.]], dtype=float32)
    """

    __array_ufunc__ = None          # so that ndarray + Array calls Array.__radd__

    def __init__(self, buffer, shape, strides, offset, dtype, device):
        self.buffer = buffer
        self.shape = tuple(shape)
        self.strides = tuple(strides)
        self.offset = offset
        self.dtype = as_dtype(dtype)
        self.device = device

    def __hash__(self):
        return id(self) >> 4

    # --- what it is

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        return _size(self)

    def __len__(self):
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        values = np.array2string(self.numpy(), separator=", ", prefix="Array(")
        return f"Array({values}, dtype={self.dtype}, device={self.device.name!r})"

    def is_compact(self):
        """Whether the elements lie row-major without gaps."""
        return is_row_major(self.shape, self.strides)

    # --- to and from elsewhere

    def numpy(self):
        """The values as a new C-contiguous NumPy array (waits for the device)."""
        if self.size == 0:
            return np.empty(self.shape, self.dtype)
        return self.device.download(self.compact())

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError("fastconv arrays are copied on the way to NumPy")
        values = self.numpy()
        return values if dtype is None else values.astype(dtype, copy=False)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """A DLPack capsule: on the CPU of the memory itself, elsewhere of a copy, when dl_device=(1, 0) asks for one.

        BufferError for memory of a device that others cannot reach, or when copy=False forbids the copy.
        """
        on_host = self.device.kind != "opencl"
        if not on_host and (copy is False or dl_device is None or tuple(dl_device) != (1, 0)):
            raise BufferError(f"memory of {self.device.name} is not shared by DLPack: use .to('cpu') or .to_pyopencl()")
        host = view(self) if on_host and self.size else self.numpy()
        if any(step == 0 and size > 1 for step, size in zip(self.strides, self.shape)) and on_host:
            host.flags.writeable = False            # its elements share memory
        given = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        return host.__dlpack__(**{key: value for key, value in given.items() if value is not None})

    def __dlpack_device__(self):
        """(type, number) as DLPack counts devices: (1, 0) is the CPU, 4 OpenCL."""
        return (4, 0) if self.device.kind == "opencl" else (1, 0)

    def to_pyopencl(self):
        """This array as a pyopencl.array.Array that shares its memory, context and queue.

        Views that repeat elements or run backwards are copied first. TypeError on other devices.
        """
        if self.device.kind != "opencl":
            raise TypeError(f"to_pyopencl of an array on {self.device.name}: only arrays on an OpenCL device are")
        from .cl.interop import as_pyopencl
        return as_pyopencl(self if all(step > 0 for step in self.strides) else self.astype(self.dtype).compact())

    def __copy__(self): return self.astype(self.dtype)
    def __deepcopy__(self, memo): return self.astype(self.dtype)
    def __reduce__(self): return array, (self.numpy(), self.dtype, self.device)

    def to(self, device):
        """This array on `device` (a Device or its name): itself when it is there already."""
        device = as_device(device)
        return self if device is self.device else array(self.numpy(), self.dtype, device)

    def astype(self, dtype, copy=True):
        """A copy converted to `dtype`; with copy=False the array itself when it has it already."""
        dtype = as_dtype(dtype)
        return self if dtype is self.dtype and not copy else _apply("copy", (self,), dtype, None)

    def item(self):
        """The only element as a Python number."""
        if self.size != 1:
            raise ValueError(f"item() of an array of shape {self.shape}: there is not exactly one element")
        return self.numpy().item()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        if self.shape or self.dtype not in INTS:
            raise TypeError(f"an array of shape {self.shape}, dtype {self.dtype} is no index: only a 0-d integer one is")
        return int(self.item())

    def __bool__(self):
        if self.size != 1:
            raise ValueError(f"the truth of an array of shape {self.shape} is ambiguous")
        return bool(self.item())

    # --- views

    def _view(self, shape, strides, offset=None):
        """A view of the same buffer with this layout."""
        return _new(self.buffer, shape, strides, self.offset if offset is None else offset, self.dtype, self.device)

    def as_strided(self, shape, strides, offset=0):
        """The view with these sizes and strides, `offset` elements after this array's first element.

        Raises ValueError when an element would lie outside the buffer.
        """
        shape = as_shape(tuple(shape))
        strides = tuple(operator.index(s) for s in strides)
        if len(shape) != len(strides):
            raise ValueError(f"shape {shape} and strides {strides} differ in length")
        start = self.offset + operator.index(offset)
        low, high = extent(shape, strides, start)
        room = self.buffer.nbytes // self.dtype.itemsize
        if 0 not in shape and (low < 0 or high >= room):
            raise ValueError(f"as_strided(shape={shape}, strides={strides}, offset={offset}) reaches elements "
                             f"{low}..{high} of a buffer of {room}")
        return self._view(shape, strides, start)

    def compact(self):
        """Row-major without gaps: itself when it is, else a copy."""
        if is_row_major(self.shape, self.strides):
            return self
        out = _allocate(self.shape, compact_strides(self.shape), self.dtype, self.device)
        self.device.map("copy", out, self)
        return out

    def reshape(self, *shape):
        """This array in another shape of the same size (one -1 is inferred); a view where strides allow."""
        size = _size(self)
        shape = as_shape(shape, size)
        if math.prod(shape) != size:
            raise ValueError(f"cannot reshape an array of shape {self.shape} into {shape}")
        strides = reshaped_strides(self.shape, self.strides, shape)
        if strides is not None:
            return self._view(shape, strides)
        return self.compact()._view(shape, compact_strides(shape), 0)

    def permute(self, *axes):
        """The axes in the given order, as a view."""
        if len(axes) == 1 and isinstance(axes[0], (tuple, list)):
            axes = axes[0]
        try:
            order = [a + self.ndim if a < 0 else a for a in map(operator.index, axes)]
        except TypeError:
            raise TypeError(f"permute takes a tuple of ints, not {axes!r}") from None
        if sorted(order) != list(range(self.ndim)):
            raise ValueError(f"permute{tuple(axes)} does not name each of the {self.ndim} axes of shape {self.shape} once")
        return self._view(tuple([self.shape[a] for a in order]), tuple([self.strides[a] for a in order]))

    def transpose(self, axis1=-2, axis2=-1):
        """Two axes swapped (by default the last two), as a view."""
        ndim = len(self.shape)
        (a,), (b,) = as_axes(axis1, ndim), as_axes(axis2, ndim)
        shape, strides = list(self.shape), list(self.strides)
        shape[a], shape[b] = shape[b], shape[a]
        strides[a], strides[b] = strides[b], strides[a]
        return self._view(tuple(shape), tuple(strides))

    @property
    def T(self):
        return self._view(self.shape[::-1], self.strides[::-1])

    def broadcast_to(self, *shape):
        """A view of `shape` in which missing and size-1 axes repeat (stride 0)."""
        shape = as_shape(shape)
        return self if shape == self.shape else _broadcast(self, shape)

    def flip(self, axis=None):
        """The elements in reverse order along `axis` (int, tuple; None is all), as a view."""
        axes = as_axes(axis, self.ndim)
        strides, offset = list(self.strides), self.offset
        for a in axes:
            offset += (self.shape[a] - 1) * strides[a] if self.shape[a] else 0
            strides[a] = -strides[a]
        return self._view(self.shape, tuple(strides), offset)

    def squeeze(self, axis=None):
        """Without the size-1 axes (or those named, which must have size 1)."""
        ndim = len(self.shape)
        axes = [a for a in range(ndim) if self.shape[a] == 1] if axis is None else as_axes(axis, ndim)
        for a in axes:
            if self.shape[a] != 1:
                raise ValueError(f"squeeze(axis={axis}) of shape {self.shape}: only axes of size 1 go")
        keep = [a for a in range(ndim) if a not in axes]
        return self._view(tuple([self.shape[a] for a in keep]), tuple([self.strides[a] for a in keep]))

    def unsqueeze(self, axis):
        """With new axes of size 1 at these places of the result."""
        count = len(axis) if isinstance(axis, (tuple, list)) else 1
        axes = as_axes(axis, self.ndim + count)
        shape, strides = list(self.shape), list(self.strides)
        for a in axes:
            shape.insert(a, 1)
            strides.insert(a, 0)
        return self._view(as_shape(tuple(shape)), tuple(strides))

    def __getitem__(self, key):
        shape, strides, offset = indexed(key, self.shape, self.strides, self.offset)
        return self._view(shape, strides, offset)

    def __setitem__(self, key, value):
        if repeats(self.shape, self.strides):
            raise ValueError(f"assignment to a broadcast view of shape {self.shape}, strides {self.strides}: "
                             "its elements share memory")
        self[key]._assign(value)

    def _assign(self, value):
        """Write `value` (number, array-like or Array, broadcast) into the elements of this view."""
        if _is_number(value):
            return self._fill(value)
        value = value if isinstance(value, Array) else array(value, device=self.device)
        same_device("assignment", self, value)
        while value.ndim > self.ndim and value.shape[0] == 1:
            value = value[0]
        value = value.broadcast_to(self.shape)
        if _may_overlap(self, value):
            value = value.astype(value.dtype)
        if elements(self.shape):
            self.device.map("copy", self, value)

    def _fill(self, value):
        if elements(self.shape):
            self.device.map("copy", self, _scalar(value, self.dtype))

    # --- elementwise

    def map(self, name, *others):
        """f(self, others...) for a scalar function of scalar_ops.h; Arrays and numbers, broadcast, promoted."""
        return _apply(name, (self, *others), None, None)

    def _map(self, name, *others, dtype=None, result=None):
        """map with `dtype`, what the inputs are converted to (by default promoted), and `result`, the output's."""
        return _apply(name, (self, *others), dtype, result)

    def __add__(self, other): return _arithmetic("add", self, other)
    def __radd__(self, other): return _arithmetic("add", self, other)
    def __sub__(self, other): return _arithmetic("subtract", self, other)
    def __rsub__(self, other): return _arithmetic("subtract", self, other, True)
    def __mul__(self, other): return _arithmetic("multiply", self, other)
    def __rmul__(self, other): return _arithmetic("multiply", self, other)
    def __truediv__(self, other): return _arithmetic("divide", self, other, False, True)
    def __rtruediv__(self, other): return _arithmetic("divide", self, other, True, True)
    def __pow__(self, other):
        if is_float(self.dtype) and _is_number(other) and float(other) in _POWERS:
            return _apply(_POWERS[float(other)], (self,), None, None)
        return _arithmetic("power", self, other)

    def __rpow__(self, other): return _arithmetic("power", self, other, True)
    def __neg__(self): return _apply("negative", (self,), None, None)
    def __pos__(self): return self
    def __abs__(self): return _apply("abs", (self,), None, None)
    def __eq__(self, other): return _compare("equal", self, other)
    def __ne__(self, other): return _compare("not_equal", self, other)
    def __lt__(self, other): return _compare("less", self, other)
    def __le__(self, other): return _compare("less_equal", self, other)
    def __gt__(self, other): return _compare("greater", self, other)
    def __ge__(self, other): return _compare("greater_equal", self, other)

    def maximum(self, other): return _apply("maximum", (self, other), None, None)
    def minimum(self, other): return _apply("minimum", (self, other), None, None)
    def exp(self): return self._float_map("exp")
    def log(self): return self._float_map("log")
    def sqrt(self): return self._float_map("sqrt")
    def tanh(self): return self._float_map("tanh")

    def _float_map(self, name, *others):
        """A function that only floats have: integers become float32 first."""
        operands = (self, *others)
        dtype = _common_dtype(operands)
        return _apply(name, operands, dtype if is_float(dtype) else FLOAT32, None)

    def where(self, a, b):
        """a where this bool array is true, else b; a, b Arrays or numbers, broadcast."""
        condition = self if self.dtype is BOOL else self != 0
        a, b = _operand(a, self), _operand(b, self)
        dtype = _common_dtype((a, b))
        operands = [condition] + [x.astype(dtype, copy=False) if isinstance(x, Array) else _scalar(x, dtype)
                                  for x in (a, b)]
        return _launch("where", operands, dtype)

    # --- padding

    def pad(self, width, value=0):
        """A copy with `value` around it: width is ((before, after), ...) for each axis, as in np.pad."""
        width = _pad_width(width, self)
        shape = tuple(lo + size + hi for (lo, hi), size in zip(width, self.shape))
        out = full(shape, value, self.dtype, self.device)
        out[tuple(slice(lo, lo + size) for (lo, _), size in zip(width, self.shape))] = self
        return out

    # --- reductions

    def _reduce(self, name, axis, keepdims):
        axes = as_axes(axis, len(self.shape))
        if not axes:
            return self.astype(self.dtype)
        kept = list(self.shape)
        for a in axes:
            kept[a] = 1
        kept, left = tuple(kept), tuple([n for d, n in enumerate(self.shape) if d not in axes])
        if name in ("max", "min") and 0 in [self.shape[a] for a in axes]:
            raise ValueError(f"{name} over axes {axes} of an empty array of shape {self.shape}")
        out = _allocate(kept, compact_strides(kept), self.dtype, self.device)
        if elements(self.shape):
            self.device.reduce(name, out, self, axes)
        else:
            out._fill(0 if name == "sum" else 1)
        return out if keepdims else out._view(left, compact_strides(left))

    def sum(self, axis=None, keepdims=False):
        """Sum over axes (None, int, tuple; () = unchanged). Integers and bools sum as int64."""
        x = self if is_float(self.dtype) else self.astype(INT64, copy=False)
        return x._reduce("sum", axis, keepdims)

    def prod(self, axis=None, keepdims=False):
        """Product over axes. Integers and bools multiply as int64."""
        x = self if is_float(self.dtype) else self.astype(INT64, copy=False)
        return x._reduce("prod", axis, keepdims)

    def mean(self, axis=None, keepdims=False):
        """Arithmetic mean over axes; of integers in float32. NaN for an empty slice."""
        x = self if is_float(self.dtype) else self.astype(FLOAT32)
        count = math.prod([self.shape[a] for a in as_axes(axis, self.ndim)])
        total = x.sum(axis, keepdims)
        return total / count if count else total * math.nan

    def max(self, axis=None, keepdims=False):
        """Largest element over axes; NaN where there is one; ValueError for an empty slice."""
        return self._reduce("max", axis, keepdims)

    def min(self, axis=None, keepdims=False):
        """Smallest element over axes; NaN where there is one; ValueError for an empty slice."""
        return self._reduce("min", axis, keepdims)

    def argmax(self, axis=None, keepdims=False):
        """int64 index of the first largest element along `axis`; of several axes (None: all) in them flattened."""
        return self._arg_reduce("argmax", axis, keepdims)

    def argmin(self, axis=None, keepdims=False):
        """int64 index of the first smallest element along `axis`; of several axes (None: all) in them flattened."""
        return self._arg_reduce("argmin", axis, keepdims)

    def _arg_reduce(self, name, axis, keepdims):
        axes = as_axes(axis, self.ndim)
        if any(self.shape[a] == 0 for a in axes):
            raise ValueError(f"{name} over axis {axis} of an empty array of shape {self.shape}")
        rest = tuple(d for d in range(self.ndim) if d not in axes)
        left = tuple(self.shape[d] for d in rest)
        x, a = self, axes[0] if len(axes) == 1 else len(rest)
        if len(axes) != 1:
            x = self.permute(rest + axes).reshape(*left, math.prod(self.shape[d] for d in axes))
        out = empty(x.shape[:a] + (1,) + x.shape[a + 1:], INT64, self.device)
        if out.size:
            self.device.arg_reduce(name, out, x, a)
        return out.reshape(tuple(1 if d in axes else n for d, n in enumerate(self.shape)) if keepdims else left)

    # --- matrix product

    def __matmul__(self, other):
        """The matrix product as in NumPy: 2-D, batched with broadcast leading axes, vectors.

        TypeError for unlike or integer dtypes, ValueError for shapes that do not fit.
        """
        if isinstance(other, np.ndarray):
            other = _operand(other, self)
        if not isinstance(other, Array):
            return NotImplemented
        return _matmul(self, other)

    def __rmatmul__(self, other):
        return _operand(other, self) @ self if isinstance(other, np.ndarray) else NotImplemented


def _matmul(x, y):
    same_device("matmul", x, y)
    same_float_dtype("matmul", x, y)
    if not x.shape or not y.shape:
        raise ValueError(f"matmul of shapes {x.shape} and {y.shape}: 0-d operands are not allowed")
    a = x if len(x.shape) > 1 else x.unsqueeze(0)
    b = y if len(y.shape) > 1 else y.unsqueeze(1)
    rows, inner, columns = a.shape[-2], a.shape[-1], b.shape[-1]
    if inner != b.shape[-2]:
        raise ValueError(f"matmul of shapes {x.shape} and {y.shape}: {inner} columns meet {b.shape[-2]} rows")
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2]) if len(a.shape) + len(b.shape) > 4 else ()
    shape = (*batch, rows, columns)
    out = _allocate(shape, compact_strides(shape), a.dtype, a.device)
    if not inner or not elements(shape):
        out._fill(0)
    elif batch:
        a.device.matmul(out, a.broadcast_to((*batch, rows, inner)), b.broadcast_to((*batch, inner, columns)))
    else:
        a.device.matmul(out, a, b)
    return out if a is x and b is y else out.squeeze(tuple([d for d, v in ((-2, x), (-1, y)) if len(v.shape) == 1]))


# Exponents with a function of their own (as in NumPy: x ** 0.5 is sqrt).
_POWERS = {2.0: "square", 0.5: "sqrt", -1.0: "reciprocal", 1.0: "copy"}


# --- elementwise calls -----------------------------------------------------------------------

def _arithmetic(name, x, other, reverse=False, floating=False):
    if isinstance(other, Array) and other.dtype is x.dtype and is_float(x.dtype):
        return _launch(name, [x, other], x.dtype)
    if not isinstance(other, Array) and not _is_number(other):
        if not isinstance(other, np.ndarray):
            return NotImplemented
        other = _operand(other, x)
    operands = (other, x) if reverse else (x, other)
    dtype = _common_dtype(operands)
    if dtype is BOOL:
        raise TypeError(f"{name} of bool arrays: convert them with astype, or compare")
    if floating and not is_float(dtype):
        dtype = FLOAT32
    return _apply(name, operands, dtype, None)


def _compare(name, x, other):
    if not (isinstance(other, (Array, np.ndarray)) or _is_number(other)):
        return NotImplemented
    dtype = None
    if x.dtype in INTS and isinstance(other, (int, np.integer)) and not _fits(other, x.dtype):
        dtype = INT64                # an integer beyond the dtype compares all the same
    return _apply(name, (x, other), dtype, BOOL)


def _apply(name, operands, dtype, result):
    """f(operands...) in a new Array: Arrays, numbers and (not in front) NumPy arrays, promoted and broadcast.

    `dtype` is what they are converted to (None: the promoted one), `result` the dtype of the new Array.
    """
    inputs = [x if isinstance(x, Array) or _is_number(x) else _operand(x, operands[0]) for x in operands]
    if dtype is None:
        dtype = _common_dtype(inputs)
    if name != "copy":                              # which converts itself
        for i, x in enumerate(inputs):
            if not isinstance(x, Array):
                inputs[i] = _scalar(x, dtype)
            elif x.dtype is not dtype:
                inputs[i] = _apply("copy", (x,), dtype, None)
    return _launch(name, inputs, dtype if result is None else as_dtype(result))


def _launch(name, inputs, dtype):
    """device.map into a new Array of this dtype, laid out like the first input that has the full shape."""
    device = shape = None
    uniform = True
    for x in inputs:
        if not isinstance(x, Array):
            continue
        if device is None:
            device, shape = x.device, x.shape
        elif x.device is not device:
            same_device(name, *[x for x in inputs if isinstance(x, Array)])
        elif x.shape is not shape and x.shape != shape:
            uniform = False
    if not uniform:
        shape = broadcast_shapes(*[x.shape for x in inputs if isinstance(x, Array)])
    out = _allocate(shape, _same_order_strides(shape, inputs), dtype, device)
    if not elements(shape):
        return out
    if not uniform:
        inputs = [_broadcast(x, shape) if isinstance(x, Array) and x.shape != shape else x for x in inputs]
    if len(inputs) == 1:
        device.map(name, out, inputs[0])
    elif len(inputs) == 2:
        device.map(name, out, inputs[0], inputs[1])
    else:
        device.map(name, out, *inputs)
    return out


def _broadcast(x, shape):
    strides = broadcast_strides(x.shape, x.strides, shape)
    if strides is None:
        raise ValueError(f"shape {x.shape} does not broadcast to {shape}")
    return _new(x.buffer, shape, strides, x.offset, x.dtype, x.device)


# --- helpers ---------------------------------------------------------------------------------

def _is_number(value):
    return isinstance(value, (float, int, np.generic))


def _operand(value, beside):
    """What is combined with the Array `beside`: an Array or a number; NumPy arrays move to its device."""
    if isinstance(value, Array) or _is_number(value):
        return value
    if isinstance(value, np.ndarray):
        return array(value, device=beside.device)
    raise TypeError(f"an Array cannot be combined with {type(value).__name__}")


def _size(x):
    count = elements(x.shape)
    return math.prod(x.shape) if count == _BEYOND else count


def _fits(value, dtype):
    return np.iinfo(dtype).min <= value <= np.iinfo(dtype).max


def _scalar(value, dtype):
    """A Python number that `dtype` can hold; ValueError for an integer out of its range."""
    if type(value) is float and is_float(dtype):
        return value
    value = value.item() if isinstance(value, np.generic) else value
    if is_float(dtype):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{value} does not fit dtype {dtype}") from None
    if dtype in INTS and not (_fits(value, dtype) if isinstance(value, int) else math.isfinite(value)):
        raise ValueError(f"{value} does not fit dtype {dtype}")
    return value


def _common_dtype(operands):
    """Promoted dtype of the Arrays; a Python number only lifts bool to int, and int to float32."""
    common = None
    for x in operands:
        if isinstance(x, Array):
            common = x.dtype if common is None else promote(common, x.dtype)
    if is_float(common):
        return common
    for x in operands:
        if not isinstance(x, Array):
            kind = (BOOL if isinstance(x, (bool, np.bool_)) else
                    INT64 if isinstance(x, (int, np.integer)) else FLOAT32)
            if common is None or (common is BOOL and kind is not BOOL) or (common in INTS and kind is FLOAT32):
                common = kind
    return common


def same_device(what, *arrays):
    """ValueError unless all arrays are on one device."""
    for x in arrays:
        if x.device is not arrays[0].device:
            raise ValueError(f"{what} of arrays on different devices: {', '.join([x.device.name for x in arrays])}")


def same_float_dtype(what, *arrays):
    """TypeError unless all arrays have one floating dtype."""
    dtype = arrays[0].dtype
    for x in arrays:
        if x.dtype is not dtype or not is_float(dtype):
            raise TypeError(f"{what} takes operands of one floating dtype, not {', '.join([str(x.dtype) for x in arrays])}")


def _may_overlap(a, b):
    """Whether writing a while reading b could read what was just written."""
    if a.buffer is not b.buffer or (a.offset, a.shape, a.strides) == (b.offset, b.shape, b.strides):
        return False
    (alo, ahi), (blo, bhi) = extent(a.shape, a.strides, a.offset), extent(b.shape, b.strides, b.offset)
    return alo <= bhi and blo <= ahi


def _pad_width(width, x):
    try:
        pairs = tuple((operator.index(lo), operator.index(hi)) for lo, hi in width)
    except (TypeError, ValueError):
        raise TypeError(f"pad takes ((before, after), ...) in ints, not {width!r}") from None
    if len(pairs) != x.ndim:
        raise ValueError(f"pad of {len(pairs)} axes {pairs} for an array of shape {x.shape}")
    if any(lo < 0 or hi < 0 for lo, hi in pairs):
        raise ValueError(f"negative padding {pairs}")
    return pairs
