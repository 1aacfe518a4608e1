"""What an OpenCL device lacks or limits: memory that runs out, float64, FMA, small groups; and tuned values for one device."""
import json

import numpy as np
import pytest

import fastconv as fc
from fastconv import cl, selftest
from fastconv.cl import params
from fastconv.device import Device

pyopencl = pytest.importorskip("pyopencl")
pytestmark = pytest.mark.skipif(not cl.available(), reason="no OpenCL device")


@pytest.fixture(params=cl.available(), ids=lambda implementation: implementation.name)
def opened(request):
    """Opens the device anew, under the environment of the test."""
    return lambda: Device(type(request.param)(0, request.param.cl_device))


# --- memory

class Failing:
    """Calls a function that is out of memory the first `times`."""

    def __init__(self, function, times):
        self.function, self.times = function, times

    def __call__(self, *arguments, **options):
        self.times -= 1
        if self.times >= 0:
            raise pyopencl.MemoryError(pyopencl._cl._ErrorRecord(msg="", code=-4, routine="clAnything"))
        return self.function(*arguments, **options)


class FailingPool:
    """A memory pool that is out of memory at first."""

    def __init__(self, pool, times):
        self.pool, self.flushed = pool, 0
        self.allocate = Failing(pool.allocate, times)

    def free_held(self):
        self.flushed += 1
        self.pool.free_held()

    def __getattr__(self, name):
        return getattr(self.pool, name)


def fail(runtime, monkeypatch, where, times):
    """Make one kind of call out of memory for a while."""
    runtime._pool = FailingPool(runtime._pool, times if where == "allocate" else 0)
    runtime._take = runtime._pool.allocate
    if where == "launch":
        monkeypatch.setattr(runtime, "_enqueue", Failing(runtime._enqueue, times))
    if where == "copy":
        monkeypatch.setattr(pyopencl, "enqueue_copy", Failing(pyopencl.enqueue_copy, times))


def double(x):
    return (x * 2).numpy()


@pytest.mark.parametrize("where", ["allocate", "launch", "copy"])
def test_out_of_memory_once_flushes_the_pool_and_goes_on(opened, where, monkeypatch):
    device = opened()
    x = fc.array(np.arange(5, dtype=np.float32), device=device)
    fail(device.implementation.runtime, monkeypatch, where, 1)
    np.testing.assert_array_equal(double(x), [0, 2, 4, 6, 8])
    assert device.implementation.runtime._pool.flushed == 1


@pytest.mark.parametrize("where, what", [("allocate", "20 bytes"), ("launch", "a launch"), ("copy", "20 bytes")])
def test_out_of_memory_twice_says_what_there_is_and_the_next_call_works(opened, where, what, monkeypatch):
    device = opened()
    x = fc.array(np.arange(5, dtype=np.float32), device=device)
    runtime = device.implementation.runtime
    fail(runtime, monkeypatch, where, 2)
    with pytest.raises(MemoryError, match=f"no room for {what} on .*: [0-9]+ allocated, [0-9]+ cached, "
                                          f"at most {runtime.max_alloc} in one buffer, {runtime.max_total} in all"):
        double(x)
    np.testing.assert_array_equal(double(x), [0, 2, 4, 6, 8])
    assert device.memory_stats()["allocated"] < 1000


def test_more_than_there_is(opened):
    device = opened()
    kept = fc.array(np.ones(1000, np.float32), device=device)
    device.implementation.runtime.max_total = 5000
    with pytest.raises(MemoryError, match="no room for 4000 bytes on .* 4000 allocated"):
        kept + 1
    del kept
    assert fc.array(np.ones(1000, np.float32), device=device).sum().item() == 1000


def test_more_than_one_buffer_holds(opened):
    device = opened()
    device.implementation.runtime.max_alloc = 4000
    with pytest.raises(MemoryError, match="at most 4000 in one buffer"):
        fc.array(np.ones(1001, np.float32), device=device)
    assert fc.array(np.ones(1000, np.float32), device=device).sum().item() == 1000


# --- what is switched off

FEW = ["map", "reduce", "matmul", "conv_weight_grad", "batch_norm", "batch_norm_grad", "adam_step"]


