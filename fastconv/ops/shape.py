"""Ops that move elements without computing: views where strides can say it, else one copy."""
import operator

from ..array import as_axes, empty, full, promote
from ..autograd import cast, op

# --- views -----------------------------------------------------------------------------------


@op(inputs=1)
def reshape(x, shape):
    """x in another shape of the same size; one -1 is inferred."""
    return x.reshape(shape)


@reshape.gradient
def _(g, y, x, shape):
    return reshape(g, x.shape)


@op(inputs=1)
def permute(x, axes):
    """The axes in the given order."""
    return x.permute(axes)


@permute.gradient
def _(g, y, x, axes):
    order = [a % x.ndim for a in axes]
    return permute(g, tuple(order.index(d) for d in range(x.ndim)))


@op(inputs=1)
def transpose(x, axis1=-2, axis2=-1):
    """Two axes swapped, by default the last two."""
    return x.transpose(axis1, axis2)


@transpose.gradient
def _(g, y, x, axis1=-2, axis2=-1):
    return transpose(g, axis1, axis2)


@op(inputs=1)
def squeeze(x, axis=None):
    """Without the axes of size 1, or those named."""
    return x.squeeze(axis)


@squeeze.gradient
def _(g, y, x, axis=None):
    return reshape(g, x.shape)


@op(inputs=1)
def unsqueeze(x, axis):
    """With a new axis of size 1 at `axis` (an int or a tuple, places in the result)."""
    return x.unsqueeze(axis)


@unsqueeze.gradient
def _(g, y, x, axis):
    return reshape(g, x.shape)


@op(inputs=1)
def flip(x, axis=None):
    """Elements in reverse order along `axis` (int, tuple; None is all), by negative strides."""
    return x.flip(axis)


@flip.gradient
def _(g, y, x, axis=None):
    return flip(g, axis)


@op(inputs=1)
def getitem(x, key):
    """x[key] for ints, slices (negative steps too), None and Ellipsis: a view."""
    return x[key]


@getitem.gradient
def _(g, y, x, key):
    return embed(g, x.shape, key)


@op(inputs=1)
def embed(x, shape, key):
    """Zeros of `shape` with x at [key]: the gradient of getitem."""
    out = full(shape, 0, x.dtype, x.device)
    out[key] = x
    return out


@embed.gradient
def _(g, y, x, shape, key):
    return getitem(g, key)


# --- padding and dilation --------------------------------------------------------------------


@op(inputs=1)
def pad(x, width, value=0):
    """`value` around x: width is ((before, after), ...) for each axis, as np.pad has it.

    >>> import fastconv as fc
    >>> fc.ops.pad(fc.array([1.0, 2.0]), ((1, 2),)).numpy()
    array([0., 1., 2., 0., 0.], dtype=float32)
    """
    return x.pad(width, value)


@pad.gradient
def _(g, y, x, width, value=0):
    return getitem(g, tuple(slice(lo, lo + size) for (lo, _), size in zip(width, x.shape)))


@op(inputs=1)
def dilate(x, axes, d):
    """d zeros after every element along `axes`, the last element included: size n becomes n * (d + 1)."""
    shape, key = _dilation(x, axes, d)
    out = full(shape, 0, x.dtype, x.device)
    out[key] = x
    return out


@dilate.gradient
def _(g, y, x, axes, d):
    return undilate(g, axes, d)


@op(inputs=1)
def undilate(x, axes, d):
    """Every (d + 1)-th element along `axes`, from the first on: takes out what dilate put in."""
    return x[_dilation(x, axes, d)[1]]


@undilate.gradient
def _(g, y, x, axes, d):
    _, key = _dilation(x, axes, d)
    return embed(g, x.shape, key)


def _dilation(x, axes, d):
    d = operator.index(d)
    if d < 0:
        raise ValueError(f"dilation by {d} zeros")
    axes = as_axes(axes, x.ndim)
    shape = tuple(n * (d + 1) if a in axes else n for a, n in enumerate(x.shape))
    return shape, tuple(slice(None, None, d + 1) if a in axes else slice(None) for a in range(x.ndim))


# --- joining and splitting -------------------------------------------------------------------


