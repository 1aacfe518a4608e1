"""What the selftest computes: for every kernel of the contract a few small inputs.

A kernel's function yields (name, arguments); an argument is `draw`n or `given` input, `out`, `inout`, a list
of these, or a parameter. It is called for every dtype that it names, once with small whole numbers, whose
results are exact and have to match bit for bit, and once with floats. A new kernel of reference.py gets a
function here.
"""
import dataclasses
import math
import re
from pathlib import Path

import numpy as np

from ..reference import ACTIVATIONS

FLOATS = ("float32", "float64")
NUMBERS = (*FLOATS, "int32", "int64", "uint8")
ALL = (*NUMBERS, "bool")
CASES: dict = {}    # kernel: (dtypes, kinds of numbers, function)


@dataclasses.dataclass
class Operand:
    """One array of a case: what it holds before, and whether it is written and has to be compact."""

    values: np.ndarray
    written: bool = False
    read: bool = True
    compact: bool = False


class Maker:
    """Makes the operands of the cases for one dtype and one kind of numbers, the same in every run."""

    def __init__(self, dtype, exact, tiny, seed=0):
        self.dtype, self.exact, self.tiny = np.dtype(dtype), exact, tiny
        self.rng = np.random.default_rng(seed)

    def pick(self, small, large):
        """A size: `small` for simulators, `large` to reach what splits its work."""
        return small if self.tiny else large

    def draw(self, *shape):
        """Small whole numbers, or normally distributed ones."""
        if self.exact:
            low = -4 if self.dtype.kind in "fi" else 0
            values = self.rng.integers(low, 2 if self.dtype.kind == "b" else 5, shape)
        else:
            values = self.rng.standard_normal(shape)
        return Operand(values.astype(self.dtype))

    def fraction(self, *shape):
        """Numbers between 0 and 1."""
        return Operand(self.rng.random(shape).astype(self.dtype))

    def given(self, values, dtype=None, compact=False):
        return Operand(np.asarray(values, dtype or self.dtype), compact=compact)

    def out(self, *shape, dtype=None):
        values = np.empty(shape, dtype or self.dtype)
        values[...] = np.nan if values.dtype.kind == "f" else np.array(0x7f7f7f7f7f7f7f7f).astype(values.dtype)
        return Operand(values, written=True, read=False)

    def inout(self, operand):
        return dataclasses.replace(operand, written=True)


def cases(kernel, dtypes=FLOATS, kinds=("exact", "float")):
    """Register a function as the cases of `kernel`."""
    def register(function):
        CASES[kernel] = (dtypes, kinds, function)
        return function
    return register


# How many products or terms one element of a result sums, which is how far float sums may differ.
def _ratio(arguments):
    """Inputs to one output, of a reduction."""
    shapes = [a.values.size for a in arguments if isinstance(a, Operand)]
    return max(shapes) // min(shapes)


LENGTHS = {
    "reduce": _ratio,
    "batch_norm_grad": lambda arguments: arguments[0].values.size // arguments[1].values.size,
    "matmul": lambda arguments: arguments[1].values.shape[-1],
    "conv": lambda arguments: math.prod(arguments[2].values.shape[1:5]),
    "conv_weight_grad": lambda arguments: math.prod(arguments[2].values.shape[1:5]),
    # Transforms of tiles of four make up to a hundredfold of the terms they cancel: like a sum that much longer.
    "winograd_conv": lambda arguments: 100 * math.prod(arguments[2].values.shape[1:5]),
    "winograd_weight_grad": lambda arguments: 100 * math.prod(arguments[2].values.shape[1:5]),
}


# --- elementwise and reductions --------------------------------------------------------------

# Whole numbers in, whole numbers out.
WHOLE = {"negative", "abs", "square", "relu", "sign", "isfinite", "logical_not", "add", "subtract", "multiply", "maximum",
         "minimum", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or",
         "logical_xor", "bitwise_not", "bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift",
         "truncated_divide", "power", "tanh_grad", "relu_grad", "clip", "lerp", "normalize"}
POSITIVE = {"log", "sqrt", "rsqrt", "power"}
WITHIN_ONE = {"asin", "acos", "atanh"}
DOMAINS = {"FLOAT": FLOATS, "NUMBER": NUMBERS, "INTEGER": [t for t in NUMBERS if t not in FLOATS], "ANY": ALL}


