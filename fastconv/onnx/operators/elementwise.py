"""Elementwise operators."""
import functools
import math

import numpy as np

from ... import ops
from ...array import FLOATS, Array
from ...tensor import Tensor
from ..reading import dtype_of
from .registry import OPERATORS, OnnxError, Operator, number, operator, to_dtype

_UNARY = {
    "Abs": ops.abs, "Neg": ops.negative, "Exp": ops.exp, "Log": ops.log, "Sqrt": ops.sqrt, "Tanh": ops.tanh, "Erf": ops.erf,
    "Sigmoid": ops.sigmoid, "Relu": ops.relu, "Sign": ops.sign, "Floor": ops.floor, "Ceil": ops.ceil, "Round": ops.round,
    "Sin": ops.sin, "Cos": ops.cos, "Tan": ops.tan, "Asin": ops.asin, "Acos": ops.acos, "Atan": ops.atan, "Sinh": ops.sinh,
    "Cosh": ops.cosh, "Asinh": ops.asinh, "Acosh": ops.acosh, "Atanh": ops.atanh, "Not": ops.logical_not,
    "BitwiseNot": ops.bitwise_not, "Identity": lambda x: x, "Reciprocal": lambda x: 1.0 / x,
    "Softplus": lambda x: ops.softplus(x), "Softsign": lambda x: x / (ops.abs(x) + 1.0),
    "HardSwish": lambda x: x * ops.clip(x * (1 / 6) + 0.5, 0.0, 1.0), "Mish": lambda x: x * ops.tanh(ops.softplus(x)),
    "IsNaN": lambda x: ops.not_equal(x, x), "OptionalGetElement": lambda x: x,
}
_BINARY = {
    "Add": ops.add, "Sub": ops.subtract, "Mul": ops.multiply, "Equal": ops.equal, "Less": ops.less,
    "LessOrEqual": ops.less_equal, "Greater": ops.greater, "GreaterOrEqual": ops.greater_equal, "And": ops.logical_and,
    "Or": ops.logical_or, "Xor": ops.logical_xor, "BitwiseAnd": ops.bitwise_and, "BitwiseOr": ops.bitwise_or,
    "BitwiseXor": ops.bitwise_xor,
}
_FOLDED = {"Sum": ops.add, "Max": ops.maximum, "Min": ops.minimum}


def _enter(table, wrap, **options):
    for name, f in table.items():
        OPERATORS[name] = Operator(wrap(f), (), options.get("lists", False), False)


_enter({k: f for k, f in _UNARY.items() if k not in ("Identity", "OptionalGetElement")}, lambda f: lambda node, context, x: f(x))
_enter({k: _UNARY[k] for k in ("Identity", "OptionalGetElement")}, lambda f: lambda node, context, x: f(x), lists=True)
_enter(_BINARY, lambda f: lambda node, context, a, b: f(a, b))
_enter(_FOLDED, lambda f: lambda node, context, *xs: functools.reduce(f, xs))


@operator("Mean")
def _(node, context, *xs):
    return functools.reduce(ops.add, xs) / len(xs)


@operator("Div")
def _(node, context, a, b):
    return ops.divide(a, b) if a.dtype in FLOATS else ops.truncated_divide(a, b)


@operator("Mod")
def _(node, context, a, b):
    return ops.fmod(a, b) if node.get("fmod") else ops.remainder(a, b)


@operator("Pow")
def _(node, context, a, b):
    if b.dtype in FLOATS and a.dtype not in FLOATS:
        return ops.cast(ops.power(ops.cast(a, b.dtype), b), a.dtype)
    if not b.size == 1 or b.device.kind != "reference" or b.requires_grad or b.ndim > a.ndim:
        return ops.cast(ops.power(a, b), a.dtype)
    return ops.power(a, number(b))


OPERATORS["Pow"].host = (1,)


@operator("BitShift")
def _(node, context, a, b):
    return {"LEFT": ops.left_shift, "RIGHT": ops.right_shift}[node.get("direction")](a, b)


