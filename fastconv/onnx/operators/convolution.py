"""Matrix products and convolutions."""
import math

import numpy as np

from ... import ops
from ...array import FLOATS
from .registry import OnnxError, operator

_CONV = {1: (ops.conv1d, ops.conv_transpose1d, "NCL"), 2: (ops.conv2d, ops.conv_transpose2d, "NCHW"),
         3: (ops.conv3d, ops.conv_transpose3d, "NCDHW")}


@operator("MatMul")
def _(node, context, a, b):
    return _matmul(a, b)


def _matmul(a, b):
    """Integers multiply in float64, which is exact to 2^53."""
    if a.dtype in FLOATS:
        return ops.matmul(a, b)
    return ops.cast(ops.matmul(ops.cast(a, np.float64), ops.cast(b, np.float64)), a.dtype)


@operator("Gemm")
def _(node, context, a, b, c=None):
    alpha, beta = node.get("alpha"), node.get("beta")
    plain = a.dtype in FLOATS and alpha == beta == 1 and node.get("transB") and not node.get("transA")
    if plain and (c is None or c.shape == b.shape[:1]):
        return ops.linear(a, b, c)
    y = _matmul(ops.transpose(a) if node.get("transA") else a, ops.transpose(b) if node.get("transB") else b)
    y = y if alpha == 1 else y * alpha
    return y if c is None or not beta else y + (c if beta == 1 else c * beta)


# --- convolution -----------------------------------------------------------------------------

def spatial(node, x, size):
    """(stride, dilation, pads as pairs) of a sliding window of this size over x (n, c, ...)."""
    dims = x.ndim - 2
    stride = node.get("strides") or (1,) * dims
    dilation = node.get("dilations") or (1,) * dims
    pads = node.get("pads") or (0,) * 2 * dims
    if dims < 1 or not len(stride) == len(dilation) == len(size) == dims or len(pads) != 2 * dims:
        raise OnnxError(f"window {tuple(size)}, strides {stride}, dilations {dilation} and pads {pads} for {dims} dimensions")
    if min(stride) < 1 or min(dilation) < 1 or min(size) < 1 or min(pads) < 0:
        raise OnnxError(f"window {tuple(size)}, strides {stride}, dilations {dilation}, pads {pads}")
    auto = node.get("auto_pad", "NOTSET")
    if auto == "VALID":
        pads = (0,) * 2 * dims
    elif auto != "NOTSET":
        total = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, s, k, d in zip(x.shape[2:], stride, size, dilation)]
        pads = same_pads(auto, total)
    return tuple(stride), tuple(dilation), tuple(zip(pads[:dims], pads[dims:]))


def same_pads(auto, total):
    """A total padding per dimension, the odd one at the end (SAME_UPPER) or at the beginning (SAME_LOWER)."""
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return (*small, *large) if auto == "SAME_UPPER" else (*large, *small)


def _functions(x):
    if x.ndim - 2 not in _CONV:
        raise OnnxError(f"x of shape {x.shape}: one to three spatial dimensions")
    return _CONV[x.ndim - 2]


def _kernel(node, w):
    kernel = node.get("kernel_shape")
    if kernel is not None and tuple(kernel) != w.shape[2:]:
        raise OnnxError(f"kernel_shape {kernel} with weights of shape {w.shape}")
    return w.shape[2:]


@operator("Conv")
def _(node, context, x, w, bias=None):
    function, _, layout = _functions(x)
    stride, dilation, pads = spatial(node, x, _kernel(node, w))
    return function(x, w, bias, stride, pads, dilation, node.get("group"), layout=layout)


@operator("ConvTranspose")
def _(node, context, x, w, bias=None):
    _, function, layout = _functions(x)
    dims = x.ndim - 2
    stride, dilation, pads = spatial(node, x, _kernel(node, w))
    extra = node.get("output_padding") or (0,) * dims
    reach = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(x.shape[2:], stride, w.shape[2:], dilation)]
    shape, auto = node.get("output_shape"), node.get("auto_pad")
    if shape or auto.startswith("SAME"):
        shape = shape[-dims:] if shape else [n * s for n, s in zip(x.shape[2:], stride)]
        # What is too much goes as in a padding: half at each end; what is too little is put at the end.
        total = [max(r + e - n, 0) for r, e, n in zip(reach, extra, shape)]
        pads = same_pads("SAME_UPPER" if auto == "SAME_UPPER" else "SAME_LOWER", total)
        pads = tuple(zip(pads[:dims], pads[dims:]))
    else:
        shape = [r + e - lo - hi for r, e, (lo, hi) in zip(reach, extra, pads)]
    if len(shape) != dims or len(extra) != dims or min(shape) < 1:
        raise OnnxError(f"the output would have size {tuple(shape)}")
    context.check((x.shape[0], w.shape[1] * node.get("group"), *shape), x.dtype)
    y = function(x, w, None, stride, 0, 0, dilation, node.get("group"), layout=layout)
    key, width = [slice(None)] * 2, [(0, 0)] * 2
    for r, n, (lo, _) in zip(reach, shape, pads):
        key.append(slice(lo, min(lo + n, r)))
        width.append((0, max(lo + n - r, 0)))
    y = y if all(n == r for n, r in zip(shape, reach)) else ops.getitem(y, tuple(key))
    y = ops.pad(y, tuple(width)) if any(hi for _, hi in width) else y
    return y if bias is None else y + ops.reshape(bias, (1, -1) + (1,) * dims)


