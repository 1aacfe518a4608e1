"""Division with rest, bits and the rest of logic. Bits are of int32, int64 and uint8, and bool where it makes sense."""
import numpy as np

from ..array import BOOL, FLOAT32, FLOATS, INTS, Array, full, promote
from ..autograd import op
from .elementwise import logical_and, not_equal, where


def _as_array(a, b):
    """a, which may be a number, as an Array that promotes with b as the number would."""
    if isinstance(a, Array):
        return a
    widens = isinstance(a, (float, np.floating)) and b.dtype not in FLOATS
    return full((), a, FLOAT32 if widens else b.dtype, b.device)


def _without_gradient(name, doc, apply):
    def forward(a, b):
        return apply(a, b)
    forward.__name__, forward.__doc__, forward.__module__ = name, doc, __name__
    return op(forward, differentiable=False)


def _of_integers(name):
    """The map of a row of scalar_ops.h that only integers have."""
    def apply(a, b):
        a = _as_array(a, b)
        dtype = promote(a.dtype, b.dtype) if isinstance(b, Array) else a.dtype
        if dtype not in INTS or isinstance(b, float):
            raise TypeError(f"{name} of {a.dtype} and {getattr(b, 'dtype', type(b).__name__)}: integers only")
        return a._map(name, b)
    return apply


def _of_bits(name, logical):
    apply = _of_integers(name)

    def either(a, b):
        if all(not isinstance(x, Array) or x.dtype == BOOL for x in (a, b)):
            return _as_array(a, b)._map(logical, b, result=BOOL)
        return apply(a, b)
    return either


bitwise_and = _without_gradient("bitwise_and", "The bits set in both; of bools, and.", _of_bits("bitwise_and", "logical_and"))
bitwise_or = _without_gradient("bitwise_or", "The bits set in either; of bools, or.", _of_bits("bitwise_or", "logical_or"))
bitwise_xor = _without_gradient("bitwise_xor", "The bits set in one only; of bools, unequal.",
                                _of_bits("bitwise_xor", "logical_xor"))
left_shift = _without_gradient("left_shift", "a * 2 ** b of integers; 0 for b of the width or more, or negative.",
                               _of_integers("left_shift"))
right_shift = _without_gradient("right_shift", "a / 2 ** b of integers, rounded down; the sign where b is the width or more.",
                                _of_integers("right_shift"))
truncated_divide = _without_gradient("truncated_divide", "a / b of integers, rounded towards 0; 0 where b is 0.",
                                     _of_integers("truncated_divide"))
logical_xor = _without_gradient("logical_xor", "Whether exactly one of a and b is true.",
                                lambda a, b: _as_array(a, b)._map("logical_xor", b, result=BOOL))


@op(differentiable=False)
def bitwise_not(x):
    """The other bits; of bools, not."""
    return x._map("logical_not", result=BOOL) if x.dtype == BOOL else x._map("bitwise_not")


@op(differentiable=False)
def logical_not(x):
    """Whether x is 0 or False."""
    return x._map("logical_not", result=BOOL)


@op(broadcasts=True)
def fmod(a, b):
    """The rest of a / b rounded towards 0: it has the sign of a. Of integers by 0: 0."""
    return _as_array(a, b)._map("fmod", b)


@fmod.gradient("a")
def _(g, y, a, b):
    return g


@fmod.gradient("b")
def _(g, y, a, b):
    return g * ((y - a) / b)


def remainder(a, b):
    """The rest of a / b rounded down, as Python's %: it has the sign of b. Of integers by 0: 0.

    >>> import fastconv as fc
    >>> fc.ops.remainder(fc.array([-7, 7]), 3).numpy()
    array([2, 1])
    """
    rest = fmod(a, b)
    if rest.dtype == INTS[0]:               # uint8
        return rest
    other = (rest < 0) != (b < 0) if hasattr(b, "shape") else rest > 0 if b < 0 else rest < 0
    return where(logical_and(other, not_equal(rest, 0)), rest + b, rest)


__all__ = ["bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "left_shift", "right_shift", "truncated_divide",
           "logical_xor", "logical_not", "fmod", "remainder"]
