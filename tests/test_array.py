"""Array against NumPy: views, assignment, arithmetic and promotion, reductions, pad, matmul, astype.

FASTCONV_EXAMPLES=20 draws 20 times as many random examples, new ones at every run.
"""
import copy
import gc
import itertools
import math
import operator
import os
import pickle
import weakref

import numpy as np
import pytest

pytest.importorskip("hypothesis")

import hypothesis.extra.numpy as hnp  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import fastconv as fc  # noqa: E402

EXAMPLES = float(os.environ.get("FASTCONV_EXAMPLES") or 1)
DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")


def examples(count):
    """Settings for `count` examples: the same ones at every run, unless FASTCONV_EXAMPLES asks for more."""
    return settings(max_examples=max(1, round(count * EXAMPLES)), deadline=None, derandomize=EXAMPLES == 1,
                    database=None, print_blob=True,
                    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow,
                                           HealthCheck.data_too_large])


def need(device, *dtypes):
    """Skip where the device has no float64."""
    if "float64" in dtypes:
        try:
            fc.array([1.0], "float64", device) + 1
        except NotImplementedError as error:
            pytest.skip(str(error))


def numbered(shape, dtype="float32"):
    """0, 1, 2, ... so that a wrong element shows; every value exact in every dtype but uint8 and bool."""
    return np.arange(math.prod(shape)).astype(dtype).reshape(shape)


def same(actual, expected):
    """Equal bit for bit, shape and dtype as well."""
    expected = np.asarray(expected)
    got = actual.numpy()
    assert got.flags.c_contiguous
    assert actual.shape == expected.shape == got.shape and actual.dtype == expected.dtype == got.dtype, (
        actual.shape, actual.dtype, expected.shape, expected.dtype)
    assert actual.ndim == expected.ndim and actual.size == expected.size
    np.testing.assert_array_equal(got, expected)


# --- views -----------------------------------------------------------------------------------

def slices(size):
    """A slice with any step for one axis."""
    bound = st.none() | st.integers(-size - 2, size + 2)
    return st.builds(slice, bound, bound, st.sampled_from((None, 1, 2, 3, -1, -2, -3)))


def indices(size):
    """An int or a slice for one axis."""
    return slices(size) | st.integers(-size, size - 1) if size else slices(size)


@st.composite
def keys(draw, shape):
    """An index of ints, slices, None and one Ellipsis."""
    entries = [draw(indices(size)) for size in shape[:draw(st.integers(0, len(shape)))]]
    if draw(st.booleans()):
        # Replace some axes in the middle by an Ellipsis: what follows it indexes the last axes.
        head = draw(st.integers(0, len(entries)))
        tail = [draw(indices(size)) for size in shape[len(shape) - draw(st.integers(0, len(shape) - head)):]] \
            if len(shape) > head else []
        entries = [*entries[:head], ..., *tail]
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        entries.insert(draw(st.integers(0, len(entries))), None)
    return entries[0] if len(entries) == 1 and draw(st.booleans()) else tuple(entries)


def split_size(draw, n):
    """A random shape of n elements."""
    shape = []
    while n > 1:
        factor = draw(st.sampled_from([d for d in range(2, n + 1) if n % d == 0]))
        shape.append(factor)
        n //= factor
    for _ in range(draw(st.integers(0, 2))):
        shape.insert(draw(st.integers(0, len(shape))), 1)
    return tuple(shape)


