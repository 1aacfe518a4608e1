"""Winograd convolution: its kernels against the direct sum, its error against float64, and what "auto" picks.

Elements are compared within a bound on rounding errors: with |B|, |G| and |A| the same algorithm gives,
of |x| and |w|, the size of everything that is added up; every rounding is at most eps / 2 of that.
"""
import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastconv as fc
from fastconv import ops
from fastconv.reference import view
from tests.test_cpu_kernels import Views

REFERENCE, CPU = fc.reference(), fc.cpu()
ONES = (1, 1, 1)
ROUNDINGS = 60      # of an element's way through two transforms, a chunk and the sum of the chunks of these tests


@pytest.fixture(autouse=True)
def _precision_stays():
    yield
    fc.set_conv_precision("fast")


def direct(kernel, shape, *inputs, **keywords):
    """`conv` or `conv_weight_grad` of NumPy arrays (an output of this shape), in float64 on the reference device."""
    arrays = [x if x is None else fc.array(np.float64(x), device=REFERENCE) for x in inputs]
    out = fc.array(np.zeros(shape), device=REFERENCE)
    getattr(REFERENCE, kernel)(out, *arrays, **keywords)
    return out.numpy()


def bound(kernel, monkeypatch, dtype, shape, *inputs, **keywords):
    """How far each element may be off."""
    contract = REFERENCE.implementation
    exact = contract._winograd_matrices
    with monkeypatch.context() as patch:
        patch.setattr(contract, "_winograd_matrices", lambda *args: [np.abs(m) for m in exact(*args)])
        size = direct(kernel, shape, *(x if x is None else np.abs(x) for x in inputs), **keywords)
    return ROUNDINGS / 2 * np.finfo(dtype).eps * size


def random_case(seed):
    """Operands of both kernels on strided views: dict of pairs (reference, cpu), padding and tile."""
    v = Views(seed)
    dtype = ("float32", "float64")[seed % 5 == 4]
    groups, n, c, o = v.size(1, 1, 2), v.size(1, 2, 3), v.size(1, 3, 16, 64, 70, 130), v.size(1, 5, 16, 33, 64, 150)
    size, out_size = (v.size(1, 3, 7, 8, 13), v.size(1, 4, 9, 12, 21)), (v.size(1, 3, 4, 7, 9), v.size(1, 2, 5, 8, 12))
    padding = (0, v.size(0, 1, 2, -1, 5), v.size(0, 1, 3, -2))

    def operand(*shape, fill="integers"):
        if seed % 3:
            return v(shape, dtype, fill)
        values = v.rng.integers(-3, 4, shape) if fill == "integers" else np.full(shape, np.nan)
        return [fc.array(values.astype(dtype), device=device) for device in (REFERENCE, CPU)]
    x, w, g = operand(groups, n, 1, *size, c), operand(groups, 1, 3, 3, c, o), operand(groups, n, 1, *out_size, o)
    bias = operand(groups, o) if seed % 2 else [None, None]
    return (x, w, bias, g, operand(groups, n, 1, *out_size, o, fill="poison"),
            operand(groups, 1, 3, 3, c, o, fill="poison"), padding, v.size(2, 4), dtype)


