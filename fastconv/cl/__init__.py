"""The OpenCL device: `available()` and `find()` list and choose, `OpenCL` keeps the contract.

    survey      which devices there are, what is wrong with them, which is the best
    device      OpenCL: Arrays into a kernel variant, a struct of sizes and strides, and work-items: a plan
    products, reductions, types, layout     more of that launch code
    runtime     context, queue, memory, programs, launches of one device
    cache       compiled programs on disk
    params      everything tunable
    kernels/    the kernels

pyopencl is imported on first use.
"""
import functools
import operator
import os

from . import survey
from .device import OpenCL

__all__ = ["available", "default", "find", "look", "OpenCL"]

_INSTALL = ("install pyopencl with `pip install pyopencl` (or `pip install fastconv[opencl]`) and the OpenCL "
            "driver of your GPU's vendor; without a GPU, PoCL runs OpenCL on the CPU "
            "(on Debian and Ubuntu `apt-get install pocl-opencl-icd`)")


@functools.cache
def look():
    """(every device as survey.Found, platforms that fail as survey.Failure); opens none."""
    try:
        return survey.look()
    except ImportError:
        return [], []


@functools.cache
def _implementation(device):
    return OpenCL(device.index, device.cl_device)


def available():
    """An OpenCL object for every usable device of every platform, always the same ones; opens none.

    [] when pyopencl or OpenCL platforms are missing.
    """
    return [_implementation(d) for d in look()[0] if not d.problems]


def default():
    """(the survey.Found that `find()` takes, why); RuntimeError or ValueError when there is none."""
    devices, failures = look()
    if all(d.problems for d in devices):
        reasons = [f"{d}: {', '.join(d.problems)}" for d in devices] + [str(f) for f in failures]
        raise RuntimeError(f"no OpenCL device: {'; '.join(reasons) or _missing()}; {_INSTALL}")
    wanted = (os.environ.get("PYOPENCL_CTX") or "").strip()
    if not wanted:
        return survey.best(devices)
    chosen = _by_context(wanted, devices)
    if chosen is None:
        raise ValueError(f"PYOPENCL_CTX={wanted!r} matches no OpenCL device; there are: {_listing(devices)}")
    return chosen, f"PYOPENCL_CTX={wanted!r} names it"


def find(selector=None):
    """The implementation that `selector` names; see `fastconv.opencl`."""
    devices = look()[0]
    chosen = default()[0] if selector is None or not devices else _select(selector, devices)
    if chosen is None:
        raise ValueError(f"no OpenCL device matches {selector!r}; there are: {_listing(devices)}")
    if chosen.problems:
        raise ValueError(f"{chosen} cannot be used: {', '.join(chosen.problems)}; there are: {_listing(devices)}")
    return _implementation(chosen)


def _select(selector, devices):
    """The Found that an index or a text names, or None."""
    if not isinstance(selector, str):
        if isinstance(selector, bool) or not hasattr(selector, "__index__"):
            raise TypeError(f"an OpenCL device is chosen by an int or a str, not {selector!r}")
        index = operator.index(selector)
        return devices[index] if 0 <= index < len(devices) else None
    text = selector.strip()
    text = text[7:].strip() if text.lower().startswith("opencl:") else text
    if not text:
        return None
    for device in devices:
        if text in (str(device.index), f"{device.index} {device.name}"):
            return device
    named = [d for d in devices if _matches(text, d.platform_name) or _matches(text, d.name)]
    if named:
        return survey.best(named)[0] or named[0]
    return _by_context(text, devices) if ":" in text else None


def _by_context(text, devices):
    """What pyopencl takes for PYOPENCL_CTX="<platform>[:<device>]", or None: each an index or a part of the name.

    Indices count all platforms and all devices of one; "" is the first. Where several platforms match, pyopencl takes the
    last of them.
    """
    platform, _, place = text.partition(":")
    platforms = {d.platform: d.platform_name for d in devices}
    number = _pick(platform, platforms, last=True)
    places = {d.place: d.name for d in devices if d.platform == number}
    place = _pick(place.partition(",")[0], places)
    return next((d for d in devices if d.platform == number and d.place == place), None)


def _pick(answer, names, last=False):
    """The key of `names` that `answer` is, or whose value it is a part of; the first for ""."""
    answer = answer.strip()
    if not answer:
        return min(names, default=None)
    if answer.isdecimal() and int(answer) in names:
        return int(answer)
    matching = [key for key, name in names.items() if _matches(answer, name)]
    return (matching[-1] if last else matching[0]) if matching else None


def _missing():
    try:
        import pyopencl  # noqa: F401
    except ImportError as error:
        return f"pyopencl cannot be imported ({error})"
    return "no OpenCL platform is installed"


def _matches(part, name):
    return part.lower() in name.lower() or (part.lower() == "pocl" and "portable computing language" in name.lower())


def _listing(devices):
    return ", ".join(map(str, devices))
