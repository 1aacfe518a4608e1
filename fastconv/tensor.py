"""Tensor: an Array that remembers how it was made. Its operators and methods call ops.

This file is plain Python that Cython compiles; tensor.pxd gives it the C types.
"""
import numpy as np

from . import autograd, ops
from .array import Array, array
from .autograd import Variable
from .row_gradient import RowGradient
from .view import is_float

# The operators' ops, found once.
_add, _subtract, _multiply, _divide, _power, _matmul = (ops.add, ops.subtract, ops.multiply, ops.divide, ops.power,
                                                        ops.matmul)
_equal, _not_equal, _less, _less_equal, _greater, _greater_equal = (ops.equal, ops.not_equal, ops.less, ops.less_equal,
                                                                    ops.greater, ops.greater_equal)


class Tensor(Variable):
    """An n-dimensional array with automatic differentiation.

    obj            an Array or a Tensor (shared, not copied, unless dtype or device ask for another),
                   or what `fastconv.array` takes (copied)
    dtype, device  as in `fastconv.array`
    requires_grad  collect a gradient in `.grad` on backward; floats only

    >>> import fastconv as fc
    >>> x = fc.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad.numpy()
    array([2., 4., 6.], dtype=float32)
    """

    __array_ufunc__ = None

    def __hash__(self):
        return id(self) >> 4

    def __init__(self, obj, dtype=None, device=None, requires_grad=False):
        if isinstance(obj, Variable):
            obj = obj.data
        if isinstance(obj, Array):
            moved = obj if device is None else obj.to(device)
            self.data = moved if dtype is None else moved.astype(dtype, copy=False)
        else:
            self.data = array(obj, dtype, device)
        if requires_grad and not is_float(self.data.dtype):
            raise TypeError(f"only floating tensors can require a gradient, not {self.data.dtype}")
        self.requires_grad = bool(requires_grad)

    # --- what it is

    @property
    def shape(self): return self.data.shape

    @property
    def dtype(self): return self.data.dtype

    @property
    def device(self): return self.data.device

    @property
    def ndim(self): return self.data.ndim

    @property
    def size(self): return self.data.size

    @property
    def is_leaf(self):
        """Whether it was made by the user, not by an op that recorded."""
        return self.node is None

    @property
    def grad(self):
        """The gradient that backward collected, a Tensor of the same shape, or None; assignable."""
        if isinstance(self._grad, RowGradient):
            self._grad = Tensor(self._grad.dense())
        return self._grad

    @grad.setter
    def grad(self, value):
        if value is None:
            self._grad = None
            return
        value = value if isinstance(value, Tensor) else Tensor(value, device=self.device)
        if value.shape != self.shape or value.dtype != self.dtype or value.device is not self.device:
            raise ValueError(f"a gradient of shape {value.shape}, dtype {value.dtype} on {value.device.name} for a "
                             f"tensor of shape {self.shape}, dtype {self.dtype} on {self.device.name}")
        self._grad = value

    def __len__(self): return len(self.data)

    def __iter__(self):
        if not self.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(ops.split(self, 0))

    def __repr__(self):
        values = np.array2string(self.numpy(), separator=", ", prefix="Tensor(")
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({values}, dtype={self.dtype}, device={self.device.name!r}{grad})"

    # --- to and from elsewhere

    def numpy(self):
        """The values as a new NumPy array (waits for the device)."""
        return self.data.numpy()

    def __array__(self, dtype=None, copy=None): return self.data.__array__(dtype, copy)

    def __dlpack__(self, **keywords):
        """A DLPack capsule of the values; BufferError when a gradient is required: detach() first."""
        if self.requires_grad:
            raise BufferError("a tensor that requires a gradient is not shared: detach() it first")
        return self.data.__dlpack__(**keywords)

    def __dlpack_device__(self): return self.data.__dlpack_device__()

    def item(self):
        """The only element as a Python number (waits for the device)."""
        return self.data.item()

    def __float__(self): return float(self.data)
    def __int__(self): return int(self.data)
    def __bool__(self): return bool(self.data)

    def __reduce__(self):
        """Copies and pickles keep values and gradient, and are cut from the graph."""
        return _rebuild, (type(self), self.data, self.requires_grad, self._grad)

    def detach(self):
        """A tensor that shares the data and is cut from the graph."""
        return Tensor(self.data)

    def to(self, device):
        """This tensor on `device`: itself when it is there; else a copy, through which gradients flow."""
        moved = self.data.to(device)
        return self if moved is self.data else ops.to_device(self, moved.device)

    def astype(self, dtype):
        """Converted to `dtype`; gradients flow between floats."""
        return ops.cast(self, dtype)

    # --- gradients

    def backward(self, gradient=None, create_graph=False, retain_graph=None):
        """Add the gradient of this tensor to `.grad` of every leaf that requires one.

        gradient      the weight of each element, of this shape; may be left out for one element
        create_graph  make the gradients differentiable
        retain_graph  keep the graph for another backward (default: create_graph); else it is freed

        ValueError when no gradient is required or the given one does not fit; RuntimeError when the
        graph was freed by an earlier backward.
        """
        autograd.backward(self, gradient, create_graph, retain_graph)

    # --- operators

    def __add__(self, other): return _binary(_add, self, other)
    def __radd__(self, other): return _binary(_add, other, self)
    def __sub__(self, other): return _binary(_subtract, self, other)
    def __rsub__(self, other): return _binary(_subtract, other, self)
    def __mul__(self, other): return _binary(_multiply, self, other)
    def __rmul__(self, other): return _binary(_multiply, other, self)
    def __truediv__(self, other): return _binary(_divide, self, other)
    def __rtruediv__(self, other): return _binary(_divide, other, self)
    def __pow__(self, other): return _binary(_power, self, other)
    def __rpow__(self, other): return _binary(_power, other, self)
    def __matmul__(self, other): return _binary(_matmul, self, other)
    def __rmatmul__(self, other): return _binary(_matmul, other, self)
    def __neg__(self): return ops.negative(self)
    def __pos__(self): return self
    def __abs__(self): return ops.abs(self)
    def __eq__(self, other): return _binary(_equal, self, other)
    def __ne__(self, other): return _binary(_not_equal, self, other)
    def __lt__(self, other): return _binary(_less, self, other)
    def __le__(self, other): return _binary(_less_equal, self, other)
    def __gt__(self, other): return _binary(_greater, self, other)
    def __ge__(self, other): return _binary(_greater_equal, self, other)
    def __getitem__(self, key): return ops.getitem(self, key)

    def __setitem__(self, key, value):
        raise TypeError("a Tensor is not assigned in place; write into .data, or use ops.where or ops.concatenate")

    # --- methods: the ops that read well after a dot

    def sum(self, axis=None, keepdims=False): return ops.sum(self, axis, keepdims)
    def mean(self, axis=None, keepdims=False): return ops.mean(self, axis, keepdims)
    def max(self, axis=None, keepdims=False): return ops.max(self, axis, keepdims)
    def min(self, axis=None, keepdims=False): return ops.min(self, axis, keepdims)
    def var(self, axis=None, keepdims=False, correction=0): return ops.var(self, axis, keepdims, correction)
    def argmax(self, axis=None, keepdims=False): return ops.argmax(self, axis, keepdims)
    def argmin(self, axis=None, keepdims=False): return ops.argmin(self, axis, keepdims)
    def reshape(self, *shape): return ops.reshape(self, _loose(shape))
    def permute(self, *axes): return ops.permute(self, _loose(axes))
    def broadcast_to(self, *shape): return ops.broadcast_to(self, _loose(shape))
    def transpose(self, axis1=-2, axis2=-1): return ops.transpose(self, axis1, axis2)
    def squeeze(self, axis=None): return ops.squeeze(self, axis)
    def unsqueeze(self, axis): return ops.unsqueeze(self, axis)
    def flip(self, axis=None): return ops.flip(self, axis)
    def pad(self, width, value=0): return ops.pad(self, width, value)
    def maximum(self, other): return ops.maximum(self, other)
    def minimum(self, other): return ops.minimum(self, other)
    def exp(self): return ops.exp(self)
    def log(self): return ops.log(self)
    def sqrt(self): return ops.sqrt(self)
    def tanh(self): return ops.tanh(self)
    def sigmoid(self): return ops.sigmoid(self)
    def relu(self): return ops.relu(self)

    @property
    def T(self): return ops.permute(self, tuple(reversed(range(self.ndim))))


_NO_KEYWORDS: dict = {}


def _rebuild(cls, data, requires_grad, grad):
    tensor = cls(data, requires_grad=requires_grad)
    tensor._grad = grad
    return tensor


def _binary(op, a, b):
    other = b if isinstance(a, Tensor) else a
    if not isinstance(other, (Tensor, Array, float, int, np.ndarray, np.generic)):
        return NotImplemented
    return op.apply((a, b), _NO_KEYWORDS)


def _loose(values):
    """f(x, (2, 3)) and f(x, 2, 3) alike, as a tuple."""
    return tuple(values[0]) if len(values) == 1 and isinstance(values[0], (tuple, list)) else values


autograd.register_tensor_class(Tensor)
