"""The table of operators, and what they share."""
import operator as _operator

import numpy as np

from ... import ops
from ...array import array
from ...device import reference
from ...tensor import Tensor
from ..reading import OnnxError, dtype_of

OPERATORS: dict = {}       # op_type -> Operator


class Operator:
    """How to run a node: `function(node, context, *inputs)` returns a Tensor or a tuple.

    host       places of inputs that are read on the host, and stay where they are
    lists      its inputs may be sequences, which nobody moves
    controls   it has graphs of its own: function(node, context, scope, *inputs)
    """

    __slots__ = ("function", "host", "takes_lists", "controls")

    def __init__(self, function, host, lists, controls):
        self.function, self.host, self.takes_lists, self.controls = function, host, lists, controls

    def __call__(self, *args):
        return self.function(*args)


def operator(*names, host=(), lists=False, controls=False):
    """Decorator: enter a function in the table under these names."""
    def enter(function):
        for name in names:
            OPERATORS[name] = Operator(function, host, lists or controls, controls)
        return function
    return enter


class Constant(Tensor):
    """A constant on the host that remembers itself on the device once it was asked for there."""

    __slots__ = ("elsewhere",)

    def __init__(self, values):
        super().__init__(array(values, device=reference()))

    def on(self, device):
        moved = getattr(self, "elsewhere", None)
        if moved is None or moved.device is not device:
            moved = self.elsewhere = Tensor(self.data.to(device))
        return moved


# --- reading inputs on the host --------------------------------------------------------------

def on_host(values):
    """A NumPy array as a value on the host."""
    return Tensor(array(np.asarray(values), device=reference()))


def ints(x):
    """The values of an integer tensor as a tuple."""
    return tuple(map(_operator.index, x.numpy().reshape(-1).tolist()))


def number(x):
    """The only value of a tensor as a Python number."""
    return x.item()


def axis_of(node, ndim, name="axis", default=None):
    """The attribute as an axis in 0..ndim-1."""
    axis = node.get(name, default)
    if not -ndim <= axis < ndim:
        raise OnnxError(f"axis {axis} of {ndim} dimensions")
    return axis % ndim


def wrapped(axes, ndim):
    """Axes in 0..ndim-1."""
    if any(not -ndim <= a < ndim for a in axes):
        raise OnnxError(f"axes {tuple(axes)} of {ndim} dimensions")
    return tuple(a % ndim for a in axes)


def to_dtype(x, code):
    """x in an ONNX element type."""
    return ops.cast(x, dtype_of(code, "the result"))


__all__ = ["OPERATORS", "Constant", "OnnxError", "axis_of", "ints", "number", "on_host", "operator", "to_dtype", "wrapped"]
