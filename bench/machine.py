"""The machine: what it is, and what it does at best."""
import os
import platform
import re
from pathlib import Path

L2_BYTES = 256 << 10        # of each core, for the bandwidth that counts for arrays within the caches
LARGE_BYTES = 256 << 20


def describe():
    """dict of what the operating system says: cpu, cores, memory (GiB), system, python."""
    return {"cpu": _cpu(), "cores": _cores(), "memory": _memory(), "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version()}


def _cpu():
    info = Path("/proc/cpuinfo")
    if info.exists():
        text = info.read_text()
        found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
        family = re.search(r"^cpu family\s*: (\d+)$", text, re.MULTILINE)
        if found:
            return found.group(1) + (f" (family {family.group(1)})" if family else "")
    return platform.processor() or platform.machine()


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory():
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None


def configuration(device):
    """dict of how the library under test is built and runs."""
    from fastconv import _cy
    found = {"device": device.name, "kind": device.kind}
    config = _cy.config()
    return {**found, **({"isa": config["isa"]} if device.kind == "cpu" else {}), "compiler": config["compiler"]}


def peaks(device, seconds=0.3):
    """dict of the device's roofs: fma (FLOP/s); read and copy (byte/s) of large arrays; L2 read and L2 copy.

    {} for a device whose roofs have no meaning (the reference).
    """
    if device.kind == "cpu":
        from fastconv._cy import machine
        read, copy = machine.bandwidth(LARGE_BYTES, seconds)
        near_read, near_copy = machine.bandwidth(L2_BYTES * _cores(), seconds / 3)
        return {"fma": machine.fma_peak(seconds), "read": read, "copy": copy, "L2 read": near_read, "L2 copy": near_copy}
    if device.kind == "opencl":
        from .opencl_peaks import peaks
        return peaks(device, seconds)
    return {}
