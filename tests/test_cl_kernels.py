"""The OpenCL device alone: choosing, memory, programs, and corners that the shared cases do not reach."""
import dataclasses
import importlib
import threading

import numpy as np
import pytest

import fastconv as fc
from fastconv import cl
from fastconv.cl import layout, params
from fastconv.device import Device

array_module = importlib.import_module("fastconv.array")
empty = array_module.empty

pytestmark = pytest.mark.skipif(not cl.available(), reason="no OpenCL device")


@pytest.fixture(params=cl.available(), ids=lambda implementation: implementation.name)
def device(request):
    return fc.opencl(int(request.param.name.split(":")[1].split(" ")[0]))


def both(device, values, dtype=np.float32):
    values = np.asarray(values, dtype)
    return fc.array(values, device=fc.reference()), fc.array(values, device=device)


# --- choosing

def test_the_same_objects_every_time():
    assert all(a is b for a, b in zip(cl.available(), cl.available()))
    assert cl.find(0) is cl.available()[0]


# --- memory

def test_memory_is_counted_and_pooled(device):
    device = tuned(device)          # with a pool of its own: what other tests left behind may be freed at any time
    kept = empty((1000003,), device=device)
    x = empty((1 << 20,), device=device)
    assert device.memory_stats() == {"allocated": kept.buffer.nbytes + (4 << 20), "peak": kept.buffer.nbytes + (4 << 20),
                                     "cached": 0}
    del x
    assert device.memory_stats()["allocated"] == kept.buffer.nbytes
    assert device.memory_stats()["cached"] >= 4 << 20
    device.empty_cache()
    assert device.memory_stats()["cached"] == 0


def test_a_request_too_large_says_so(device):
    with pytest.raises(MemoryError, match="no room for"):
        device.allocate(1 << 50)


def test_uploads_do_not_need_their_source(device):
    source = np.arange(1 << 16, dtype=np.float32)
    copies = []
    for i in range(50):
        source[...] = i
        copies.append(fc.array(source, device=device))
    source[...] = -1
    assert [int(c.numpy()[-1]) for c in copies] == list(range(50))


def test_a_kernel_that_does_not_build_shows_the_log(device):
    x = fc.array([1.0], device=device)
    with pytest.raises(RuntimeError, match="no_such_function"):
        device.map("no_such_function", x, x)


# --- kernels

def test_sixteen_dimensions_that_do_not_merge(device):
    values = np.random.default_rng(0).integers(-9, 9, (3,) + (2,) * 13 + (2, 3)).astype(np.float32)
    order = tuple(np.random.default_rng(1).permutation(16).tolist())
    for x in both(device, values)[1:]:
        a, b = x.permute(order), x.permute(tuple(reversed(order)))
        if a.shape == b.shape:
            np.testing.assert_array_equal((a + b).numpy(), a.numpy() + b.numpy())
        np.testing.assert_array_equal(a.compact().numpy(), values.transpose(order))


@pytest.mark.parametrize("shape, axes", [((100003,), (0,)), ((3, 40000), (1,)), ((40000, 3), (0,)), ((40000, 32), (0,)),
                                         ((128, 16, 8, 8), (0, 2, 3)), ((7, 5, 3), (0, 2))])
@pytest.mark.parametrize("permuted", [False, True])
def test_reductions_split_into_parts(device, shape, axes, permuted):
    values = np.random.default_rng(0).integers(-8, 8, shape).astype(np.float32)
    for name in ("sum", "max", "min"):
        x, y = both(device, values if not permuted else values.transpose())
        if permuted:
            x, y = x.T, y.T
        np.testing.assert_array_equal(getattr(x, name)(axis=axes).numpy(), getattr(y, name)(axis=axes).numpy())


def tuned(device, **changes):
    """The device again, opened with other tunables."""
    implementation = type(device.implementation)(0, device.implementation.cl_device)
    base = changes.pop("base", implementation.runtime.params)
    implementation.runtime.params = dataclasses.replace(base, **changes)
    return Device(implementation)


def test_compensated_sums_without_float64(device):
    """The way devices without float64 take: compensated pairs of float32."""
    other = tuned(device, double_sums=False)
    values = np.random.default_rng(0).standard_normal((1000, 333)).astype(np.float32) + 1000
    x = fc.array(values, device=other)
    for axes in ((0,), (1,), (0, 1)):
        exact = values.sum(axis=axes, dtype=np.float64)
        np.testing.assert_allclose(x.sum(axis=axes).numpy(), exact, rtol=2e-7)
    rows = fc.ops.layer_norm(x, 333)
    wide = values.astype(np.float64)
    expected = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(rows.numpy(), expected, atol=1e-3)
    assert np.isinf(fc.array(np.full(5000, np.inf, np.float32), device=other).sum().numpy())
    assert np.isnan(fc.array(np.full(5000, np.nan, np.float32), device=other).sum().numpy())


