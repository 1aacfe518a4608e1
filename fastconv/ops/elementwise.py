"""Elementwise ops: one scalar function on broadcast inputs each, gradient beside it.

Each takes Tensors, Arrays, NumPy arrays and Python numbers, broadcasts as NumPy does and promotes
as the Array API says. The scalar functions themselves stand in scalar_ops.h.
"""
import math

import numpy as np

from ..array import BOOL, FLOATS, Array, full
from ..autograd import op

# --- arithmetic ------------------------------------------------------------------------------


@op(broadcasts=True)
def add(a, b):
    """a + b."""
    return a + b


@add.gradient
def _(g, y, a, b):
    return g, g


@op(broadcasts=True)
def subtract(a, b):
    """a - b."""
    return a - b


@subtract.gradient("a")
def _(g, y, a, b):
    return g


@subtract.gradient("b")
def _(g, y, a, b):
    return -g


@op(broadcasts=True)
def multiply(a, b):
    """a * b."""
    return a * b


@multiply.gradient("a")
def _(g, y, a, b):
    return g * b


@multiply.gradient("b")
def _(g, y, a, b):
    return g * a


@op(broadcasts=True)
def divide(a, b):
    """a / b; integers divide in float32."""
    return a / b


@divide.gradient("a")
def _(g, y, a, b):
    return g / b


@divide.gradient("b")
def _(g, y, a, b):
    return -g * y / b


@op(broadcasts=True)
def power(a, b):
    """a ** b. The gradient with respect to b is 0 where a is 0 and b >= 0, as in PyTorch."""
    return a ** b


@power.gradient("a")
def _(g, y, a, b):
    b = b.item() if isinstance(b, np.generic) else b
    if isinstance(b, (bool, int, float)):
        return g * (a ** (b - 1) * b) if b else g * 0
    return g * where(equal(b, 0), 0.0, b * a ** (b - 1))


@power.gradient("b")
def _(g, y, a, b):
    a = a if hasattr(a, "shape") else y * 0 + a
    flat = logical_and(equal(a, 0), greater_equal(b, 0))
    return g * where(flat, 0.0, y * log(where(flat, 1.0, a)))


@op
def negative(x):
    """-x."""
    return -x


@negative.gradient
def _(g, y, x):
    return -g


# --- functions of one input ------------------------------------------------------------------


@op
def exp(x):
    """e ** x."""
    return x.exp()


@exp.gradient
def _(g, y, x):
    return g * y


@op
def log(x):
    """The natural logarithm: -inf at 0, NaN below."""
    return x.log()


@log.gradient
def _(g, y, x):
    return g / x


@op
def sqrt(x):
    """The square root; NaN below 0."""
    return x.sqrt()


@sqrt.gradient
def _(g, y, x):
    return g * 0.5 / y


@op
def tanh(x):
    """The hyperbolic tangent.

    >>> import fastconv as fc
    >>> fc.ops.tanh(fc.array([0.0])).numpy()
    array([0.], dtype=float32)
    """
    return x.tanh()


@tanh.gradient
def _(g, y, x):
    return g * (1 - y * y)


@op
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return x._float_map("sigmoid")


@sigmoid.gradient
def _(g, y, x):
    return g * (y * (1 - y))


@op
def softplus(x):
    """log(1 + exp(x)), without overflow and with all digits where it is small."""
    return x._float_map("softplus")


@softplus.gradient
def _(g, y, x):
    return g * sigmoid(x)


@op
def erf(x):
    """The error function."""
    return x._float_map("erf")


@erf.gradient
def _(g, y, x):
    return g * (exp(-(x * x)) * (2 / math.sqrt(math.pi)))


@op
def relu(x):
    """max(x, 0); its gradient at 0 is 0."""
    return x.map("relu")


@relu.gradient
def _(g, y, x):
    return relu_grad(g, y)


@op
def relu_grad(g, y):
    """g where y > 0, else 0."""
    return g.map("relu_grad", y)


@relu_grad.gradient("g")
def _(gg, out, g, y):
    return relu_grad(gg, y)


@relu_grad.gradient("y")
def _(gg, out, g, y):
    return None


@op
def abs(x):
    """|x|; its gradient at 0 is 0."""
    return x.map("abs")


@abs.gradient
def _(g, y, x):
    return g * sign(x)


@op(differentiable=False)
def sign(x):
    """-1, 0 or 1; NaN stays NaN."""
    return x.map("sign")