# --- Einstein's sums -------------------------------------------------------------------------

@operator("Einsum")
def _(node, context, *xs):
    return einsum(node.get("equation"), xs)


def einsum(equation, xs):
    """Einstein's sum over labelled axes: the tensors are multiplied in pairs, each axis summed as soon as it can be."""
    terms, arrow, result = equation.replace(" ", "").partition("->")
    terms = terms.split(",")
    if len(terms) != len(xs):
        raise OnnxError(f"equation {equation!r} for {len(xs)} tensors")
    labelled = [_labels(term, x) for term, x in zip(terms, xs)]
    named = "".join(t for t, _ in labelled)
    dots = "".join(c for c in _DOTS if c in named)
    if not arrow:
        result = "..." + "".join(sorted(c for c in set(named) if c not in _DOTS and named.count(c) == 1))
    out = result.replace("...", dots)
    labels, y = labelled[0]
    for i, (other, x) in enumerate(labelled[1:], start=1):
        later = out + "".join(t for t, _ in labelled[i + 1:])
        labels, y = _product(labels, y, other, x, later)
    if set(out) - set(labels) or len(set(out)) != len(out):
        raise OnnxError(f"equation {equation!r}: the result names axes that are not there, or twice")
    gone = tuple(i for i, c in enumerate(labels) if c not in out)
    y = ops.sum(y, gone) if gone else y
    labels = [c for c in labels if c in out]
    return ops.permute(y, tuple(labels.index(c) for c in out))


_DOTS = tuple(chr(0x100 + i) for i in range(16))        # labels of the axes behind "...", the last one last


def _labels(term, x):
    """(a label per axis, x): "..." written out, axes that are named twice replaced by their diagonal."""
    if "..." in term:
        count = x.ndim - len(term.replace("...", ""))
        if count < 0:
            raise OnnxError(f"term {term!r} for a tensor of shape {x.shape}")
        term = term.replace("...", "".join(_DOTS[len(_DOTS) - count:]) if count else "")
    if len(term) != x.ndim:
        raise OnnxError(f"term {term!r} for a tensor of shape {x.shape}")
    for c in dict.fromkeys(term):
        while term.count(c) > 1:
            i = term.index(c)
            j = term.index(c, i + 1)
            n = x.shape[i]
            order = (*(d for d in range(x.ndim) if d not in (i, j)), i, j)
            rest = tuple(x.shape[d] for d in order[:-2])
            x = ops.reshape(ops.permute(x, order), (*rest, n * n))
            x = ops.getitem(x, (*(slice(None),) * len(rest), slice(None, None, n + 1)))
            term = "".join(term[d] for d in order[:-2]) + c
    return term, x


def _product(a_labels, a, b_labels, b, later):
    """Two labelled tensors multiplied; axes that nothing later names are summed: one batched matrix product."""
    def sums(labels, x, other):
        gone = tuple(i for i, c in enumerate(labels) if c not in other and c not in later)
        return "".join(c for i, c in enumerate(labels) if i not in gone), ops.sum(x, gone) if gone else x
    a_labels, a = sums(a_labels, a, b_labels)
    b_labels, b = sums(b_labels, b, a_labels)
    batch = [c for c in a_labels if c in b_labels and c in later]
    inner = [c for c in a_labels if c in b_labels and c not in later]
    rows, columns = [c for c in a_labels if c not in b_labels], [c for c in b_labels if c not in a_labels]
    sizes = {c: 1 for c in a_labels + b_labels}
    for labels, x in ((a_labels, a), (b_labels, b)):
        for c, n in zip(labels, x.shape):
            sizes[c] = max(sizes[c], n) if n else 0

    def matrices(labels, x, first, second):
        x = ops.permute(x, tuple(labels.index(c) for c in (*batch, *first, *second)))
        x = ops.broadcast_to(x, tuple(sizes[c] for c in (*batch, *first, *second)))
        shape = [tuple(sizes[c] for c in group) for group in (batch, first, second)]
        return ops.reshape(x, (*shape[0], math.prod(shape[1]), math.prod(shape[2])))
    y = _matmul(matrices(a_labels, a, rows, inner), matrices(b_labels, b, inner, columns))
    return "".join([*batch, *rows, *columns]), ops.reshape(y, tuple(sizes[c] for c in (*batch, *rows, *columns)))


__all__ = ["einsum", "same_pads", "spatial"]