@pytest.mark.parametrize("base", [params.GPU, params.CPU, params.SMALL], ids=["gpu", "cpu", "small"])
@pytest.mark.parametrize("wide", [False, True], ids=["32-bit", "64-bit"])
def test_the_tunables_of_other_devices(device, base, wide, monkeypatch):
    """Lanes, tiles, groups and splits of every class of device, and both index widths, give the same sums."""
    if wide:
        monkeypatch.setattr(layout, "fits_32", lambda *numbers: False)
    if not base.valid(device.implementation.cl_device):
        pytest.skip("groups too large for this device")
    other = tuned(device, base=base, reduce_least=8, cache_bytes=2048)
    rng = np.random.default_rng(0)
    values = rng.integers(-4, 5, (6, 300, 5)).astype(np.float32)
    expected, x = both(other, values)
    for view in (lambda a: a, lambda a: a.permute(2, 0, 1).flip(1)):
        for axis in ((0,), (1,), (2,), (0, 2), (0, 1, 2)):
            np.testing.assert_array_equal(view(x).sum(axis).numpy(), view(expected).sum(axis).numpy())
            np.testing.assert_array_equal(view(x).max(axis).numpy(), view(expected).max(axis).numpy())
        np.testing.assert_array_equal(view(x).argmax(1).numpy(), view(expected).argmax(1).numpy())
    np.testing.assert_array_equal((x @ x.permute(0, 2, 1)).numpy(), (expected @ expected.permute(0, 2, 1)).numpy())
    w, g, results = rng.integers(-4, 5, (1, 1, 3, 3, 5, 7)), rng.integers(-4, 5, (1, 6, 1, 15, 20, 7)), []
    for where, image in ((fc.reference(), expected), (other, x)):
        image = image.reshape(1, 6, 1, 15, 20, 5)
        wa, ga = (fc.array(v.astype(np.float32), device=where) for v in (w, g))
        out, dw = empty(ga.shape, device=where), empty(wa.shape, device=where)
        where.conv(out, image, wa, None, (1, 1, 1), (0, 1, 1), (1, 1, 1))
        where.conv_weight_grad(dw, image, ga, (1, 1, 1), (0, 1, 1), (1, 1, 1))
        results.append((out.numpy(), dw.numpy()))
    for want, got in zip(*results):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("batch, channels, outs, size, kernel, stride, padding", [
    (40, 8, 16, (1, 2, 2), (1, 3, 3), 1, 1), (3, 3, 17, (1, 9, 8), (1, 3, 3), 2, 1), (2, 5, 33, (4, 5, 6), (2, 2, 2), 1, -1),
    (2, 4, 3, (1, 1, 300), (1, 1, 3), 1, 1), (33, 16, 40, (1, 4, 4), (1, 1, 1), 1, 0), (9, 3, 8, (1, 8, 8), (1, 7, 7), 4, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_convolution_is_exact_on_small_integers(device, batch, channels, outs, size, kernel, stride, padding, dtype):
    rng = np.random.default_rng(0)
    paddings = tuple(padding if k > 1 else 0 for k in kernel)
    out_size = tuple((n + 2 * p - k) // stride + 1 for n, p, k in zip(size, paddings, kernel))
    x = rng.integers(-4, 5, (2, batch, *size, channels))
    w = rng.integers(-4, 5, (2, *kernel, channels, outs))
    g = rng.integers(-4, 5, (2, batch, *out_size, outs))
    bias = rng.integers(-4, 5, (2, outs))
    results = []
    for where in (fc.reference(), device):
        xa, wa, ga, ba = (fc.array(v.astype(dtype), device=where) for v in (x, w, g, bias))
        out, dw, found = empty(ga.shape, dtype, where), empty(wa.shape, dtype, where), []
        for activation in (None, "relu", "relu6", None):
            where.conv(out, xa, wa, ba, (stride,) * 3, paddings, (1,) * 3, activation)
            where.conv_weight_grad(dw, xa, ga, (stride,) * 3, paddings, (1,) * 3)
            found += [out.numpy(), dw.numpy()]
        results.append(found)
    for expected, got in zip(*results):
        np.testing.assert_array_equal(got, expected)


def test_two_runs_give_the_same_bits(device):
    rng = np.random.default_rng(0)
    x = fc.array(rng.standard_normal((64, 16, 8, 8)).astype(np.float32), device=device)
    assert x.sum().numpy().tobytes() == x.sum().numpy().tobytes()
    a = fc.array(rng.standard_normal((65, 333)).astype(np.float32), device=device)
    assert (a @ a.T).numpy().tobytes() == (a @ a.T).numpy().tobytes()


def test_threads_share_a_device(device):
    errors = []

    def work(k):
        try:
            x = fc.array(np.full((37, 11), k, np.float32), device=device)
            for _ in range(50):
                y = x * 2.0 + x
                np.testing.assert_array_equal(y.numpy(), 3.0 * k)
        except BaseException as error:
            errors.append(error)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
