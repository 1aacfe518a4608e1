"""Algorithms: the contract's `conv` on canonical views, spelled out in different ways.

The implicit GEMM does it in one kernel, and so does Winograd's algorithm, with fewer multiplications, for
3x3 kernels: "auto" picks between them (`pick`). Those of the textbooks use other kernels, to explain it and
to check it: the same numbers, bit for bit where sums are exact, but for "fft" and "winograd". Canonical views:

    out  (groups, batch, P, Q, R, out channels)    x  (groups, batch, D, H, W, channels)
    w    (groups, kd, kh, kw, channels, out channels)    bias  (groups, out channels) or None
"""
import functools
import math
from dataclasses import dataclass

import numpy as np

from ..array import array, empty


def _implicit_gemm(out, x, w, bias, stride, padding, dilation, activation=None):
    """A matrix product whose loader reads patches in place; no im2col buffer."""
    out.device.conv(out, x, w, bias, stride, padding, dilation, activation)


def _implicit_gemm_weight_grad(out, x, g, stride, padding, dilation):
    out.device.conv_weight_grad(out, x, g, stride, padding, dilation)


def _im2col(out, x, w, bias, stride, padding, dilation):
    """Pad, view the patches by strides, copy them into rows, multiply."""
    groups, batch, *size, c = x.shape
    kernel, out_size, o = w.shape[1:4], out.shape[2:5], out.shape[5]
    width, inner = [(0, 0), (0, 0)], [slice(None), slice(None)]
    for n, k, m, s, p, d in zip(size, kernel, out_size, stride, padding, dilation):
        after = (m - 1) * s + (k - 1) * d + 1 - p - n
        width.append((max(p, 0), max(after, 0)))
        inner.append(slice(max(-p, 0), n + min(after, 0)))
    x = x[tuple(inner)].pad((*width, (0, 0)))
    sg, sn, *ss, sc = x.strides
    patches = x.as_strided((groups, batch, *out_size, *kernel, c),
                           (sg, sn, *(a * s for a, s in zip(ss, stride)), *(a * d for a, d in zip(ss, dilation)), sc))
    rows = patches.compact().reshape(groups, -1, math.prod(kernel) * c)
    y = rows @ w.reshape(groups, -1, o)
    if bias is not None:
        y = y + bias.unsqueeze(1)
    out._assign(y.reshape(out.shape))


def _filter2row(out, x, w, bias, stride, padding, dilation):
    """The filter as a sparse Toeplitz matrix: one row per output element of an image."""
    batch, image, result = x.shape[1], x.shape[2:], out.shape[2:]
    indptr, columns, taps = _toeplitz(image, w.shape[1:], result, stride, padding, dilation)
    indptr, columns, taps = (array(a, device=x.device) for a in (indptr, columns, taps))
    for g in range(x.shape[0]):
        values = empty((taps.size, 1), x.dtype, x.device)
        y = empty((math.prod(result), batch), x.dtype, x.device)
        if taps.size:
            x.device.take(values, w[g].reshape(-1, 1), taps)
            pixels = x[g].permute(1, 2, 3, 4, 0).reshape(-1, batch)
            x.device.csr_matmul(y, indptr, columns, values.reshape(-1), pixels)
        else:
            y._fill(0)
        y = y.reshape(*result, batch).permute(4, 0, 1, 2, 3)
        out[g] = y if bias is None else y + bias[g]


