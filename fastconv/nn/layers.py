"""Layers without state, and Linear, Dropout and Flatten."""
import math

from .. import init, ops
from ..array import as_axes
from ..random import as_generator
from .module import Module, Parameter


def uniform_parameter(bound, shape, device, dtype, rng=None):
    """A Parameter uniform within +-bound."""
    return Parameter(init.rand(*shape, low=-bound, high=bound, device=device, dtype=dtype, rng=rng))


class Linear(Module):
    """y = x @ weight.T + bias over the last axis.

    weight (out_features, in_features) and bias (out_features,) uniform within 1/sqrt(in_features).
    """

    def __init__(self, in_features, out_features, bias=True, device=None, dtype="float32", rng=None):
        if in_features < 1 or out_features < 1:
            raise ValueError(f"Linear({in_features}, {out_features}): sizes must be positive")
        self.in_features, self.out_features = in_features, out_features
        bound, rng = 1 / math.sqrt(in_features), as_generator(rng)
        self.weight = uniform_parameter(bound, (out_features, in_features), device, dtype, rng)
        self.bias = uniform_parameter(bound, (out_features,), device, dtype, rng) if bias else None

    def forward(self, x):
        if not x.shape or x.shape[-1] != self.in_features:
            raise ValueError(f"Linear({self.in_features}, {self.out_features}) of x {x.shape}")
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Flatten(Module):
    """(n, ...) to (n, product of the rest); or the axes start_dim to end_dim, both included, as one."""

    def __init__(self, start_dim=1, end_dim=-1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        (first,), (last,) = as_axes(self.start_dim, x.ndim), as_axes(self.end_dim, x.ndim)
        if first > last:
            raise ValueError(f"Flatten({self.start_dim}, {self.end_dim}) of shape {x.shape}")
        return ops.reshape(x, (*x.shape[:first], math.prod(x.shape[first:last + 1]), *x.shape[last + 1:]))


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x):
        return ops.relu(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x):
        return ops.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x):
        return ops.sigmoid(x)


class GELU(Module):
    """x times the standard normal distribution function of x; approximate="tanh" for its approximation."""

    def __init__(self, approximate="none"):
        self.approximate = approximate

    def forward(self, x):
        return ops.gelu(x, self.approximate)


class SiLU(Module):
    """x * sigmoid(x)."""

    def forward(self, x):
        return ops.silu(x)


class Softmax(Module):
    """exp(x) / sum(exp(x)) along `axis` (torch's name for it, `dim`, is taken too)."""

    def __init__(self, axis=-1, dim=None):
        self.axis = axis if dim is None else dim

    def forward(self, x):
        return ops.softmax(x, self.axis)


class Dropout(Module):
    """In training: each element 0 with probability p, the others divided by 1 - p. In eval: x itself."""

    def __init__(self, p=0.5, rng=None):
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout with probability {p}")
        self.p, self.rng = p, as_generator(rng)

    def forward(self, x):
        return ops.dropout(x, self.p, self.training, self.rng)

    def extra_repr(self):
        return f"p={self.p}"
