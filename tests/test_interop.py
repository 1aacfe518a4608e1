"""Arrays shared with NumPy, PyTorch and pyopencl: no copy where none is needed, and never one that nobody asked for."""
import gc

import numpy as np
import pytest

import fastconv as fc

DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")
CPU = fc.cpu()


def shareable(values):
    """The values in memory that does not end at a page, so that it can be shared."""
    room = np.zeros(values.size * values.itemsize + 3 * 4096, np.uint8)
    start = -room.ctypes.data % 4096
    if start + values.nbytes > room.size - 512 or (values.nbytes % 4096) > 3840:
        start += 512
    out = room[start:start + values.nbytes].view(values.dtype).reshape(values.shape)
    out[...] = values
    return out


@pytest.mark.parametrize("dtype", DTYPES)
def test_to_numpy_and_back_shares(dtype, rng):
    x = fc.array(rng.integers(0, 2, (3, 4)).astype(dtype), device=CPU)
    a = np.from_dlpack(x)
    assert a.dtype == x.dtype and x.__dlpack_device__() == (1, 0)
    a[1, 2] = 1
    assert x.numpy()[1, 2] == 1
    x[0, 0] = 1
    assert a[0, 0] == 1
    b = shareable(a)
    y = fc.from_dlpack(b, copy=False)
    b[2, 3] = 1
    assert y.numpy()[2, 3] == 1 and y.device is CPU
    y[...] = 0
    assert not b.any()


def test_views(rng):
    values = shareable(rng.normal(size=(4, 6)))
    for view in (values.T, values[::-1, 1::2], values[1:, 2:], values[:, ::-1]):
        x = fc.from_dlpack(view, copy=False)
        np.testing.assert_array_equal(x.numpy(), view)
        np.testing.assert_array_equal(np.from_dlpack(x), view)
        np.testing.assert_array_equal((x * 2).numpy(), view * 2)
    x = fc.array(values, device=CPU)
    for view in (x.T, x.flip(0)[:, 1::2], x[1:, 2:]):
        a = np.from_dlpack(view)
        a[...] = 7.0
        assert (view.numpy() == 7).all()


def test_memory_outlives_its_first_owner():
    x = fc.from_dlpack(shareable(np.arange(1000.0)))
    a = np.from_dlpack(fc.array(np.arange(1000.0), device=CPU))
    gc.collect()
    others = [fc.array(np.zeros(1000), device=CPU) for _ in range(10)]
    assert x.sum().item() == a.sum() == 499500 and len(others) == 10


def test_read_only_memory_is_not_written(rng):
    values = shareable(rng.normal(size=5))
    values.flags.writeable = False
    x = fc.from_dlpack(values)
    x[...] = 0.0
    assert values.any()
    with pytest.raises(BufferError, match="read-only"):
        fc.from_dlpack(values, copy=False)
    repeated = np.from_dlpack(fc.array([1.0], device=CPU).broadcast_to(3))
    assert not repeated.flags.writeable and repeated.tolist() == [1, 1, 1]


def test_what_is_converted_and_what_is_refused():
    half = np.array([1.5, 2.0], np.float16)
    assert fc.from_dlpack(half).dtype == np.float32
    with pytest.raises(BufferError, match="float16"):
        fc.from_dlpack(half, copy=False)
    with pytest.raises(TypeError):
        fc.from_dlpack(np.array([1j]))
    with pytest.raises(TypeError, match="list"):
        fc.from_dlpack([1.0])
    x = fc.array([1.0], device=CPU)
    assert fc.from_dlpack(x) is x and fc.from_dlpack(x, copy=True) is not x
    with pytest.raises(BufferError, match="memory of its own"):
        fc.from_dlpack(np.ones(2), fc.reference(), copy=False)
    assert fc.from_dlpack(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_the_end_of_a_page_is_not_read_over():
    """Memory that ends where a page does is copied: kernels read whole vectors."""
    import mmap
    room = mmap.mmap(-1, 4096)
    values = np.frombuffer(room, np.float32)
    x = fc.from_dlpack(values)
    values[0] = 3
    assert x.numpy()[0] == 0
    with pytest.raises(BufferError, match="page"):
        fc.from_dlpack(values, copy=False)


def test_torch(rng):
    torch = pytest.importorskip("torch")
    t = torch.zeros(4, 5)
    x = fc.from_dlpack(t)
    np.testing.assert_array_equal(x.numpy(), t.numpy())
    y = fc.array(rng.normal(size=(3, 4)).astype(np.float32), device=CPU)
    u = torch.from_dlpack(y)
    u[0, 0] = 9
    assert y.numpy()[0, 0] == 9
    tensor = fc.Tensor(y)
    assert torch.from_dlpack(tensor)[0, 0] == 9
    tensor.requires_grad = True
    with pytest.raises(BufferError, match="detach"):
        np.from_dlpack(tensor)
    assert np.from_dlpack(tensor.detach()).shape == (3, 4)


# --- pyopencl --------------------------------------------------------------------------------

@pytest.fixture(params=[d for d in fc.devices() if d.kind == "opencl"], ids=lambda d: d.name)
def opencl(request):
    return request.param


def test_dlpack_of_opencl_memory(opencl):
    x = fc.array([1.0, 2.0], device=opencl)
    assert x.__dlpack_device__()[0] == 4
    with pytest.raises(BufferError, match="to_pyopencl"):
        x.__dlpack__()
    assert np.from_dlpack(x, device="cpu").tolist() == [1, 2]


def test_pyopencl_shares(opencl, rng):
    values = rng.normal(size=(4, 6)).astype(np.float32)
    x = fc.array(values, device=opencl)
    y = x.to_pyopencl()
    np.testing.assert_array_equal(y.get(), values)
    y += 1
    np.testing.assert_array_equal(x.numpy(), values + 1)
    x[1:3].to_pyopencl().fill(5)
    assert (x.numpy()[1:3] == 5).all() and x.numpy()[0, 0] == values[0, 0] + 1
    part = x[1:3, 2:].to_pyopencl()
    assert part.strides == (24, 4) and part.offset == 32
    np.testing.assert_array_equal(x.flip(0).to_pyopencl().get(), x.numpy()[::-1])


def test_from_pyopencl_shares(opencl, rng):
    cl_array = pytest.importorskip("pyopencl.array")
    queue = fc.array([0.0], device=opencl).to_pyopencl().queue
    values = rng.normal(size=(4, 6)).astype(np.float32)
    a = cl_array.to_device(queue, values)
    x = fc.from_pyopencl(a)
    assert x.device is opencl
    np.testing.assert_array_equal(x.numpy(), values)
    x[0] = 0.0
    assert not a.get()[0].any()
    a[1] = 2.0
    np.testing.assert_array_equal(fc.from_pyopencl(a[1:, :]).numpy(), a.get()[1:])
    assert (x[1] * 3).numpy().tolist() == [6.0] * 6
    with pytest.raises(TypeError, match="complex"):
        fc.from_pyopencl(cl_array.zeros(queue, 3, np.complex64))
    with pytest.raises(TypeError, match="OpenCL"):
        fc.array([1.0], device="cpu").to_pyopencl()


def test_another_context_is_refused(opencl):
    cl = pytest.importorskip("pyopencl")
    import pyopencl.array as cl_array
    context = cl.Context([opencl.implementation.cl_device])
    with pytest.raises(ValueError, match="context"):
        fc.from_pyopencl(cl_array.zeros(cl.CommandQueue(context), 3, np.float32))