def scalar_rows():
    """(name, number of operands, dtypes, whether the result is bool) of scalar_ops.h."""
    text = (Path(__file__).parents[1] / "scalar_ops.h").read_text()
    for name, arity, domain, result in re.findall(r"^FC_OP\((\w+),\s*(\d),\s*(\w+),\s*(\w+),", text, re.MULTILINE):
        yield name, int(arity), DOMAINS[domain], result == "BOOL"


@cases("map", ALL)
def _(make):
    shape = (3, 17)
    for name, arity, dtypes, as_bool in scalar_rows():
        if make.dtype.name not in dtypes or make.exact and name not in WHOLE:
            continue
        # One dtype sees every function, the others a few: each is a program to compile.
        chosen = "float32" if "float32" in dtypes else "int32"
        if make.dtype != chosen and name not in ("add", "maximum", "less", "logical_not", "exp", "power"):
            continue
        operands = [make.draw(*shape) for _ in range(arity)]
        if name in POSITIVE:
            operands = [make.given(abs(x.values) + make.dtype.type(0 if make.exact else 0.1)) for x in operands]
        if name in WITHIN_ONE or name == "acosh":
            size = abs(operands[0].values)
            operands = [make.given(size + 1 if name == "acosh" else 0.9 * operands[0].values / (size + 1))]
        yield name, (name, make.out(*shape, dtype="bool" if as_bool else None), *operands)
    if make.exact:
        yield from _copies(make)


def _copies(make):
    rows, cols = make.pick(5, 70), make.pick(9, 300)
    for target in ALL if make.dtype == "float32" else ("float32", "bool"):
        yield f"copy to {target}", ("copy", make.out(3, 17, dtype=target), make.given(abs(make.draw(3, 17).values)))
    if make.dtype.name not in ("float32", "int64"):
        return
    wide, column, row = make.draw(rows, cols), make.draw(rows, 1), make.draw(1, cols)
    yield "add, broadcast", ("add", make.out(rows, cols), *(
        make.given(np.broadcast_to(x.values, (rows, cols))) for x in (column, row)))
    yield "add of a number", ("add", make.out(rows, cols), wide, 3)
    yield "in place", ("add", make.inout(wide), make.draw(rows, cols), make.draw(rows, cols))
    yield "five dimensions", ("subtract", make.out(2, 3, 4, 2, 3), make.draw(2, 3, 4, 2, 3), make.draw(2, 3, 4, 2, 3))
    yield "no dimension", ("add", make.out(), make.draw(), make.draw())
    yield "where", ("where", make.out(rows, cols), make.given(make.draw(rows, cols).values > 0, "bool"), wide, 2)


@cases("reduce", NUMBERS)
def _(make):
    long = make.pick(40, 30_000)
    shapes = [((long,), (0,)), ((3, long), (1,)), ((long, 3), (0,)), ((4, 5, 6), (0, 2))]
    for name in ("sum", "prod", "max", "min"):
        for shape, axes in shapes if make.dtype == "float32" else shapes[-1:]:
            x = make.draw(*shape)
            if name == "prod":      # few factors beside 1, that nothing overflows
                x.values = np.where(make.rng.random(shape) < 8 / x.values.size, x.values, 1).astype(make.dtype)
            yield f"{name} of {shape} over {axes}", (name, _kept(make, shape, axes), x, axes)


def _kept(make, shape, axes, dtype=None):
    return make.out(*(1 if d in axes else n for d, n in enumerate(shape)), dtype=dtype)


