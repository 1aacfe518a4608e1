"""The reference device: plain NumPy, and the contract that every device keeps.

Every function in `KERNELS` and `STORAGE` below is implemented, under the same name and with the
same parameter names, by `fastconv._cy` (Cython + OpenMP) and by `fastconv.cl` (OpenCL);
`tests/test_contract.py` asserts it. What a device lacks raises NotImplementedError.

What a kernel may rely on (Array and ops have seen to it):

* Operands are `Array`s of this device: `.buffer`, `.shape`, `.strides` and `.offset` (both counted
  in elements), `.dtype` (np.dtype). Any strides: negative, zero (broadcast input), permuted.
* Shapes fit, no dimension is 0, `ndim` is at most 16 and may be 0.
* Outputs come first, are preallocated and uninitialised, and no two of their elements share memory.
  An output may be *exactly* one of the inputs (same view) in `map`; otherwise nothing overlaps.
* All Array operands of one call have one dtype unless the docstring says otherwise. dtypes are
  float32, float64, int32, int64, uint8, bool (stored as uint8 0 or 1). matmul, convolution,
  normalisation and the optimiser steps take float32 and float64 only.

A kernel computes into its outputs, returns None, writes nothing else, and gives the same bits on
every run: no atomics on floats, no order that depends on scheduling.
"""
import functools
import math

import numpy as np

name = "reference"
kind = "reference"

STORAGE = ("allocate", "upload", "download", "synchronize", "memory_stats", "empty_cache")
KERNELS = ("map", "reduce", "arg_reduce", "matmul", "conv", "conv_weight_grad", "winograd_conv", "winograd_weight_grad",
           "batch_norm", "batch_norm_grad", "max_pool", "max_pool_grad", "max_pool_pick", "window_sum", "take", "put",
           "csr_matmul", "add_rows", "softmax", "softmax_grad", "cross_entropy", "cross_entropy_grad", "lstm_step",
           "lstm_step_grad", "gru_step", "gru_step_grad", "sgd_step", "adam_step")


def view(x):
    """The NumPy view of an Array of this device (shares memory, writable)."""
    itemsize = x.dtype.itemsize
    return np.ndarray(x.shape, x.dtype, x.buffer, x.offset * itemsize,
                      tuple(s * itemsize for s in x.strides))


# --- storage ---------------------------------------------------------------------------------

def allocate(nbytes):
    """A fresh buffer of at least `nbytes` bytes (contents undefined); has `.nbytes`.

    Raises MemoryError when there is no room.
    """
    return np.empty(nbytes, np.uint8)


def upload(out, source):
    """Copy `source`, a C-contiguous NumPy array of out's shape and dtype, into compact `out`.

    The source may be changed by the caller as soon as this returns.
    """
    view(out)[...] = source


def download(x):
    """A new C-contiguous NumPy array with the values of compact `x` (waits for the device)."""
    return view(x).copy()


def synchronize():
    """Wait until everything enqueued on this device has finished."""


def memory_stats():
    """dict with at least `allocated`, `peak` and `cached`, in bytes (live, highest live, pooled)."""
    return {"allocated": 0, "peak": 0, "cached": 0}


def empty_cache():
    """Give pooled, unused memory back to the system."""


# --- elementwise -----------------------------------------------------------------------------

def _number(dtype, value):
    """A Python scalar as an operand of `dtype` (wraps like a C cast instead of raising)."""
    return np.asarray(value).astype(dtype)


