"""Convolution: shapes, views and gradients. The arithmetic is `device.conv` (see reference.py).

Three bilinear maps close under differentiation:

    y  = conv(x, w)            forward
    dx = input_grad(g, w)      gradient with respect to x; also the transposed convolution
    dw = weight_grad(x, g)     gradient with respect to w

Each maps the public layout to the kernels' canonical one, three spatial dimensions with groups in
front, by views alone: nothing is converted, whatever the layout.

    x  (groups, batch, D, H, W, channels)    w  (groups, kd, kh, kw, channels, out channels)

New images are laid out channels-last in memory whatever their shape says, because the register
tile writes rows of output channels; elementwise ops keep that order (array.py).
"""
import functools
import math
import operator
from dataclasses import dataclass, field

import numpy as np

from ..array import FLOATS, Array, compact_strides, empty, same_device, same_float_dtype
from ..autograd import op
from ..device import default_device
from . import algorithms
from .elementwise import activated, check_activation
from .reduce import sum as sum_over

# --- geometry: what a call means -------------------------------------------------------------


@dataclass(frozen=True)
class Geometry:
    """Everything about a convolution but its data. Triples are padded in front for fewer dimensions."""

    stride: tuple
    padding: tuple            # zeros before each dimension
    dilation: tuple
    groups: int
    channels_last: bool
    algorithm: str
    x_shape: tuple            # the public shapes
    w_shape: tuple
    y_shape: tuple
    picked: dict = field(default_factory=dict, repr=False, compare=False)      # what "auto" is, see _algorithm

    @property
    def spatial(self):
        """The number of spatial dimensions."""
        return len(self.x_shape) - 2


