"""Normalisation: one kernel forward and one backward, over the positions of channels or rows."""
import math

from ..array import empty, same_float_dtype
from ..autograd import op
from ..view import dense_strides
from .elementwise import activated, check_activation, multiply
from .reduce import mean as mean_over
from .shape import reshape


@op(inputs=5, broadcasts=True)
def normalize(x, mean, rstd, weight, bias):
    """(x - mean) * (rstd * weight) + bias in one pass; all but x may be broadcast or numbers."""
    return x.map("normalize", mean, rstd, weight, bias)


@normalize.gradient("x")
def _(g, y, x, mean, rstd, weight, bias):
    return g * (rstd * weight)


@normalize.gradient("mean")
def _(g, y, x, mean, rstd, weight, bias):
    return -g * (rstd * weight)


@normalize.gradient("rstd")
def _(g, y, x, mean, rstd, weight, bias):
    return g * (x - mean) * weight


@normalize.gradient("weight")
def _(g, y, x, mean, rstd, weight, bias):
    return g * (x - mean) * rstd


@normalize.gradient("bias")
def _(g, y, x, mean, rstd, weight, bias):
    return g


def _batch_norm_composite(x, weight, bias, running_mean, running_var, momentum, eps, activation):
    """The same in elementary ops: what create_graph=True differentiates through."""
    axes, column = tuple(d for d in range(x.ndim) if d != 1), (1, x.shape[1]) + (1,) * (x.ndim - 2)
    centred = x - mean_over(x, axes, keepdims=True)
    var = mean_over(centred * centred, axes, keepdims=True)
    y = centred * (var + eps) ** -0.5
    return activated(_affine(y, *(p if p is None else reshape(p, column) for p in (weight, bias))), activation), None, None


@op(inputs=3, outputs=1, composite=_batch_norm_composite)
def _batch_norm(x, weight, bias, running_mean, running_var, momentum, eps, activation):
    """Returns (act((x - mean) * rstd * weight + bias), mean, rstd); moves the running statistics in place."""
    y = empty(x.shape, x.dtype, x.device, dense_strides(x.shape, x.strides))
    mean, rstd = (empty(x.shape[1:2], x.dtype, x.device) for _ in range(2))
    x.device.batch_norm(y, mean, rstd, running_mean, running_var, x, weight, bias, float(momentum), float(eps), activation)
    return y, mean, rstd


@_batch_norm.gradient
def _(g, y, x, weight, bias, running_mean, running_var, momentum, eps, activation):
    (g, *_), (_, mean, rstd) = g, y
    dx = empty(x.shape, x.dtype, x.device, dense_strides(x.shape, x.strides))
    if any(n > 1 and a != b for n, a, b in zip(g.shape, g.strides, dx.strides)):
        # Two passes read g beside x: that costs far more than a copy where they lie differently (behind Flatten).
        given, g = g, empty(g.shape, g.dtype, g.device, dx.strides)
        g.device.map("copy", g, given)
    d_weight, d_bias = (empty(mean.shape, x.dtype, x.device) for _ in range(2))
    x.device.batch_norm_grad(dx, d_weight, d_bias, g, x, mean, rstd, weight, bias, activation)
    return dx, d_weight, d_bias


def batch_norm(x, running_mean=None, running_var=None, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5,
               activation=None):
    """Batch normalisation over every axis but axis 1, the channels (Ioffe and Szegedy 2015).

    x              (n, c) or (n, c, ...), float
    running_mean, running_var   Arrays or Tensors (c,) or None; with training=True they move by
                   `momentum` towards the batch's mean and unbiased variance, in place (with one
                   value per channel the variance is taken biased: 0)
    weight, bias   (c,) or None
    training       normalise by the batch's statistics instead of the running ones
    activation     "relu" or "relu6", applied to the result in the same pass, or None; it has no
                   gradient where it is flat, its corners included

    ValueError when shapes do not fit, the batch is empty in training, or statistics are missing.

    >>> import fastconv as fc
    >>> fc.ops.batch_norm(fc.array([[1.0], [3.0]]), training=True, eps=0.0, activation="relu").numpy()
    array([[0.],
           [1.]], dtype=float32)
    """
    if x.ndim < 2:
        raise ValueError(f"batch_norm of shape {x.shape}: needs (n, c) or (n, c, ...)")
    check_activation("batch_norm", activation)
    channels = x.shape[1]
    _check_parameters("batch_norm", x, (channels,), running_mean=running_mean, running_var=running_var, weight=weight,
                      bias=bias)
    if training:
        if 0 in x.shape:
            raise ValueError(f"batch_norm in training over an empty batch of shape {x.shape}")
        tracked = running_mean is not None and running_var is not None
        return _batch_norm(x, weight, bias, _data(running_mean) if tracked else None, _data(running_var) if tracked else None,
                           momentum, eps, activation)[0]
    if running_mean is None or running_var is None:
        raise ValueError("batch_norm outside training needs running_mean and running_var")
    column = (1, channels) + (1,) * (x.ndim - 2)
    rstd = (_data(running_var) + eps).map("rsqrt")
    y = normalize(x, _data(running_mean).reshape(column), rstd.reshape(column),
                  1.0 if weight is None else reshape(weight, column), 0.0 if bias is None else reshape(bias, column))
    return activated(y, activation)


def _check_parameters(what, x, shape, **parameters):
    """ValueError or TypeError unless each (or None) has this shape and x's dtype and device, and x is float."""
    same_float_dtype(what, x)
    for name, p in parameters.items():
        if p is None:
            continue
        if p.shape != shape:
            raise ValueError(f"{what} of x {x.shape}: {name} of shape {p.shape}, not {shape}")
        same_float_dtype(what, x, p)
        if p.device is not x.device:
            raise ValueError(f"{what} of x on {x.device.name}: {name} is on device {p.device.name}")


def _data(x):
    return getattr(x, "data", x)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Normalisation over the last axes, whose sizes are `normalized_shape` (Ba, Kiros and Hinton 2016).

    weight, bias: of normalized_shape, or None.
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or x.shape[-len(shape):] != shape:
        raise ValueError(f"layer_norm over {shape} of x {x.shape}")
    _check_parameters("layer_norm", x, shape, weight=weight, bias=bias)
    rows = math.prod(x.shape[:-len(shape)])
    return _affine(reshape(_whiten(x, rows, eps), x.shape), weight, bias)


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """Normalisation over groups of channels (axis 1) and all later axes (Wu and He 2018)."""
    if x.ndim < 2 or num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(f"group_norm of x {x.shape} in {num_groups} groups")
    _check_parameters("group_norm", x, x.shape[1:2], weight=weight, bias=bias)
    y = _whiten(x, x.shape[0] * num_groups, eps)
    column = (x.shape[1],) + (1,) * (x.ndim - 2)
    return _affine(reshape(y, x.shape), *(p if p is None else reshape(p, column) for p in (weight, bias)))


def _whiten(x, rows, eps):
    """x as rows, each with mean 0 and variance 1: batch normalisation with a channel for each."""
    if 0 in x.shape:
        return x
    return _batch_norm(reshape(x, (1, rows, -1)), None, None, None, None, 0.0, eps, None)[0]


def _affine(y, weight, bias):
    y = y if weight is None else multiply(y, weight)
    return y if bias is None else y + bias


__all__ = ["batch_norm", "layer_norm", "group_norm", "normalize"]
