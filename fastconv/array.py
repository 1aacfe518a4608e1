"""Array: a strided n-dimensional view of a device buffer. Every view is arithmetic here, once.

Shape inference, broadcasting, dtype promotion and argument checks happen in this file and in
`fastconv.ops`; kernels get operands that fit (see `fastconv.reference`).
"""
import math
import operator
import os

import numpy as np

from .device import default_device
from .device import device as as_device

MAX_DIMS = 16
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


# --- dtypes, shapes, strides -----------------------------------------------------------------

def as_dtype(dtype):
    """The np.dtype for `dtype`; TypeError when fastconv has none like it."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"not a dtype: {dtype!r}") from None
    if found not in DTYPES:
        raise TypeError(f"dtype {found} is not supported; there are {', '.join(map(str, DTYPES))}")
    return found.newbyteorder("=")


def promote(a, b):
    """The dtype that holds both: as the Array API says; an int or bool beside a float becomes that float."""
    if a == b:
        return a
    if a in FLOATS or b in FLOATS:
        return max((d for d in (a, b) if d in FLOATS), key=FLOATS.index)
    return max(a, b, key=(BOOL, *INTS).index)


def as_shape(shape, known=None):
    """A tuple of ints from an int or a sequence; one -1 is filled in so that the product is `known`."""
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = shape[0]
    try:
        sizes = tuple(operator.index(s) for s in shape)
    except TypeError:
        raise TypeError(f"a shape holds ints, not {shape!r}") from None
    if known is not None and sizes.count(-1) == 1:
        rest = math.prod(s for s in sizes if s != -1)
        if rest == 0 or known % rest:
            raise ValueError(f"cannot reshape {known} elements into shape {sizes}")
        sizes = tuple(known // rest if s == -1 else s for s in sizes)
    if any(s < 0 for s in sizes):
        raise ValueError(f"negative size in shape {sizes}")
    if len(sizes) > MAX_DIMS:
        raise ValueError(f"{len(sizes)} dimensions in shape {sizes}; at most {MAX_DIMS} are supported")
    return sizes


def as_axes(axis, ndim):
    """A sorted tuple of axes from None (all), an int or a tuple of ints."""
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    try:
        axes = [operator.index(a) for a in axes]
    except TypeError:
        raise TypeError(f"an axis is an int, a tuple of ints or None, not {axis!r}") from None
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(f"axis {a} is out of range for {ndim} dimensions")
    wrapped = sorted(a % ndim for a in axes)
    if len(set(wrapped)) != len(wrapped):
        raise ValueError(f"repeated axis in {axis!r}")
    return tuple(wrapped)


def compact_strides(shape):
    """Row-major strides in elements."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _is_row_major(shape, strides):
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides)):
        if size != 1 and stride != step:
            return size == 0 or 0 in shape
        step *= size
    return True


def _same_order_strides(shape, inputs):
    """Strides of a dense array laid out in memory like the first input that has this shape.

    So a channels-last activation stays channels-last through elementwise ops.
    """
    for x in inputs:
        if isinstance(x, Array) and x.shape == shape:
            if _is_row_major(shape, x.strides):
                break
            if any(st == 0 and size > 1 for st, size in zip(x.strides, shape)):
                continue
            order = sorted(range(len(shape)), key=lambda d: (-abs(x.strides[d]), d))
            dense = compact_strides([shape[d] for d in order])
            strides = [0] * len(shape)
            for d, stride in zip(order, dense):
                strides[d] = stride
            return tuple(strides)
    return compact_strides(shape)


def broadcast_shapes(*shapes):
    """The common shape, as in NumPy; ValueError that shows them all when there is none."""
    out = []
    for d in range(-max((len(s) for s in shapes), default=0), 0):
        sizes = {s[d] for s in shapes if len(s) >= -d} - {1}
        if len(sizes) > 1:
            raise ValueError(f"shapes do not broadcast: {', '.join(map(str, shapes))}")
        out.append(sizes.pop() if sizes else 1)
    return tuple(out)


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
    dtype = as_dtype(dtype)
    size = math.prod(shape)
    if size * dtype.itemsize >= 1 << 63:
        raise MemoryError(f"an array of shape {shape} and dtype {dtype} does not fit any memory")
    buffer = device.allocate(size * dtype.itemsize)
    out = Array(buffer, shape, compact_strides(shape) if strides is None else strides, 0, dtype, device)
    if _POISON and size:
        value = math.nan if dtype in FLOATS else True if dtype == BOOL else 0x7f
        device.map("copy", out, value)
    return out


