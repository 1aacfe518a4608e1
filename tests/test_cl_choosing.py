"""Which OpenCL devices are seen, which one a selector or PYOPENCL_CTX names, and why one cannot be used."""
import functools
import json

import pytest

from fastconv import __main__ as command
from fastconv import cl
from fastconv.cl import survey

pyopencl = pytest.importorskip("pyopencl")
KIND = pyopencl.device_type


class FakeDevice:
    """A device with the properties that choosing looks at; `broken` ones raise."""

    def __init__(self, name, kind=KIND.GPU, broken=(), **changes):
        self.values = {
            "name": name, "type": kind, "version": "OpenCL 1.2 fake", "available": True, "compiler_available": True,
            "endian_little": True, "profile": "FULL_PROFILE", "extensions": "", "host_unified_memory": False,
            "max_work_group_size": 256, "max_work_item_sizes": [256, 256, 64], "local_mem_size": 32768,
            "max_compute_units": 8, "max_clock_frequency": 1000, **changes}
        self.broken = broken

    def __getattr__(self, name):
        if name in self.broken:
            raise pyopencl.RuntimeError("clGetDeviceInfo", -5)
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None


class FakePlatform:
    def __init__(self, name, *devices):
        self.name, self.devices = name, devices
        for d in devices:
            if isinstance(d, FakeDevice):
                d.values["platform"] = self

    def get_devices(self):
        if self.devices and isinstance(self.devices[0], Exception):
            raise self.devices[0]
        return list(self.devices)


@pytest.fixture
def machine(monkeypatch):
    """Replaces the platforms of this machine."""
    def install(*platforms):
        monkeypatch.setattr(pyopencl, "get_platforms", lambda: list(platforms))
        cl.look.cache_clear()
        cl._implementation.cache_clear()
    monkeypatch.delenv("PYOPENCL_CTX", raising=False)
    look, implementation = cl.look, cl._implementation
    # Caches of their own: the real devices stay the same objects.
    monkeypatch.setattr(cl, "look", functools.cache(look.__wrapped__))
    monkeypatch.setattr(cl, "_implementation", functools.cache(implementation.__wrapped__))
    return install


def usual():
    return [FakePlatform("Portable Computing Language", FakeDevice("pthread-cpu", KIND.CPU, host_unified_memory=True)),
            FakePlatform("Empty"),
            FakePlatform("Broken", pyopencl.RuntimeError("clGetDeviceIDs", -5)),
            FakePlatform("NVIDIA CUDA", FakeDevice("NVIDIA H200"), FakeDevice("GeForce RTX 2080", max_compute_units=4)),
            FakePlatform("Intel(R) OpenCL", FakeDevice("Intel(R) Arc", host_unified_memory=True), FakeDevice("Xeon", KIND.CPU))]


def chosen(selector=None):
    return cl.find(selector).device_name


@pytest.mark.parametrize("selector, name", [
    (None, "NVIDIA H200"), (0, "pthread-cpu"), (2, "GeForce RTX 2080"), ("0", "pthread-cpu"), (" 1 ", "NVIDIA H200"),
    ("2080", "GeForce RTX 2080"), ("nvidia", "NVIDIA H200"), ("CUDA", "NVIDIA H200"), ("pocl", "pthread-cpu"),
    (" PoCL", "pthread-cpu"), ("portable", "pthread-cpu"), ("rtx", "GeForce RTX 2080"), ("0:0", "pthread-cpu"),
    ("3:1", "GeForce RTX 2080"), ("3: 1", "GeForce RTX 2080"), ("nvidia:rtx", "GeForce RTX 2080"), ("intel", "Intel(R) Arc"),
    ("4:xeon", "Xeon"), ("opencl:2", "GeForce RTX 2080"), ("opencl:3 Intel(R) Arc", "Intel(R) Arc"), ("xeon", "Xeon"),
    ("OpenCL:arc", "Intel(R) Arc"), ("3:", "NVIDIA H200")])