def assert_right(device, kernels=FEW):
    results = selftest.run(device, tiny=True, only=kernels)
    wrong = [r for r in results if r.status == "failed"]
    assert not wrong, "\n".join(map(str, wrong[:5]))
    return results


def test_without_float64(opened, monkeypatch):
    monkeypatch.setenv("FASTCONV_CL_WITHOUT", "fp64")
    device = opened()
    assert not device.implementation.runtime.has_double
    results = assert_right(device, ["map", "batch_norm", "conv_weight_grad"])
    assert {r.status for r in results if r.dtype == "float64"} == {"unsupported"}
    with pytest.raises(NotImplementedError, match="float64"):
        fc.array(np.ones(3), device=device)


def test_without_fma(opened, monkeypatch):
    monkeypatch.setenv("FASTCONV_CL_WITHOUT", "fma")
    device = opened()
    assert not device.implementation.runtime.has_fma
    assert_right(device, ["matmul", "adam_step"])


def test_debugging(opened, monkeypatch):
    monkeypatch.setenv("FASTCONV_CL_DEBUG", "1")
    device = opened()
    assert_right(device, ["matmul"])
    assert device.memory_stats()["cached"] == 0


# --- tunables

@pytest.mark.parametrize("name", params.CLASSES)
def test_every_class_of_device_by_name(opened, name, monkeypatch):
    monkeypatch.setenv("FASTCONV_CL_PARAMS", name)
    device = opened()
    if not params.CLASSES[name].valid(device.implementation.cl_device):
        with pytest.raises(ValueError, match="cannot launch"):
            device.synchronize()
        return
    assert device.implementation.runtime.params == params.CLASSES[name]
    assert_right(device, ["matmul", "reduce"])


def test_a_class_that_is_none(opened, monkeypatch):
    monkeypatch.setenv("FASTCONV_CL_PARAMS", "quantum")
    with pytest.raises(ValueError, match="'quantum' names no class of devices; there are: gpu, cpu, small"):
        opened().synchronize()


@pytest.fixture
def tuned(tmp_path, monkeypatch):
    """Writes the user's own file."""
    path = tmp_path / "opencl.json"
    monkeypatch.setattr(params, "user_file", lambda: path)

    def write(values):
        path.write_text(values if isinstance(values, str) else json.dumps(values))
        params._tuned.cache_clear()
        return path
    yield write
    params._tuned.cache_clear()


def test_the_users_values_by_vendor_architecture_and_device(opened, tuned):
    device = opened().implementation.cl_device
    names = params.names(device)
    tuned({"vendors": {names["vendors"]: {"reduce_least": 1, "reduce_items": 11, "map_group": 16}},
           "devices": {names["devices"]: {"reduce_least": 3}, "another device": {"map_group": 1}},
           "architectures": {names["architectures"]: {"reduce_least": 2, "reduce_items": 22}}})
    found = params.lookup(device)
    assert (found.reduce_least, found.reduce_items, found.map_group) == (3, 22, 16)
    tuned({"devices": {device.name.strip() + ", another driver": {"reduce_least": 7}}})
    assert params.lookup(device).reduce_least != 7


def test_values_that_the_device_cannot_launch_do_not_count(opened, tuned):
    device = opened().implementation.cl_device
    tuned({"vendors": {params.names(device)["vendors"]: {"map_group": 1 << 20}}})
    assert params.lookup(device).map_group <= device.max_work_group_size


@pytest.mark.parametrize("values, message", [
    ("{", "Expecting"), ({"colours": {}}, "'colours' is not vendors, architectures or devices"), ([1], "list"),
    ({"vendors": {"x": {"map_gruop": 1}}}, "x: map_gruop = 1 is no tunable; there are: map_group .int."),
    ({"vendors": {"x": {"map_group": "8"}}}, "map_group = '8' is no tunable")])
def test_a_wrong_file_is_named(opened, tuned, values, message):
    path = tuned(values)
    with pytest.raises(ValueError, match=message) as raised:
        params.lookup(opened().implementation.cl_device)
    assert str(path) in str(raised.value)
