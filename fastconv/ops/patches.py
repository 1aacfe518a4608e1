"""unfold (im2col) and fold (its adjoint): the patches of an image as columns, and their sum back."""
import functools
import math
from dataclasses import dataclass

from ..array import as_shape, full
from ..autograd import op
from .conv import hashable, per_dim


@dataclass(frozen=True)
class _Patches:
    """The patches of an image (n, c, *size): `out` of them along each dimension."""

    x_shape: tuple
    kernel: tuple
    stride: tuple
    padding: tuple
    dilation: tuple
    out: tuple

    @property
    def columns_shape(self):
        n, c = self.x_shape[:2]
        return n, c * math.prod(self.kernel), math.prod(self.out)


@functools.lru_cache(maxsize=256)
def _patches(what, x_shape, kernel, stride, padding, dilation):
    dims = len(x_shape) - 2
    if dims < 1:
        raise ValueError(f"{what}: an image is (n, c, ...), not {x_shape}")
    kernel = per_dim(kernel, "kernel_size", dims, what)
    stride, dilation = per_dim(stride, "stride", dims, what), per_dim(dilation, "dilation", dims, what)
    padding = per_dim(padding, "padding", dims, what, least=0)
    out = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1
                for n, k, s, p, d in zip(x_shape[2:], kernel, stride, padding, dilation))
    if any(o < 1 for o in out):
        raise ValueError(f"{what}: kernel_size {kernel} with dilation {dilation} is larger than the padded image {x_shape}")
    return _Patches(x_shape, kernel, stride, padding, dilation, out)


@op(inputs=1)
def _unfold(x, patches):
    p = patches
    x = x.pad(((0, 0), (0, 0), *((k, k) for k in p.padding)))
    sn, sc, *ss = x.strides
    windows = x.as_strided((*x.shape[:2], *p.kernel, *p.out),
                           (sn, sc, *(s * d for s, d in zip(ss, p.dilation)), *(s * t for s, t in zip(ss, p.stride))))
    return windows.compact().reshape(p.columns_shape)


@_unfold.gradient
def _(g, y, x, patches):
    return _fold(g, patches)


@op(inputs=1)
def _fold(columns, patches):
    p = patches
    n, c, *size = p.x_shape
    out = full((n, c, *(s + 2 * q for s, q in zip(size, p.padding))), 0, columns.dtype, columns.device)
    columns = columns.reshape(n, c, math.prod(p.kernel), *p.out)
    for tap in range(math.prod(p.kernel)):
        rest, key = tap, []
        for k, s, d, o in reversed(list(zip(p.kernel, p.stride, p.dilation, p.out))):
            rest, i = divmod(rest, k)
            key.insert(0, slice(i * d, i * d + (o - 1) * s + 1, s))
        target = out[(slice(None), slice(None)) + tuple(key)]
        if target.size:
            target.device.map("add", target, target, columns[:, :, tap])
    return out[(slice(None), slice(None)) + tuple(slice(q, q + s) for s, q in zip(size, p.padding))]


@_fold.gradient
def _(g, y, columns, patches):
    return _unfold(g, patches)


def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    """The patches of (n, c, ...) as columns (n, c * kernel elements, number of patches), as torch has it: im2col.

    >>> import fastconv as fc
    >>> fc.ops.unfold(fc.array([[[1.0, 2.0, 3.0]]]), 2).numpy()
    array([[[1., 2.],
            [2., 3.]]], dtype=float32)
    """
    return _unfold(x, _patches(f"unfold of x {x.shape}", x.shape, *map(hashable, (kernel_size, stride, padding, dilation))))


def fold(columns, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Columns of patches (n, c * kernel elements, patches) summed into an image (n, c, *output_size): col2im.

    The adjoint of `unfold`, not its inverse: where patches overlap they add up.
    """
    size = as_shape((output_size,) if isinstance(output_size, int) else tuple(output_size))
    dims = len(size)
    what = f"fold of columns {columns.shape} into {size}"
    if columns.ndim != 3:
        raise ValueError(f"{what}: columns are (n, c * kernel elements, patches)")
    elements = math.prod(per_dim(hashable(kernel_size), "kernel_size", dims, what))
    if columns.shape[1] % elements:
        raise ValueError(f"{what}: {columns.shape[1]} rows are no multiple of the {elements} elements of a patch")
    x_shape = (columns.shape[0], columns.shape[1] // elements, *size)
    patches = _patches(what, x_shape, *map(hashable, (kernel_size, stride, padding, dilation)))
    if columns.shape != patches.columns_shape:
        raise ValueError(f"{what}: there are {math.prod(patches.out)} patches in such an image")
    return _fold(columns, patches)


__all__ = ["fold", "unfold"]
