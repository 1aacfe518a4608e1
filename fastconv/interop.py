"""Arrays of other libraries without a copy: DLPack on the host, pyopencl on OpenCL devices."""
import numpy as np

from .array import DTYPES, Array, array
from .device import cpu, devices
from .device import device as as_device

_PAGE, _SLACK = 4096, 256


def from_dlpack(x, device=None, copy=None):
    """An Array on the memory of `x`, any object with `__dlpack__` on the CPU: NumPy, PyTorch, JAX, ...

    device  where it shall be: None or the CPU shares memory, another device copies
    copy    None: share where that can be; True: never; False: BufferError when it cannot

    Shared memory sees writes on both sides. Read-only memory is copied, for an Array can be written to; so is
    memory that ends less than 256 bytes before a page does (kernels read whole vectors), and dtypes without
    kernels that convert (float16, int16, ...) are converted. TypeError for other dtypes.

    >>> import fastconv as fc, numpy as np
    >>> a = np.zeros(3, np.float32)
    >>> x = fc.from_dlpack(a)
    >>> a[1] = 5
    >>> x.numpy()
    array([0., 5., 0.], dtype=float32)
    """
    target = cpu() if device is None else as_device(device)
    if isinstance(x, Array) and x.device is target and not copy:
        return x
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack takes an object with __dlpack__, not {type(x).__name__}")
    if tuple(x.__dlpack_device__()) != (1, 0):
        raise BufferError(f"from_dlpack: memory of DLPack device {tuple(x.__dlpack_device__())}, only that of the CPU is shared")
    values = np.from_dlpack(x)
    why = _obstacle(values, target)
    if why is None and not copy:
        return _shared(values)
    if copy is False:
        raise BufferError(f"from_dlpack without a copy: {why}")
    return array(values, device=target)


def _obstacle(values, target):
    """Why a NumPy array cannot be shared with a device, or None."""
    if target.kind != "cpu":
        return f"{target.name} has memory of its own"
    if values.dtype not in DTYPES:
        return f"dtype {values.dtype} has no kernels"
    if not values.flags.writeable:
        return "the memory is read-only"
    if not values.size or any(step % values.itemsize for step in values.strides) or values.ctypes.data % values.itemsize:
        return "it is empty or not aligned"
    end = _ends(values)[1]
    if (end - 1) // _PAGE != (end - 1 + _SLACK) // _PAGE:
        return "it ends where a page does"
    return None


def _ends(values):
    """The addresses of the first byte and behind the last one."""
    start = values.ctypes.data
    reach = [(n - 1) * step for n, step in zip(values.shape, values.strides)]
    return start + sum(r for r in reach if r < 0), start + sum(r for r in reach if r > 0) + values.itemsize


def _shared(values):
    """A CPU Array on the memory of a NumPy array."""
    from ._cy.buffer import share
    low, high = _ends(values)
    steps = tuple(step // values.itemsize for step in values.strides)
    return Array(share(low, high - low, values), values.shape, steps, (values.ctypes.data - low) // values.itemsize,
                 values.dtype, cpu())


def from_pyopencl(x):
    """An Array on the memory of a pyopencl.array.Array, which must lie in the context of a fastconv device.

    `fc.opencl()` and its arrays' `to_pyopencl()` give context and queue to make such arrays with. ValueError for
    another context, TypeError for a dtype without kernels. The two see each other's writes; work that was put
    into another queue is waited for once, here.
    """
    from .cl.interop import as_buffer
    if x.dtype not in DTYPES:
        raise TypeError(f"from_pyopencl of dtype {x.dtype}: there are {', '.join(map(str, DTYPES))}")
    for device in devices():
        runtime = vars(device.implementation).get("runtime") if device.kind == "opencl" else None
        if runtime is not None and runtime.context == x.context:
            if x.queue is not None and x.queue != runtime.queue:
                x.queue.finish()
            if x.offset % x.dtype.itemsize or any(step % x.dtype.itemsize for step in x.strides):
                raise ValueError(f"from_pyopencl: offset {x.offset}, strides {x.strides}: no multiples of {x.dtype.itemsize}")
            steps = tuple(step // x.dtype.itemsize for step in x.strides)
            return Array(as_buffer(x), x.shape, steps, x.offset // x.dtype.itemsize, x.dtype, device)
    raise ValueError("from_pyopencl: the array's context is that of no fastconv device; make it on the queue of "
                     "an array's to_pyopencl()")
