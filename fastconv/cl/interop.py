"""Arrays of pyopencl and of fastconv on one another's memory."""
from .runtime import Buffer


def as_pyopencl(x):
    """A pyopencl.array.Array on the memory of x (positive strides), on x's queue."""
    import pyopencl.array as cl_array
    runtime, itemsize = x.device.implementation.runtime, x.dtype.itemsize
    made = cl_array.Array(runtime.queue, x.shape, x.dtype, data=x.buffer.memory, offset=x.offset * itemsize,
                          strides=tuple(step * itemsize for step in x.strides))
    made.fastconv_buffer = x.buffer         # or its memory would count as free
    return made


def as_buffer(made):
    """A Buffer of the memory of a pyopencl.array.Array, which stays pyopencl's."""
    return Buffer(made.base_data.size, made.base_data, [])
