"""Compiled OpenCL programs on disk: found again, checked, replaced when damaged, bounded, optional."""
import importlib
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import cl
from fastconv.cl import cache, folders
from fastconv.device import Device

pytestmark = pytest.mark.skipif(not cl.available(), reason="no OpenCL device")


@pytest.fixture(params=cl.available(), ids=lambda implementation: implementation.name)
def opened(request, tmp_path, monkeypatch):
    """Opens the device anew, as another process would, with its programs kept in a folder of the test."""
    monkeypatch.setenv("FASTCONV_CL_CACHE", str(tmp_path / "programs"))
    return lambda: Device(type(request.param)(0, request.param.cl_device))


def work(device):
    """A few programs' results."""
    x = fc.array(np.arange(60, dtype=np.float32).reshape(3, 20), device=device)
    return [(x * 2 + x).numpy(), (x @ x.T).numpy(), x.sum(1).numpy(), x.argmax(1).numpy()]


def builds(device):
    """How many programs were compiled from source, and how many loaded."""
    runtime = device.implementation.runtime
    keep, load, counts = runtime._cache.keep, runtime._cache.load, {"compiled": 0, "loaded": 0}

    def counting_keep(key, program):
        counts["compiled"] += 1
        keep(key, program)

    def counting_load(key):
        binary = load(key)
        counts["loaded"] += binary is not None
        return binary
    runtime._cache.keep, runtime._cache.load = counting_keep, counting_load
    return counts


def entries():
    return sorted(Path(os.environ["FASTCONV_CL_CACHE"]).glob("*" + cache.ENDING))


def filled(opened):
    """The results of a first run whose programs are all on disk now."""
    device = opened()
    counts = builds(device)
    expected = work(device)
    cache._keep_late()
    assert counts["loaded"] == 0 and counts["compiled"] == len(entries()) > 3
    return expected


def check_again(opened, expected, compiled):
    device = opened()
    counts = builds(device)
    for got, want in zip(work(device), expected):
        np.testing.assert_array_equal(got, want)
    cache._keep_late()
    assert counts["compiled"] == compiled, counts
    return counts


def test_the_second_start_compiles_nothing(opened):
    expected = filled(opened)
    counts = check_again(opened, expected, compiled=0)
    assert counts["loaded"] == len(entries())


@pytest.mark.parametrize("damage", [
    lambda whole: b"", lambda whole: whole[:20], lambda whole: whole[:-1], lambda whole: whole + b"\0",
    lambda whole: whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], lambda whole: b"not ours" + whole[8:],
    lambda whole: whole[:len(cache.MAGIC)] + bytes(32) + whole[len(cache.MAGIC) + 32:]],
    ids=["empty", "head", "truncated", "longer", "bit", "foreign", "hash"])
def test_damaged_entries_are_replaced(opened, damage):
    expected, found = filled(opened), entries()
    whole = found[0].read_bytes()
    found[0].write_bytes(damage(whole))
    check_again(opened, expected, compiled=1)
    check_again(opened, expected, compiled=0)


def test_an_entry_under_another_name_does_not_count(opened):
    expected = filled(opened)
    first, second = entries()[:2]
    second.write_bytes(first.read_bytes())
    check_again(opened, expected, compiled=1)


def test_a_binary_that_the_driver_refuses_is_replaced(opened):
    expected = filled(opened)
    device = opened()
    load, keys = device.implementation.runtime._cache.load, []
    device.implementation.runtime._cache.load = lambda key: keys.append(key) or load(key)
    work(device)
    device.implementation.runtime._cache.store(keys[0], b"no program at all")
    check_again(opened, expected, compiled=1)
    check_again(opened, expected, compiled=0)


def test_other_options_and_sources_are_other_entries(opened, monkeypatch):
    expected = filled(opened)
    monkeypatch.setenv("PYOPENCL_BUILD_OPTIONS", "-cl-mad-enable")
    check_again(opened, expected, compiled=len(entries()))


def test_switched_off(opened, monkeypatch):
    folder = Path(os.environ["FASTCONV_CL_CACHE"])
    monkeypatch.setenv("FASTCONV_CL_CACHE", "0")
    work(opened())
    cache._keep_late()
    assert not folder.exists() and cache.default_folder() is None


def test_a_folder_that_cannot_be_used_only_costs_time(opened, tmp_path):
    (tmp_path / "programs").write_text("a file in its place")
    work(opened())
    cache._keep_late()
    assert (tmp_path / "programs").read_text() == "a file in its place"


def test_the_folder_is_bounded(tmp_path):
    strange = tmp_path / "somebody.else"
    strange.write_bytes(bytes(10_000))
    unfinished = tmp_path / (cache.UNFINISHED + "abc")
    unfinished.write_bytes(b"half")
    os.utime(unfinished, (0, 0))
    kept = cache.ProgramCache(tmp_path, max_bytes=40_000)
    kept.store("first", bytes(1000))
    assert not unfinished.exists()
    for n in range(3 * cache.TRIM_EVERY):
        kept.store(f"key {n}", bytes([n % 256]) * 1000)
        os.utime(kept._path(f"key {n}"), (n, n))
    kept._trim()
    sizes = [p.stat().st_size for p in tmp_path.glob("*" + cache.ENDING)]
    assert 20_000 < sum(sizes) <= 40_000
    assert kept.load(f"key {n}") == bytes([n % 256]) * 1000 and kept.load("key 0") is None
    assert strange.stat().st_size == 10_000


def test_threads_share_a_folder(tmp_path):
    wrong = []

    def run(k):
        kept = cache.ProgramCache(tmp_path)
        for _ in range(100):
            kept.store("key", bytes([k]) * 5000)
            found = kept.load("key")
            if found is None or len(found) != 5000 or len(set(found)) != 1:
                wrong.append(found)
    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong and not list(tmp_path.glob(cache.UNFINISHED + "*"))


def test_processes_share_a_folder_and_keep_programs_when_they_end(tmp_path):
    code = textwrap.dedent("""
        import fastconv as fc, numpy as np
        from fastconv.cl.cache import ProgramCache
        compiled, keep = [], ProgramCache.keep
        ProgramCache.keep = lambda *a: compiled.append(a) or keep(*a)
        x = fc.array(np.arange(6, dtype=np.float32), device=fc.opencl())
        print(float((x * 2.0 + x).sum().numpy()), len(compiled))
    """)
    env = {**os.environ, "FASTCONV_CL_CACHE": str(tmp_path), "PYTHONPATH": str(Path(fc.__file__).parents[1])}

    def start(name):
        pocl = tmp_path / name      # whose own cache processes must not share
        pocl.mkdir()
        env["POCL_CACHE_DIR"] = str(pocl)
        return subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    together = [start("first"), start("second")]
    outputs = [p.communicate()[0].split() for p in together]
    last = start("third")
    output, errors = last.communicate()
    assert [o[0] for o in outputs] == ["45.0", "45.0"] and int(outputs[0][1]) >= 3
    assert output.split() == ["45.0", "0"] and errors == ""


def test_the_users_folders(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/where")
    assert folders.user_folder("cache") == Path("/some/where/fastconv")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert folders.user_folder("cache") == Path("/home/me/.cache/fastconv")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert folders.user_folder("config") == Path("/home/me/.config/fastconv")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert folders.user_folder("cache") == Path("/home/me/Library/Caches/fastconv")
    monkeypatch.setenv("FASTCONV_CL_CACHE", "1")
    assert importlib.import_module("fastconv.cl.cache").default_folder() == Path("/home/me/Library/Caches/fastconv/opencl")