def test_a_selector_names_one_device(machine, selector, name):
    machine(*usual())
    assert chosen(selector) == name
    assert cl.find(selector) is cl.find(selector)


@pytest.mark.parametrize("selector", ["", " ", "opencl:", 5, -1, 99, "99", "-1", "no such", "0:1", "1:0", "2:0", "7:0", "3:7",
                                      "0:0:0", "nvidia:xeon", "::", "1.0"])
def test_what_names_none_lists_what_there_is(machine, selector):
    machine(*usual())
    with pytest.raises(ValueError, match="no OpenCL device matches") as raised:
        cl.find(selector)
    for part in (repr(selector), "opencl:0 pthread-cpu (Portable Computing Language)", "opencl:4 Xeon"):
        assert part in str(raised.value)


@pytest.mark.parametrize("selector", [1.0, True, b"nvidia", ["nvidia"]])
def test_a_selector_is_an_int_or_a_text(machine, selector):
    machine(*usual())
    with pytest.raises(TypeError, match="int or a str"):
        cl.find(selector)


@pytest.mark.parametrize("value, name", [
    ("0", "pthread-cpu"), ("3", "NVIDIA H200"), ("3:1", "GeForce RTX 2080"), (":0", "pthread-cpu"), ("nvidia", "NVIDIA H200"),
    ("4:1", "Xeon"), ("nvidia:rtx", "GeForce RTX 2080"), ("3:1,0", "GeForce RTX 2080"), ("3:RTX", "GeForce RTX 2080"),
    ("i", "Intel(R) Arc"), ("", "NVIDIA H200"), ("pocl", "pthread-cpu")])
def test_pyopencl_ctx(machine, monkeypatch, value, name):
    """As pyopencl reads it: places are counted over all platforms, the first device unless one is named."""
    machine(*usual())
    monkeypatch.setenv("PYOPENCL_CTX", value)
    assert chosen() == name
    assert chosen("xeon") == "Xeon"         # what is asked for comes first
    if value not in ("", "pocl"):           # our additions: nothing is no wish, and PoCL's short name
        platforms = usual()
        monkeypatch.setattr(pyopencl, "get_platforms", lambda: platforms)
        assert pyopencl.choose_devices(interactive=False)[0].name == name


@pytest.mark.parametrize("value", ["9", "1", "2", "no such", "3:7", "0:0:0"])
def test_pyopencl_ctx_that_names_none(machine, monkeypatch, value):
    machine(*usual())
    monkeypatch.setenv("PYOPENCL_CTX", value)
    with pytest.raises(ValueError, match="PYOPENCL_CTX='.*' matches no OpenCL device; there are: opencl:0 pthread-cpu"):
        cl.find()


# --- scores

@pytest.mark.parametrize("worse, better, why", [
    (FakeDevice("Oclgrind Simulator", KIND.GPU), FakeDevice("plain", KIND.CPU), "not an emulator"),
    (FakeDevice("cores", KIND.CPU, max_compute_units=64), FakeDevice("gpu", KIND.GPU, max_compute_units=1), "a GPU comes before"),
    (FakeDevice("cores", KIND.CPU), FakeDevice("board", KIND.ACCELERATOR), "before"),
    (FakeDevice("integrated", host_unified_memory=True, max_compute_units=96), FakeDevice("card"), "memory of its own"),
    (FakeDevice("slow", max_clock_frequency=500), FakeDevice("fast"), "more compute units"),
    (FakeDevice("llvmpipe (LLVM 15)"), FakeDevice("real"), "not an emulator")])
def test_the_better_device_is_the_default(machine, worse, better, why):
    machine(FakePlatform("one", worse), FakePlatform("two", better))
    found, reason = cl.default()
    assert found.name == better.name and why in reason
    machine(FakePlatform("two", better), FakePlatform("one", worse))
    assert cl.default()[0].name == better.name