def step_of_view(draw, a, x):
    """One more view of both the NumPy array a and the Array x."""
    kind = draw(st.sampled_from(("getitem", "getitem", "permute", "transpose", "flip", "reshape", "broadcast_to",
                                 "squeeze", "unsqueeze", "as_strided")))
    if kind == "getitem":
        key = draw(keys(a.shape))
        return kind, a[key], x[key]
    if kind == "permute":
        order = tuple(draw(st.permutations(range(a.ndim))))
        return kind, a.transpose(order), x.permute(*order) if draw(st.booleans()) else x.permute(order)
    if kind == "transpose" and a.ndim:
        p, q = (draw(st.integers(-a.ndim, a.ndim - 1)) for _ in range(2))
        return kind, a.swapaxes(p, q), x.transpose(p, q)
    if kind == "flip":
        axes = draw(st.none() | st.sets(st.integers(0, a.ndim - 1)).map(tuple)) if a.ndim else None
        return kind, np.flip(a, axes), x.flip(axes)
    if kind == "reshape":
        shape = split_size(draw, a.size) if a.size else draw(st.permutations(a.shape)).__class__(a.shape[::-1])
        shape = tuple(shape)
        if shape and a.size and draw(st.booleans()):
            at = draw(st.integers(0, len(shape) - 1))
            asked = shape[:at] + (-1,) + shape[at + 1:]
        else:
            asked = shape
        return kind, a.reshape(shape), x.reshape(asked)
    if kind == "broadcast_to" and a.ndim < 6:
        shape = tuple(draw(st.integers(0, 3)) if n == 1 and draw(st.booleans()) else n for n in a.shape)
        shape = tuple(draw(st.lists(st.integers(1, 2), max_size=2))) + shape
        return kind, np.broadcast_to(a, shape), x.broadcast_to(shape)
    if kind == "squeeze":
        ones = [d for d, n in enumerate(a.shape) if n == 1]
        axes = draw(st.none() | st.sets(st.sampled_from(ones)).map(tuple)) if ones else None
        return kind, np.squeeze(a, axes), x.squeeze(axes)
    if kind == "unsqueeze" and a.ndim < 8:
        axis = draw(st.integers(-a.ndim - 1, a.ndim))
        return kind, np.expand_dims(a, axis), x.unsqueeze(axis)
    if kind == "as_strided" and a.ndim and a.size:
        # Windows along one axis, as a convolution takes them.
        axis = draw(st.integers(0, a.ndim - 1))
        window = draw(st.integers(1, a.shape[axis]))
        shape = a.shape[:axis] + (a.shape[axis] - window + 1, window) + a.shape[axis + 1:]
        strides = x.strides[:axis] + (x.strides[axis],) + x.strides[axis:]
        byte = tuple(s * a.itemsize for s in strides)
        if any(m != n for m, n in zip((s * a.itemsize for s in x.strides), a.strides)):
            byte = a.strides[:axis] + (a.strides[axis],) + a.strides[axis:]
        return kind, np.lib.stride_tricks.as_strided(a, shape, byte), x.as_strided(shape, strides)
    return "nothing", a, x


@given(data=st.data(), dtype=st.sampled_from(DTYPES),
       shape=hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5))
@examples(150)
def test_chains_of_views(device, data, dtype, shape):
    """Views of views of views: values as NumPy's, on the same buffer; only reshape may copy, where NumPy does."""
    need(device, dtype)
    a, x = numbered(shape, dtype), fc.array(numbered(shape, dtype), device=device)
    for _ in range(data.draw(st.integers(1, 6))):
        before = a, x
        kind, a, x = step_of_view(data.draw, a, x)
        if a.ndim > 8 or a.size > 20000:
            a, x = before
            break
        if kind != "reshape":
            assert x.buffer is before[1].buffer, kind
        elif a.size and np.shares_memory(a, before[0]):
            assert x.buffer is before[1].buffer
        same(x, a)
        if a.size:
            assert x.is_compact() == a.flags.c_contiguous
        compact = x.compact()
        assert compact.is_compact() and (compact is x) == x.is_compact()
        same(compact, a)