def full(shape, value, dtype=FLOAT32, device=None):
    """An Array filled with one number."""
    out = empty(shape, dtype, device)
    out._fill(value)
    return out


# --- the class -------------------------------------------------------------------------------

class Array:
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

    __slots__ = ("buffer", "shape", "strides", "offset", "dtype", "device", "__weakref__")
    __array_ufunc__ = None          # so that ndarray + Array calls Array.__radd__
    __hash__ = object.__hash__

    def __init__(self, buffer, shape, strides, offset, dtype, device):
        self.buffer = buffer
        self.shape = shape
        self.strides = strides
        self.offset = offset
        self.dtype = dtype
        self.device = device

    # --- what it is

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        return math.prod(self.shape)

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
        return _is_row_major(self.shape, self.strides)

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
        return self if dtype == self.dtype and not copy else self._map("copy", dtype=dtype)

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
        return Array(self.buffer, shape, strides, self.offset if offset is None else offset, self.dtype, self.device)

    def as_strided(self, shape, strides, offset=0):
        """The view with these sizes and strides, `offset` elements after this array's first element.

        Raises ValueError when an element would lie outside the buffer.
        """
        shape = as_shape(tuple(shape))
        strides = tuple(operator.index(s) for s in strides)
        if len(shape) != len(strides):
            raise ValueError(f"shape {shape} and strides {strides} differ in length")
        start = self.offset + operator.index(offset)
        low, high = _extent(shape, strides, start)
        room = self.buffer.nbytes // self.dtype.itemsize
        if 0 not in shape and (low < 0 or high >= room):
            raise ValueError(f"as_strided(shape={shape}, strides={strides}, offset={offset}) reaches elements "
                             f"{low}..{high} of a buffer of {room}")
        return self._view(shape, strides, start)

    def compact(self):
        """Row-major without gaps: itself when it is, else a copy."""
        if self.is_compact():
            return self
        out = empty(self.shape, self.dtype, self.device)
        self.device.map("copy", out, self)
        return out

    def reshape(self, *shape):
        """This array in another shape of the same size (one -1 is inferred); a view where strides allow."""
        shape = as_shape(shape, self.size)
        if math.prod(shape) != self.size:
            raise ValueError(f"cannot reshape an array of shape {self.shape} into {shape}")
        strides = _reshaped_strides(self.shape, self.strides, shape)
        if strides is not None:
            return self._view(shape, strides)
        return self.compact()._view(shape, compact_strides(shape), 0)

    def permute(self, *axes):
        """The axes in the given order, as a view."""
        if len(axes) == 1 and isinstance(axes[0], (tuple, list)):
            axes = axes[0]
        try:
            order = tuple(a + self.ndim if a < 0 else a for a in map(operator.index, axes))
        except TypeError:
            raise TypeError(f"permute takes a tuple of ints, not {axes!r}") from None
        if sorted(order) != list(range(self.ndim)):
            raise ValueError(f"permute{tuple(axes)} does not name each of the {self.ndim} axes of shape {self.shape} once")
        return self._view(tuple(self.shape[a] for a in order), tuple(self.strides[a] for a in order))

    def transpose(self, axis1=-2, axis2=-1):
        """Two axes swapped (by default the last two), as a view."""
        order = list(range(self.ndim))
        (a,), (b,) = as_axes(axis1, self.ndim), as_axes(axis2, self.ndim)
        order[a], order[b] = b, a
        return self.permute(order)

    @property
    def T(self):
        return self.permute(tuple(reversed(range(self.ndim))))

    def broadcast_to(self, *shape):
        """A view of `shape` in which missing and size-1 axes repeat (stride 0)."""
        shape = as_shape(shape)
        lead = len(shape) - self.ndim
        if lead < 0 or any(mine not in (1, size) for mine, size in zip(self.shape, shape[lead:])):
            raise ValueError(f"shape {self.shape} does not broadcast to {shape}")
        strides = tuple(0 if mine == 1 and size != 1 else st
                        for mine, size, st in zip(self.shape, shape[lead:], self.strides))
        return self._view(shape, (0,) * lead + strides)

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
        axes = [a for a in range(self.ndim) if self.shape[a] == 1] if axis is None else as_axes(axis, self.ndim)
        if any(self.shape[a] != 1 for a in axes):
            raise ValueError(f"squeeze(axis={axis}) of shape {self.shape}: only axes of size 1 go")
        keep = [a for a in range(self.ndim) if a not in axes]
        return self._view(tuple(self.shape[a] for a in keep), tuple(self.strides[a] for a in keep))

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
        shape, strides, offset = [], [], self.offset
        keys, axis = _expand_key(key, self.shape), 0
        for k in keys:
            if k is None:
                shape.append(1)
                strides.append(0)
                continue
            size, stride = self.shape[axis], self.strides[axis]
            if isinstance(k, slice):
                start, stop, step = k.indices(size)
                count = len(range(start, stop, step))
                offset += start * stride if count else 0
                shape.append(count)
                strides.append(stride * step)
            else:
                if not -size <= k < size:
                    raise IndexError(f"index {k} is out of range for axis {axis} of shape {self.shape}")
                offset += (k % size) * stride
            axis += 1
        return self._view(as_shape(shape), tuple(strides), offset)

    def __setitem__(self, key, value):
        if any(st == 0 and size > 1 for st, size in zip(self.strides, self.shape)):
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
        if self.size:
            self.device.map("copy", self, value)

    def _fill(self, value):
        if self.size:
            self.device.map("copy", self, _scalar(value, self.dtype))

    # --- elementwise

    def map(self, name, *others):
        """f(self, others...) for a scalar function of scalar_ops.h; Arrays and numbers, broadcast, promoted."""
        return self._map(name, *others)

    def _map(self, name, *others, dtype=None, result=None):
        """`dtype` is what the inputs are converted to (by default promoted), `result` the output's."""
        operands = (self, *(self._operand(o) for o in others))
        arrays = [x for x in operands if isinstance(x, Array)]
        if len(arrays) > 1:
            same_device(name, *arrays)
        if dtype is None:
            dtype = _common_dtype(operands)
        shape = self.shape if len(arrays) == 1 else broadcast_shapes(*(x.shape for x in arrays))
        out = empty(shape, dtype if result is None else result, self.device, _same_order_strides(shape, arrays))
        if out.size:
            if name != "copy":
                operands = [x.astype(dtype, copy=False) if isinstance(x, Array) else _scalar(x, dtype) for x in operands]
            self.device.map(name, out, *(x.broadcast_to(shape) if isinstance(x, Array) and x.shape != shape else x
                                         for x in operands))
        return out

    def _operand(self, other):
        if isinstance(other, Array) or _is_number(other):
            return other
        if isinstance(other, np.ndarray):
            return array(other, device=self.device)
        raise TypeError(f"an Array cannot be combined with {type(other).__name__}")

    def _arithmetic(self, name, other, reverse=False, floating=False):
        if not (isinstance(other, (Array, np.ndarray)) or _is_number(other)):
            return NotImplemented
        other = self._operand(other)
        dtype = _common_dtype((self, other))
        if dtype == BOOL:
            raise TypeError(f"{name} of bool arrays: convert them with astype, or compare")
        if floating and dtype not in FLOATS:
            dtype = FLOAT32
        if reverse and not isinstance(other, Array):
            other = full((), other, dtype, self.device)
        a, b = (other, self) if reverse else (self, other)
        return a._map(name, b, dtype=dtype)

    def _compare(self, name, other):
        if not (isinstance(other, (Array, np.ndarray)) or _is_number(other)):
            return NotImplemented
        dtype = None
        if self.dtype in INTS and isinstance(other, (int, np.integer)) and not _fits(other, self.dtype):
            dtype = INT64                # an integer beyond the dtype compares all the same
        return self._map(name, other, dtype=dtype, result=BOOL)

    def __add__(self, other): return self._arithmetic("add", other)
    def __radd__(self, other): return self._arithmetic("add", other)
    def __sub__(self, other): return self._arithmetic("subtract", other)
    def __rsub__(self, other): return self._arithmetic("subtract", other, reverse=True)
    def __mul__(self, other): return self._arithmetic("multiply", other)
    def __rmul__(self, other): return self._arithmetic("multiply", other)
    def __truediv__(self, other): return self._arithmetic("divide", other, floating=True)
    def __rtruediv__(self, other): return self._arithmetic("divide", other, reverse=True, floating=True)
    def __pow__(self, other):
        if self.dtype in FLOATS and _is_number(other) and float(other) in _POWERS:
            return self._map(_POWERS[float(other)])
        return self._arithmetic("power", other)

    def __rpow__(self, other): return self._arithmetic("power", other, reverse=True)
    def __neg__(self): return self._map("negative")
    def __pos__(self): return self
    def __abs__(self): return self._map("abs")
    def __eq__(self, other): return self._compare("equal", other)
    def __ne__(self, other): return self._compare("not_equal", other)
    def __lt__(self, other): return self._compare("less", other)
    def __le__(self, other): return self._compare("less_equal", other)
    def __gt__(self, other): return self._compare("greater", other)
    def __ge__(self, other): return self._compare("greater_equal", other)

    def maximum(self, other): return self._map("maximum", other)
    def minimum(self, other): return self._map("minimum", other)
    def exp(self): return self._float_map("exp")
    def log(self): return self._float_map("log")
    def sqrt(self): return self._float_map("sqrt")
    def tanh(self): return self._float_map("tanh")

    def _float_map(self, name, *others):
        """A function that only floats have: integers become float32 first."""
        dtype = _common_dtype((self, *others))
        return self._map(name, *others, dtype=dtype if dtype in FLOATS else FLOAT32)

    def where(self, a, b):
        """a where this bool array is true, else b; a, b Arrays or numbers, broadcast."""
        condition = self if self.dtype == BOOL else self != 0
        a, b = self._operand(a), self._operand(b)
        dtype = _common_dtype((a, b))
        operands = [condition] + [x.astype(dtype, copy=False) if isinstance(x, Array) else _scalar(x, dtype)
                                  for x in (a, b)]
        arrays = [x for x in operands if isinstance(x, Array)]
        same_device("where", *arrays)
        shape = broadcast_shapes(*(x.shape for x in arrays))
        out = empty(shape, dtype, self.device, _same_order_strides(shape, arrays))
        if out.size:
            self.device.map("where", out, *(x.broadcast_to(shape) if isinstance(x, Array) else x for x in operands))
        return out

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
        axes = as_axes(axis, self.ndim)
        kept = tuple(1 if d in axes else size for d, size in enumerate(self.shape))
        if not axes:
            return self.astype(self.dtype)
        if name in ("max", "min") and any(self.shape[a] == 0 for a in axes):
            raise ValueError(f"{name} over axes {axes} of an empty array of shape {self.shape}")
        out = empty(kept, self.dtype, self.device)
        if out.size and self.size:
            self.device.reduce(name, out, self, axes)
        elif out.size:
            out._fill(0 if name == "sum" else 1)
        return out if keepdims else out.squeeze(axes)

    def sum(self, axis=None, keepdims=False):
        """Sum over axes (None, int, tuple; () = unchanged). Integers and bools sum as int64."""
        x = self if self.dtype in FLOATS else self.astype(INT64, copy=False)
        return x._reduce("sum", axis, keepdims)

    def prod(self, axis=None, keepdims=False):
        """Product over axes. Integers and bools multiply as int64."""
        x = self if self.dtype in FLOATS else self.astype(INT64, copy=False)
        return x._reduce("prod", axis, keepdims)

    def mean(self, axis=None, keepdims=False):
        """Arithmetic mean over axes; of integers in float32. NaN for an empty slice."""
        x = self if self.dtype in FLOATS else self.astype(FLOAT32)
        count = math.prod(self.shape[a] for a in as_axes(axis, self.ndim))
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
            other = self._operand(other)
        if not isinstance(other, Array):
            return NotImplemented
        same_device("matmul", self, other)
        same_float_dtype("matmul", self, other)
        if not self.ndim or not other.ndim:
            raise ValueError(f"matmul of shapes {self.shape} and {other.shape}: 0-d operands are not allowed")
        a = self if self.ndim > 1 else self.unsqueeze(0)
        b = other if other.ndim > 1 else other.unsqueeze(1)
        if a.shape[-1] != b.shape[-2]:
            raise ValueError(f"matmul of shapes {self.shape} and {other.shape}: {a.shape[-1]} columns meet {b.shape[-2]} rows")
        batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
        out = empty(batch + (a.shape[-2], b.shape[-1]), a.dtype, a.device)
        if out.size and a.shape[-1]:
            a.device.matmul(out, a.broadcast_to(batch + a.shape[-2:]), b.broadcast_to(batch + b.shape[-2:]))
        else:
            out._fill(0)
        dropped = tuple(axis for axis, x in ((-2, self), (-1, other)) if x.ndim == 1)
        return out.squeeze(dropped)

    def __rmatmul__(self, other):
        return self._operand(other) @ self if isinstance(other, np.ndarray) else NotImplemented