@cases("arg_reduce", NUMBERS)
def _(make):
    for name in ("argmax", "argmin"):
        for shape, axis in (((make.pick(30, 20_000),), 0), ((5, 7, 4), 1)):
            x = make.draw(*shape)
            if make.dtype.kind == "f":
                x.values.reshape(-1)[x.values.size // 2] = np.nan
            yield f"{name} of {shape} along {axis}", (name, _kept(make, shape, (axis,), "int64"), x, axis)


# --- normalisation ---------------------------------------------------------------------------

@cases("batch_norm", kinds=("float",))
def _(make):
    for shape in ((4, 5, 3, 3), (make.pick(5, 700), 17)):
        c = shape[1]
        for activation in (None, *ACTIVATIONS):
            y, mean, rstd, x = make.out(*shape), make.out(c), make.out(c), make.draw(*shape)
            yield f"{shape}, activation {activation}", (
                y, mean, rstd, make.inout(make.draw(c)), make.inout(make.fraction(c)), x, make.draw(c), make.draw(c), 0.1, 1e-5,
                activation)
        yield f"{shape}, plain", (make.out(*shape), make.out(c), make.out(c), None, None, x, None, None, 0.1, 1e-5, None)


@cases("batch_norm_grad", kinds=("float",))
def _(make):
    for shape in ((4, 5, 3, 3), (make.pick(5, 700), 17)):
        c = shape[1]
        for activation in (None, *ACTIVATIONS):
            yield f"{shape}, activation {activation}", (
                make.out(*shape), make.out(c), make.out(c), make.draw(*shape), make.draw(*shape), make.draw(c), make.fraction(c),
                make.draw(c), make.draw(c), activation)


# --- products --------------------------------------------------------------------------------

@cases("matmul")
def _(make):
    n = make.pick(1, 9)
    for m, k, cols in ((1, 1, 1), (5, 7, 9), (13 * n, 17 * n, 19 * n)):
        yield f"{m} x {k} x {cols}", (make.out(m, cols), make.draw(m, k), make.draw(k, cols))
    yield "batched", (make.out(3, 5, 4), make.draw(3, 5, 6), make.draw(3, 6, 4))
    shared = make.given(np.broadcast_to(make.draw(6, 4).values, (3, 6, 4)))
    yield "batched, one right side", (make.out(3, 5, 4), make.draw(3, 5, 6), shared)


# groups, batch, channels, out channels, size, kernel, stride, padding, dilation
SHAPES = {
    "3x3": (1, 2, 5, 7, (1, 6, 5), (1, 3, 3), 1, 1, 1),
    "3x3 strided": (1, 3, 3, 17, (1, 9, 8), (1, 3, 3), 2, 1, 1),
    "3x3 dilated": (1, 2, 4, 4, (1, 9, 9), (1, 3, 3), 1, 2, 2),
    "3x3 in groups": (2, 2, 3, 5, (1, 5, 6), (1, 3, 3), 1, 1, 1),
    "1x1": (1, 3, 6, 10, (1, 3, 4), (1, 1, 1), 1, 0, 1),
    "one dimension": (1, 2, 4, 3, (1, 1, 40), (1, 1, 3), 1, 1, 1),
    "three dimensions": (1, 2, 3, 5, (4, 5, 6), (2, 2, 2), 1, -1, 1),
    "small images": (1, 9, 8, 16, (1, 2, 2), (1, 3, 3), 1, 1, 1),
    "stem": (1, 4, 3, 8, (1, 16, 16), (1, 7, 7), 4, 3, 1),
}
LARGER = {"larger": (1, 12, 20, 33, (1, 14, 14), (1, 3, 3), 1, 1, 1)}


def _convolutions(make):
    for name, (groups, batch, channels, outs, size, kernel, stride, padding, dilation) in (
            SHAPES if make.tiny else {**SHAPES, **LARGER}).items():
        if make.dtype == "float64" and name not in ("3x3", "3x3 strided"):
            continue
        pad = tuple(padding if n > 1 else 0 for n in kernel)
        out = tuple((n + 2 * p - dilation * (k - 1) - 1) // stride + 1 for n, p, k in zip(size, pad, kernel))
        yield (name, (groups, batch, *size, channels), (groups, *kernel, channels, outs), (groups, batch, *out, outs),
               ((stride,) * 3, pad, (dilation,) * 3))


@cases("conv")
def _(make):
    for name, x, w, out, geometry in _convolutions(make):
        yield name, (make.out(*out), make.draw(*x), make.draw(*w), make.draw(out[0], out[-1]), *geometry)
    name, x, w, out, geometry = next(_convolutions(make))
    for activation in (None, *ACTIVATIONS):
        yield (f"{name} without bias, activation {activation}",
               (make.out(*out), make.draw(*x), make.draw(*w), None, *geometry, activation))


@cases("conv_weight_grad")
def _(make):
    for name, x, w, out, geometry in _convolutions(make):
        yield name, (make.out(*w), make.draw(*x), make.draw(*out), *geometry)


def _tiles(make):
    """(name, tile, shapes of x, w and out, padding) for Winograd's convolutions; those of four are not exact."""
    batch, channels, outs, size = make.pick((1, 3, 5, 5), (2, 70, 37, 11))
    for tile in (2,) if make.exact else (2, 4):
        for groups, padding in (1, (0, 1, 1)), (2, (0, 2, 0)):
            out = size + 2 * padding[1] - 2, size + 2 * padding[2] - 1
            yield (f"tiles of {tile}, {groups} groups", tile, (groups, batch, 1, size, size + 1, channels),
                   (groups, 1, 3, 3, channels, outs), (groups, batch, 1, *out, outs), padding)


@cases("winograd_conv")
def _(make):
    for name, tile, x, w, out, padding in _tiles(make):
        yield name, (make.out(*out), make.draw(*x), make.draw(*w), make.draw(out[0], out[-1]), padding, tile)
    name, tile, x, w, out, padding = next(_tiles(make))
    for activation in (None, *ACTIVATIONS):
        yield (f"{name} without bias, activation {activation}",
               (make.out(*out), make.draw(*x), make.draw(*w), None, padding, tile, activation))


@cases("winograd_weight_grad")
def _(make):
    for name, tile, x, w, out, padding in _tiles(make):
        yield name, (make.out(*w), make.draw(*x), make.draw(*out), padding, tile)


# --- pooling and indexing --------------------------------------------------------------------

WINDOWS = {     # window, stride, padding, dilation of images of (1, 6, 7)
    "2x2": ((1, 2, 2), (1, 2, 2), (0, 0, 0), (1, 1, 1)),
    "3x3 overlapping": ((1, 3, 3), (1, 2, 1), (0, 1, 1), (1, 1, 1)),
    "2x3 dilated": ((1, 2, 3), (1, 1, 2), (0, 1, 0), (1, 2, 1)),
}


def _pools(make):
    """(name, shape of the images, shape of the windows' results, geometry)"""
    batch, channels, size = make.pick(2, 8), make.pick(3, 16), (1, 6, 7)
    for name, geometry in WINDOWS.items():
        outs = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, *geometry)]
        yield name, (batch, *size, channels), (batch, *outs, channels), geometry