def gelu(x, approximate="none"):
    """x times the standard normal distribution function of x (Hendrycks and Gimpel 2016).

    approximate: "none", or "tanh" for 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
    """
    if approximate == "tanh":
        return x * (tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)) + 1) * 0.5
    if approximate != "none":
        raise ValueError(f"gelu with approximate={approximate!r}: use 'none' or 'tanh'")
    return x * (erf(x * math.sqrt(0.5)) + 1) * 0.5


def silu(x):
    """x * sigmoid(x)."""
    return multiply(x, sigmoid(x))


# --- choosing --------------------------------------------------------------------------------


@op(broadcasts=True)
def maximum(a, b):
    """The larger of a and b, NaN if either is; where they are equal each gets half the gradient."""
    return a.maximum(b) if hasattr(a, "maximum") else b.maximum(a)


@maximum.gradient("a")
def _(g, y, a, b):
    return g * _share(a, b, greater)


@maximum.gradient("b")
def _(g, y, a, b):
    return g * _share(b, a, greater)


@op(broadcasts=True)
def minimum(a, b):
    """The smaller of a and b, NaN if either is; where they are equal each gets half the gradient."""
    return a.minimum(b) if hasattr(a, "minimum") else b.minimum(a)


@minimum.gradient("a")
def _(g, y, a, b):
    return g * _share(a, b, less)


@minimum.gradient("b")
def _(g, y, a, b):
    return g * _share(b, a, less)


def _share(mine, other, wins):
    """1 where mine wins, 1/2 where it ties, 0 elsewhere."""
    return where(wins(mine, other), 1.0, where(equal(mine, other), 0.5, 0.0))


@op(broadcasts=True)
def where(condition, a, b):
    """a where condition is true, else b.

    >>> import fastconv as fc
    >>> fc.ops.where(fc.array([True, False]), 1.0, fc.array([5.0, 6.0])).numpy()
    array([1., 6.], dtype=float32)
    """
    if not isinstance(condition, Array):
        condition = full((), bool(condition), BOOL, (a if isinstance(a, Array) else b).device)
    return condition.where(a, b)


@where.gradient("a")
def _(g, y, condition, a, b):
    return where(condition, g, 0.0)


@where.gradient("b")
def _(g, y, condition, a, b):
    return where(condition, 0.0, g)


@op(inputs=1)
def clip(x, low, high):
    """x limited to [low, high] (numbers); gradient 1 within, ends included, 0 outside."""
    if not low <= high:
        raise ValueError(f"clip to [{low}, {high}]")
    return x.map("clip", low, high)


@clip.gradient
def _(g, y, x, low, high):
    return g * where(logical_and(greater_equal(x, low), less_equal(x, high)), 1.0, 0.0)


# --- activations that other ops take into their own pass -------------------------------------

def check_activation(what, activation):
    """ValueError unless this is what convolution and normalisation can fuse."""
    if activation not in (None, "relu", "relu6"):
        raise ValueError(f"{what} with activation {activation!r}: there are None, 'relu' and 'relu6'")


def activated(y, activation):
    """What a fused activation does, as an op."""
    if activation is None:
        return y
    return relu(y) if activation == "relu" else clip(y, 0.0, 6.0)


# --- comparisons and logic: bool results, no gradient ----------------------------------------

def _comparison(name, symbol, apply):
    def compare(a, b):
        return apply(a, b)
    compare.__name__, compare.__doc__ = name, f"a {symbol} b, elementwise, as bool. No gradient."
    compare.__module__ = __name__
    return op(compare, differentiable=False)


def _logical(name, a, b):
    a, b = (a, b) if isinstance(a, Array) else (b, a)
    return a._map(name, b, result=BOOL)


equal = _comparison("equal", "==", lambda a, b: a == b)
not_equal = _comparison("not_equal", "!=", lambda a, b: a != b)
less = _comparison("less", "<", lambda a, b: a < b)
less_equal = _comparison("less_equal", "<=", lambda a, b: a <= b)
greater = _comparison("greater", ">", lambda a, b: a > b)
greater_equal = _comparison("greater_equal", ">=", lambda a, b: a >= b)
logical_and = _comparison("logical_and", "and", lambda a, b: _logical("logical_and", a, b))
logical_or = _comparison("logical_or", "or", lambda a, b: _logical("logical_or", a, b))


@op(differentiable=False)
def isfinite(x):
    """Whether each element is neither NaN nor infinite; integers always are."""
    return x._map("isfinite", result=BOOL) if x.dtype in FLOATS else x == x