# Exponents with a function of their own (as in NumPy: x ** 0.5 is sqrt).
_POWERS = {2.0: "square", 0.5: "sqrt", -1.0: "reciprocal", 1.0: "copy"}


# --- helpers of the class --------------------------------------------------------------------

def _is_number(value):
    return isinstance(value, (bool, int, float, np.generic))


def _fits(value, dtype):
    return np.iinfo(dtype).min <= value <= np.iinfo(dtype).max


def _scalar(value, dtype):
    """A Python number that `dtype` can hold; ValueError for an integer out of its range."""
    value = value.item() if isinstance(value, np.generic) else value
    if dtype in INTS and isinstance(value, int):
        if not _fits(value, dtype):
            raise ValueError(f"{value} does not fit dtype {dtype}")
    elif dtype in INTS and not math.isfinite(value):
        raise ValueError(f"{value} does not fit dtype {dtype}")
    elif dtype in FLOATS:
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{value} does not fit dtype {dtype}") from None
    return value


def _common_dtype(operands):
    """Promoted dtype of the Arrays; a Python number only lifts bool to int, and int to float32."""
    dtypes = [x.dtype for x in operands if isinstance(x, Array)]
    common = dtypes[0] if dtypes else None
    for d in dtypes[1:]:
        common = promote(common, d)
    for x in operands:
        if not isinstance(x, Array):
            kind = (BOOL if isinstance(x, (bool, np.bool_)) else
                    INT64 if isinstance(x, (int, np.integer)) else FLOAT32)
            if common is None or (common == BOOL and kind != BOOL) or (common in INTS and kind == FLOAT32):
                common = kind
    return common


