"""`python -m fastconv selftest`: right on every device, and a kernel that is wrong is found and described."""
import json

import numpy as np
import pytest

import fastconv as fc
from fastconv import __main__ as command
from fastconv import cl, selftest
from fastconv.device import Device
from fastconv.reference import KERNELS, SCALAR_OPS
from fastconv.selftest.cases import CASES, scalar_rows


def failed(results):
    return [r for r in results if r.status == "failed"]


def test_every_kernel_has_cases():
    assert set(CASES) == set(KERNELS), "a kernel of reference.py needs a function in fastconv/selftest/cases.py"
    covered = {kernel for kernel, *_ in selftest.all_cases()}
    assert covered == set(KERNELS)
    names = {name for kernel, name, *_ in selftest.all_cases(only=["map"])}
    assert {row[0] for row in scalar_rows()} | {"copy", "where"} == set(SCALAR_OPS)
    assert {row[0] for row in scalar_rows()} <= names


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_is_right(kernel, device):
    if kernel in device.lacks:
        assert {r.status for r in selftest.run(device, only=[kernel])} == {"unsupported"}
        return
    results = selftest.run(device, only=[kernel])
    assert {r.form for r in results} == set(selftest.FORMS)
    assert not failed(results), "\n".join(map(str, failed(results)))
    assert any(r.status == "ok" for r in results)


# --- faults

def broken(device, kernel, fault):
    """The device with a kernel that runs and then does `fault(arguments of the call)`."""
    copy = Device(device.implementation)
    right = getattr(device, kernel)

    def wrong(*arguments):
        right(*arguments)
        fault(*arguments)
    setattr(copy, kernel, wrong)
    return copy


def poke(array, index, value):
    """Overwrite one element of a view; negative indices lie in front of it."""
    whole = np.atleast_1d(fc.Array(array.buffer, (array.buffer.nbytes // array.dtype.itemsize,), (1,), 0, array.dtype,
                                   array.device).numpy())
    whole[array.offset + index] = value
    array.device.upload(fc.Array(array.buffer, whole.shape, (1,), 0, array.dtype, array.device), whole)


FAULTS = {
    "one wrong element": (lambda out, a, b: poke(out, 0, 1e6), "1 of 1 elements are wrong"),
    "an unwritten element": (lambda out, a, b: poke(out, 0, np.nan), "nan instead of"),
    "an element before the output": (lambda out, a, b: out.offset and poke(out, -1 - out.offset, 7), "outside of its elements"),
    "a changed input": (lambda out, a, b: poke(a, 0, 9), "changed though it is only read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_kernel_is_reported(fault, device):
    spoil, message = FAULTS[fault]
    wrong = failed(selftest.run(broken(device, "matmul", spoil), tiny=True, only=["matmul", "take"]))
    assert wrong and {r.kernel for r in wrong} == {"matmul"}
    assert any(message in r.message for r in wrong), wrong[0]
    assert "float32 (1, 1) strides" in wrong[0].arguments
    if device.kind == "opencl":
        assert any("gemm of gemm.cl, groups of" in launch and "TM=" in launch for launch in wrong[0].launches)


def test_a_result_that_varies_is_reported(device):
    calls = []

    def vary(out, a, b):
        calls.append(out)
        poke(out, 0, np.float32(1 + 1e-7 * len(calls)) * out.numpy().reshape(-1)[0])
    wrong = failed(selftest.run(broken(device, "matmul", vary), tiny=True, only=["matmul"]))
    assert any("a second run gave other bits" in r.message for r in wrong)


def test_an_error_is_reported_and_the_rest_still_runs(device):
    def fail(*arguments):
        raise RuntimeError("CL_OUT_OF_RESOURCES")
    results = selftest.run(broken(device, "conv", fail), tiny=True, only=["conv", "take"])
    assert {r.kernel for r in failed(results)} == {"conv"} and all(r.status == "ok" for r in results if r.kernel == "take")
    assert "RuntimeError: CL_OUT_OF_RESOURCES" in failed(results)[0].message


def test_float64_may_be_unsupported(device):
    def refuse(out, *arguments):
        if out.dtype == np.float64:
            raise NotImplementedError("conv of float64: no float64 here")
    results = selftest.run(broken(device, "conv", refuse), tiny=True, only=["conv"])
    assert {r.status for r in results if r.dtype == "float64"} == {"unsupported"}
    assert not failed(results)


@pytest.mark.skipif(not cl.available(), reason="no OpenCL device")
def test_a_kernel_that_does_not_build_shows_the_log(monkeypatch):
    from fastconv.cl import runtime
    found = cl.available()[0]
    fresh = Device(type(found)(0, found.cl_device))
    runtime._text("pack.cl")
    monkeypatch.setitem(runtime._texts, "pack.cl", "KERNEL void pack( { unbalanced")
    wrong = failed(selftest.run(fresh, tiny=True, only=["matmul"]))
    text = str(wrong[0])
    for part in ("BuildError", "pack.cl", found.device_name, "#define PANEL", "options: -cl-std=CL1.2", "error:"):
        assert part in text, text


# --- the command

def test_the_report_and_the_exit_status(capsys, monkeypatch):
    assert command.main(["selftest", "--device", "cpu", "--tiny", "--only", "take", "matmul"]) == 0
    text = capsys.readouterr().out
    assert "0 failed" in text and "matmul" in text and fc.__version__ in text and "isa" in text
    monkeypatch.setattr(fc.cpu(), "matmul", broken(fc.cpu(), "matmul", FAULTS["a changed input"][0]).matmul)
    assert command.main(["selftest", "--device", "cpu", "--tiny", "--only", "take", "matmul"]) == 1
    text = capsys.readouterr().out
    assert "FAILED matmul float32 exact dense" in text and "called as matmul(float32" in text
    assert command.main(["selftest", "--device", "cpu", "--tiny", "--only", "matmul", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["failed"] == len(report["failures"]) > 0 and report["versions"]["numpy"] == np.__version__
    assert report["failures"][0]["kernel"] == "matmul" and report["device"] == "cpu"


def test_bad_calls_of_the_command(capsys):
    assert command.main(["selftest", "--device", "abacus"]) == 2
    assert "unknown device 'abacus'" in capsys.readouterr().err
    assert command.main(["selftest", "--device", "cpu", "--only", "juggle"]) == 2
    assert "no kernel 'juggle'; there are: map" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main([])