def concatenate(xs, axis=0):
    """The inputs one after the other along an existing axis; other sizes must be equal."""
    return _concatenate(*_sequence("concatenate", xs), axis=axis)


@op
def _concatenate(*xs, axis):
    (a,) = as_axes(operator.index(axis), xs[0].ndim)
    shapes = [x.shape for x in xs]
    if any(len(s) != len(shapes[0]) or s[:a] + s[a + 1:] != shapes[0][:a] + shapes[0][a + 1:] for s in shapes):
        raise ValueError(f"concatenate along axis {axis} of shapes {', '.join(map(str, shapes))}")
    shape = shapes[0][:a] + (sum(s[a] for s in shapes),) + shapes[0][a + 1:]
    out, start = empty(shape, _promoted(xs), xs[0].device), 0
    for x in xs:
        out[(slice(None),) * a + (slice(start, start + x.shape[a]),)] = x
        start += x.shape[a]
    return out


@_concatenate.gradient
def _(g, y, *xs, axis):
    (a,) = as_axes(axis, y.ndim)
    parts, start = [], 0
    for x in xs:
        parts.append(cast(getitem(g, (slice(None),) * a + (slice(start, start + x.shape[a]),)), x.dtype))
        start += x.shape[a]
    return tuple(parts)


def stack(xs, axis=0):
    """The inputs, all of one shape, along a new axis."""
    return _stack(*_sequence("stack", xs), axis=axis)


@op
def _stack(*xs, axis):
    if any(x.shape != xs[0].shape for x in xs):
        raise ValueError(f"stack of shapes {', '.join(str(x.shape) for x in xs)}")
    (a,) = as_axes(operator.index(axis), xs[0].ndim + 1)
    out = empty(xs[0].shape[:a] + (len(xs),) + xs[0].shape[a:], _promoted(xs), xs[0].device)
    for i, x in enumerate(xs):
        out[(slice(None),) * a + (i,)] = x
    return out


@_stack.gradient
def _(g, y, *xs, axis):
    return tuple(cast(part, x.dtype) for part, x in zip(_unstack(g, axis), xs))


def split(x, axis=0, sections=None):
    """A tuple of views of x along `axis`.

    sections   None: one for each index, without the axis (the inverse of stack); an int: that many
               equal parts; a sequence of ints: the sizes of the parts (the inverse of concatenate).
    """
    (a,) = as_axes(operator.index(axis), x.ndim)
    if sections is None:
        return _unstack(x, a)
    n = x.shape[a]
    if isinstance(sections, int):
        if sections < 1 or n % sections:
            raise ValueError(f"split of axis {axis} of shape {x.shape} into {sections} equal parts")
        sections = (n // sections,) * sections
    sections = tuple(map(operator.index, sections))
    if sum(sections) != n or min(sections, default=0) < 0:
        raise ValueError(f"split of axis {axis} of shape {x.shape} into sizes {sections}")
    return _split(x, a, sections)


@op(inputs=1, outputs=True)
def _split(x, axis, sections):
    parts, start = [], 0
    for size in sections:
        parts.append(x[(slice(None),) * axis + (slice(start, start + size),)])
        start += size
    return tuple(parts)


@_split.gradient
def _(gs, ys, x, axis, sections):
    return concatenate(gs, axis)


@op(inputs=1, outputs=True)
def _unstack(x, axis):
    (a,) = as_axes(axis, x.ndim)
    return tuple(x[(slice(None),) * a + (i,)] for i in range(x.shape[a]))


@_unstack.gradient
def _(gs, ys, x, axis):
    return stack(gs, axis)


def _sequence(name, xs):
    xs = tuple(xs)
    if not xs:
        raise ValueError(f"{name} of no tensors")
    return xs


def _promoted(xs):
    if any(x.device is not xs[0].device for x in xs):
        raise ValueError(f"arrays on different devices: {', '.join(x.device.name for x in xs)}")
    dtype = xs[0].dtype
    for x in xs[1:]:
        dtype = promote(dtype, x.dtype)
    return dtype


__all__ = ["reshape", "permute", "transpose", "squeeze", "unsqueeze", "flip", "getitem", "embed", "pad", "dilate",
           "undilate", "concatenate", "stack", "split"]