@functools.lru_cache(maxsize=64)
def _toeplitz(image, kernel, result, stride, padding, dilation):
    """CSR structure of the matrix that maps image (D, H, W, C) to result (P, Q, R, O), flattened.

    Returns (indptr, column of each entry, which element of w each entry is), all int64.
    """
    *size, c = image
    *ks, _, o = kernel
    *out, _ = result
    # Along each dimension: the source index of (output, tap), -1 where it falls outside.
    source = []
    for n, k, m, s, p, d in zip(size, ks, out, stride, padding, dilation):
        at = np.arange(m)[:, None] * s - p + np.arange(k) * d
        source.append(np.where((at >= 0) & (at < n), at, -1))
    zs, ys, xs = np.ix_(*(range(m) for m in out))
    axes = np.arange(o), *(np.arange(k) for k in ks), np.arange(c)
    ch_o, i, j, k, ch = (a.reshape([-1 if d == n else 1 for d in range(8)]) for n, a in enumerate(axes, start=3))
    zs, ys, xs = (a[..., None, None, None, None, None] for a in (zs, ys, xs))
    a, b, e = source[0][zs, i], source[1][ys, j], source[2][xs, k]
    inside = np.broadcast_to((a >= 0) & (b >= 0) & (e >= 0), (*out, o, *ks, c))
    column = np.broadcast_to(((a * size[1] + b) * size[2] + e) * c + ch, inside.shape)
    tap = np.broadcast_to((((i * ks[1] + j) * ks[2] + k) * c + ch) * o + ch_o, inside.shape)
    counts = inside.reshape(math.prod(out) * o, -1).sum(axis=1)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return indptr.astype(np.int64), column[inside].astype(np.int64), tap[inside].astype(np.int64)


def _fft(out, x, w, bias, stride, padding, dilation):
    """Multiply in the Fourier domain (Mathieu, Henaff and LeCun 2014), each transform a product with a fixed matrix.

    Along a dimension of m outputs the sum reaches length = (m - 1) * s + (k - 1) * d + 1 inputs, and a
    transform of that length has no wrap-around. The matrices take padding, dilation and stride upon
    themselves: rows of the image's start at the padding, rows of the filter's lie d apart, and the
    inverse is evaluated at every s-th point only.
    """
    groups, batch, *size, c = x.shape
    kernel, out_size, o = w.shape[1:4], out.shape[2:5], out.shape[5]
    plans = [_fourier(*dim, x.dtype, x.device) for dim in zip(size, kernel, out_size, stride, padding, dilation)]
    image, filters = (x, None), (w, None)
    for d in (2, 1, 0):                      # the last dimension first: it is real, half its spectrum suffices
        half = d == 2
        image = _transform(image, d + 2, plans[d].image, half)
        filters = _transform(filters, d + 1, plans[d].filter, half)
    frequencies = image[0].shape[2:5]
    xr, xi = (a.permute(0, 2, 3, 4, 1, 5).reshape(-1, batch, c) for a in image)
    wr, wi = (a.reshape(-1, c, o) for a in filters)
    # Correlation: the image's spectrum times the conjugate of the filter's, a matrix product per frequency.
    spectrum = [a.reshape(groups, *frequencies, batch, o).permute(0, 4, 1, 2, 3, 5)
                for a in (xr @ wr + xi @ wi, xi @ wr - xr @ wi)]
    for d in (0, 1):
        spectrum = _transform(spectrum, d + 2, plans[d].inverse, False)
    cosines, sines = plans[2].inverse_half
    y = _along(spectrum[0], 4, cosines) - _along(spectrum[1], 4, sines)
    out._assign(y if bias is None else y + bias.reshape(groups, 1, 1, 1, 1, o))


@dataclass(frozen=True)
class _Fourier:
    """The matrices of one dimension, each a pair (cosines, sines)."""

    image: tuple
    filter: tuple
    inverse: tuple
    inverse_half: tuple


@functools.lru_cache(maxsize=256)
def _fourier(n, k, m, stride, padding, dilation, dtype, device):
    length = (m - 1) * stride + (k - 1) * dilation + 1

    def pair(places, weights=1.0):
        angle = 2 * np.pi * (np.outer(places, np.arange(length)) % length) / length
        return np.cos(angle) * weights, np.sin(angle) * weights

    def on_device(*matrices):
        return tuple(array(np.ascontiguousarray(a, dtype), device=device) for a in matrices)

    at = np.arange(n) + padding
    inside = ((at >= 0) & (at < length))[:, None]
    cosines, sines = pair(np.arange(m) * stride)
    # Frequencies above the middle mirror those below: of a real result each pair counts twice.
    half = length // 2 + 1
    twice = np.full(half, 2.0)
    twice[0] = 1
    if length % 2 == 0:
        twice[-1] = 1
    return _Fourier(on_device(*pair(at, inside)), on_device(*pair(np.arange(k) * dilation)),
                    on_device(cosines.T / length, -sines.T / length),
                    on_device(cosines[:, :half].T * twice[:, None] / length, sines[:, :half].T * twice[:, None] / length))