def test_equal_devices_in_their_order(machine):
    machine(FakePlatform("one", FakeDevice("same"), FakeDevice("same")))
    assert cl.default()[0].index == 0
    machine(FakePlatform("one", FakeDevice("only")))
    assert cl.default()[1] == "it is the only usable OpenCL device"


# --- what cannot be used

@pytest.mark.parametrize("changes, reason", [
    ({"version": "OpenCL 1.1 old"}, "'OpenCL 1.1 old' is older than OpenCL 1.2"), ({"available": False}, "not available"),
    ({"compiler_available": False}, "no compiler"), ({"endian_little": False}, "big-endian"),
    ({"profile": "EMBEDDED_PROFILE"}, "no 64-bit integers"), ({"max_work_group_size": 16}, "at most 16 items"),
    ({"local_mem_size": 128}, "128 bytes of local memory"),
    ({"broken": ("max_work_group_size",)}, "asking for its properties fails")])
def test_an_unusable_device_says_why(machine, changes, reason):
    machine(FakePlatform("one", FakeDevice("bad", **changes)), FakePlatform("two", FakeDevice("good", KIND.CPU)))
    assert chosen() == "good" and [d.device_name for d in cl.available()] == ["good"]
    assert chosen(1) == "good"              # places count every device
    with pytest.raises(ValueError, match="opencl:0 bad .one. cannot be used") as raised:
        cl.find(0)
    assert reason in str(raised.value)
    machine(FakePlatform("one", FakeDevice("bad", **changes)))
    with pytest.raises(RuntimeError, match="no OpenCL device") as raised:
        cl.find()
    assert reason in str(raised.value) and "pip install" in str(raised.value)


def test_nothing_there(machine, monkeypatch):
    machine()
    with pytest.raises(RuntimeError, match="no OpenCL platform is installed; install pyopencl"):
        cl.find()
    with pytest.raises(RuntimeError, match="no OpenCL device"):
        cl.find("nvidia")

    def fail():
        raise pyopencl.LogicError(pyopencl._cl._ErrorRecord(msg="", code=-1001, routine="clGetPlatformIDs"))
    monkeypatch.setattr(pyopencl, "get_platforms", fail)
    cl.look.cache_clear()
    assert cl.look() == ([], [])


def test_the_machine_itself():
    found, failures = cl.look()
    assert [d.index for d in found] == list(range(len(found)))
    for one in found:
        assert one.problems or survey.facts(one.cl_device)["largest work-group"] >= 1


# --- the list

def test_the_list_shows_every_device_and_every_failure(machine, capsys, monkeypatch):
    real = survey.facts
    monkeypatch.setattr(survey, "facts", lambda d: real(d) if not isinstance(d, FakeDevice) else {"vendor": "fake"})
    machine(FakePlatform("odd", FakeDevice("odd one", version="OpenCL 1.0 antique")), *usual())
    assert command.main(["devices"]) == 0
    text = capsys.readouterr().out
    for part in ("cpu\n", "reference\n", "opencl:0 odd one", "no: 'OpenCL 1.0 antique' is older", "opencl:1 pthread-cpu",
                 "opencl:5 Xeon", "platform 3 Broken: RuntimeError",
                 "default OpenCL device: opencl:2 NVIDIA H200, because it has more compute units", "default for new arrays: cpu"):
        assert part in text, text
    monkeypatch.setenv("PYOPENCL_CTX", "nothing")
    assert command.main(["devices", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["devices"]) == 8 and report["default OpenCL device"].startswith("none: PYOPENCL_CTX='nothing'")
    assert [d["usable"] for d in report["devices"]].count(False) == 1


def test_the_list_without_pyopencl(monkeypatch, capsys):
    def fail():
        raise ImportError("No module named 'pyopencl'")
    monkeypatch.setattr(cl, "look", lambda: ([], []))
    monkeypatch.setattr(survey, "look", fail)
    assert command.main(["devices"]) == 0
    assert "default OpenCL device: none: no OpenCL device" in capsys.readouterr().out