@given(data=st.data(), shape=hnp.array_shapes(min_dims=1, max_dims=4, max_side=5))
@examples(60)
def test_strides_and_offset_of_flips_and_slices_are_numpys(device, data, shape):
    a, x = numbered(shape), fc.array(numbered(shape), device=device)
    base = a.__array_interface__["data"][0]
    for _ in range(3):
        key = tuple(data.draw(slices(n)) for n in a.shape)
        axes = tuple(data.draw(st.sets(st.integers(0, a.ndim - 1))))
        a, x = np.flip(a[key], axes), x[key].flip(axes)
        if a.size == 0:
            return
        assert x.offset == (a.__array_interface__["data"][0] - base) // a.itemsize
        assert tuple(s for s, n in zip(x.strides, x.shape) if n > 1) == \
            tuple(s // a.itemsize for s, n in zip(a.strides, a.shape) if n > 1)
    assert x.flip(0).flip(0).strides == x.strides and x.flip(0).flip(0).offset == x.offset


def test_flip_of_the_course(device):
    x = fc.array(numbered((3, 4, 5)), device=device)
    for axes, strides, offset in (((0,), (-20, 5, 1), 40), ((1, 2), (20, -5, -1), 19), ((0, 1, 2), (-20, -5, -1), 59)):
        y = x.flip(axes)
        assert (y.strides, y.offset, y.shape, y.buffer is x.buffer) == (strides, offset, x.shape, True)


def test_overlapping_windows_and_transposed_strides(device):
    a = numbered((5, 6))
    x = fc.array(a, device=device)
    y = x.as_strided((2, 3, 3, 2), (12, 1, 6, 2), 1)
    same(y, np.lib.stride_tricks.as_strided(a.ravel()[1:], (2, 3, 3, 2), (48, 4, 24, 8)))
    same(x[1:].as_strided((6,), (-1,), 0)[:1], a[1, :1])
    same(x.as_strided((), (), 7), a[1, 1])
    same(x.as_strided((0, 5), (10 ** 6, 1)), np.empty((0, 5), "f"))
    same(x.flip().as_strided((30,), (-1,)), a.ravel()[::-1])


def test_views_share_memory_both_ways(device):
    x = fc.array(numbered((4, 6)), device=device)
    views = [x[1:3, ::2], x.T, x.flip(), x.reshape(2, 12), x.permute(1, 0)[::-1], x.unsqueeze(1), x[None, 2],
             x.as_strided((6,), (4,)), x[:1].broadcast_to(3, 6), x.transpose()]
    assert all(v.buffer is x.buffer for v in views)
    before = [v.numpy() for v in views]
    x[...] = x * 10
    for v, b in zip(views, before):
        np.testing.assert_array_equal(v.numpy(), b * 10)
    views[0][...] = -1
    assert (x.numpy() == -1).sum() == 6


def test_a_view_keeps_the_buffer_alive(device):
    x = fc.array(numbered((3, 4)), device=device)
    gone, row = weakref.ref(x), x[1]
    del x
    gc.collect()
    for _ in range(4):
        fc.array(np.zeros((3, 4), "f"), device=device)
    assert gone() is None
    same(row, numbered((3, 4))[1])


# --- assignment ------------------------------------------------------------------------------

@given(data=st.data(), dtype=st.sampled_from(DTYPES), source=st.sampled_from(DTYPES),
       shape=hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
@examples(100)
def test_assignment_through_views(device, data, dtype, source, shape):
    """x[key] = value for numbers, NumPy arrays and Arrays of every dtype that broadcast."""
    need(device, dtype, source)
    a, x = numbered(shape, dtype), fc.array(numbered(shape, dtype), device=device)
    for _ in range(2):
        key = data.draw(keys(shape))
        target = a[key]
        value_shape = tuple(1 if data.draw(st.integers(0, 3)) == 0 else n for n in np.shape(target))
        value_shape = value_shape[data.draw(st.integers(0, len(value_shape))):]
        value = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 100, value_shape).astype(source)
        kind = data.draw(st.sampled_from(("array", "numpy", "number")))
        if kind == "number":
            value = value.flat[0].item() if value.size else 1
        a[key] = value
        x[key] = fc.array(value, device=device) if kind == "array" else value
        same(x, a)


@given(data=st.data(), shape=hnp.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=6))
@examples(80)
def test_overlapping_assignment(device, data, shape):
    """x[key] = another view of x of the same shape: NumPy reads all before it writes any."""
    a, x = numbered(shape), fc.array(numbered(shape), device=device)
    target, source = [], []
    for n in shape:
        count = data.draw(st.integers(1, n))
        for chosen in (target, source):
            step = data.draw(st.sampled_from([s for s in (1, -1, 2, -2) if abs(s) * (count - 1) < n]))
            first = data.draw(st.integers(0, n - 1 - abs(step) * (count - 1)))
            picked = range(first, first + abs(step) * count, abs(step))[:count]
            stop = picked[-1] + 1
            if step < 0:
                stop = picked[0] - 1
                chosen.append(slice(picked[-1], stop if stop >= 0 else None, step))
            else:
                chosen.append(slice(first, stop, step))
    a[tuple(target)] = a[tuple(source)].copy()
    x[tuple(target)] = x[tuple(source)]
    same(x, a)


def test_self_assignment(device):
    for change in (lambda v: v.__setitem__(..., v.T), lambda v: v.__setitem__(..., v[::-1, ::-1]),
                   lambda v: v.__setitem__((slice(1, None),), v[:-1]), lambda v: v.__setitem__(..., v),
                   lambda v: v.__setitem__(..., v[:1]), lambda v: v.__setitem__(..., v[:, 3:4])):
        a, x = numbered((5, 5)), fc.array(numbered((5, 5)), device=device)
        change(a)
        change(x)
        same(x, a)


def test_in_place_operators(device):
    a, x = numbered((4, 5)), fc.array(numbered((4, 5)), device=device)
    row, alias_a = x[1], a[1]
    x[1:, ::2] += 3
    a[1:, ::2] += 3
    x[0] *= x[1]
    a[0] *= a[1]
    x[:, -1] -= 1.5
    a[:, -1] -= 1.5
    x[::-1][1] /= 4
    a[::-1][1] /= 4
    same(x, a)
    same(row, alias_a)


def test_assignment_converts(device):
    x = fc.array(np.zeros(4, "int32"), device=device)
    x[:2] = [1.9, -1.9]
    x[2] = 7.99
    x[3] = True
    same(x, np.array([1, -1, 7, 1], "int32"))
    b = fc.array(np.zeros(3, bool), device=device)
    b[...] = fc.array([0.0, 0.5, math.nan], device=device)
    same(b, np.array([False, True, True]))


# --- making and converting -------------------------------------------------------------------

@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3), (2,) * 8, (1, 2, 1, 1, 2, 1, 3, 1, 1, 2)],
                         ids=str)
