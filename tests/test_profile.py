"""fc.profile: every kernel is seen, on every device; nothing is left behind; tables and traces are well-formed."""
import json
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv.reference import KERNELS, STORAGE


def net(device):
    fc.manual_seed(0)
    return fc.nn.Sequential(fc.nn.Conv2d(2, 4, 3, padding=1, device=device), fc.nn.ReLU(), fc.nn.Flatten(),
                            fc.nn.Linear(4 * 36, 3, device=device))


def step(model, device):
    x, y = np.ones((5, 2, 6, 6), "float32"), np.arange(5) % 3
    loss = fc.ops.cross_entropy(model(fc.Tensor(x, device=device)), y)
    loss.backward()
    return loss.item()


def rows_of(p):
    """Without the copies that poison fresh arrays in the tests."""
    return [row for row in p.rows() if row.kernel != "map copy"]


def test_a_training_step(device):
    model = net(device)
    optimizer = fc.optim.Adam(model.parameters(), lr=1e-3)
    with fc.profile() as p:
        step(model, device)
        optimizer.step()
    rows = p.rows()
    assert {row.device for row in rows} == {device.name}
    by_kernel = {(row.op, row.kernel): row for row in rows}
    conv = by_kernel["conv", "conv"]
    assert conv.calls == 1 and conv.launches >= 1 and conv.flops == 2 * 5 * 36 * 4 * 2 * 9
    assert conv.bytes >= 4 * (5 * 2 * 36 + 5 * 4 * 36 + 4 * 2 * 9)
    (weight,) = [row for row in rows if row.kernel == "conv_weight_grad"]
    assert weight.op == "conv gradient" and weight.flops == conv.flops
    assert ("", "adam_step") in by_kernel
    assert all(row.seconds > 0 and row.bytes > 0 for row in rows)
    assert [row.seconds for row in rows] == sorted((row.seconds for row in rows), reverse=True)
    assert p.seconds > 0
    # The input goes up, labels may; the loss comes down.
    assert p.uploads[0] >= 1 and p.uploads[1] >= 5 * 2 * 36 * 4
    assert p.downloads == (1, 4)


def test_it_changes_no_result_and_leaves_nothing_behind(device):
    def bound():
        return {entry: getattr(device, entry) for entry in KERNELS + STORAGE}

    before, want = bound(), step(net(device), device)
    with fc.profile():
        assert bound() != before
        assert step(net(device), device) == want
    assert bound() == before
    assert step(net(device), device) == want


def test_released_after_an_error(fast_device):
    with pytest.raises(ZeroDivisionError), fc.profile() as p:
        fc.array(np.ones(4, "float32"), device=fast_device).exp()
        raise ZeroDivisionError
    assert [row.kernel for row in rows_of(p)] == ["map exp"]
    with fc.profile():
        pass


def test_one_at_a_time():
    with fc.profile(), pytest.raises(RuntimeError, match="running already"), fc.profile():
        pass
    with fc.profile():
        pass


def test_one_device_only():
    arrays = [fc.array(np.ones(4, "float32"), device=d) for d in (fc.cpu(), fc.reference())]
    with fc.profile(fc.reference()) as p:
        for x in arrays:
            x.exp()
    assert [(row.device, row.kernel) for row in rows_of(p)] == [("reference", "map exp")]
    with pytest.raises(ValueError, match="unknown device 'abacus'"):
        fc.profile("abacus")


def test_table(device):
    model = net(device)
    with fc.profile() as p:
        step(model, device)
    header, *lines, last = str(p).splitlines()
    assert header.split() == ["op", "kernel", "calls", "launches", "ms", "%", "MiB", "GB/s", "GFLOP/s"]
    assert len(lines) == len(p.rows()) and any(line.startswith("conv gradient") for line in lines)
    assert "ms in all" in last and "1 download (0.00 MiB)" in last


def test_table_of_two_devices():
    arrays = [fc.array(np.ones(4, "float32"), device=d) for d in (fc.cpu(), fc.reference())]
    with fc.profile() as p:
        for x in arrays:
            x + x
    header, *lines, _ = str(p).splitlines()
    assert header.endswith("device") and {line.split()[-1] for line in lines} == {"cpu", "reference"}


def test_nothing_to_show():
    with fc.profile() as p:
        pass
    assert p.rows() == [] and p.uploads == p.downloads == (0, 0)
    assert "0.000 ms in kernels" in str(p)


def test_trace(device, tmp_path):
    model = net(device)
    with fc.profile() as p:
        step(model, device)
    path = tmp_path / "trace.json"
    p.save_trace(path)
    events = json.loads(path.read_text())["traceEvents"]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    spans = [e for e in events if e["ph"] == "X"]
    sides = {"host", "device"} if device.kind == "opencl" else {"host"}
    assert set(tracks.values()) == {f"{device.name} ({side})" for side in sides}
    assert {e["tid"] for e in spans} == set(tracks)
    for e in spans:
        # An OpenCL device has a clock of its own.
        assert e["dur"] >= 0 and -1e3 < e["ts"] <= p.seconds * 1e6 + 1e3
    assert {"conv", "conv gradient", "upload", "download"} <= {e["name"] for e in spans}


def test_opencl_times_are_the_device_s(fast_device):
    if fast_device.kind != "opencl":
        pytest.skip("an OpenCL device's matter")
    x = fc.array(np.ones((256, 256), "float32"), device=fast_device)
    x @ x
    with fc.profile() as p:
        for _ in range(3):
            x @ x
    (row,) = rows_of(p)
    assert row.calls == 3 and row.launches >= 3 and 0 < row.seconds < p.seconds
    assert p.uploads == p.downloads == (0, 0)


def test_a_profile_whose_events_cannot_be_read_lets_the_next_one_run(monkeypatch):
    module = sys.modules["fastconv.profile"]

    def fail(calls):
        raise RuntimeError("no events")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="no events"):
        patch.setattr(module, "_read_events", fail)
        with fc.profile():
            pass
    with fc.profile() as p:
        fc.init.ones(3) + 1
    assert p.rows()
