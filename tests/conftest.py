"""What every test shares: the devices of this machine, poisoned outputs, a seeded generator."""
import os

os.environ.setdefault("FASTCONV_POISON", "1")            # unwritten outputs show as NaN
os.environ.setdefault("FASTCONV_CL_CACHE", "0")          # what is compiled is what is tested
os.environ.pop("OPENBLAS_CORETYPE", None)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")      # workers share the cores
_worker = os.environ.get("PYTEST_XDIST_WORKER")
if _worker:
    # PoCL's kernel cache races between processes.
    _cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    os.environ["POCL_CACHE_DIR"] = os.path.join(_cache, f"pocl-fastconv-{_worker}")
    os.makedirs(os.environ["POCL_CACHE_DIR"], exist_ok=True)

import numpy as np  # noqa: E402
import pytest  # noqa: E402

import fastconv as fc  # noqa: E402

DEVICES = fc.devices()
_OPENCL = [d for d in DEVICES if d.kind == "opencl"]


def device_id(device):
    return device.name.replace("opencl:", "cl:").replace(" ", "-", 1)


def pytest_configure(config):
    if not _OPENCL and os.environ.get("FASTCONV_REQUIRE_OPENCL", "0") not in ("", "0"):
        pytest.exit("FASTCONV_REQUIRE_OPENCL is set, but there is no OpenCL device "
                    "(pip install pyopencl; apt-get install pocl-opencl-icd)", returncode=3)


def pytest_report_header(config):
    found = ", ".join(device_id(d) for d in DEVICES)
    return f"fastconv {fc.__version__} on {found}" + ("" if _OPENCL else "  (NO OPENCL DEVICE: its tests do not run)")


@pytest.fixture(params=DEVICES, ids=device_id)
def device(request):
    """Each device of this machine in turn."""
    return request.param


@pytest.fixture(params=[d for d in DEVICES if d.kind != "reference"], ids=device_id)
def fast_device(request):
    """Each device that is checked against the reference."""
    return request.param


@pytest.fixture(autouse=True)
def _reference_is_default():
    fc.set_default_device(fc.cpu())
    fc.manual_seed(0)
    yield
    fc.set_default_device(fc.cpu())


@pytest.fixture
def rng(request):
    """A generator that is the same in every run of one test."""
    return np.random.default_rng(sum(request.node.name.encode()))
