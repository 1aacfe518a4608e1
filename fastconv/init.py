"""Initialisers: Tensors filled with constants or random numbers.

Random numbers are drawn with NumPy on the host, so a seed gives the same values on every device.
"""
import math
import operator

import numpy as np

from . import ops
from .array import as_dtype, as_shape
from .array import full as full_array
from .random import generator
from .tensor import Tensor


def _tensor(values, dtype, device, requires_grad):
    return Tensor(np.asarray(values, as_dtype(dtype)), device=device, requires_grad=requires_grad)


def rand(*shape, low=0.0, high=1.0, device=None, dtype="float32", requires_grad=False, rng=None):
    """Uniform in [low, high).

    >>> import fastconv as fc
    >>> fc.init.rand(2, 3).shape
    (2, 3)
    """
    return _tensor(generator(rng).uniform(low, high, as_shape(shape)), dtype, device, requires_grad)


def randn(*shape, mean=0.0, std=1.0, device=None, dtype="float32", requires_grad=False, rng=None):
    """Normal with this mean and standard deviation."""
    return _tensor(generator(rng).normal(mean, std, as_shape(shape)), dtype, device, requires_grad)


def full(shape, value, device=None, dtype="float32", requires_grad=False):
    """Filled with one number."""
    return Tensor(full_array(as_shape((shape,) if isinstance(shape, int) else tuple(shape)), value, dtype, device),
                  requires_grad=requires_grad)


def zeros(*shape, device=None, dtype="float32", requires_grad=False):
    """Filled with 0."""
    return full(as_shape(shape), 0, device, dtype, requires_grad)


def ones(*shape, device=None, dtype="float32", requires_grad=False):
    """Filled with 1."""
    return full(as_shape(shape), 1, device, dtype, requires_grad)


def eye(n, m=None, device=None, dtype="float32", requires_grad=False):
    """n x m (default n x n) with 1 on the diagonal."""
    return _tensor(np.eye(n, m), dtype, device, requires_grad)


def one_hot(indices, n, device=None, dtype="float32"):
    """1 at the index along a new last axis of size n; see fastconv.ops.one_hot."""
    return Tensor(ops.one_hot(indices, n, dtype, device))


def _fans(fan_in, fan_out, shape):
    """The shape to draw, (fan_in, fan_out) by default, once both fans are known to be positive."""
    for name, fan in (("fan_in", fan_in), ("fan_out", fan_out)):
        if operator.index(fan) < 1:
            raise ValueError(f"{name}={fan} must be at least 1")
    return (fan_in, fan_out) if shape is None else tuple(shape)


def xavier_uniform(fan_in, fan_out, shape=None, gain=1.0, **kwargs):
    """Uniform within gain * sqrt(6 / (fan_in + fan_out)); shape (fan_in, fan_out) by default (Glorot and Bengio 2010)."""
    shape = _fans(fan_in, fan_out, shape)
    bound = gain * math.sqrt(6 / (fan_in + fan_out))
    return rand(*shape, low=-bound, high=bound, **kwargs)


def xavier_normal(fan_in, fan_out, shape=None, gain=1.0, **kwargs):
    """Normal with standard deviation gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    shape = _fans(fan_in, fan_out, shape)
    return randn(*shape, std=gain * math.sqrt(2 / (fan_in + fan_out)), **kwargs)


_GAINS = {"relu": math.sqrt(2), "linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3}


def _gain(nonlinearity):
    if nonlinearity not in _GAINS:
        raise ValueError(f"nonlinearity {nonlinearity!r}: use one of {', '.join(_GAINS)}")
    return _GAINS[nonlinearity]


def kaiming_uniform(fan_in, fan_out, shape=None, nonlinearity="relu", **kwargs):
    """Uniform within gain * sqrt(3 / fan_in), gain sqrt(2) for relu (He et al. 2015)."""
    shape = _fans(fan_in, fan_out, shape)
    bound = _gain(nonlinearity) * math.sqrt(3 / fan_in)
    return rand(*shape, low=-bound, high=bound, **kwargs)


def kaiming_normal(fan_in, fan_out, shape=None, nonlinearity="relu", **kwargs):
    """Normal with standard deviation gain / sqrt(fan_in), gain sqrt(2) for relu (He et al. 2015)."""
    shape = _fans(fan_in, fan_out, shape)
    return randn(*shape, std=_gain(nonlinearity) / math.sqrt(fan_in), **kwargs)

