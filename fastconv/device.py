"""Devices: how they are named, listed and chosen.

A `Device` binds one implementation of the contract in `reference.py` (a module, or for OpenCL an
object) as its attributes: `device.matmul(out, a, b)`. It adds nothing on the way to a kernel.
"""
import functools
import os

from . import reference as _reference
from .view import Kernels

made: list = []             # every Device so far
on_made = None              # called with each new one while a profile runs, which puts recorders before its kernels


class Device(Kernels):
    """One place to compute: storage and kernels behind the contract of `fastconv.reference`.

    name   what a person calls it, "cpu", "reference" or "opencl:0 NVIDIA H200"
    kind   "cpu", "opencl" or "reference"
    lacks  the kernels of the contract that it has not: they raise NotImplementedError

    Devices are made by `fastconv.cpu()`, `fastconv.opencl()` and `fastconv.reference()`, which
    always return the same object for the same device.

    >>> import fastconv as fc
    >>> fc.reference().kind
    'reference'
    """

    def __init__(self, implementation):
        self.name = implementation.name
        self.kind = implementation.kind
        self.implementation = implementation
        self.lacks = frozenset(k for k in _reference.KERNELS if not hasattr(implementation, k))
        for entry in _reference.STORAGE + _reference.KERNELS:
            setattr(self, entry, getattr(implementation, entry, None) or _missing(entry, self.name))
        made.append(self)
        if on_made:
            on_made(self)

    def __repr__(self):
        return f"<fastconv device {self.name}>"

    def __reduce__(self):
        return device, (self.name,)


def _missing(entry, device_name):
    def raise_not_implemented(*args, **kwargs):
        raise NotImplementedError(f"device {device_name!r} has no kernel {entry!r}")
    return raise_not_implemented


@functools.cache
def reference():
    """The NumPy device: slow, plain, and what the others are checked against."""
    return Device(_reference)


@functools.cache
def cpu():
    """The CPU device: Cython + OpenMP kernels (threads: `fastconv.set_num_threads`)."""
    from . import _cy
    return Device(_cy)


def opencl(selector=None):
    """An OpenCL device.

    selector   None: what PYOPENCL_CTX asks for, else the best device found (GPU before
               accelerator before CPU, real before emulated); an int: the index that
               `python -m fastconv devices` shows; a str: an index, part of the platform's or the
               device's name in any case ("NVIDIA", "pocl"), or "<platform>:<device>" as in PYOPENCL_CTX.

    Raises RuntimeError that says what to install when pyopencl or an OpenCL platform is missing,
    and ValueError listing the devices there are when none matches or the named one cannot be used.
    """
    from . import cl
    return _opencl(cl.find(selector))


@functools.cache
def _opencl(implementation):
    return Device(implementation)


def devices():
    """Every device of this machine: cpu, each OpenCL device, reference. Opens none of them."""
    from . import cl
    return [cpu(), *(_opencl(d) for d in cl.available()), reference()]


def device(spec):
    """The device that `spec` names: a Device, "cpu", "reference", "opencl", or "opencl:<selector>".

    >>> device("cpu") is cpu()
    True
    """
    if isinstance(spec, Device):
        return spec
    if not isinstance(spec, str):
        raise TypeError(f"a device is a fastconv Device or its name, not {spec!r}")
    kind, _, selector = spec.partition(":")
    if kind == "cpu" and not selector:
        return cpu()
    if kind == "reference" and not selector:
        return reference()
    if kind == "opencl":
        index = selector.split(" ", 1)[0]
        return opencl(int(index) if index.isdigit() else selector or None)
    raise ValueError(f"unknown device {spec!r}: use 'cpu', 'reference', 'opencl', 'opencl:0' "
                     "or 'opencl:<part of its name>'")


_default = None


def default_device():
    """The device that new arrays live on: set_default_device's, else FASTCONV_DEVICE's, else the CPU."""
    global _default
    if _default is None:
        _default = device(os.environ.get("FASTCONV_DEVICE") or "cpu")
    return _default


def set_default_device(spec):
    """Make `spec` (a Device or its name) the device of arrays that are created without one."""
    global _default
    _default = device(spec)


def set_num_threads(n):
    """Use `n` threads in the CPU device's kernels (default: OMP_NUM_THREADS, else every core at hand)."""
    from . import _cy
    _cy.set_num_threads(n)


def get_num_threads():
    """How many threads the CPU device's kernels use."""
    from . import _cy
    return _cy.get_num_threads()


def show_config():
    """Print how this fastconv was built and what it runs on: instruction set, threads, devices."""
    from . import _cy
    for key, value in _cy.config().items():
        print(f"{key:<20}{value}")
    for found in devices():
        print(f"{'device':<20}{found.name}")
