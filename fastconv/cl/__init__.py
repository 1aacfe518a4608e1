"""The OpenCL device: `available()` and `find()` list and choose, `OpenCL` keeps the contract.

This file is launch code: it turns Arrays into a kernel variant, a struct of sizes and strides, and
a number of work-items, remembers that as a plan, and enqueues. The kernels are in kernels/*.cl,
memory and programs in runtime.py, everything tunable in params.py. pyopencl is imported on first use.
"""
import functools
import os

from .device import OpenCL

__all__ = ["available", "find", "OpenCL"]

_INSTALL = ("install pyopencl with `pip install pyopencl` (or `pip install fastconv[opencl]`) and the OpenCL "
            "driver of your GPU's vendor; without a GPU, PoCL runs OpenCL on the CPU "
            "(on Debian and Ubuntu `apt-get install pocl-opencl-icd`)")


@functools.cache
def available():
    """An OpenCL object for every device of every platform, always the same ones; opens none.

    [] when pyopencl or OpenCL platforms are missing.
    """
    try:
        import pyopencl as cl
        devices = [device for platform in cl.get_platforms() for device in platform.get_devices()]
    except ImportError:
        return []
    except cl.Error:
        return []
    return [OpenCL(index, device) for index, device in enumerate(devices)]


def find(selector=None):
    """The implementation that `selector` names; see `fastconv.opencl`."""
    devices = available()
    if not devices:
        raise RuntimeError(f"no OpenCL device: {_missing()}; {_INSTALL}")
    if selector is None:
        wanted = os.environ.get("PYOPENCL_CTX")
        return _by_context(wanted, devices) if wanted else min(devices, key=_rank)
    if isinstance(selector, str):
        found = [d for d in devices if _matches(selector, d.platform_name) or _matches(selector, d.device_name)]
        if found:
            return min(found, key=_rank)
    elif 0 <= selector < len(devices):
        return devices[selector]
    raise ValueError(f"no OpenCL device matches {selector!r}; there are: {_listing(devices)}")


def _missing():
    try:
        import pyopencl  # noqa: F401
    except ImportError as error:
        return f"pyopencl cannot be imported ({error})"
    return "no OpenCL platform is installed"


def _matches(part, name):
    return part.lower() in name.lower() or (part.lower() == "pocl" and "portable computing language" in name.lower())


def _listing(devices):
    return ", ".join(f"{d.name} ({d.platform_name})" for d in devices)


def _rank(implementation):
    import pyopencl as cl
    device = implementation.cl_device
    for place, kind in enumerate((cl.device_type.GPU, cl.device_type.ACCELERATOR, cl.device_type.CPU)):
        if device.type & kind:
            return place, -device.max_compute_units
    return 3, -device.max_compute_units


def _by_context(wanted, devices):
    """What PYOPENCL_CTX names: "<platform>[:<device>]", each an index or a part of the name."""
    platform, _, device = wanted.partition(":")
    platforms = list(dict.fromkeys(d.platform_name for d in devices))
    device = device.partition(",")[0]

    def fits(d):
        if platform.isdigit():
            named = platforms.index(d.platform_name) == int(platform)
        else:
            named = _matches(platform, d.platform_name) or (not device and _matches(platform, d.device_name))
        if device.isdigit():
            return named and [o for o in devices if o.platform_name == d.platform_name].index(d) == int(device)
        return named and _matches(device, d.device_name)

    found = [d for d in devices if fits(d)]
    if not found:
        raise ValueError(f"PYOPENCL_CTX={wanted!r} matches no OpenCL device; there are: {_listing(devices)}")
    return min(found, key=_rank)