def same_device(what, *arrays):
    """ValueError unless all arrays are on one device."""
    if any(x.device is not arrays[0].device for x in arrays[1:]):
        raise ValueError(f"{what} of arrays on different devices: {', '.join(x.device.name for x in arrays)}")


def same_float_dtype(what, *arrays):
    """TypeError unless all arrays have one floating dtype."""
    dtypes = [x.dtype for x in arrays]
    if any(d != dtypes[0] for d in dtypes) or dtypes[0] not in FLOATS:
        raise TypeError(f"{what} takes operands of one floating dtype, not {', '.join(map(str, dtypes))}")


def _extent(shape, strides, offset):
    """First and last element (inclusive) that a non-empty view touches."""
    reach = [(size - 1) * stride for size, stride in zip(shape, strides)]
    return offset + sum(r for r in reach if r < 0), offset + sum(r for r in reach if r > 0)


def _may_overlap(a, b):
    """Whether writing a while reading b could read what was just written."""
    if a.buffer is not b.buffer or (a.offset, a.shape, a.strides) == (b.offset, b.shape, b.strides):
        return False
    (alo, ahi), (blo, bhi) = _extent(a.shape, a.strides, a.offset), _extent(b.shape, b.strides, b.offset)
    return alo <= bhi and blo <= ahi


