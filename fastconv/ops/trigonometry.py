"""Circular and hyperbolic functions, their inverses, and rounding. Integers are converted to float32 first.

Their scalar functions are the C library's and the driver's: within a few units of the last place of each
other, not the same bits on every device.
"""
from ..array import FLOATS
from ..autograd import Op, op


def _float_op(name, doc, gradient) -> Op:
    """An op that maps the scalar function `name`; gradient(y, x) is its derivative."""
    def forward(x):
        return x._float_map(name)
    forward.__name__, forward.__doc__, forward.__module__ = name, doc, __name__
    made = op(forward)

    @made.gradient
    def _(g, y, x):
        return g * gradient(y, x)
    return made


sin: Op = _float_op("sin", "The sine of x radians.", lambda y, x: cos(x))
cos: Op = _float_op("cos", "The cosine of x radians.", lambda y, x: -sin(x))
tan = _float_op("tan", "The tangent of x radians.", lambda y, x: 1 + y * y)
asin = _float_op("asin", "The angle in [-pi/2, pi/2] whose sine is x; NaN outside [-1, 1].", lambda y, x: (1 - x * x) ** -0.5)
acos = _float_op("acos", "The angle in [0, pi] whose cosine is x; NaN outside [-1, 1].", lambda y, x: -(1 - x * x) ** -0.5)
atan = _float_op("atan", "The angle in (-pi/2, pi/2) whose tangent is x.", lambda y, x: 1 / (1 + x * x))
sinh: Op = _float_op("sinh", "(exp(x) - exp(-x)) / 2.", lambda y, x: cosh(x))
cosh: Op = _float_op("cosh", "(exp(x) + exp(-x)) / 2.", lambda y, x: sinh(x))
asinh = _float_op("asinh", "The inverse of sinh.", lambda y, x: (x * x + 1) ** -0.5)
acosh = _float_op("acosh", "The inverse of cosh, 0 or more; NaN below 1.", lambda y, x: (x * x - 1) ** -0.5)
atanh = _float_op("atanh", "The inverse of tanh; NaN outside [-1, 1].", lambda y, x: 1 / (1 - x * x))


# --- rounding: piecewise constant, so no gradient --------------------------------------------

def _rounding(name, doc):
    def forward(x):
        return x.map(name) if x.dtype in FLOATS else x
    forward.__name__, forward.__doc__, forward.__module__ = name, doc, __name__
    return op(forward, differentiable=False)


floor = _rounding("floor", "The largest whole number not above x.")
ceil = _rounding("ceil", "The smallest whole number not below x.")
round = _rounding("round", "The nearest whole number, of two the even one.")


__all__ = ["sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "floor", "ceil", "round"]