def _along(x, axis, matrix):
    """x with `matrix` (n, m) applied along an axis of size n."""
    return (x.transpose(axis, -1) @ matrix).transpose(axis, -1)


def _transform(parts, axis, matrices, half):
    """(real, imaginary) times cos - i sin along an axis; `half`: only the frequencies up to the middle."""
    real, imaginary = parts
    cosines, sines = matrices
    if half:
        middle = cosines.shape[1] // 2 + 1
        cosines, sines = cosines[:, :middle], sines[:, :middle]
    if imaginary is None:
        return _along(real, axis, cosines), -_along(real, axis, sines)
    return (_along(real, axis, cosines) + _along(imaginary, axis, sines),
            _along(imaginary, axis, cosines) - _along(real, axis, sines))


def _weight_grad_by(correlate):
    """The weight gradient as a convolution: channels as batch, batch as channels, g as the kernel,
    stride and dilation exchanged."""
    def weight_grad(out, x, g, stride, padding, dilation):
        correlate(out.permute(0, 4, 1, 2, 3, 5), x.permute(0, 5, 2, 3, 4, 1), g.permute(0, 2, 3, 4, 1, 5), None,
                  dilation, padding, stride)
    return weight_grad


def _winograd(tile):
    def correlate(out, x, w, bias, stride, padding, dilation, activation=None):
        out.device.winograd_conv(out, x, w, bias, padding, tile, activation)
    return correlate


def _winograd_weight_grad(tile):
    def weight_grad(out, x, g, stride, padding, dilation):
        out.device.winograd_weight_grad(out, x, g, padding, tile)
    return weight_grad


# --- the table ------------------------------------------------------------------------------

@dataclass(frozen=True)
class Algorithm:
    """One way to convolve. `workspace(out, x, w)`: numbers beyond operands and result, from canonical shapes."""

    name: str
    correlate: object
    weight_grad: object
    exact: bool               # small integers come out bit for bit
    workspace: object
    note: str
    activates: bool = False   # correlate takes an activation and applies it to what it writes
    tile: int = 0             # of Winograd's algorithm


def _rows(out, w):
    return math.prod(out[:5]) * math.prod(w[1:5])


def _fft_numbers(out, x, w):
    frequencies = math.prod(x[2:5]) * 2
    return 2 * frequencies * (out[0] * x[1] * (x[5] + out[5]) + w[0] * w[4] * w[5])


def _winograd_numbers(tile):
    def numbers(out, x, w):
        """The transformed kernel of a group, and as many tiles as 8 MiB or twice its size hold."""
        kernel = (tile + 2) ** 2 * w[4] * w[5]
        return kernel + max(2 << 20, 2 * kernel)
    return numbers


ALGORITHMS = {a.name: a for a in (
    Algorithm("implicit_gemm", _implicit_gemm, _implicit_gemm_weight_grad, True, lambda out, x, w: math.prod(w),
              "a matrix product whose loader reads patches in place; the general case", activates=True),
    Algorithm("im2col", _im2col, _weight_grad_by(_im2col), True, lambda out, x, w: math.prod(x) + _rows(out, w),
              "patches copied into rows, then one matrix product"),
    Algorithm("filter2row", _filter2row, _weight_grad_by(_filter2row), True,
              lambda out, x, w: 5 * math.prod(out[2:]) * math.prod(w[1:5]),
              "the filter as a sparse Toeplitz matrix in CSR form"),
    Algorithm("fft", _fft, _weight_grad_by(_fft), False, _fft_numbers, "a product in the Fourier domain"),
    Algorithm("winograd", _winograd(4), _winograd_weight_grad(4), False, _winograd_numbers(4),
              "F(4x4, 3x3): a quarter of the multiplications; rounding errors up to 2.1 times those of implicit_gemm",
              activates=True, tile=4),
    Algorithm("winograd_2x2", _winograd(2), _winograd_weight_grad(2), False, _winograd_numbers(2),
              "F(2x2, 3x3): 4/9 of the multiplications; as accurate as implicit_gemm", activates=True, tile=2),
)}


