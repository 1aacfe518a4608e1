"""Every device exports the contract of reference.py, name for name and parameter for parameter."""
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv.reference import KERNELS, SCALAR_OPS, STORAGE

ENTRIES = STORAGE + KERNELS


def parameters(function):
    return [p for p in inspect.signature(function).parameters if p != "self"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_same_signature(entry, fast_device):
    if entry in fast_device.lacks:
        pytest.skip(f"{fast_device.name} has no {entry}")
    contract = getattr(fc.reference().implementation, entry)
    assert parameters(getattr(fast_device.implementation, entry)) == parameters(contract)


def test_what_a_device_lacks(fast_device):
    missing = {"winograd_conv", "winograd_weight_grad"} if fast_device.kind == "opencl" else set()
    assert fast_device.lacks == missing
    for kernel in missing:
        with pytest.raises(NotImplementedError, match=f"no kernel '{kernel}'"):
            getattr(fast_device, kernel)()


def test_every_kernel_says_what_it_computes():
    for entry in ENTRIES:
        assert getattr(fc.reference().implementation, entry).__doc__


def scalar_rows():
    text = (Path(fc.__file__).parent / "scalar_ops.h").read_text()
    return re.findall(r"^FC_OP\((\w+),\s*(\d),\s*(\w+),\s*(\w+),", text, re.MULTILINE)


def test_scalar_tables_agree():
    assert {row[0] for row in scalar_rows()} | {"copy", "where"} == set(SCALAR_OPS)


DTYPES = {"FLOAT": ["float32", "float64"], "NUMBER": ["float32", "float64", "int32", "int64", "uint8"],
          "INTEGER": ["int32", "int64", "uint8"], "ANY": ["float32", "float64", "int32", "int64", "uint8", "bool"]}


@pytest.mark.parametrize("row", scalar_rows(), ids=lambda row: row[0])
def test_scalar_function(row, fast_device, rng):
    """Each row, each dtype of its domain, with NaN, infinities and zeros among the floats."""
    name, arity, domain, result = row
    for dtype in DTYPES[domain]:
        inputs = []
        for i in range(int(arity)):
            x = rng.integers(0, 3, 200) if dtype in ("bool", "uint8") else rng.integers(-3, 4, 200)
            if dtype.startswith("float"):
                x = x + rng.normal(size=200)
                x[:40] = np.resize([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.0], 40) if i != 1 else \
                    np.repeat([0.0, np.nan, 1.0, -np.inf, 3.0], 8)
            if name == "power" and not dtype.startswith("float") and i == 1:
                x = np.abs(x)
            inputs.append(x.astype(dtype))
        outs = []
        for d in (fast_device, fc.reference()):
            arrays = [fc.array(x, device=d) for x in inputs]
            out = fc.array(np.zeros(200, bool if result == "BOOL" else dtype), device=d)
            d.map(name, out, *arrays)
            outs.append(out.numpy())
        # Composite rows may be contracted to fused multiply-adds; transcendental ones may differ by 4 ulp.
        tolerance = {"float32": 1e-6, "float64": 1e-14}.get(dtype, 0)
        np.testing.assert_allclose(outs[0], outs[1], rtol=tolerance, atol=tolerance, err_msg=f"{name} {dtype}")


@pytest.mark.parametrize("source", DTYPES["ANY"])
@pytest.mark.parametrize("target", DTYPES["ANY"])
def test_conversion(source, target, fast_device, rng):
    x = (rng.normal(size=300) * 40).astype(source) if source not in ("uint8", "bool") else rng.integers(0, 2, 300).astype(source)
    if target == "uint8":
        x = np.abs(x) if source != "bool" else x
    np.testing.assert_array_equal(fc.array(x, device=fast_device).astype(target).numpy(), x.astype(target))


@pytest.mark.parametrize("dtype", DTYPES["NUMBER"] + ["bool"])
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "argmax", "argmin"])
def test_reduction(name, dtype, fast_device, rng):
    for shape, axis in (((5,), 0), ((3, 700), 1), ((700, 3), 0), ((4, 5, 6), 1), ((40, 9, 50), (0, 2)), ((2,) * 9, (1, 4, 7))):
        if name.startswith("arg") and not isinstance(axis, int):
            continue
        x = rng.integers(1, 3 if name == "prod" else 100, shape).astype(dtype)
        if name == "prod":
            x = np.where(rng.random(shape) < 0.03, x, np.ones(1, dtype)).astype(dtype)
        if dtype.startswith("float") and name in ("max", "argmax", "min", "argmin") and len(shape) == 3:
            x[0, 0, :2] = np.nan
        got = getattr(fc.array(x, device=fast_device), name)(axis)
        expected = getattr(fc.array(x, device=fc.reference()), name)(axis)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got.numpy(), expected.numpy(), err_msg=f"{shape} {axis}")


def test_long_sums_keep_their_digits(fast_device):
    ones = fc.array(np.ones(1, np.float32), device=fast_device).broadcast_to(10_000, 10_000)
    assert ones.sum().item() == 1e8
    tenth = fc.array(np.full(1, 0.1, np.float32), device=fast_device).broadcast_to(3_000_000)
    assert abs(tenth.sum().item() / (3e6 * float(np.float32(0.1))) - 1) < 1e-6


def test_statistics_with_a_large_mean(fast_device, rng):
    x = (rng.normal(size=(64, 5, 3, 3)) + 1000).astype(np.float32)
    array = fc.array(x, device=fast_device)
    y = fc.array(x, device=fast_device)
    mean, rstd = (fc.array(np.zeros(5, np.float32), device=fast_device) for _ in range(2))
    fast_device.batch_norm(y, mean, rstd, None, None, array, None, None, 0.0, 0.0, None)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean.numpy(), wide.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(rstd.numpy() ** -2.0, wide.var((0, 2, 3)), rtol=1e-6)


def test_two_runs_give_the_same_bits(fast_device, rng):
    x = fc.array(rng.normal(size=(16, 9, 9, 8)).astype(np.float32), device=fast_device)
    w = fc.array(rng.normal(size=(3, 3, 8, 12)).astype(np.float32), device=fast_device)

    def results():
        xt, wt = fc.Tensor(x, requires_grad=True), fc.Tensor(w, requires_grad=True)
        y = fc.ops.conv2d(xt, wt, stride=2, padding=1)
        (y * y).sum().backward()
        return [y.numpy(), xt.grad.numpy(), wt.grad.numpy(), x.sum((0, 1)).numpy()]

    for a, b in zip(results(), results()):
        np.testing.assert_array_equal(a, b)
