"""Kernels of the CPU device against the NumPy reference, on views that end-to-end tests seldom make.

Small integers have exact sums in float32, so products, sums and convolutions must agree bit for bit.
"""
import math
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastconv as fc
from fastconv import _cy
from fastconv.array import Array, compact_strides
from fastconv.reference import view

REFERENCE, CPU = fc.reference(), fc.cpu()
SEEDS = range(12)


class Views:
    """Random views of one shape, the same bytes on the reference and on the CPU device."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def __call__(self, shape, dtype="float32", fill="integers", steps=(1, 1, 2)):
        """A pair of Arrays with permuted, stepped and negative strides; fill="poison" for outputs."""
        strides, offset, step = [0] * len(shape), 0, 1
        for d in self.rng.permutation(len(shape)):
            strides[d] = step * int(self.rng.choice(steps))
            step = strides[d] * shape[d] + int(self.rng.choice([0, 0, 1, 5]))
            if len(steps) > 1 and self.rng.random() < 0.2:
                offset += strides[d] * (shape[d] - 1)
                strides[d] = -strides[d]
        dtype, size = np.dtype(dtype), step + offset + 3
        if fill == "poison":
            values = np.full(size * dtype.itemsize, 0xff, np.uint8).view(dtype)
        else:
            values = self.rng.integers(0 if dtype.kind in "ub" else -3, 4, size).astype(dtype)
        return [self.place(values, shape, strides, offset, device) for device in (REFERENCE, CPU)]

    def place(self, values, shape, strides, offset, device):
        buffer = device.allocate(values.nbytes)
        np.frombuffer(buffer, np.uint8, values.nbytes)[:] = values.view(np.uint8)
        return Array(buffer, tuple(shape), tuple(strides), offset, values.dtype, device)

    def size(self, *sizes):
        return int(self.rng.choice(sizes))


def assert_same(pair, exact=True):
    expected, got = (view(x) for x in pair)
    if exact:
        np.testing.assert_array_equal(got, expected)
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", SEEDS)
def test_conv_and_weight_gradient(seed, dtype):
    v = Views(seed)
    groups, n, c, o = v.size(1, 1, 2), v.size(1, 3), v.size(1, 3, 16, 130), v.size(1, 5, 16, 33)
    size = [v.size(1, 2), v.size(1, 4, 7), v.size(2, 5, 12)]
    kernel = [v.size(1, 2), v.size(1, 3), v.size(1, 3, 5)]
    stride, dilation = ([v.size(1, 1, 2, 3) for _ in range(3)] for _ in range(2))
    padding = [v.size(0, 1, 2, -1) for _ in range(3)]
    out_size = [v.size(1, 2, 5) for _ in range(3)]
    x, w = v((groups, n, *size, c), dtype), v((groups, *kernel, c, o), dtype)
    bias = v((groups, o), dtype) if seed % 2 else [None, None]
    out, g = v((groups, n, *out_size, o), dtype, "poison"), v((groups, n, *out_size, o), dtype)
    dw = v((groups, *kernel, c, o), dtype, "poison")
    for i, device in enumerate((REFERENCE, CPU)):
        device.conv(out[i], x[i], w[i], bias[i], stride, padding, dilation)
        device.conv_weight_grad(dw[i], x[i], g[i], stride, padding, dilation)
    assert_same(out)
    assert_same(dw)


@pytest.mark.parametrize("layout", ["channels last", "channels first"])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_conv_with_activation(activation, biased, layout):
    rng = np.random.default_rng(0)
    shapes = (1, 3, 1, 9, 9, 20), (1, 1, 3, 3, 20, 33), (1, 33), (1, 3, 1, 9, 9, 33)
    for dtype in ("float32", "float64"):
        x, w, bias, out = ([fc.array(a, dtype, device) for device in (REFERENCE, CPU)]
                           for a in [rng.integers(-2, 3, shape) for shape in shapes])
        x[0][0, 0, 0, 0, 0, 0] = x[1][0, 0, 0, 0, 0, 0] = math.nan
        for i, device in enumerate((REFERENCE, CPU)):
            y = out[i]
            if layout == "channels first":
                y = fc.array(np.zeros((1, 3, 33, 1, 9, 9)), dtype, device).permute(0, 1, 3, 4, 5, 2)
            device.conv(y, x[i], w[i], bias[i] if biased else None, (1, 1, 1), (0, 1, 1), (1, 1, 1), activation)
            out[i] = y
        expected = view(out[0])
        assert np.isnan(expected).any() and (expected == 0).any() and (expected[expected == expected] >= 0).all()
        assert (np.nanmax(expected) == 6) == (activation == "relu6")
        assert_same(out)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", SEEDS)
def test_depthwise_conv(seed, dtype):
    """One channel a group: any view of it (odd seeds), and channels side by side."""
    v = Views(seed)
    groups, n = v.size(2, 5, 16, 36, 130), v.size(1, 3, 9)
    size, kernel = [v.size(1, 2, 5), v.size(1, 4, 7), v.size(2, 5, 12)], [v.size(1, 2), v.size(1, 3), v.size(1, 3, 4, 5)]
    stride, dilation = ([v.size(1, 1, 2, 3) for _ in range(3)] for _ in range(2))
    padding, out_size = [v.size(0, 1, 2, -1) for _ in range(3)], [v.size(1, 2, 5) for _ in range(3)]

    def array(*shape, fill="integers"):
        if seed % 2:
            return v((groups, *shape, 1), dtype, fill)
        strides = compact_strides((*shape, groups))
        dense = v((groups * math.prod(shape),), dtype, fill, (1,))
        return [x.as_strided((groups, *shape, 1), (1, *strides[:-1], 1)) for x in dense]
    x, g, out = array(n, *size), array(n, *out_size), array(n, *out_size, fill="poison")
    w, dw = v((groups, *kernel, 1, 1), dtype), v((groups, *kernel, 1, 1), dtype, "poison")
    bias = v((groups, 1), dtype) if seed % 3 else [None, None]
    for i, device in enumerate((REFERENCE, CPU)):
        device.conv(out[i], x[i], w[i], bias[i], stride, padding, dilation, "relu6" if seed % 4 == 0 else None)
        device.conv_weight_grad(dw[i], x[i], g[i], stride, padding, dilation)
    assert_same(out)
    assert_same(dw)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", SEEDS)
def test_conv_to_few_channels(seed, dtype):
    """Rows long enough that pixels fill the lanes; channels last, and as they come (odd seeds)."""
    v = Views(seed)
    groups, n, c, o = v.size(1, 1, 2), v.size(1, 3), v.size(4, 5, 33), v.size(1, 2, 3, 8)
    size, kernel = [v.size(1, 2), v.size(1, 5, 9), v.size(20, 33, 130)], [v.size(1, 2), v.size(1, 3), v.size(1, 3, 5)]
    stride, dilation = [v.size(1, 2), v.size(1, 2), 1], [v.size(1, 1, 2) for _ in range(3)]
    padding, out_size = [v.size(0, 1, 2, -1) for _ in range(3)], [v.size(1, 3), v.size(1, 4, 9), v.size(16, 33, 70, 129)]
    activation = (None, "relu", "relu6")[seed % 3]
    x, w = v((groups, n, *size, c), dtype), v((groups, *kernel, c, o), dtype)
    if seed % 2 == 0:
        x = [fc.array(view(a), device=a.device) for a in x]
    bias, out = v((groups, o), dtype) if seed % 4 else [None, None], v((groups, n, *out_size, o), dtype, "poison")
    for i, device in enumerate((REFERENCE, CPU)):
        device.conv(out[i], x[i], w[i], bias[i], stride, padding, dilation, activation)
    assert_same(out)


@pytest.mark.parametrize("seed", SEEDS)
def test_matmul_of_few_rows_by_a_transposed_matrix(seed):
    v = Views(seed)
    lead = [v.size(1, 2, 3) for _ in range(v.size(0, 1, 2))]
    m, n, k = v.size(1, 16, 20, 128), v.size(1, 33, 130), v.size(2, 5, 100, 1500)
    a, b, out = v((*lead, m, k)), v((*lead, n, k), steps=(1,)), v((*lead, m, n), fill="poison")
    b = [fc.array(view(x), device=x.device).transpose() for x in b]
    REFERENCE.matmul(out[0], a[0], b[0])
    CPU.matmul(out[1], a[1], b[1])
    assert_same(out)


@pytest.mark.parametrize("h, k, stride, padding", [(4, 3, 1, 1), (4, 3, 2, 1), (2, 3, 2, 1), (1, 3, 1, 1),
                                                   (9, 7, 4, 3)])
def test_conv_of_many_small_images(h, k, stride, padding):
    """Batches of small images, channels-last, where most taps lie in the padding."""
    p = (h + 2 * padding - k) // stride + 1
    rng = np.random.default_rng(0)

    def integers(*shape):
        return [fc.array(values, device=device) for values in [rng.integers(-3, 4, shape).astype(np.float32)]
                for device in (REFERENCE, CPU)]
    x, w, g = integers(1, 70, 1, h, h, 32), integers(1, 1, k, k, 32, 48), integers(1, 70, 1, p, p, 48)
    out, dw = integers(1, 70, 1, p, p, 48), integers(1, 1, k, k, 32, 48)
    for i, device in enumerate((REFERENCE, CPU)):
        device.conv(out[i], x[i], w[i], None, (1, stride, stride), (0, padding, padding), (1, 1, 1))
        device.conv_weight_grad(dw[i], x[i], g[i], (1, stride, stride), (0, padding, padding), (1, 1, 1))
    assert_same(out)
    assert_same(dw)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", SEEDS)
def test_matmul(seed, dtype):
    v = Views(seed)
    lead = [v.size(1, 2, 3) for _ in range(v.size(0, 1, 2))]
    m, n, k = (v.size(1, 3, 14, 33, 100, 400) for _ in range(3))
    a, b, out = v((*lead, m, k), dtype), v((*lead, k, n), dtype), v((*lead, m, n), dtype, "poison")
    if seed % 3 == 0:
        b = [Array(x.buffer, x.shape, (0,) * len(lead) + x.strides[-2:], x.offset, x.dtype, x.device) for x in b]
    REFERENCE.matmul(out[0], a[0], b[0])
    CPU.matmul(out[1], a[1], b[1])
    assert_same(out)


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8"])
@pytest.mark.parametrize("seed", range(3))
def test_reduce(seed, dtype, name):
    v = Views(seed)
    shape = [v.size(1, 3, 40), v.size(2, 33), v.size(1, 5, 300)]
    axes = tuple(sorted(v.rng.permutation(3)[:v.size(1, 2, 3)].tolist()))
    x, out = v(shape, dtype), v([1 if d in axes else s for d, s in enumerate(shape)], dtype, "poison")
    REFERENCE.reduce(name, out[0], x[0], axes)
    CPU.reduce(name, out[1], x[1], axes)
    assert_same(out, exact=name != "prod")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", SEEDS)
def test_batch_norm(seed, dtype):
    """Statistics, activation and gradient over several chunks and odd sizes, whatever the strides of each operand."""
    v = Views(seed)
    channels = v.size(1, 3, 8, 17, 40)
    shape = (v.size(1, 5, 130), channels, v.size(1, 3, 7), v.size(2, 9))
    activation = [None, "relu", "relu6"][seed % 3]

    def vectors(*bounds):
        values = [v.rng.uniform(low, high, 2 * channels).astype(dtype) for low, high in bounds]
        return [[v.place(a, (channels,), (2,), 0, d) for d in (REFERENCE, CPU)] for a in values]
    weight, bias, running_mean, running_var = vectors((0.5, 2), (-1, 1), (-1, 1), (0.5, 2))
    if seed % 4 == 0:
        weight = bias = running_mean = running_var = [None, None]
    x, g = v(shape, dtype), v(shape, dtype)
    y, dx = v(shape, dtype, "poison"), v(shape, dtype, "poison")
    mean, rstd, d_weight, d_bias = (v((channels,), dtype, "poison") for _ in range(4))
    for i, d in enumerate((REFERENCE, CPU)):
        d.batch_norm(y[i], mean[i], rstd[i], running_mean[i], running_var[i], x[i], weight[i], bias[i], 0.3, 1e-3, activation)
        d.batch_norm_grad(dx[i], d_weight[i], d_bias[i], g[i], x[i], mean[i], rstd[i], weight[i], bias[i], activation)
    for out in (y, dx, mean, rstd, d_weight, d_bias, running_mean, running_var):
        if out[0] is not None:
            np.testing.assert_allclose(view(out[1]), view(out[0]), rtol=1e-5, atol=1e-5)


def test_sum_of_many_ones_is_exact():
    one = fc.array(np.ones(1, np.float32), device=CPU)
    assert one.broadcast_to((10**8,)).sum().item() == 1e8


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(2, 3, 70, 40), (64, 1, 9), (5,), ()])
def test_copy_between_layouts(shape, dtype):
    for seed in range(6):
        v = Views(seed)
        x, out = v(shape, dtype), v(shape, dtype, "poison")
        REFERENCE.map("copy", out[0], x[0])
        CPU.map("copy", out[1], x[1])
        assert_same(out)


def test_results_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    x = fc.array(rng.standard_normal((1, 16, 1, 20, 20, 24)).astype(np.float32), device=CPU)
    w = fc.array(rng.standard_normal((1, 1, 3, 3, 24, 40)).astype(np.float32), device=CPU)
    g = fc.array(rng.standard_normal((1, 16, 1, 20, 20, 40)).astype(np.float32), device=CPU)

    def image(a):
        return a[0, :, 0].permute(0, 3, 1, 2)

    def results():
        out, dw = fc.array(g), fc.array(w)
        y, (mean, rstd) = fc.array(x), (fc.array(np.zeros(24, np.float32), device=CPU) for _ in range(2))
        CPU.conv(out, x, w, None, (1, 1, 1), (0, 1, 1), (1, 1, 1))
        CPU.conv_weight_grad(dw, x, g, (1, 1, 1), (0, 1, 1), (1, 1, 1))
        CPU.batch_norm(image(y), mean, rstd, None, None, image(x), None, None, 0.0, 1e-5, "relu")
        return [a.numpy() for a in (out, dw, y, mean, rstd, x.sum(), x.sum((0, 1, 2, 3, 4)), x.sum(5))]
    before = _cy.get_num_threads()
    try:
        _cy.set_num_threads(1)
        expected = results()
        for threads in (2, 5):
            _cy.set_num_threads(threads)
            for a, b in zip(results(), expected):
                np.testing.assert_array_equal(a, b)
    finally:
        _cy.set_num_threads(before)


def test_kernels_from_many_python_threads():
    a = fc.array(np.arange(300 * 200, dtype=np.float32).reshape(300, 200) % 7, device=CPU)
    expected, wrong = (a @ a.permute(1, 0)).numpy(), []

    def work():
        for _ in range(20):
            if not np.array_equal((a @ a.permute(1, 0)).numpy(), expected):
                wrong.append(1)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_does_not_hang():
    code = ("import os, numpy as np, fastconv as fc\n"
            "a = fc.array(np.ones((512, 512), np.float32), device='cpu'); a @ a\n"
            "pid = os.fork();\n"
            "if pid == 0: (a @ a).sum(); os._exit(7)\n"
            "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "7", done.stderr


def run_with_isa(isa, code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "FASTCONV_ISA": isa})


@pytest.mark.parametrize("isa", _cy.config()["isas"])
def test_every_instruction_set_multiplies(isa):
    done = run_with_isa(isa, "import numpy as np, fastconv as fc; a = fc.array(np.arange(3000.).reshape(50, 60) % 5);"
                             "print(fc._cy.config()['isa'], np.array_equal((a @ a.permute(1, 0)).numpy(),"
                             "a.numpy() @ a.numpy().T))")
    assert done.stdout.split() == [isa, "True"], done.stderr


def test_unknown_instruction_set_is_an_error():
    done = run_with_isa("mmx", "import fastconv._cy")
    assert "ValueError: FASTCONV_ISA='mmx'" in done.stderr


def test_memory_is_counted_and_given_back():
    start = CPU.memory_stats()["allocated"]
    buffer = CPU.allocate(10**6)
    stats = CPU.memory_stats()
    assert stats["allocated"] - start >= 10**6 and stats["peak"] >= stats["allocated"]
    assert buffer.nbytes == 10**6 and buffer.address % 64 == 0
    del buffer
    assert CPU.memory_stats()["allocated"] == start and CPU.memory_stats()["cached"] >= 10**6
    CPU.empty_cache()
    assert CPU.memory_stats()["cached"] == 0
    with pytest.raises(MemoryError):
        CPU.allocate(1 << 50)


def test_negative_integer_powers_raise():
    x = fc.array(np.arange(4), device=CPU)
    with pytest.raises(ValueError, match="negative integer powers"):
        CPU.map("power", fc.array(x), x, -1)
    with pytest.raises(ValueError, match="negative integer powers"):
        CPU.map("power", fc.array(x), x, -x)