@pytest.mark.parametrize("side", [0, 1], ids=["reference", "cpu"])
@pytest.mark.parametrize("seed", range(48))
def test_kernels_against_the_direct_sum(seed, side, monkeypatch):
    x, w, bias, g, out, dw, padding, tile, dtype = random_case(seed)
    device, activation = (REFERENCE, CPU)[side], (None, "relu", "relu6")[seed // 3 % 3]
    device.winograd_conv(out[side], x[side], w[side], bias[side], padding, tile, activation)
    device.winograd_weight_grad(dw[side], x[side], g[side], padding, tile)
    xv, wv, bv, gv = (None if a[0] is None else view(a[0]) for a in (x, w, bias, g))
    expected = direct("conv", out[0].shape, xv, wv, bv, stride=ONES, padding=padding, dilation=ONES, activation=activation)
    error = np.abs(view(out[side]) - expected)
    assert np.all(error <= bound("winograd_conv", monkeypatch, dtype, out[0].shape, xv, wv, bv, padding=padding, tile=tile))
    expected = direct("conv_weight_grad", dw[0].shape, xv, gv, stride=ONES, padding=padding, dilation=ONES)
    error = np.abs(view(dw[side]) - expected)
    assert np.all(error <= bound("winograd_weight_grad", monkeypatch, dtype, dw[0].shape, xv, gv, padding=padding, tile=tile))


@pytest.mark.parametrize("seed", range(12))
def test_tiles_of_two_are_exact_on_small_integers(seed):
    x, w, bias, g, out, dw, padding, _, _ = random_case(seed)
    CPU.winograd_conv(out[1], x[1], w[1], bias[1], padding, 2)
    CPU.winograd_weight_grad(dw[1], x[1], g[1], padding, 2)
    REFERENCE.conv(out[0], x[0], w[0], bias[0], ONES, padding, ONES)
    REFERENCE.conv_weight_grad(dw[0], x[0], g[0], ONES, padding, ONES)
    np.testing.assert_array_equal(view(out[1]), view(out[0]))
    np.testing.assert_array_equal(view(dw[1]), view(dw[0]))


# --- accuracy

def gradients(x, w, g, algorithm, dtype):
    """y, dx and dw of a 3x3 convolution with padding 1, as float64."""
    x, w = (fc.Tensor(a.astype(dtype), requires_grad=True) for a in (x, w))
    y = ops.conv2d(x, w, padding=1, algorithm=algorithm)
    y.backward(fc.Tensor(g.astype(dtype)))
    return [a.numpy().astype(np.float64) for a in (y, x.grad, w.grad)]


# batch, size, channels, out channels: the 3x3 layers of ResNet-50 and VGG-16, and small batches of them
LAYERS = [(4, 56, 64, 64), (4, 28, 128, 128), (4, 14, 256, 256), (8, 7, 512, 512), (2, 14, 96, 64), (1, 28, 64, 192),
          (20, 8, 64, 128), (64, 4, 256, 128)]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_error_is_within_twice_that_of_the_direct_sum(rng, layer):
    n, size, c, o = layer
    x, w, g = (rng.normal(size=s).astype(np.float32) for s in ((n, size, size, c), (3, 3, c, o), (n, size, size, o)))
    exact = gradients(x, w, g, "implicit_gemm", "float64")

    def errors(algorithm):
        results = gradients(x, w, g, algorithm, "float32")
        return np.array([np.linalg.norm(r - e) / np.linalg.norm(e) for r, e in zip(results, exact)])
    plain = errors("implicit_gemm")
    assert np.all(errors("winograd") <= 2 * plain)
    assert np.all(errors("winograd_2x2") <= plain)


# --- bits

def bits(threads=None):
    """Results of both kernels in both of their forms (small and large kernels), float32."""
    rng = np.random.default_rng(0)
    before = fc.get_num_threads()
    fc.set_num_threads(threads or before)
    try:
        for n, size, c, o in ((3, 13, 70, 40), (2, 10, 360, 330), (23, 30, 8, 16)):
            yield from gradients(*(rng.normal(size=s).astype(np.float32) for s in (
                (n, size, size, c), (3, 3, c, o), (n, size, size, o))), "winograd", "float32")
    finally:
        fc.set_num_threads(before)


def test_threads_do_not_change_a_bit():
    for a, b in zip(bits(1), bits(3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_instruction_sets_agree():
    """Those with FMA to the last bit, the baseline within rounding."""
    isas = CPU.implementation.config()["isas"]
    code = "import sys, numpy as np; from tests.test_winograd import bits; np.savez(sys.stdout.buffer, *bits())"
    results = {}
    for isa in isas:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120,
                              env={**os.environ, "FASTCONV_ISA": isa})
        assert done.returncode == 0, done.stderr.decode()
        results[isa] = list(np.load(io.BytesIO(done.stdout)).values())
    for isa in isas[1:]:
        for a, b in zip(results[isas[0]], results[isa], strict=True):
            if isa == "baseline":
                assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b)
            else:
                np.testing.assert_array_equal(a, b)


# --- the choice

LARGE = (8, 28, 28, 64), (3, 3, 64, 64)


def picked(x=LARGE[0], w=LARGE[1], **keywords):
    return fc.ops.conv_algorithms(x, w, **{"padding": 1, **keywords})[0]["name"]


def test_auto_takes_winograd_where_it_pays():
    assert picked() == "winograd"
    assert picked((8, 28, 28, 32), (3, 3, 32, 64)) == "implicit_gemm"
    assert picked((1, 7, 7, 512), (3, 3, 512, 512)) == picked((1, 14, 14, 512), (3, 3, 512, 512)) == "implicit_gemm"
    for keywords in ({"stride": 2}, {"dilation": 2}, {"groups": 4}):
        shape = (3, 3, 64 // keywords.get("groups", 1), 64)
        assert picked(w=shape, **keywords) == "implicit_gemm"
    assert picked(w=(1, 3, 64, 64)) == "implicit_gemm"
    assert picked((1, 20, 24, 64)) == "winograd"      # few tiles: see LEAST_GRAD_TILES
    assert picked(fc.init.ones(*LARGE[0], dtype="float64")) == "implicit_gemm"
    assert picked(fc.init.ones(*LARGE[0], device=REFERENCE)) == "implicit_gemm"


def test_weight_gradients_over_few_tiles_are_direct(rng):
    for n, same in ((1, True), (2, False)):
        x, w, g = (rng.normal(size=s).astype(np.float32) for s in ((n, 20, 24, 64), (3, 3, 64, 64), (n, 20, 24, 64)))
        exact = gradients(x, w, g, "implicit_gemm", "float32")
        auto = gradients(x, w, g, "auto", "float32")
        assert [np.array_equal(a, b) for a, b in zip(auto, exact)] == [False, False, same]


def test_precision_of_auto(rng):
    assert fc.get_conv_precision() == "fast"
    x, w, g = (rng.integers(-3, 4, s).astype(np.float32) for s in (*LARGE, LARGE[0]))
    results = {}
    for precision, name in (("exact", "implicit_gemm"), ("high", "winograd_2x2"), ("fast", "winograd")):
        fc.set_conv_precision(precision)
        assert fc.get_conv_precision() == precision and picked() == name
        results[precision] = gradients(x, w, g, "auto", "float32")
        for a, b in zip(results[precision], gradients(x, w, g, name, "float32")):
            np.testing.assert_array_equal(a, b)
    for a, b, c in zip(*results.values()):
        np.testing.assert_array_equal(a, b)          # integers: tiles of two are exact
        assert np.any(a != c)
    with pytest.raises(ValueError, match="precision 'double'"):
        fc.set_conv_precision("double")


def test_precision_is_of_the_process():
    thread = threading.Thread(target=fc.set_conv_precision, args=("exact",))
    thread.start()
    thread.join()
    assert fc.get_conv_precision() == "exact"


def test_layouts_and_groups(rng):
    """A grouped convolution in NCHW, by the ops, against the direct sum."""
    x, w, b = rng.normal(size=(3, 130, 9, 11)), rng.normal(size=(128, 65, 3, 3)), rng.normal(size=128)
    x, w, b = (a.astype(np.float32) for a in (x, w, b))
    results = {}
    for algorithm in ("winograd", "implicit_gemm"):
        tensors = [fc.Tensor(a, requires_grad=True) for a in (x, w, b)]
        y = ops.conv2d(*tensors, padding=(2, 0), groups=2, layout="NCHW", algorithm=algorithm)
        (y * y).sum().backward()
        results[algorithm] = [y.numpy(), *(t.grad.numpy() for t in tensors)]
    for a, b in zip(*results.values()):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize("keywords", [{"stride": 2}, {"dilation": (1, 2)}])
def test_what_winograd_does_not_take(keywords):
    x, w = fc.init.ones(1, 8, 8, 4), fc.init.ones(3, 3, 4, 4)
    with pytest.raises(ValueError, match="'winograd' takes 3x3 kernels"):
        ops.conv2d(x, w, algorithm="winograd", **keywords)
    with pytest.raises(ValueError, match=r"w \(5, 5, 4, 4\).*'winograd_2x2' takes 3x3 kernels"):
        ops.conv2d(x, fc.init.ones(5, 5, 4, 4), algorithm="winograd_2x2")
    with pytest.raises(ValueError, match="takes 3x3 kernels in two dimensions"):
        ops.conv3d(fc.init.ones(1, 2, 8, 8, 4), fc.init.ones(1, 3, 3, 4, 4), algorithm="winograd")


def test_only_algorithms_of_the_device_are_listed(device):
    x = fc.array(np.ones((1, 8, 8, 64), np.float32), device=device)
    w = fc.array(np.ones((3, 3, 64, 64), np.float32), device=device)
    names = [a["name"] for a in fc.ops.conv_algorithms(x, w, padding=1)]
    assert ("winograd" in names) == ("winograd_2x2" in names) == ("winograd_conv" not in device.lacks)
    for name in names:
        assert fc.ops.conv2d(x, w, padding=1, algorithm=name).shape == (1, 8, 8, 64)