def test_round_trip(device, dtype, shape):
    need(device, dtype)
    a = (np.random.default_rng(0).standard_normal(shape) * 100).astype(dtype)
    for source in (a, np.array(a, order="F"), a.astype(np.dtype(dtype).newbyteorder(">"))):
        x = fc.array(source, device=device)
        same(x, a)
        assert x.device is device and x.offset == 0 and x.is_compact()
    if a.size:
        same(fc.array(a.tolist(), dtype, device), a)
    same(fc.array(x, device=device), a)
    assert fc.array(x, device=device).buffer is not x.buffer
    np.testing.assert_array_equal(np.asarray(x), a)
    assert np.asarray(x, "float64").dtype == "float64"
    original = a.copy()
    x[...] = 1
    np.testing.assert_array_equal(a, original)
    assert len(x) == len(a) if shape else True
    assert repr(x)


def test_default_dtypes(device):
    for obj, dtype in ((1.5, "float32"), (2, "int64"), (True, "bool"), ([1, 2.0], "float32"), ([True, 2], "int64"),
                       (np.float64(1), "float64"), (np.zeros(2), "float64"), (np.zeros(2, "int16"), "int32"),
                       (np.zeros(2, "uint32"), "int64"), (np.zeros(2, "float16"), "float32"), ([], "float32"),
                       (np.zeros(2, "uint16"), "int32"), (np.zeros(2, "int8"), "int32")):
        if dtype == "float64":
            need(device, dtype)
        assert fc.array(obj, device=device).dtype == dtype


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_astype(device, source, target):
    need(device, source, target)
    values = np.array([0, 1, 2, 3, 100, 255, -1, -7, 0.5, 1.99, -1.99, 2 ** 20 + 1])
    if source in ("uint8", "bool"):
        values = np.abs(values)
    if target == "uint8":
        values = np.abs(values)[:10]       # what does not fit is undefined for floats
    a = values.astype(source)
    x = fc.array(a, device=device)
    same(x.astype(target), a.astype(target))
    same(x[::-2].astype(target), a[::-2].astype(target))
    assert x.astype(source).buffer is not x.buffer and x.astype(source, copy=False) is x


def test_copies_and_pickles(device):
    """Copies have memory of their own and keep its order; a Tensor keeps its gradient, not its graph."""
    x = fc.array(numbered((2, 4, 3)), device=device).permute(0, 2, 1)
    for y in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        same(y, x.numpy())
        assert y.device is device and y.buffer is not x.buffer
    assert copy.deepcopy(x).strides == x.strides
    p = fc.nn.Parameter(x)
    (p * p).sum().backward()
    for q in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert type(q) is fc.nn.Parameter and q.requires_grad
        same(q.data, x.numpy())
        same(q.grad.data, 2 * x.numpy())
    assert copy.deepcopy(p * 2).is_leaf
    layer = fc.nn.Sequential(fc.nn.Linear(3, 2, device=device), fc.nn.BatchNorm1d(2, device=device))
    again = copy.deepcopy(layer)
    again[0].weight.data[...] = 0
    again.load_state_dict(layer.state_dict())
    same(again[0].weight.data, layer[0].weight.numpy())


def test_large_integers_survive(device):
    a = np.array([2 ** 62 + 1, -2 ** 62 - 1, 2 ** 53 + 1])
    x = fc.array(a, device=device)
    same(x, a)
    same(x + 1, a + 1)
    same(x.max(), a.max())
    same(x.sum(), a.sum())
    same(x == x, a == a)
    assert x[0].item() == 2 ** 62 + 1 and operator.index(x[1]) == -2 ** 62 - 1


def test_scalars_out(device):
    x = fc.array([[2.5]], device=device)
    assert x.item() == 2.5 == float(x) and int(x) == 2 and bool(x) and not bool(x * 0)
    assert [1, 2, 3][fc.array(2, device=device)] == 3
    assert [v.item() for v in fc.array([1, 2, 3], device=device)] == [1, 2, 3]


def test_devices_exchange(device):
    x = fc.array(numbered((3, 4)), device=device)
    for other in ("reference", fc.reference()):
        same(x.T.to(other), numbered((3, 4)).T)
        assert x.to(other).device is fc.reference()
    assert x.to(device) is x and x.to(device.name) is x
    same(fc.array(numbered((3, 4)), device="reference").flip(0).to(device), numbered((3, 4))[::-1])


# --- arithmetic ------------------------------------------------------------------------------

RANK = {"bool": 0, "uint8": 1, "int32": 2, "int64": 3, "float32": 4, "float64": 5}