@operator("Where")
def _(node, context, condition, a, b):
    return ops.where(condition, a, b)


@operator("Clip", host=(1, 2))
def _(node, context, x, low=None, high=None):
    if any(b is not None and b.requires_grad for b in (low, high)):
        x = x if low is None else ops.maximum(x, low.to(x.device))
        return x if high is None else ops.minimum(x, high.to(x.device))
    floats = x.dtype in FLOATS
    low = (-math.inf if floats else int(np.iinfo(x.dtype).min)) if low is None else number(low)
    high = (math.inf if floats else int(np.iinfo(x.dtype).max)) if high is None else number(high)
    return ops.clip(x, min(low, high), high)


@operator("Cast")
def _(node, context, x):
    return to_dtype(x, node.get("to"))


@operator("CastLike")
def _(node, context, x, like):
    return ops.cast(x, like.dtype)


OPERATORS["CastLike"].host = (1,)


@operator("BitCast")
def _(node, context, x):
    dtype, data = dtype_of(node.get("to"), "the result"), x.data
    if dtype.itemsize != data.dtype.itemsize:
        raise OnnxError(f"the bits of {data.dtype} as {dtype}")
    return Tensor(Array(data.buffer, data.shape, data.strides, data.offset, dtype, data.device))


@operator("IsInf")
def _(node, context, x):
    signs = [math.inf] * bool(node.get("detect_positive")) + [-math.inf] * bool(node.get("detect_negative"))
    if not signs:
        return ops.not_equal(x, x) if not x.size else ops.logical_and(ops.equal(x, 0.0), ops.not_equal(x, 0.0))
    return functools.reduce(ops.logical_or, [ops.equal(x, s) for s in signs])


# --- activations -----------------------------------------------------------------------------

@operator("LeakyRelu")
def _(node, context, x):
    return ops.where(ops.less(x, 0.0), x * node.get("alpha"), x)


@operator("PRelu")
def _(node, context, x, slope):
    return ops.where(ops.less(x, 0), x * slope, x)


@operator("ThresholdedRelu")
def _(node, context, x):
    return ops.where(ops.greater(x, node.get("alpha")), x, 0.0)


def elu(x, alpha):
    return ops.where(ops.greater(x, 0.0), x, (ops.exp(ops.minimum(x, 0.0)) - 1.0) * alpha)


@operator("Elu")
def _(node, context, x):
    return elu(x, node.get("alpha"))


@operator("Selu")
def _(node, context, x):
    return elu(x, node.get("alpha")) * node.get("gamma")


@operator("Celu")
def _(node, context, x):
    alpha = node.get("alpha")
    return elu(x / alpha, 1.0) * alpha


@operator("HardSigmoid")
def _(node, context, x):
    return ops.clip(x * node.get("alpha") + node.get("beta"), 0.0, 1.0)


@operator("Gelu")
def _(node, context, x):
    return ops.gelu(x, node.get("approximate"))


@operator("Swish")
def _(node, context, x):
    return x * ops.sigmoid(x * node.get("alpha"))


@operator("Shrink")
def _(node, context, x):
    lambd, bias = node.get("lambd"), node.get("bias")
    wide = x if x.dtype in FLOATS else ops.cast(x, np.float32)
    y = ops.where(ops.less(wide, -lambd), wide + bias, ops.where(ops.greater(wide, lambd), wide - bias, 0.0))
    return ops.cast(y, x.dtype)


# --- constants -------------------------------------------------------------------------------

@operator("Constant")
def _(node, context):
    for name, dtype in (("value", None), ("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64),
                        ("value_ints", np.int64)):
        if name in node.attributes:
            kept = node.attributes.get("")
            if kept is None:
                from .registry import Constant
                kept = node.attributes[""] = Constant(np.asarray(node.get(name), dtype))
            return kept
    raise OnnxError("a constant of strings or sparse values is not supported")


__all__ = ["elu"]