@cases("max_pool")
def _(make):
    for name, x, y, geometry in _pools(make):
        yield name, (make.out(*y), make.out(*y, dtype="int32"), make.draw(*x), *geometry)


def _taps(make, shape, window):
    return make.given(make.rng.integers(0, math.prod(window), shape), "int32")


@cases("max_pool_grad")
def _(make):
    for name, x, y, geometry in _pools(make):
        yield name, (make.out(*x), make.draw(*y), _taps(make, y, geometry[0]), *geometry)


@cases("max_pool_pick")
def _(make):
    for name, x, y, geometry in _pools(make):
        yield name, (make.out(*y), make.draw(*x), _taps(make, y, geometry[0]), *geometry)


@cases("window_sum")
def _(make):
    for name, x, y, geometry in _pools(make):
        yield name, (make.out(*y), make.draw(*x), *geometry)


@cases("take", ("float32", "float64", "int64"), ("exact",))
def _(make):
    indices = make.rng.integers(0, 11, 23)
    yield "23 of 11 rows", (make.out(23, 5), make.draw(11, 5), make.given(indices, "int64"))


@cases("put", ("float32", "float64", "int64"), ("exact",))
def _(make):
    indices = make.rng.permutation(11)[:7]
    yield "7 of 11 rows", (make.inout(make.draw(11, 5)), make.draw(7, 5), make.given(indices, "int64"))


@cases("csr_matmul")
def _(make):
    counts = make.rng.integers(0, 5, 9)
    pointers = np.concatenate([[0], np.cumsum(counts)])
    entries = int(pointers[-1])
    yield "9 x 12 sparse", (make.out(9, 6), make.given(pointers, "int64", compact=True),
                            make.given(make.rng.integers(0, 12, entries), "int64", compact=True),
                            make.draw(entries), make.draw(12, 6))


