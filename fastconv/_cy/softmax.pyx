"""softmax, log_softmax and cross-entropy over the last axis, and their gradients: rows in parallel.

A row is read from memory once and stays in the cache for the passes over it.
"""
from cython.parallel cimport prange
from libc.stdint cimport int64_t

from .kernels cimport FC_CROSS_ENTROPY, FC_CROSS_ENTROPY_GRAD, FC_SOFTMAX, FC_SOFTMAX_GRAD, fc_rows, fc_rows_kernel
from .runtime cimport kernels, threads_for
from .strided cimport Loop, add_array, set_shape

cdef enum:
    COST = 24                   # of one element, in additions
    TASK = 8192                 # elements at least


cdef int run(int kind, operands, int is_log) except -1:
    """Operands (rows, n) or (rows,) in the order of the C kernel; the first has both dimensions."""
    cdef fc_rows p
    cdef fc_rows_kernel kernel
    cdef Loop loop
    cdef int dtype = 0, k, last, threads
    cdef int64_t rows = 0, task, tasks, together
    for k, x in enumerate(operands):
        set_shape(&loop, x)
        add_array(&loop, x)
        last = loop.ndim - 1
        if k == 0:
            dtype, rows, p.n = loop.dtype[0], loop.shape[0], loop.shape[1]
            if dtype > 1:
                raise NotImplementedError("device 'cpu' has softmax and cross-entropy for float32 and float64 only")
        p.data[k] = loop.data[0]
        p.row[k] = loop.strides[0][0] // loop.itemsize[0]
        p.step[k] = loop.strides[0][last] // loop.itemsize[0] if loop.shape[last] > 1 else 1
    kernel = kernels.rows[kind][dtype]
    threads = threads_for(rows * p.n * COST)
    together = max(1, min(TASK // p.n, (rows + threads - 1) // threads))
    tasks = (rows + together - 1) // together
    for task in prange(tasks, nogil=True, num_threads=threads, schedule="static", use_threads_if=threads > 1):
        kernel(&p, task * together, min(together, rows - task * together), is_log)
    return 0


def softmax(out, x, log):
    """softmax over rows (see fastconv.reference.softmax)."""
    run(FC_SOFTMAX, (out, x), bool(log))


def softmax_grad(out, g, y, log):
    """The gradient of softmax (see fastconv.reference.softmax_grad)."""
    run(FC_SOFTMAX_GRAD, (out, g, y), bool(log))


def cross_entropy(loss, top, total, x, labels):
    """The loss of each row (see fastconv.reference.cross_entropy)."""
    run(FC_CROSS_ENTROPY, (x, loss, top, total, labels), False)


def cross_entropy_grad(out, g, x, top, total, labels):
    """The gradient of cross_entropy (see fastconv.reference.cross_entropy_grad)."""
    run(FC_CROSS_ENTROPY_GRAD, (out, x, g, top, total, labels), False)