@pytest.mark.parametrize("a, b", list(itertools.product(DTYPES, DTYPES)))
def test_promotion(device, a, b):
    """As the Array API says; an integer or bool beside a float becomes that float."""
    need(device, a, b)
    x, y = fc.array(np.ones(2, a), device=device), fc.array(np.ones(2, b), device=device)
    want = max(a, b, key=RANK.get)
    if want != "bool":
        for f in (operator.add, operator.sub, operator.mul):
            assert f(x, y).dtype == want
        assert (x / y).dtype == (want if want.startswith("float") else "float32")
    assert x.maximum(y).dtype == want
    assert (x > 0).where(x, y).dtype == want
    for f in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge):
        assert f(x, y).dtype == "bool"


@pytest.mark.parametrize("dtype", DTYPES)
def test_python_scalars_never_widen(device, dtype):
    need(device, dtype)
    x = fc.array(np.ones(2, dtype), device=device)
    for scalar in (1, 1.5, np.float64(1.5), np.int64(1)):
        want = dtype
        if not dtype.startswith("float"):
            want = "float32" if isinstance(scalar, float) else "int64" if dtype == "bool" else dtype
        assert (x + scalar).dtype == (scalar + x).dtype == (x * scalar).dtype == want, scalar
        assert (x > scalar).dtype == "bool"


BINARY = (operator.add, operator.sub, operator.mul, operator.truediv, operator.eq, operator.ne, operator.lt,
          operator.le, operator.gt, operator.ge)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8"])
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=5, min_side=0, max_side=4), data=st.data())
@examples(25)
def test_broadcast_arithmetic(device, dtype, shapes, data):
    """Exact operators on views: bit for bit NumPy's, and the inputs unchanged."""
    need(device, dtype)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    a, b = (rng.integers(1, 9, s).astype(dtype) for s in shapes.input_shapes)
    x, y = fc.array(a, device=device), fc.array(b, device=device)
    if a.ndim and data.draw(st.booleans()):
        a, x = np.flip(a, 0), x.flip(0)
    if data.draw(st.booleans()):
        b, y = b.T.copy().T, fc.array(b.T.copy(), device=device).T
    f = data.draw(st.sampled_from((*BINARY, "maximum", "minimum", "where")))
    if f == "where":
        same((x > y).where(x, y), np.where(a > b, a, b))
    elif isinstance(f, str):
        same(getattr(x, f)(y), getattr(np, f)(a, b))
    else:
        want = f(a, b)
        if f is operator.truediv and not dtype.startswith("float"):
            want = f(a.astype("f"), b.astype("f"))
        same(f(x, y), want)
        same(f(a, y), want)                 # a NumPy array on the left
        same(f(x, b), want)
    same(x, a)
    same(y, b)


def test_scalar_operands_on_either_side(device):
    a = np.array([[1, -2, 4], [0.5, 8, -16]], "f")
    x = fc.array(a, device=device)
    for f in BINARY:
        same(f(x, 2), f(a, np.float32(2)))
        same(f(2.0, x), f(np.float32(2), a))
        same(f(x, np.float64(2)), f(a, np.float32(2)))
    same(-x, -a)
    same(abs(x), abs(a))
    same(x ** 2, a ** 2)
    same(+x, a)
    for n in (-2, 3, 0, 1):
        np.testing.assert_allclose((x ** n).numpy(), a ** np.float32(n), rtol=1e-6)
    np.testing.assert_allclose((2 ** x).numpy(), np.float32(2) ** a, rtol=1e-6)
    ints = fc.array([1, 2, -3], "int32", device)
    same(ints ** 3, np.array([1, 8, -27], "int32"))
    same(7 - ints, np.array([6, 5, 10], "int32"))
    same(1 / ints, np.float32(1) / np.array([1, 2, -3], "f"))


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh"])
def test_functions(device, name):
    a = np.array([0.0, 1e-30, 1e-3, 0.7, 1, 3, 20, 80, math.inf, math.nan], "f")
    a = np.concatenate([a, -a]) if name in ("exp", "tanh") else a
    with np.errstate(all="ignore"):
        want = getattr(np, name)(a.astype("d")).astype("f")
    np.testing.assert_allclose(getattr(fc.array(a, device=device), name)().numpy(), want, rtol=2e-6, atol=1e-37)
    ints = getattr(fc.array([1, 2], device=device), name)()
    assert ints.dtype == "float32"
    np.testing.assert_allclose(ints.numpy(), getattr(np, name)(np.array([1, 2], "f")), rtol=2e-6)


def test_special_values(device):
    a = np.array([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0], "f")
    x = fc.array(a, device=device)
    for i, j in itertools.product(range(6), repeat=2):
        p, q = a[i:i + 1], a[j:j + 1]
        y, z = x[i:i + 1], x[j:j + 1]
        with np.errstate(all="ignore"):
            for f in BINARY:
                same(f(y, z), f(p, q))
            same(y.maximum(z), np.maximum(p, q))
            same(y.minimum(z), np.minimum(p, q))
    for got, want in ((x, a), (-x, -a), (abs(x), abs(a)), (x * 1, a)):
        np.testing.assert_array_equal(np.signbit(got.numpy()), np.signbit(want))