@cases("add_rows")
def _(make):
    starts = np.array([0, 3, 4, 9, 15])
    yield "15 rows to 4 places", (
        make.inout(make.draw(8, 5)), *(make.given(v, "int64", compact=True) for v in ([6, 1, 7, 2], starts,
                                                                                      make.rng.permutation(15))),
        make.draw(15, 5))


# --- softmax ---------------------------------------------------------------------------------

ROWS = ((3, 5), (2, 100))


@cases("softmax", kinds=("float",))
def _(make):
    for shape in (*ROWS, (make.pick(2, 4), make.pick(40, 3000))):
        for log in (False, True):
            yield f"{shape}, log {log}", (make.out(*shape), make.draw(*shape), log)


@cases("softmax_grad", kinds=("float",))
def _(make):
    for shape in ROWS:
        for log in (False, True):
            yield f"{shape}, log {log}", (make.out(*shape), make.draw(*shape), make.fraction(*shape), log)


def _labels(make, shape):
    """Columns, and one row without."""
    return make.given(np.append(make.rng.integers(0, shape[1], shape[0] - 1), -1), "int64")


@cases("cross_entropy", kinds=("float",))
def _(make):
    for shape in (*ROWS, (make.pick(2, 4), make.pick(40, 3000))):
        rows = shape[0]
        yield f"{shape}", (make.out(rows), make.out(rows), make.out(rows), make.draw(*shape), _labels(make, shape))


@cases("cross_entropy_grad", kinds=("float",))
def _(make):
    for shape in ROWS:
        rows, x = shape[0], make.draw(*shape)
        top, total = x.values.max(axis=1), np.exp(x.values - x.values.max(axis=1, keepdims=True)).sum(axis=1)
        yield f"{shape}", (make.out(*shape), make.draw(rows), x, make.given(top), make.given(total), _labels(make, shape))


# --- recurrent steps and optimisers ----------------------------------------------------------

@cases("lstm_step", kinds=("float",))
def _(make):
    n, h = 3, make.pick(5, 40)
    yield f"{n} rows of {h}", (make.out(n, h), make.out(n, h), make.inout(make.draw(n, 4 * h)), make.draw(n, 4 * h),
                               make.draw(n, h))


@cases("lstm_step_grad", kinds=("float",))
def _(make):
    n, h = 3, make.pick(5, 40)
    yield f"{n} rows of {h}", (make.out(n, 4 * h), make.out(n, h), make.draw(n, h), make.draw(n, h),
                               make.fraction(n, 4 * h), make.draw(n, h), make.draw(n, h))


@cases("gru_step", kinds=("float",))
def _(make):
    n, h = 3, make.pick(5, 40)
    yield f"{n} rows of {h}", (make.out(n, h), make.out(n, 3 * h), make.draw(n, 3 * h), make.inout(make.draw(n, 3 * h)),
                               make.draw(3 * h), make.draw(n, h))


@cases("gru_step_grad", kinds=("float",))
def _(make):
    n, h = 3, make.pick(5, 40)
    yield f"{n} rows of {h}", (make.out(n, 3 * h), make.out(n, 3 * h), make.out(n, h), make.draw(n, h),
                               make.fraction(n, 3 * h), make.draw(n, 3 * h), make.draw(n, h))


def _parameters(make, states):
    """Lists of parameters, gradients and `states` buffers, of two shapes."""
    shapes = ((7, 5), (make.pick(11, 600),))
    draws = [make.inout, lambda x: x, *[make.inout] * states]
    return [[of(make.draw(*shape)) for shape in shapes] for of in draws]


@cases("sgd_step")
def _(make):
    parameters, gradients = _parameters(make, 0)
    yield "plain", (parameters, gradients, [None, None], 0.5, 0.0, 0.25, False, True)
    for nesterov in (False, True):
        for first in (True, False):
            yield (f"momentum, nesterov {nesterov}, first {first}",
                   (*_parameters(make, 1), 0.5, 0.5, 0.25, nesterov, first))


@cases("adam_step", kinds=("float",))
def _(make):
    for decoupled in (False, True):
        parameters, gradients, ms, vs = _parameters(make, 2)
        for v in vs:
            v.values = np.square(v.values)
        yield f"decoupled {decoupled}", (parameters, gradients, ms, vs, 1e-3, 0.9, 0.999, 1e-8, 0.01, decoupled, 3)
