"""The matrix product."""
from ..autograd import op, sum_to
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