def test_results_keep_the_memory_order_of_their_input(device):
    """Channels-last stays channels-last through elementwise ops."""
    x = fc.array(numbered((2, 4, 5, 3)), device=device).permute(0, 3, 1, 2)
    assert (x + 1).strides == x.strides and (x > 1).strides == x.strides and x.exp().strides == x.strides
    same((x + 1).compact(), x.numpy() + 1)
    same(x + x.compact(), 2 * x.numpy())


# --- reductions ------------------------------------------------------------------------------

@st.composite
def axes_of(draw, ndim):
    """None, an int or a tuple of distinct axes, negative ones too, and ()."""
    kind = draw(st.sampled_from(("none", "int", "tuple", "empty")))
    if kind == "none" or not ndim:
        return None
    if kind == "int":
        return draw(st.integers(-ndim, ndim - 1))
    chosen = draw(st.lists(st.integers(0, ndim - 1), unique=True)) if kind == "tuple" else []
    return tuple(a - ndim if draw(st.booleans()) else a for a in chosen)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), shape=hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5), keepdims=st.booleans())
@examples(40)
def test_reductions(device, dtype, data, shape, keepdims):
    """Integer values, so that sums are exact: bit for bit NumPy's. NumPy's error where there is one."""
    need(device, dtype)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    a = rng.integers(0, 5, shape).astype(dtype)
    x = fc.array(a, device=device)
    if a.ndim and data.draw(st.booleans()):
        order = tuple(data.draw(st.permutations(range(a.ndim))))
        a, x = np.flip(a.transpose(order), 0), x.permute(order).flip(0)
    axis = data.draw(axes_of(a.ndim))
    wide = dtype if dtype.startswith("float") else "int64"
    same(x.sum(axis, keepdims), a.sum(axis, dtype=wide, keepdims=keepdims))
    if a.size < 20:
        same(x.prod(axis, keepdims), a.prod(axis, dtype=wide, keepdims=keepdims))
    for name in ("max", "min"):
        try:
            want = getattr(a, name)(axis, keepdims=keepdims)
        except ValueError:
            with pytest.raises(ValueError, match=name):
                getattr(x, name)(axis, keepdims)
        else:
            same(getattr(x, name)(axis, keepdims), want)
    with np.errstate(all="ignore"):
        kind = dtype if dtype.startswith("float") else "float32"
        count = math.prod(a.shape) if axis is None else math.prod(a.shape[d] for d in np.atleast_1d(axis).astype(int))
        want = a.sum(axis, dtype="d", keepdims=keepdims) / np.float64(count)
    got = x.mean(axis, keepdims)
    assert got.dtype == kind and got.shape == np.shape(want)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6), keepdims=st.booleans())
@examples(30)
def test_argmax_and_argmin(device, dtype, data, shape, keepdims):
    """Many ties: the first wins, in memory order of the view, not of the buffer."""
    need(device, dtype)
    a = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 4, shape).astype(dtype)
    x = fc.array(a, device=device)
    if a.ndim and data.draw(st.booleans()):
        a, x = np.flip(a.T, -1), x.T.flip(-1)
    axis = data.draw(st.none() | st.integers(-a.ndim, a.ndim - 1)) if a.ndim else None
    for name in ("argmax", "argmin"):
        try:
            want = getattr(np, name)(a, axis, keepdims=keepdims)
        except ValueError:
            with pytest.raises(ValueError, match=name):
                getattr(x, name)(axis, keepdims)
        else:
            same(getattr(x, name)(axis, keepdims), np.asarray(want, "int64"))


def test_no_element_of_a_broadcast_view_is_assigned(device):
    x = fc.array([1.0, 2.0], device=device).broadcast_to(3, 2)
    for key in (0, (0, 0), slice(0, 1), ...):
        with pytest.raises(ValueError, match=r"broadcast view of shape \(3, 2\)"):
            x[key] = 5.0
    assert x.numpy().tolist() == [[1, 2]] * 3


def test_argmax_over_several_axes(device):
    a = np.random.default_rng(0).integers(0, 9, (3, 4, 5)).astype("float32")
    x = fc.array(a, device=device)
    for axes, left in (((0, 2), (1, 0, 2)), ((1, 2), (0, 1, 2)), ((-1, 0), (1, 0, 2))):
        rest = 3 - len(axes)
        want = a.transpose(left).reshape(*a.transpose(left).shape[:rest], -1)
        same(x.argmax(axes), want.argmax(-1))
        same(x.argmin(axes, keepdims=True), np.expand_dims(want.argmin(-1), tuple(d % 3 for d in axes)))
    same(x.argmax(()), np.zeros(a.shape, "int64"))
    assert fc.array(np.zeros((0, 3), "float32"), device=device).argmax((1,)).shape == (0,)
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        fc.array(np.zeros((0, 3), "float32"), device=device).argmax((0, 1))