def fits(algorithm, out, x, w, stride, dilation):
    """Whether it can carry out a convolution of these canonical shapes and steps."""
    return not algorithm.tile or (w[1:4] == (1, 3, 3) and out[2] == x[2] == 1 and stride == dilation == (1, 1, 1))


def runs_on(algorithm, device):
    """Whether the device has the kernels that it consists of."""
    return not (algorithm.tile and "winograd_conv" in device.lacks)


def check(name):
    """ValueError for a name that is no algorithm."""
    if name != "auto" and name not in ALGORITHMS:
        raise ValueError(f"algorithm {name!r}: use one of 'auto', {', '.join(map(repr, ALGORITHMS))}")


# --- what "auto" picks -----------------------------------------------------------------------

PRECISIONS = {"exact": None, "high": "winograd_2x2", "fast": "winograd"}
_precision = "fast"


def set_conv_precision(precision):
    """Which algorithms `algorithm="auto"` may choose for convolutions of float32; for the whole process.

    "fast"    (the default) Winograd's F(4x4, 3x3) where it is faster: rounding errors, relative to the size of the
              result, within 1.9 times those of the direct sum on normal data, up to 2.1 times behind ReLU, where
              inputs have a mean
    "high"    F(2x2, 3x3) where it is faster: as accurate as the direct sum
    "exact"   the direct sum, one chain of fused multiply-adds per output: small integers come out exactly

    Convolutions of float64, and those of kernels, strides and sizes that Winograd's algorithm does not take
    or does not speed up (`fc.ops.conv_algorithms` tells), are always "exact". A call looks the setting
    up once, so threads may change it at any time. ValueError for another name.

    >>> import fastconv as fc
    >>> fc.set_conv_precision("exact")
    >>> fc.get_conv_precision()
    'exact'
    >>> fc.set_conv_precision("fast")
    """
    global _precision
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}: use one of {', '.join(map(repr, PRECISIONS))}")
    _precision = precision


def get_conv_precision():
    """What `set_conv_precision` has set."""
    return _precision


@dataclass(frozen=True)
class Cost:
    """What Winograd's algorithm costs on a kind of device, in multiply-adds of the implicit GEMM (measured).

    product      of one of its own multiply-adds
    tile         of transforming one number of an image, its result or their gradients
    kernel       of transforming one number of the kernel
    least        channels below which images' transforms are most of the work
    """

    product: float
    tile: float
    kernel: float
    least: int


# A weight gradient over fewer tiles is a sum so short that the transforms would lose more than twice its digits.
LEAST_GRAD_TILES = 32

# Devices that are not here always take the implicit GEMM.
COSTS = {"cpu": Cost(product=1.1, tile=10, kernel=45, least=64)}


def pick(step, precision, device, dtype, out, x, w, stride, dilation):
    """The Algorithm of "auto" for canonical shapes: Winograd's where it costs less than the implicit GEMM.

    `step` is "forward", "input_grad" (out, x and w are those of the convolution that it is) or "weight_grad".
    """
    exact, fast, cost = ALGORITHMS["implicit_gemm"], ALGORITHMS.get(PRECISIONS[precision]), COSTS.get(device.kind)
    if fast is None or cost is None or dtype != np.float32 or not runs_on(fast, device):
        return exact
    if not fits(fast, out, x, w, stride, dilation):
        return exact
    channels, outs = w[4:]
    points = (fast.tile + 2) ** 2
    tiles = out[1] * -(-out[3] // fast.tile) * -(-out[4] // fast.tile)
    if min(channels, outs) < cost.least or (step == "weight_grad" and tiles < LEAST_GRAD_TILES):
        return exact
    direct = 9 * math.prod(out[1:5]) * channels * outs
    transformed = points * (cost.product * tiles * channels * outs + cost.tile * tiles * (channels + outs)
                            + cost.kernel * channels * outs)
    return fast if transformed < direct else exact