def _reshaped_strides(shape, strides, new_shape):
    """Strides that show the same elements in `new_shape`, or None when only a copy can.

    Both shapes are cut into matching groups of axes with equal products; a group is viewable when
    its old axes lie in memory like one.
    """
    if 0 in shape:
        return compact_strides(new_shape)
    old = [(n, s) for n, s in zip(shape, strides) if n != 1]
    out, i, j = [], 0, 0
    while j < len(new_shape):
        if new_shape[j] == 1:
            out.append(0)
            j += 1
            continue
        i0, j0, have, want = i, j, old[i][0], new_shape[j]
        while have != want:
            if have < want:
                i += 1
                have *= old[i][0]
            else:
                j += 1
                want *= new_shape[j]
        for a, b in zip(old[i0:i], old[i0 + 1:i + 1]):
            if a[1] != b[0] * b[1]:
                return None
        inner = compact_strides(new_shape[j0:j + 1])
        out += [st * old[i][1] for st in inner]
        i, j = i + 1, j + 1
    return tuple(out)


def _expand_key(key, shape):
    """The key as a list with one int, slice or None per entry, Ellipsis and missing axes filled in."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if sum(k is Ellipsis for k in keys) > 1:
        raise IndexError(f"more than one Ellipsis in index {key!r}")
    for n, k in enumerate(keys):
        if k is None or k is Ellipsis or isinstance(k, slice):
            continue
        if isinstance(k, (bool, np.bool_)) or not hasattr(k, "__index__"):
            raise TypeError(f"an index is an int, slice, None or Ellipsis, not {k!r}")
        try:
            keys[n] = operator.index(k)
        except TypeError:
            raise TypeError(f"an index is an int, slice, None or Ellipsis, not {k!r}") from None
    used = sum(k is not None and k is not Ellipsis for k in keys)
    if used > len(shape):
        raise IndexError(f"{used} indices for an array of shape {shape}")
    if not any(k is Ellipsis for k in keys):
        keys.append(Ellipsis)
    at = next(n for n, k in enumerate(keys) if k is Ellipsis)
    keys[at:at + 1] = [slice(None)] * (len(shape) - used)
    return keys


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