def test_comparison_with_integers_beyond_the_dtype(device):
    x = fc.array(np.array([0, 255], "uint8"), device=device)
    assert (x == -1).numpy().tolist() == [False, False] and (x > -1).numpy().tolist() == [True, True]
    assert (300 > x).numpy().tolist() == [True, True]


def test_matmul_with_numpy_arrays(device):
    a, b = np.arange(6, dtype="float32").reshape(2, 3), np.arange(12, dtype="float32").reshape(3, 4)
    same(a @ fc.array(b, device=device), a @ b)
    same(fc.array(a, device=device) @ b, a @ b)
    with pytest.raises(TypeError, match="float64"):
        a.astype("float64") @ fc.array(b, device=device)


def test_reductions_with_nan_and_infinity(device):
    nan, inf = math.nan, math.inf
    a = np.array([[1, nan, 3, nan], [-inf, 2, inf, 0], [-inf] * 4, [-5, -6, -7, -8]], "f")
    x = fc.array(a, device=device)
    for axis in (0, 1, None):
        for name in ("max", "min", "argmax", "argmin", "sum"):
            with np.errstate(all="ignore"):
                want = getattr(a, name)(axis)
            same(getattr(x, name)(axis), want)


def test_long_sums_are_accurate(device):
    """The error of a pairwise or wider accumulation, also with many rows and along either axis."""
    rng = np.random.default_rng(0)
    for shape, axis in (((300000,), 0), ((3, 70000), 1), ((70000, 3), 0), ((50, 60, 70), (0, 2))):
        a = rng.uniform(0.5, 1, shape).astype("f")
        x = fc.array(a, device=device)
        np.testing.assert_allclose(x.sum(axis).numpy(), a.sum(axis, dtype="d"), rtol=5e-7)
        np.testing.assert_allclose(x.mean(axis).numpy(), a.mean(axis, dtype="d"), rtol=5e-7)
        same(x.max(axis), a.max(axis))


@pytest.mark.parametrize("shape, axis", [((1, 1000), 1), ((1000, 1), 0), ((513, 17), 0), ((17, 513), 1),
                                         ((7, 33, 65), 1), ((5, 6, 7, 8), (1, 3)), ((2,) * 10, (0, 3, 9)),
                                         ((128, 128), (0, 1))], ids=str)
def test_reductions_over_odd_sizes(device, shape, axis):
    a = np.random.default_rng(0).integers(-9, 10, shape).astype("f")
    x = fc.array(a, device=device)
    for v, b in ((x, a), (x.T, a.T)):
        along = axis if v is x else tuple(a.ndim - 1 - d for d in np.atleast_1d(axis))
        same(v.sum(along), b.sum(along))
        same(v.max(along), b.max(along))
        same(v.min(along), b.min(along))
    same(x.argmax(), np.asarray(a.argmax()))


# --- many dimensions, no elements ------------------------------------------------------------

def test_ten_dimensions(device):
    a = numbered((2, 1, 3, 2, 1, 2, 2, 1, 2, 2))
    x = fc.array(a, device=device)
    order = (9, 3, 5, 0, 2, 6, 8, 1, 4, 7)
    b, y = a.transpose(order), x.permute(order)
    same(y, b)
    same(y[::-1, ..., None] + y.compact().unsqueeze(-1)[:, :1], b[::-1, ..., None] + b[:, :1, ..., None])
    same(y.sum((0, 4, 6)), b.sum((0, 4, 6)))
    same(y.argmax(4), np.asarray(b.argmax(4)))
    same(y.reshape(-1), b.reshape(-1))
    same(y.pad(((1, 0),) + ((0, 0),) * 9, 7), np.pad(b, ((1, 0),) + ((0, 0),) * 9, constant_values=7))
    same(fc.array(np.ones((1,) * 16, "f"), device=device) * 3, np.full((1,) * 16, 3, "f"))


def test_arrays_without_elements(device):
    a = np.zeros((2, 0, 3), "f")
    x = fc.array(a, device=device)
    for got, want in ((x + 1, a), (x.T, a.T), (x.exp(), a), (x[:, :, 1:], a[:, :, 1:]), (x.flip(), a),
                      (x.reshape(0, 7), a.reshape(0, 7)), (x.broadcast_to(4, 2, 0, 3), np.zeros((4, 2, 0, 3), "f")),
                      (x.sum(), a.sum()), (x.sum(1), a.sum(1)), (x.sum((0, 2)), a.sum((0, 2))), (x > 0, a > 0),
                      (x.max(0), a.max(0)), (x.astype("int32"), a.astype("int32")), (x.prod(1), a.prod(1)),
                      (x.pad(((0, 0), (1, 1), (0, 0)), 5), np.full((2, 2, 3), 5, "f")), (x.argmax(0), a.argmax(0)),
                      (x + x, a), (x.compact(), a), (x.maximum(0), a),
                      (x @ fc.array(np.ones((3, 4), "f"), device=device), np.zeros((2, 0, 4), "f")),
                      (x.transpose() @ x, np.zeros((2, 3, 3), "f"))):
        same(got, want)
    x[...] = 3
    x[:, :0] = np.zeros((2, 0, 3))
    assert x.size == 0 and np.isnan(x.mean().numpy())
    assert x.mean(1).shape == (2, 3) and [row.shape for row in x] == [(0, 3)] * 2