_NAMES = {1: "conv1d", 2: "conv2d", 3: "conv3d"}
_LAYOUTS = {1: ("NLC", "NCL"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}


@functools.lru_cache(maxsize=4096)
def _geometry(x_shape, w_shape, stride, padding, dilation, groups, layout, algorithm, dims):
    """The Geometry of a forward call; ValueError or TypeError with the offending values."""
    name = _NAMES[dims]
    what = f"{name} of x {x_shape} with w {w_shape} (layout {layout})"
    channels_last = _channels_last(name, layout, dims)
    algorithms.check(algorithm)
    if len(x_shape) != dims + 2 or len(w_shape) != dims + 2:
        raise ValueError(f"{what}: both need {dims + 2} dimensions")
    size, kernel, c_in, w_in, c_out = _sizes(x_shape, w_shape, channels_last)
    groups = positive(groups, "groups", what)
    if c_in % groups or c_out % groups:
        raise ValueError(f"{what}: groups={groups} does not divide {c_in} input and {c_out} output channels")
    if c_in != w_in * groups:
        raise ValueError(f"{what}: x has {c_in} channels, w takes {w_in} in each of {groups} groups")
    if 0 in kernel or not c_in or not c_out:
        raise ValueError(f"{what}: sizes of channels and kernel must be positive")
    stride = per_dim(stride, "stride", dims, what)
    dilation = per_dim(dilation, "dilation", dims, what)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    pads = _padding(padding, stride, reach, dims, what)
    for n, (lo, hi), r in zip(size, pads, reach):
        if n + lo + hi < r:
            raise ValueError(f"{what}: the kernel reaches {tuple(reach)}, more than the padded input "
                             f"{tuple(n + lo + hi for n, (lo, hi) in zip(size, pads))}")
    out = tuple((n + lo + hi - r) // s + 1 for n, (lo, hi), r, s in zip(size, pads, reach, stride))
    y_shape = (x_shape[0], *out, c_out) if channels_last else (x_shape[0], c_out, *out)
    return _checked(Geometry(triple(stride, 1), triple([lo for lo, _ in pads], 0), triple(dilation, 1), groups,
                             channels_last, algorithm, x_shape, w_shape, y_shape), what)


@functools.lru_cache(maxsize=4096)
def _transposed_geometry(x_shape, w_shape, stride, padding, output_padding, dilation, groups, layout, algorithm, dims):
    """The Geometry of the convolution whose input gradient a transposed convolution is."""
    what = f"conv_transpose{dims}d of x {x_shape} with w {w_shape} (layout {layout})"
    channels_last = _channels_last(f"conv_transpose{dims}d", layout, dims)
    algorithms.check(algorithm)
    if len(x_shape) != dims + 2 or len(w_shape) != dims + 2:
        raise ValueError(f"{what}: both need {dims + 2} dimensions")
    # w is that of the forward convolution: its outputs are this one's inputs.
    size, kernel, c_x, w_in, c_out = _sizes(x_shape, w_shape, channels_last)
    groups = positive(groups, "groups", what)
    if c_x != c_out or c_out % groups:
        raise ValueError(f"{what}: x has {c_x} channels, w takes {c_out} in {groups} groups")
    if 0 in kernel or not c_x or not w_in or 0 in size:
        raise ValueError(f"{what}: sizes of channels, image and kernel must be positive")
    stride = per_dim(stride, "stride", dims, what)
    dilation = per_dim(dilation, "dilation", dims, what)
    extra = per_dim(output_padding, "output_padding", dims, what, least=0)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    pads = _padding(padding, stride, reach, dims, what)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ValueError(f"{what}: output_padding {extra} must be smaller than stride {stride} or dilation {dilation}")
    out = tuple((n - 1) * s - lo - hi + r + e for n, s, (lo, hi), r, e in zip(size, stride, pads, reach, extra))
    if any(n < 1 for n in out):
        raise ValueError(f"{what}: the output would have size {out}")
    channels = w_in * groups
    out_shape = (x_shape[0], *out, channels) if channels_last else (x_shape[0], channels, *out)
    return _checked(Geometry(triple(stride, 1), triple([lo for lo, _ in pads], 0), triple(dilation, 1), groups,
                             channels_last, algorithm, out_shape, w_shape, x_shape), what)


def _checked(geo, what):
    """geo, or ValueError where the algorithm that is asked for cannot do this."""
    if geo.algorithm != "auto":
        algorithm = algorithms.ALGORITHMS[geo.algorithm]
        if not algorithms.fits(algorithm, *canonical_shapes(geo), geo.stride, geo.dilation):
            raise ValueError(f"{what}: algorithm {geo.algorithm!r} takes 3x3 kernels in two dimensions with "
                             f"stride and dilation 1; here are stride {geo.stride[3 - geo.spatial:]} and dilation "
                             f"{geo.dilation[3 - geo.spatial:]}")
    return geo


def _channels_last(name, layout, dims):
    if layout not in _LAYOUTS[dims]:
        raise ValueError(f"layout {layout!r} of {name}: use one of {_LAYOUTS[dims]}")
    return layout == _LAYOUTS[dims][0]


def _sizes(x_shape, w_shape, channels_last):
    """(spatial size, kernel size, x channels, w input channels, w output channels)."""
    if channels_last:
        return x_shape[1:-1], w_shape[:-2], x_shape[-1], w_shape[-2], w_shape[-1]
    return x_shape[2:], w_shape[2:], x_shape[1], w_shape[1], w_shape[0]


def positive(value, what, call, least=1):
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{call}: {what}={value!r} is not an int") from None
    if number < least:
        raise ValueError(f"{call}: {what}={number} must be at least {least}")
    return number


def per_dim(value, what, dims, call, least=1):
    """One int per spatial dimension from an int or a tuple."""
    values = value if isinstance(value, tuple) else (value,) * dims
    if len(values) != dims:
        raise ValueError(f"{call}: {what}={value} needs {dims} entries")
    return tuple(positive(v, what, call, least) for v in values)


def _padding(padding, stride, reach, dims, call):
    """((before, after), ...) from an int, one per dimension, pairs, "same" or "valid"."""
    if padding == "valid":
        return ((0, 0),) * dims
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ValueError(f"{call}: padding='same' needs stride 1, not {stride}")
        return tuple(((r - 1) // 2, (r - 1) - (r - 1) // 2) for r in reach)
    if isinstance(padding, str):
        raise ValueError(f"{call}: padding={padding!r}; as a word it is 'same' or 'valid'")
    entries = padding if isinstance(padding, tuple) else (padding,) * dims
    if len(entries) != dims:
        raise ValueError(f"{call}: padding={padding} needs {dims} entries")
    pairs = tuple(e if isinstance(e, tuple) else (e, e) for e in entries)
    if any(len(p) != 2 for p in pairs):
        raise ValueError(f"{call}: padding={padding} must hold ints or (before, after) pairs")
    return tuple(tuple(positive(v, "padding", call, least=0) for v in p) for p in pairs)


def triple(values, fill):
    return (fill,) * (3 - len(values)) + tuple(values)


class _NotInt:
    """Stands for a value that is no int: in the cache 1.0 would equal 1, and a set has no hash."""

    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return repr(self.value)


def hashable(value):
    """A parameter as a key of the geometry caches: ints, words, None, and tuples of them."""
    if isinstance(value, (tuple, list)):
        return tuple(map(hashable, value))
    try:
        return value if value is None or isinstance(value, str) else operator.index(value)
    except TypeError:
        return _NotInt(value)


# --- canonical views -------------------------------------------------------------------------

# From this many channels on, a copy with the channels side by side costs less than vectors gathered one by one.
_WORTH_LAYING_OUT = 16


def _laid_out(x, geo):
    """x, or a copy of it that is channels-last in memory, as the kernels read best.

    Not for a few channels a group: side by side these fill no vector, rows of pixels do.
    """
    axis = _channel_axis(x, geo)
    channels = x.shape[axis]
    if x.strides[axis] == 1 or channels < _WORTH_LAYING_OUT or 1 < channels // geo.groups < _WORTH_LAYING_OUT:
        return x
    copy = _new_image(x.shape, geo, x)
    x.device.map("copy", copy, x)
    return copy


def _image_view(x, geo):
    """(batch, ..., channels) in the public layout as (groups, batch, D, H, W, channels of a group)."""
    shape, strides = list(x.shape), list(x.strides)
    if not geo.channels_last:
        shape.append(shape.pop(1))
        strides.append(strides.pop(1))
    fill = 3 - geo.spatial
    c, sc = shape[-1] // geo.groups, strides[-1]
    return x._view((geo.groups, shape[0], *(1,) * fill, *shape[1:-1], c),
                   (c * sc, strides[0], *(0,) * fill, *strides[1:-1], sc))


def _weight_view(w, geo):
    """w in the public layout as (groups, kd, kh, kw, channels, out channels of a group)."""
    shape, strides = list(w.shape), list(w.strides)
    if not geo.channels_last:
        shape = shape[2:] + [shape[1], shape[0]]
        strides = strides[2:] + [strides[1], strides[0]]
    fill = 3 - geo.spatial
    o, so = shape[-1] // geo.groups, strides[-1]
    return w._view((geo.groups, *(1,) * fill, *shape[:-1], o), (o * so, *(0,) * fill, *strides[:-1], so))


def canonical_shapes(geo):
    """The canonical shapes of (out, x, w)."""
    def image(shape):
        c = shape[-1] if geo.channels_last else shape[1]
        size = shape[1:-1] if geo.channels_last else shape[2:]
        return (geo.groups, shape[0], *triple(size, 1), c // geo.groups)
    _, kernel, _, w_in, c_out = _sizes(geo.x_shape, geo.w_shape, geo.channels_last)
    return image(geo.y_shape), image(geo.x_shape), (geo.groups, *triple(kernel, 1), w_in, c_out // geo.groups)


def _algorithm(geo, step, like):
    """The Algorithm of one of the three maps, for arrays like this one."""
    if geo.algorithm != "auto":
        return algorithms.ALGORITHMS[geo.algorithm]
    key = (step, algorithms.get_conv_precision(), like.device, like.dtype)
    found = geo.picked.get(key)
    if found is None:
        out, x, w = canonical_shapes(geo)
        if step == "input_grad":
            out, x, w = x, out, (*w[:4], w[5], w[4])
        found = geo.picked[key] = algorithms.pick(*key, out, x, w, geo.stride, geo.dilation)
    return found


def _new_image(shape, geo, like):
    """An uninitialised image of this public shape, channels-last in memory."""
    if geo.channels_last:
        return empty(shape, like.dtype, like.device)
    memory = compact_strides((shape[0], *shape[2:], shape[1]))
    return empty(shape, like.dtype, like.device, (memory[0], memory[-1], *memory[1:-1]))


def _new_weight(geo, like):
    """An uninitialised weight of geo's public shape, (kernel, in, out) in memory."""
    if geo.channels_last:
        return empty(geo.w_shape, like.dtype, like.device)
    memory = compact_strides((*geo.w_shape[2:], geo.w_shape[1], geo.w_shape[0]))
    return empty(geo.w_shape, like.dtype, like.device, (memory[-1], memory[-2], *memory[:-2]))


# --- the three maps --------------------------------------------------------------------------

@op(inputs=3)
def _conv(x, w, bias, geo):
    return _correlated(x, w, bias, geo, None)


def _correlated(x, w, bias, geo, activation):
    """The convolution of Arrays, with its activation in the same pass where the algorithm can."""
    arrays = (x, w) if bias is None else (x, w, bias)
    same_float_dtype("convolution", *arrays)
    same_device("convolution", *arrays)
    y = _new_image(geo.y_shape, geo, x)
    if y.size:
        algorithm = _algorithm(geo, "forward", x)
        algorithm.correlate(_image_view(y, geo), _image_view(_laid_out(x, geo), geo), _weight_view(w, geo),
                            None if bias is None else bias.reshape(geo.groups, -1), geo.stride, geo.padding, geo.dilation,
                            *((activation,) if algorithm.activates else ()))
        if activation is not None and not algorithm.activates:
            y.device.map(*(("relu", y, y) if activation == "relu" else ("clip", y, y, 0.0, 6.0)))
    return y


@_conv.gradient("x")
def _(g, y, x, w, bias, geo):
    return _input_grad(g, w, geo)


@_conv.gradient("w")
def _(g, y, x, w, bias, geo):
    return _weight_grad(x, g, geo)


@_conv.gradient("bias")
def _(g, y, x, w, bias, geo):
    return sum_over(g, tuple(d for d in range(g.ndim) if d != _channel_axis(g, geo)))


@op(inputs=3, composite=lambda x, w, bias, geo, activation: activated(_conv(x, w, bias, geo), activation))
def _activated_conv(x, w, bias, geo, activation):
    """A convolution and its activation in one pass."""
    return _correlated(x, w, bias, geo, activation)


@_activated_conv.gradient
def _(g, y, x, w, bias, geo, activation):
    g = g.map("relu_grad", y) if activation == "relu" else g.map("relu_grad", y).map("relu_grad", 6.0 - y)
    d_bias = None if bias is None else sum_over(g, tuple(d for d in range(g.ndim) if d != _channel_axis(g, geo)))
    return _input_grad(g, w, geo), _weight_grad(x, g, geo), d_bias


def _channel_axis(y, geo):
    return y.ndim - 1 if geo.channels_last else 1


@op(inputs=2)
def _input_grad(g, w, geo):
    same_float_dtype("convolution", g, w)
    same_device("convolution", g, w)
    dx = _new_image(geo.x_shape, geo, g)
    if dx.size:
        algorithm = _algorithm(geo, "input_grad", g)
        dxv, gv, wv = _image_view(dx, geo), _image_view(_laid_out(g, geo), geo), _weight_view(w, geo)
        for out, kernel, padding, dilation in _residues(geo):
            target = dxv[(slice(None), slice(None)) + out]
            if kernel is None or not g.size:
                target._fill(0)
            else:
                flipped = wv[(slice(None),) + kernel].permute(0, 1, 2, 3, 5, 4)
                algorithm.correlate(target, gv, flipped, None, (1, 1, 1), padding, dilation)
    return dx


@_input_grad.gradient("g")
def _(gg, y, g, w, geo):
    return _conv(gg, w, None, geo)


@_input_grad.gradient("w")
def _(gg, y, g, w, geo):
    return _weight_grad(gg, g, geo)


@op(inputs=2)
def _weight_grad(x, g, geo):
    same_float_dtype("convolution", x, g)
    same_device("convolution", x, g)
    dw = _new_weight(geo, x)
    if not x.size or not g.size:
        dw._fill(0)
    else:
        _algorithm(geo, "weight_grad", x).weight_grad(_weight_view(dw, geo), _image_view(_laid_out(x, geo), geo),
                                                      _image_view(_laid_out(g, geo), geo), geo.stride, geo.padding, geo.dilation)
    return dw


@_weight_grad.gradient("x")
def _(gw, y, x, g, geo):
    return _input_grad(g, gw, geo)


@_weight_grad.gradient("g")
def _(gw, y, x, g, geo):
    return _conv(x, gw, None, geo)


@functools.lru_cache(maxsize=4096)
def _residues(geo):
    """The input gradient as plain convolutions of g, one for each residue of the input index.

    Input index i = r + s*j is reached from output index o by tap k where i + p = o*s + k*d. Only the
    taps k0, k0 + q, ... with q = s / gcd(s, d) solve that for a given r, and o falls as k rises: with
    the taps reversed it is a convolution over j of stride 1 and dilation q*d/s. No zero is inserted.

    Yields (slices of dx, slices of w or None where no tap reaches, padding, dilation).
    """
    sizes = triple(geo.x_shape[1:-1] if geo.channels_last else geo.x_shape[2:], 1)
    kernel = triple(geo.w_shape[:-2] if geo.channels_last else geo.w_shape[2:], 1)
    per_dim = [residues_1d(*dim) for dim in zip(sizes, kernel, geo.stride, geo.padding, geo.dilation)]
    calls = []
    for a in per_dim[0]:
        for b in per_dim[1]:
            for c in per_dim[2]:
                out, taps, padding, dilation = zip(a, b, c)
                calls.append((out, None if None in taps else taps, padding, dilation))
    return calls


def residues_1d(size, kernel, stride, padding, dilation):
    step = stride // math.gcd(stride, dilation)
    found = []
    for r in range(min(stride, size)):
        out = slice(r, None, stride)
        first = next((k for k in range(min(step, kernel)) if (r + padding - k * dilation) % stride == 0), None)
        if first is None:
            found.append((out, None, 0, 1))
            continue
        last = first + (kernel - 1 - first) // step * step
        taps = slice(last, first - 1 if first else None, -step)
        found.append((out, taps, -((r + padding - last * dilation) // stride), step * dilation // stride))
    return found


# --- public functions ------------------------------------------------------------------------

def _call(dims, x, w, bias, stride, padding, dilation, groups, layout, algorithm, activation):
    _check_operands(_NAMES[dims], x, w, bias)
    check_activation(_NAMES[dims], activation)
    geo = _geometry(x.shape, w.shape, *map(hashable, (stride, padding, dilation, groups, layout, algorithm)), dims)
    c_out = geo.y_shape[-1 if geo.channels_last else 1]
    if bias is not None and bias.shape != (c_out,):
        raise ValueError(f"{_NAMES[dims]}: bias of shape {bias.shape} for {c_out} output channels")
    return _conv(x, w, bias, geo) if activation is None else _activated_conv(x, w, bias, geo, activation)


def _call_transposed(dims, x, w, bias, stride, padding, output_padding, dilation, groups, layout, algorithm):
    _check_operands(f"conv_transpose{dims}d", x, w, bias)
    parameters = stride, padding, output_padding, dilation, groups, layout, algorithm
    geo = _transposed_geometry(x.shape, w.shape, *map(hashable, parameters), dims)
    y = _input_grad(x, w, geo)
    if bias is None:
        return y
    channels = geo.x_shape[-1 if geo.channels_last else 1]
    if bias.shape != (channels,):
        raise ValueError(f"conv_transpose{dims}d: bias of shape {bias.shape} for {channels} output channels")
    return y + bias.reshape((1, -1) + (1,) * dims if not geo.channels_last else (-1,))


def _check_operands(name, x, w, bias):
    for role, a in (("x", x), ("w", w), ("bias", bias)):
        if a is None and role == "bias":
            continue
        data = a if isinstance(a, Array) else getattr(a, "data", None)
        if not isinstance(data, Array):
            raise TypeError(f"{name}: {role} is a Tensor or Array, not {type(a).__name__}")
        if data.dtype not in FLOATS:
            raise TypeError(f"{name}: {role} has dtype {data.dtype}, not float32 or float64")


def conv1d(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1, layout="NLC", algorithm="auto",
           activation=None):
    """1-D convolution (cross-correlation): conv2d with one spatial dimension.

    Layouts: "NLC" with weights (k, in / groups, out), or "NCL" with weights (out, in / groups, k).
    Output length floor((L + pads - dilation * (k - 1) - 1) / stride) + 1; what is left over is ignored.
    """
    return _call(1, x, w, bias, stride, padding, dilation, groups, layout, algorithm, activation)


def conv2d(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1, layout="NHWC", algorithm="auto",
           activation=None):
    """2-D convolution (cross-correlation, as every deep learning library has it).

    x          (n, h, w, c_in) for layout "NHWC", (n, c_in, h, w) for "NCHW"
    w          (kh, kw, c_in / groups, c_out) for "NHWC", (c_out, c_in / groups, kh, kw) for "NCHW"
    bias       (c_out,) or None
    stride, dilation   an int or a pair
    padding    an int, one per dimension, ((before, after), (before, after)), "same" or "valid"
    groups     c_in and c_out in this many groups that see only each other; c_in for depthwise
    algorithm  "auto" (which depends on `fastconv.set_conv_precision`), "implicit_gemm", "winograd" or
               "winograd_2x2" (3x3, stride and dilation 1), "im2col", "filter2row" or "fft": see `conv_algorithms`
    activation "relu" or "relu6", applied to the result before it is written, or None

    Returns (n, p, q, c_out) or (n, c_out, p, q), where p = floor((h + pads - dilation * (kh - 1) - 1)
    / stride) + 1. ValueError for shapes that do not fit, TypeError for unlike or integer dtypes.
    See Dumoulin and Visin, A guide to convolution arithmetic, 2016.

    >>> import fastconv as fc
    >>> x, w = fc.init.ones(1, 4, 4, 1), fc.init.ones(3, 3, 1, 2)
    >>> fc.ops.conv2d(x, w, padding=1).numpy()[0, :, :, 0]
    array([[4., 6., 6., 4.],
           [6., 9., 9., 6.],
           [6., 9., 9., 6.],
           [4., 6., 6., 4.]], dtype=float32)
    """
    return _call(2, x, w, bias, stride, padding, dilation, groups, layout, algorithm, activation)


def conv3d(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1, layout="NDHWC", algorithm="auto",
           activation=None):
    """3-D convolution: conv2d with three spatial dimensions, layouts "NDHWC" and "NCDHW"."""
    return _call(3, x, w, bias, stride, padding, dilation, groups, layout, algorithm, activation)


def conv_transpose1d(x, w, bias=None, stride=1, padding=0, output_padding=0, dilation=1, groups=1, layout="NLC",
                     algorithm="auto"):
    """1-D transposed convolution; see conv_transpose2d."""
    return _call_transposed(1, x, w, bias, stride, padding, output_padding, dilation, groups, layout, algorithm)


def conv_transpose2d(x, w, bias=None, stride=1, padding=0, output_padding=0, dilation=1, groups=1, layout="NHWC",
                     algorithm="auto"):
    """The input gradient of conv2d as a layer of its own: what conv2d maps down, this maps up.

    w is the weight of that conv2d: (kh, kw, c_out / groups, c_in) for "NHWC", and for "NCHW"
    (c_in, c_out / groups, kh, kw), as torch has it. Output size (h - 1) * stride - pads +
    dilation * (kh - 1) + 1 + output_padding.
    """
    return _call_transposed(2, x, w, bias, stride, padding, output_padding, dilation, groups, layout, algorithm)


def conv_transpose3d(x, w, bias=None, stride=1, padding=0, output_padding=0, dilation=1, groups=1, layout="NDHWC",
                     algorithm="auto"):
    """3-D transposed convolution; see conv_transpose2d."""
    return _call_transposed(3, x, w, bias, stride, padding, output_padding, dilation, groups, layout, algorithm)


def conv_algorithms(x, w, stride=1, padding=0, dilation=1, groups=1, layout=None):
    """What can carry out a convolution of these shapes: a list of dicts, the one "auto" picks first.

    x, w     Tensors, Arrays or shapes (of float32 on the default device), as for conv1d, conv2d or conv3d (by the
             number of dimensions); the default is that of the forward direction
    layout   as there; channels last by default

    Each dict has `name`, `default` (is it what "auto" picks), `exact` (small integers come out bit
    for bit), `workspace` (bytes of float32 it needs beside operands and result) and `note`.
    ValueError when the shapes do not fit.

    >>> import fastconv as fc
    >>> [a["name"] for a in fc.ops.conv_algorithms((1, 8, 8, 3), (3, 3, 3, 4), stride=2)]
    ['implicit_gemm', 'im2col', 'filter2row', 'fft']
    >>> fc.ops.conv_algorithms((32, 28, 28, 128), (3, 3, 128, 128))[0]["name"]
    'winograd'
    """
    x_shape, w_shape = (tuple(getattr(a, "shape", a)) for a in (x, w))
    dims = len(x_shape) - 2
    if dims not in _NAMES:
        raise ValueError(f"conv_algorithms of x {x_shape}: 3 to 5 dimensions")
    geo = _geometry(x_shape, w_shape, *map(hashable, (stride, padding, dilation, groups)),
                    layout or _LAYOUTS[dims][0], "auto", dims)
    shapes, steps = canonical_shapes(geo), (geo.stride, geo.dilation)
    device = getattr(x, "device", None) or default_device()
    picked = algorithms.pick("forward", algorithms.get_conv_precision(), device, getattr(x, "dtype", np.float32),
                             *shapes, *steps)
    found = [a for a in algorithms.ALGORITHMS.values()
             if algorithms.fits(a, *shapes, *steps) and algorithms.runs_on(a, device)]
    return [{"name": a.name, "default": a is picked, "exact": a.exact, "workspace": 4 * a.workspace(*shapes),
             "note": a.note} for a in sorted(found, key=lambda a: a is not picked)]


__all__ = ["conv_algorithms", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
