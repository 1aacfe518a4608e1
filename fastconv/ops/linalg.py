"""The matrix product, and the linear map with its bias."""
import math

from ..array import Array, empty, same_device, same_float_dtype
from ..autograd import op, sum_to
from .reduce import sum
from .shape import reshape, transpose


@op
def matmul(a, b):
    """a @ b as in NumPy: 2-D, batched with broadcast leading axes, and vectors.

    TypeError for unlike or integer dtypes, ValueError for shapes that do not fit.

    >>> import fastconv as fc
    >>> fc.ops.matmul(fc.array([[1.0, 2.0]]), fc.array([[3.0], [4.0]])).numpy()
    array([[11.]], dtype=float32)
    """
    return a @ b


@matmul.gradient("a")
def _(g, y, a, b):
    g, a2, b2 = _as_matrices(g, a, b)
    return reshape(sum_to(matmul(g, transpose(b2)), a2), a.shape)


@matmul.gradient("b")
def _(g, y, a, b):
    g, a2, b2 = _as_matrices(g, a, b)
    shape = (*b.shape[:-2], *b2.shape[-2:]) if b.ndim > 1 else b2.shape
    return reshape(sum_to(matmul(transpose(_matrix(a, 0)), g), shape), b.shape)


def _matrix(x, axis):
    return x if x.ndim > 1 else reshape(x, (1, -1) if axis == 0 else (-1, 1))


def _as_matrices(g, a, b):
    """g with the axes that vectors dropped, the matrix shape of a, and b as a matrix."""
    b2 = _matrix(b, 1)
    a_shape = a.shape if a.ndim > 1 else (1, *a.shape)
    lead = g.shape[:g.ndim - (a.ndim > 1) - (b.ndim > 1)]
    return reshape(g, (*lead, a_shape[-2], b2.shape[-1])), a_shape, b2


@op(inputs=3)
def linear(x, w, bias=None):
    """x @ w.T + bias over the last axis of x (..., inputs), w (outputs, inputs), bias (outputs,).

    The bias is added as the product is stored. TypeError for unlike or integer dtypes, ValueError for
    shapes that do not fit.
    """
    given = (x, w) if bias is None else (x, w, bias)
    for a in given:
        if not isinstance(a, Array):
            raise TypeError(f"linear takes Tensors and Arrays, not {type(a).__name__}")
    if not x.ndim or w.ndim != 2 or x.shape[-1] != w.shape[1] or bias is not None and bias.shape != w.shape[:1]:
        raise ValueError(f"linear of x {x.shape}, w {w.shape} (outputs, inputs), bias {None if bias is None else bias.shape}")
    same_device("linear", *given)
    same_float_dtype("linear", *given)
    rows, shape = _rows(x), (*x.shape[:-1], w.shape[0])
    if bias is None or not rows.size or not bias.size:
        y = rows @ w.transpose()
        return (y if bias is None else y + bias).reshape(shape)
    out = empty((rows.shape[0], w.shape[0]), x.dtype, x.device)
    # a convolution of images of one pixel
    x.device.conv(_pixels(out), _pixels(rows), w._view((1, 1, 1, 1, *w.shape[::-1]), (0, 0, 0, 0, *w.strides[::-1])),
                  bias.unsqueeze(0), (1, 1, 1), (0, 0, 0), (1, 1, 1))
    return out.reshape(shape)


def _rows(x):
    """x (..., n) as a matrix."""
    return x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))


def _pixels(x):
    """A matrix (n, channels) as (1 group, n, 1, 1, 1, channels)."""
    return x._view((1, x.shape[0], 1, 1, 1, x.shape[1]), (0, x.strides[0], 0, 0, 0, x.strides[1]))


@linear.gradient("x")
def _(g, y, x, w, bias=None):
    return reshape(matmul(_rows(g), w), x.shape)


@linear.gradient("w")
def _(g, y, x, w, bias=None):
    # As (x.T @ g).T the product reads x and g as they lie; w and its gradient should lie alike, for the optimiser.
    dw = transpose(matmul(transpose(_rows(x)), _rows(g)))
    return dw.compact() if isinstance(dw, Array) else dw


@linear.gradient("bias")
def _(g, y, x, w, bias=None):
    return sum(_rows(g), 0)
