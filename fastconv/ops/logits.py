"""softmax and log_softmax: one fused pass a row, and one for the gradient."""
from ..array import FLOAT32, FLOATS, as_axes, empty
from ..autograd import op
from .elementwise import exp
from .reduce import sum


def _order(ndim, axes):
    """The axes with `axes` last."""
    return tuple(d for d in range(ndim) if d not in axes) + axes


def _as_rows(x, axes):
    """x as a matrix whose rows run over `axes`: a view where the strides allow."""
    order = _order(x.ndim, axes)
    columns = 1
    for a in axes:
        columns *= x.shape[a]
    return x.permute(order).reshape(x.size // columns, columns)


def _run(kernel, axis, log, *inputs):
    """device.<kernel>(out, *inputs, log) on the rows over `axis`, as an Array of their shape."""
    shape, device = inputs[0].shape, inputs[0].device
    axes = as_axes(axis, len(shape))
    if inputs[0].size == 0:
        return empty(shape, inputs[0].dtype, device)
    rows = [_as_rows(x, axes) for x in inputs]
    out = empty(rows[0].shape, rows[0].dtype, device)
    getattr(device, kernel)(out, *rows, log)
    order = _order(len(shape), axes)
    return out.reshape(tuple(shape[d] for d in order)).permute(tuple(order.index(d) for d in range(len(shape))))


def _as_float(x):
    return x if x.dtype in FLOATS else x.astype(FLOAT32)


@op(inputs=1)
def softmax(x, axis=-1):
    """exp(x) / sum(exp(x)) over axes, without overflow.

    >>> import fastconv as fc
    >>> fc.ops.softmax(fc.array([1e4, 1e4])).numpy()
    array([0.5, 0.5], dtype=float32)
    """
    return _run("softmax", axis, False, _as_float(x))


@op(inputs=1)
def log_softmax(x, axis=-1):
    """log(softmax(x)) over axes, without overflow."""
    return _run("softmax", axis, True, _as_float(x))


@softmax.gradient
def _(g, y, x, axis=-1):
    return _softmax_grad(g, y, axis)


@log_softmax.gradient
def _(g, y, x, axis=-1):
    return _log_softmax_grad(g, y, axis)


@op(inputs=2)
def _softmax_grad(g, y, axis):
    """y * (g - sum of g * y)"""
    return _run("softmax_grad", axis, False, g, y)


@_softmax_grad.gradient("g")
def _(h, d, g, y, axis):
    return _softmax_grad(h, y, axis)


@_softmax_grad.gradient("y")
def _(h, d, g, y, axis):
    return h * (g - sum(g * y, axis, keepdims=True)) - g * sum(h * y, axis, keepdims=True)


@op(inputs=2)
def _log_softmax_grad(g, y, axis):
    """g - exp(y) * sum of g"""
    return _run("softmax_grad", axis, True, g, y)


@_log_softmax_grad.gradient("g")
def _(h, d, g, y, axis):
    return h - sum(h * exp(y), axis, keepdims=True)


@_log_softmax_grad.gradient("y")
def _(h, d, g, y, axis):
    return -h * exp(y) * sum(g, axis, keepdims=True)


__all__ = ["log_softmax", "softmax"]