def test_0d_arrays(device):
    x = fc.array(3.0, device=device)
    assert x.shape == () == x.strides and x.size == 1 and x.ndim == 0
    for got, want in ((x + 1, 4.0), (x.sum(), 3.0), (x.max(), 3.0), (x.reshape(1, 1), [[3.0]]), (x[None], [3.0]),
                      (x[()], 3.0), (x[...], 3.0), (x.broadcast_to(2, 2), np.full((2, 2), 3.0)), (x.T, 3.0),
                      (x.flip(), 3.0), (-x, -3.0), (x.pad(()), 3.0), (x.permute(()), 3.0), (x.sum(()), 3.0),
                      (x.mean(keepdims=True), 3.0)):
        same(got, np.asarray(want, "f"))
    same(x.argmax(), np.asarray(0))
    x[...] = 5
    x[()] += 1
    assert x.item() == 6


# --- pad, matmul -----------------------------------------------------------------------------

@given(data=st.data(), dtype=st.sampled_from(DTYPES),
       shape=hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=4))
@examples(50)
def test_pad(device, data, dtype, shape):
    need(device, dtype)
    a = np.random.default_rng(0).integers(0, 9, shape).astype(dtype)
    x = fc.array(a, device=device)
    if data.draw(st.booleans()):
        a, x = a[::-1].T, x[::-1].T
    width = tuple(data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3))) for _ in a.shape)
    value = data.draw(st.sampled_from((0, 1, 7)))
    same(x.pad(width, value), np.pad(a, width, constant_values=value))


def test_pad_with_any_constant(device):
    x = fc.array(numbered((2, 2)), device=device)
    for value in (-1.5, math.inf, -math.inf, math.nan, True, np.float32(2)):
        same(x.pad(((1, 0), (0, 2)), value), np.pad(numbered((2, 2)), ((1, 0), (0, 2)), constant_values=value))


MATMULS = [((3, 4), (4, 5)), ((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
           ((2, 1, 3, 4), (6, 4, 5)), ((4,), (2, 4, 5)), ((2, 3, 4), (4,)), ((1, 1), (1, 1)), ((1, 7), (7, 1)),
           ((7, 1), (1, 7)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((0,), (0,)), ((0, 2, 3), (3, 4)), ((2, 3), (3, 0)),
           ((5, 0, 2), (2, 3)), ((129, 67), (67, 35)), ((6, 300), (300, 16)), ((64, 64), (64, 64)),
           ((7, 1, 2, 3), (1, 5, 3, 2))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shapes", MATMULS, ids=str)
def test_matmul(device, shapes, dtype):
    """Small integers: exact, in every combination of transposed, flipped and sliced operands."""
    need(device, dtype)
    rng = np.random.default_rng(0)
    values = [rng.integers(-4, 5, s).astype(dtype) for s in shapes]
    want = np.matmul(*values)

    def views(v):
        yield fc.array(v, device=device)
        yield fc.array(v.T.copy(), device=device).T
        yield fc.array(np.flip(v).copy(), device=device).flip()
        big = fc.array(np.full([2 * n + 1 for n in v.shape], 99, dtype), device=device)[(slice(1, None, 2),) * v.ndim]
        big[...] = v
        yield big

    for x, y in itertools.product(*map(views, values)):
        same(x @ y, want)


@given(shapes=hnp.mutually_broadcastable_shapes(signature="(m,k),(k,n)->(m,n)", max_dims=2, min_side=0, max_side=6))
@examples(40)
def test_matmul_of_batches(device, shapes):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, s).astype("f") for s in shapes.input_shapes)
    same(fc.array(a, device=device) @ fc.array(b, device=device), a @ b)


def test_matmul_of_broadcast_operands(device):
    rng = np.random.default_rng(0)
    a, b = rng.integers(-4, 5, (1, 6)).astype("f"), rng.integers(-4, 5, (6, 1)).astype("f")
    x, y = fc.array(a, device=device).broadcast_to(5, 6), fc.array(b, device=device).broadcast_to(6, 3)
    same(x @ y, np.broadcast_to(a, (5, 6)) @ np.broadcast_to(b, (6, 3)))
    same(y.T @ x.T, np.broadcast_to(b, (6, 3)).T @ np.broadcast_to(a, (5, 6)).T)