SCALAR_OPS: dict = {
    "negative": np.negative,
    "abs": np.abs,
    "reciprocal": lambda x: 1 / x,
    "square": np.square,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "erf": lambda x: np.vectorize(math.erf, otypes=[x.dtype])(x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0),
    "relu": lambda x: np.where(x < 0, x.dtype.type(0), x),
    "sign": np.sign,
    "isfinite": np.isfinite,
    "logical_not": np.logical_not,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "bitwise_not": np.bitwise_not,
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "fmod": np.fmod,
    "truncated_divide": lambda a, b: np.where(b == 0, b, (a - np.fmod(a, b)) // b),
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "left_shift": np.left_shift,
    "right_shift": np.right_shift,
    "tanh_grad": lambda g, y: g * (1 - y * y),
    "relu_grad": lambda g, y: np.where(y > 0, g, g.dtype.type(0)),
    "clip": lambda x, low, high: np.where(x < low, low, np.where(x > high, high, x)),
    "lerp": lambda a, b, t: a + (b - a) * t,
    "normalize": lambda x, mean, rstd, w, b: (x - mean) * (rstd * w) + b,
    "copy": lambda x: x,
    "where": np.where,
}


# What `conv` and `batch_norm` can apply to their results, and where a gradient passes, by the result.
ACTIVATIONS = {"relu": SCALAR_OPS["relu"], "relu6": lambda x: SCALAR_OPS["clip"](x, x.dtype.type(0), x.dtype.type(6))}
PASSES = {"relu": lambda y: y > 0, "relu6": lambda y: (y > 0) & (y < 6)}


def map(name, out, *inputs):
    """out[i] = f(inputs[i]...) for the scalar function `name`.

    `name` is a row of scalar_ops.h, "copy" or "where". Inputs are Arrays already broadcast to
    out.shape (stride 0) or Python numbers, which stand for a value of the compute dtype; at least
    one input is an Array, except that "copy" of a number fills `out`.

    The dtype of the Array inputs is the compute dtype; `out` has it too, or is bool for the
    comparisons and other BOOL rows. "copy" converts from any dtype to any (float to integer
    truncates, anything to bool is `!= 0`). "where" takes a bool condition and then two operands of
    out's dtype.
    """
    if name == "copy":
        compute = out.dtype
    elif name == "where":
        compute = out.dtype
    else:
        compute = next(x.dtype for x in inputs if hasattr(x, "buffer"))
    operands = [view(x) if hasattr(x, "buffer") else _number(compute, x) for x in inputs]
    with np.errstate(all="ignore"):
        view(out)[...] = SCALAR_OPS[name](*operands)


# --- reductions ------------------------------------------------------------------------------

def _wide(dtype):
    """The dtype that a sum of `dtype` is accumulated in here."""
    return np.dtype(np.float64) if dtype.kind == "f" else dtype


INNER_CHUNK, OUTER_CHUNK, SHORT_RUN, SUM_LANES = 4096, 256, 32, 16


def sum_order(x_shape, x_strides, axes):
    """(inner, run, runs in a chunk, elements of a run in a chunk, lanes): how sums of float32 over `axes` are ordered.

    Dims of size 1 aside, x's dims are taken in the order of its memory, by falling |stride|. `inner`:
    the last one is reduced. The reduced dims, merged where they lie in one piece, make runs along the
    last of them. A chunk is some whole runs, or a part of one; in it element i of a run goes to lane
    i % lanes, each lane in order, and then lane l takes lane l + span for span = lanes/2 ... 1. Chunks are
    added one after another, all in float64. More than one lane only for long runs of the innermost dim.
    """
    dims = sorted((d for d, n in enumerate(x_shape) if n != 1), key=lambda d: -abs(x_strides[d]))
    inner, run, stride, count = not dims or dims[-1] in axes, 1, None, 1
    for d in reversed([d for d in dims if d in axes]):
        count *= x_shape[d]
        if stride is None or x_strides[d] == stride * run and count == run * x_shape[d]:
            run, stride = run * x_shape[d], x_strides[d] if stride is None else stride
    limit = INNER_CHUNK if inner else OUTER_CHUNK
    return inner, run, min(count // run, max(1, limit // run)), min(run, limit), SUM_LANES if inner and run >= SHORT_RUN else 1


def reduce(name, out, x, axes):
    """Reduce `x` over `axes` (sorted tuple, never empty): name is sum, prod, max or min.

    out has x's dtype and x's shape with 1 in the reduced axes. max and min give NaN where there is one.
    bool only for max, min. float32 is summed in float64 in the order of `sum_order`, so that devices
    with float64 agree in all bits. (This device adds in NumPy's order.)
    """
    f = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min}[name]
    wide = {"dtype": _wide(x.dtype)} if name in ("sum", "prod") else {}
    with np.errstate(all="ignore"):
        view(out)[...] = f(view(x), axis=axes, keepdims=True, **wide)


def arg_reduce(name, out, x, axis):
    """Index (int64 out, keepdims shape) of the first max or min along one axis: argmax, argmin.

    The first NaN wins, as in NumPy.
    """
    view(out)[...] = {"argmax": np.argmax, "argmin": np.argmin}[name](view(x), axis=axis, keepdims=True)


# --- normalisation ---------------------------------------------------------------------------

def norm_order(x_shape, x_strides):
    """(chunk, lanes): in which order sums over the positions of a channel are taken, for x (n, channels, ...).

    Positions are numbered row-major as (n, ...). Each chunk of consecutive ones is summed in `lanes`
    lanes, position p of a chunk in lane p % lanes, each in order; then lane i takes lane i + span for
    span = lanes/2 ... 1, and the chunks are added one after another. Everything in float64, a product
    and its sum in one FMA. Two lanes where channels lie side by side, for vectors hold channels there.
    """
    return 512, 2 if x_strides[1] == 1 and x_shape[1] > 1 else 16


def _column(v, x):
    """A value per channel, broadcast over x (n, channels, ...)."""
    return view(v).reshape(-1, *(1,) * (len(x.shape) - 2))


def _normalized(x, mean, rstd, weight, bias):
    """((x - mean) * (rstd * weight) + bias, x - mean, rstd * weight), as views of x's shape."""
    scale = _column(rstd, x) * (1 if weight is None else _column(weight, x))
    centred = view(x) - _column(mean, x)
    return centred * scale + (0 if bias is None else _column(bias, x)), centred, scale


def batch_norm(y, mean, rstd, running_mean, running_var, x, weight, bias, momentum, eps, activation):
    """Batch normalisation in training: statistics, running statistics and the normalised result in one call.

        mean, var = those of x over all axes but 1, var biased          rstd = 1 / sqrt(var + eps)
        y = act((x - mean) * (rstd * weight) + bias)
        running_mean += (mean - running_mean) * momentum
        running_var += (var * n / max(n - 1, 1) - running_var) * momentum     n positions per channel

    x and y (n, channels, ...); all others (channels,). mean and rstd are outputs. The running
    statistics are updated in place, or both None; weight and bias may be None. activation is None,
    "relu" or "relu6", min(max(t, 0), 6).

    float32 statistics are sums of x - x[0, channel, 0, ...] and of its square in the order of
    `norm_order`, rounded at the end: no large mean hurts, and devices with FMA and float64 agree in all bits.
    """
    axes = tuple(d for d in range(len(x.shape)) if d != 1)
    wide = view(x).astype(np.float64)
    average, var = wide.mean(axis=axes), wide.var(axis=axes)
    view(mean)[...] = average
    view(rstd)[...] = 1 / np.sqrt(var + eps)
    t = _normalized(x, mean, rstd, weight, bias)[0]
    view(y)[...] = t if activation is None else ACTIVATIONS[activation](t)
    if running_mean is not None:
        count = view(x).size // len(var)
        for running, batch in ((view(running_mean), average), (view(running_var), var * (count / max(count - 1, 1)))):
            running += (batch.astype(running.dtype) - running) * running.dtype.type(momentum)


def batch_norm_grad(dx, d_weight, d_bias, g, x, mean, rstd, weight, bias, activation):
    """The gradient of batch_norm for the gradient g of its y; mean and rstd as it left them.

        g' = g where act is not flat at t = (x - mean) * (rstd * weight) + bias, else 0
        d_bias = sum of g'          d_weight = rstd * sum of g' * (x - mean)          over all axes but 1
        dx = rstd * weight * (g' - d_bias / n - (x - mean) * rstd * d_weight / n)

    g, x and dx (n, channels, ...), all others (channels,). Sums in the order of `norm_order` of x.
    """
    axes = tuple(d for d in range(len(x.shape)) if d != 1)
    t, centred, scale = _normalized(x, mean, rstd, weight, bias)
    passing = view(g) if activation is None else np.where(PASSES[activation](t), view(g), 0)
    count = t.size // len(view(mean))
    sum_g = passing.sum(axis=axes, dtype=np.float64)
    sum_gx = (passing * centred).sum(axis=axes, dtype=np.float64)
    view(d_bias)[...] = sum_g
    view(d_weight)[...] = sum_gx * view(rstd)
    slope = (sum_gx * view(rstd) ** 2 / count).astype(t.dtype).reshape(scale.shape)
    view(dx)[...] = scale * (passing - (sum_g / count).astype(t.dtype).reshape(scale.shape) - centred * slope)


# --- products --------------------------------------------------------------------------------

def matmul(out, a, b):
    """out (..., m, n) = a (..., m, k) @ b (..., k, n); the leading axes are equal (broadcast by stride 0)."""
    view(out)[...] = view(a) @ view(b)


def _taps(x, kernel, out_size, stride, padding, dilation):
    """For each kernel tap: (tap, slice of the outputs it reaches, slice of the inputs it reads)."""
    def reach(tap, size, n, s, p, d):
        # outputs o with 0 <= o*s - p + tap*d < size
        first = tap * d - p
        lo = max(0, -(first // s))
        hi = min(n, (size - 1 - first) // s + 1)
        return (slice(lo, hi), slice(first + lo * s, first + (hi - 1) * s + 1, s)) if hi > lo else None
    for tap in np.ndindex(*kernel):
        reached = [reach(*axis) for axis in zip(tap, x.shape[2:5], out_size, stride, padding, dilation)]
        if all(reached):
            yield tap, tuple(r[0] for r in reached), tuple(r[1] for r in reached)


def conv(out, x, w, bias, stride, padding, dilation, activation=None):
    """Correlation in three spatial dimensions; one and two are this with dimensions of size 1.

        out[g, n, p, q, r, o] = bias[g, o] +
            sum over i, j, k, c of x[g, n, p*s0 - p0 + i*d0, q*s1 - p1 + j*d1, r*s2 - p2 + k*d2, c]
                                   * w[g, i, j, k, c, o]

    with x read as 0 outside its bounds.

        x    (groups, batch, D, H, W, channels)           out  (groups, batch, P, Q, R, out channels)
        w    (groups, kd, kh, kw, channels, out channels)  bias (groups, out channels) or None

    `stride` and `dilation` are triples >= 1; `padding` is the triple of zeros *before* each
    dimension and may be any integer, negative as well: the shape of `out` says how far the sum
    reaches, so what lies after is implied. Outputs whose taps are all outside get the bias or 0.

    `activation`, a key of ACTIVATIONS or None, is applied last: "relu", or "relu6", which clips to [0, 6].
    Both keep NaN.

    The input gradient is this kernel on views (one call per residue of the stride), and so are the
    transposed convolution and the layouts.
    """
    y = np.zeros(out.shape, out.dtype)
    if bias is not None:
        y += view(bias)[:, None, None, None, None, :]
    xv, wv = view(x), view(w)
    for tap, o, i in _taps(x, w.shape[1:4], out.shape[2:5], stride, padding, dilation):
        y[(slice(None), slice(None)) + o] += np.einsum(
            "gnpqrc,gco->gnpqro", xv[(slice(None), slice(None)) + i], wv[(slice(None),) + tap],
            optimize=True)
    view(out)[...] = y if activation is None else ACTIVATIONS[activation](y)


@functools.lru_cache(maxsize=4096)
def weight_grad_order(out_shape, g_shape):
    """(chunk, batch_inner): in which order conv_weight_grad adds up its pixels (see there).

    By the shapes alone. More chunks let more workers share the sum, and keep a chunk's pixels in a
    cache; but their partial gradients should not be larger than x and g.
    """
    _, batch, *out_size, outs = g_shape
    *taps, channels = out_shape[1:5]
    pixels = batch * math.prod(out_size)
    affordable = pixels * (channels + outs) // (2 * math.prod(taps) * channels * outs)
    chunks = max(1, min(pixels // 1024, max(8, affordable)))
    width = next((n for n in reversed(out_size) if n > 1), 1)
    return -(-pixels // chunks), width < min(batch, 8)


def conv_weight_grad(out, x, g, stride, padding, dilation):
    """The gradient of `conv` with respect to w, given the gradient g of its output.

        out[g, i, j, k, c, o] = sum over n, p, q, r of
            x[g, n, p*s0 - p0 + i*d0, q*s1 - p1 + j*d1, r*s2 - p2 + k*d2, c] * g[g, n, p, q, r, o]

    Shapes and parameters as in `conv`: out is w's gradient, g has the shape of conv's output.

    The longest sum of a training step, so its order is part of the contract: devices with FMA give
    the same bits. Pixels are numbered row-major as (n, p, q, r), or for small images, `batch_inner`,
    as (p, q, r, n). Each `chunk` of consecutive pixels is one chain of FMAs from 0 per element of
    out, in that order; pixels that a tap sees outside x may be left out. The chunks' results are
    added one after another. (This device adds in NumPy's order.)
    """
    dw = np.zeros(out.shape, out.dtype)
    xv, gv = view(x), view(g)
    for tap, o, i in _taps(x, out.shape[1:4], g.shape[2:5], stride, padding, dilation):
        dw[(slice(None),) + tap] = np.einsum(
            "gnpqrc,gnpqro->gco", xv[(slice(None), slice(None)) + i], gv[(slice(None), slice(None)) + o],
            optimize=True)
    view(out)[...] = dw


# --- Winograd convolution ------------------------------------------------------------------------

def _winograd_matrices(tile, dtype):
    """B^T, G and A^T of F(tile x tile, 3x3) (Lavin and Gray 2016), of winograd_math.h's points."""
    if tile == 2:
        b = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]
        g = [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]
        a = [[1, 1, 1, 0], [0, 1, -1, 1]]
    else:
        points = (0, 3 / 4, -3 / 4, 3 / 2, -3 / 2)
        without = [np.poly([q for q in points if q != p])[::-1] for p in points]    # prod (x - q), ascending
        b = [[*row, 0] for row in without] + [np.poly(points)[::-1]]
        g = [np.array([1, p, p * p]) / np.polyval(row[::-1], p) for p, row in zip(points, without)] + [[0, 0, 1]]
        a = np.array([[p ** i for p in points] + [i == 3] for i in range(4)])
    return [np.array(m, dtype) for m in (b, g, a)]


def _winograd_tiles(x, tile, side, size, padding):
    """(groups, n, rows, columns, side, side, c): the squares of `side` pixels `tile` apart that outputs of `size` see."""
    h, w = (-(-n // tile) * tile + side - tile for n in size)
    images = np.zeros((*x.shape[:2], h, w, x.shape[5]), x.dtype)
    p, q = padding[1:]
    part = x[:, :, 0, max(-p, 0):, max(-q, 0):][:, :, :max(h - max(p, 0), 0), :max(w - max(q, 0), 0)]
    images[:, :, max(p, 0):max(p, 0) + part.shape[2], max(q, 0):max(q, 0) + part.shape[3]] = part
    squares = np.lib.stride_tricks.sliding_window_view(images, (side, side), (2, 3))[:, :, ::tile, ::tile]
    return np.moveaxis(squares, 4, 6)


def winograd_chunk(channels):
    """How many channels winograd_conv sums in one chain of FMAs."""
    return 32 if channels < 128 else 64


def winograd_conv(out, x, w, bias, padding, tile, activation=None):
    """`conv` of a (1, 3, 3) kernel with stride and dilation 1, by Winograd's F(tile x tile, 3x3), tile 4 or 2.

    Parameters as in `conv`, images with one pixel in depth. 36 products for 16 outputs instead of 144
    (tile 4), 16 for 4 instead of 36 (tile 2); the result is rounded differently.

        y = A^T [(G w G^T) * (B^T d B)] A,   summed over channels inside the brackets

    for each square d of tile + 2 pixels whose tile of outputs y starts at a multiple of `tile`.
    The order is part of the contract: transforms as winograd_math.h has them, the sum over channels in
    chunks of `winograd_chunk`, each a chain of FMAs from 0, whose results are added one after another.
    (This device transforms and adds in NumPy's order.)
    """
    b, g, a = _winograd_matrices(tile, x.dtype)
    size = out.shape[3:5]
    image = np.einsum("ik,gnpqklc,jl->gnpqijc", b, _winograd_tiles(view(x), tile, tile + 2, size, padding), b, optimize=True)
    kernel = np.einsum("ik,gklco,jl->gijco", g, view(w)[:, 0], g, optimize=True)
    products = np.einsum("gnpqijc,gijco->gnpqijo", image, kernel, optimize=True)
    y = np.einsum("ik,gnpqklo,jl->gnpiqjo", a, products, a, optimize=True)
    y = y.reshape(*out.shape[:2], 1, y.shape[2] * tile, y.shape[4] * tile, out.shape[5])[:, :, :, :size[0], :size[1]]
    if bias is not None:
        y = y + view(bias)[:, None, None, None, None, :]
    view(out)[...] = y if activation is None else ACTIVATIONS[activation](y)


def winograd_weight_grad(out, x, g, padding, tile):
    """The gradient of `winograd_conv` with respect to w, given the gradient g of its output, by the transposed algorithm.

        out = G^T [sum over tiles of (B^T d B) * (A g A^T)] G

    Tiles are numbered row-major as (n, row, column). Chunks of 32 consecutive tiles are chains of FMAs
    from 0; their results are added one after another over 1024 tiles, and so are those of all 1024s.
    """
    b, k, a = _winograd_matrices(tile, x.dtype)
    size = g.shape[3:5]
    image = np.einsum("ik,gnpqklc,jl->gnpqijc", b, _winograd_tiles(view(x), tile, tile + 2, size, padding), b, optimize=True)
    grad = np.einsum("ki,gnpqklo,lj->gnpqijo", a, _winograd_tiles(view(g), tile, tile, size, (0, 0, 0)), a, optimize=True)
    products = np.einsum("gnpqijc,gnpqijo->gijco", image, grad, optimize=True)
    view(out)[:, 0] = np.einsum("ki,gklco,lj->gijco", k, products, k, optimize=True)


# --- pooling ---------------------------------------------------------------------------------
#
# Images are (batch, D, H, W, channels), outputs (batch, P, Q, R, channels); window, stride, padding
# and dilation are triples as in `conv`. Taps outside the image are left out.

def _window_slices(x, window, out_size, stride, padding, dilation):
    """Like _taps, for images without groups: (number of the tap, outputs it reaches, inputs it reads)."""
    shape = (1, *x.shape)
    for tap, o, i in _taps(np.broadcast_to(0, shape), window, out_size, stride, padding, dilation):
        yield np.ravel_multi_index(tap, window), (slice(None),) + o, (slice(None),) + i


def max_pool(out, index, x, window, stride, padding, dilation):
    """out = the largest element of each window, index (int32) = the number of its tap.

    Taps are numbered row-major over `window`; the first of equal elements wins, and the first NaN
    before all. A window without any element gives -inf and tap 0.
    """
    y, which, xv = view(out), view(index), view(x)
    y[...], which[...] = -np.inf, 0
    first = np.ones(y.shape, bool)
    for tap, o, i in _window_slices(xv, window, out.shape[1:4], stride, padding, dilation):
        wins = first[o] | (xv[i] > y[o]) | (np.isnan(xv[i]) & ~np.isnan(y[o]))
        y[o], which[o] = np.where(wins, xv[i], y[o]), np.where(wins, tap, which[o])
        first[o] = False


def max_pool_grad(out, g, index, window, stride, padding, dilation):
    """The gradient of max_pool: out[i] = sum of g over the windows whose `index` names element i."""
    dx, gv, which = view(out), view(g), view(index)
    dx[...] = 0
    for tap, o, i in _window_slices(dx, window, g.shape[1:4], stride, padding, dilation):
        dx[i] += np.where(which[o] == tap, gv[o], 0)


def max_pool_pick(out, x, index, window, stride, padding, dilation):
    """out = the element of each window that `index` names (0 where that lies outside the image)."""
    y, which, xv = view(out), view(index), view(x)
    y[...] = 0
    for tap, o, i in _window_slices(xv, window, out.shape[1:4], stride, padding, dilation):
        y[o] = np.where(which[o] == tap, xv[i], y[o])


def window_sum(out, x, window, stride, padding, dilation):
    """out = the sum of each window; `padding` may be any integer, as in `conv`."""
    y, xv = np.zeros(out.shape, _wide(out.dtype)), view(x)
    for _, o, i in _window_slices(xv, window, out.shape[1:4], stride, padding, dilation):
        y[o] += xv[i]
    view(out)[...] = y


# --- indexing --------------------------------------------------------------------------------

def take(out, x, indices):
    """out[i, j] = x[indices[i], j]: rows of x (rows, width) by int64 indices (n,), all in range."""
    view(out)[...] = view(x)[view(indices)]


def put(out, x, indices):
    """out[indices[i], j] = x[i, j]: the inverse of take. Other rows of out stay; no index occurs twice."""
    view(out)[view(indices)] = view(x)


def csr_matmul(out, indptr, indices, data, x):
    """out (m, n) = S (m, k) @ x (k, n), S sparse in CSR form.

    indptr (m + 1,) and indices (nnz,) are int64 and compact; data (nnz,) has x's dtype. Row i holds
    data[indptr[i]:indptr[i + 1]] in columns indices[...]; rows may be empty, columns may repeat.
    """
    ptr, idx, values = view(indptr), view(indices), view(data)
    y, xv = view(out), view(x)
    for i in range(out.shape[0]):
        row = slice(ptr[i], ptr[i + 1])
        y[i] = values[row] @ xv[idx[row]]


def add_rows(out, rows, starts, order, g):
    """out[rows[s]] += the sum of g[order[e]] for e in starts[s]..starts[s + 1]: a scatter-add, grouped by target.

    out (n, width) and g (m, width) have one dtype; rows (k,), starts (k + 1,) and order (m,) are int64
    and compact; no row occurs twice. Each sum is taken in the order given.
    """
    target, values = view(out), view(g)
    first, picked = view(starts), view(order)
    for s, row in enumerate(view(rows)):
        total = values[picked[first[s]:first[s + 1]]].sum(axis=0, dtype=_wide(out.dtype))
        target[row] = target[row] + total.astype(out.dtype)


# --- softmax ---------------------------------------------------------------------------------
#
# Over the last axis of matrices (rows, n). The order of a row's sums is part of the contract, so that
# devices with float64 agree: column j belongs to lane j % 32, each lane is summed in float64 from left to
# right, and then lane l takes lane l + 16, l + 8, ... l + 1. (This device adds in NumPy's order.)

def softmax(out, x, log):
    """out = exp(x - max) / sum of exp(x - max) in each row (rows, n), or with `log` its logarithm."""
    xv = view(x)
    shifted = xv - xv.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    view(out)[...] = shifted - np.log(total) if log else np.exp(shifted) / total


def softmax_grad(out, g, y, log):
    """The gradient of softmax from its output y and g, all (rows, n).

    y * (g - sum of g * y), or with `log` g - exp(y) * sum of g.
    """
    gv, yv = view(g), view(y)
    total = (gv if log else gv * yv).sum(axis=1, keepdims=True, dtype=np.float64).astype(yv.dtype)
    view(out)[...] = gv - np.exp(yv) * total if log else yv * (gv - total)


def cross_entropy(loss, top, total, x, labels):
    """loss = log(sum of exp(x)) - x[label] in each row of x (rows, n), without overflow.

    loss, top and total are (rows,), and so are the int64 labels: columns, or negative where the loss is 0.
    top and total receive what the gradient needs, the largest x and the sum of exp(x - top).
    """
    xv, chosen = view(x), view(labels)
    highest = xv.max(axis=1)
    sums = np.exp(xv - highest[:, None]).sum(axis=1, dtype=np.float64).astype(xv.dtype)
    view(top)[...], view(total)[...] = highest, sums
    view(loss)[...] = np.where(chosen < 0, 0, np.log(sums) - (xv[np.arange(len(xv)), chosen] - highest))


def cross_entropy_grad(out, g, x, top, total, labels):
    """The gradient of cross_entropy: out = (exp(x - top) / total - (1 at the label)) * g, 0 where the label is negative.

    out and x are (rows, n), the others (rows,); top and total as cross_entropy gave them.
    """
    xv, chosen, gv = view(x), view(labels), view(g)[:, None]
    dx = np.exp(xv - view(top)[:, None]) * (gv / view(total)[:, None])
    dx[np.arange(len(xv)), chosen] -= gv[:, 0]
    view(out)[...] = np.where(chosen[:, None] < 0, 0, dx)


# --- recurrent steps -------------------------------------------------------------------------
#
# The elementwise part of one time step; the products with the weights are `matmul`. n rows, h hidden
# units; gates lie side by side along the last axis, each h wide, in torch's order.

def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(h, c, gates, gx, c_prev):
    """One step of an LSTM (Hochreiter and Schmidhuber 1997).

    gates (n, 4h): in, the product of the last state with the recurrent weight; out, the activated
    gates i, f, g, o of gates + gx. Then c = f * c_prev + i * g and h = o * tanh(c), each (n, h).
    """
    z = view(gates) + view(gx)
    i, f, g, o = np.split(z, 4, axis=1)
    i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
    view(gates)[...] = np.concatenate([i, f, g, o], axis=1)
    view(c)[...] = f * view(c_prev) + i * g
    view(h)[...] = o * np.tanh(view(c))


def lstm_step_grad(d_gates, dc_prev, dh, dc, gates, c, c_prev):
    """The gradient of lstm_step: d_gates (n, 4h) before activation, and dc_prev (n, h).

    dh and dc are the gradients of its h and c; dc_prev may be exactly dc.
    """
    i, f, g, o = np.split(view(gates), 4, axis=1)
    t = np.tanh(view(c))
    total = view(dc) + view(dh) * o * (1 - t * t)
    view(d_gates)[...] = np.concatenate([total * g * i * (1 - i), total * view(c_prev) * f * (1 - f),
                                         total * i * (1 - g * g), view(dh) * t * o * (1 - o)], axis=1)
    view(dc_prev)[...] = total * f


def gru_step(h, gates, gx, gh, bias, h_prev):
    """One step of a GRU (Cho et al. 2014), with the reset gate after the product, as torch has it.

    gh (n, 3h): in, the product of the last state with the recurrent weight; out, that plus bias (3h,).
    gates (n, 3h) receives r and z = sigmoid(gx + gh) and n = tanh(gx_n + r * gh_n);
    h = (1 - z) * n + z * h_prev.
    """
    ghv = view(gh)
    ghv += view(bias)
    xr, xz, xn = np.split(view(gx), 3, axis=1)
    hr, hz, hn = np.split(ghv, 3, axis=1)
    r, z = _sigmoid(xr + hr), _sigmoid(xz + hz)
    n = np.tanh(xn + r * hn)
    view(gates)[...] = np.concatenate([r, z, n], axis=1)
    view(h)[...] = (1 - z) * n + z * view(h_prev)


def gru_step_grad(d_gx, d_gh, dh_prev, dh, gates, gh, h_prev):
    """The gradient of gru_step: d_gx and d_gh (n, 3h), and dh_prev (n, h) without the part through gh.

    dh_prev may be exactly dh.
    """
    r, z, n = np.split(view(gates), 3, axis=1)
    hn = np.split(view(gh), 3, axis=1)[2]
    dhv = view(dh)
    dn = dhv * (1 - z) * (1 - n * n)
    dz = dhv * (view(h_prev) - n) * z * (1 - z)
    dr = dn * hn * r * (1 - r)
    view(d_gx)[...] = np.concatenate([dr, dz, dn], axis=1)
    view(d_gh)[...] = np.concatenate([dr, dz, dn * r], axis=1)
    view(dh_prev)[...] = dhv * z


# --- optimisers ------------------------------------------------------------------------------

def sgd_step(params, grads, buffers, lr, momentum, weight_decay, nesterov, first):
    """One step of SGD over lists of Arrays, in place, with the semantics of torch.optim.SGD.

        g = g + weight_decay * p
        if momentum:  buf = g if first else momentum * buf + g
                      g = g + momentum * buf if nesterov else buf
        p = p - lr * g

    `buffers` is a list of None without momentum. p, g and buf of one parameter have one shape and
    dtype but may differ in strides.
    """
    for p, g, buf in zip(params, grads, buffers):
        pv, gv = view(p), view(g)
        d = gv + weight_decay * pv
        if momentum:
            bv = view(buf)
            bv[...] = d if first else momentum * bv + d
            d = d + momentum * bv if nesterov else bv
        pv -= lr * d


def adam_step(params, grads, ms, vs, lr, beta1, beta2, eps, weight_decay, decoupled, step):
    """One step of Adam (decoupled=False) or AdamW (True) over lists of Arrays, in place, as torch.optim.

        decoupled:  p = p - lr * weight_decay * p       otherwise:  g = g + weight_decay * p
        m = beta1 * m + (1 - beta1) * g                 v = beta2 * v + (1 - beta2) * g * g
        p = p - lr / (1 - beta1**step) * m / (sqrt(v / (1 - beta2**step)) + eps)

    `step` counts from 1. Kingma and Ba 2015; Loshchilov and Hutter 2019.
    """
    for p, g, m, v in zip(params, grads, ms, vs):
        pv, gv, mv, vv = view(p), view(g), view(m), view(v)
        if decoupled:
            pv -= lr * weight_decay * pv
        else:
            gv = gv + weight_decay * pv
        mv[...] = beta1 * mv + (1 - beta1) * gv
        vv[...] = beta2 * vv + (1 - beta2) * gv * gv
        pv -= lr / (1 - beta1 ** step) * mv / (np.sqrt(vv / (1 - beta2 ** step)) + eps)
