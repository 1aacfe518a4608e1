"""What this machine does at best: bench/ measures kernels against it."""
import time

from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from .buffer cimport Buffer, new_buffer
from .runtime cimport kernels, max_threads


def fma_peak(seconds=0.2):
    """Floating-point operations per second of all threads in float32 multiply-adds on registers alone."""
    cdef int64_t steps = 1 << 20
    cdef int t, threads = max_threads()
    cdef float sink = 0
    best, end = 0.0, time.perf_counter() + seconds
    while not best or time.perf_counter() < end:
        start = time.perf_counter()
        for t in prange(threads, nogil=True, num_threads=threads, schedule="static"):
            sink += kernels.fma_chains(steps)
        best = max(best, threads * steps * kernels.fma_flops / (time.perf_counter() - start))
    assert sink == sink
    return best


def bandwidth(nbytes, seconds=0.2):
    """(read, copied) bytes per second of all threads, each on its own share of `nbytes`; a copy counts twice.

    The memory has been touched before: no page faults. `nbytes` within a cache gives that cache's bandwidth.
    """
    cdef int t, threads = max_threads()
    cdef int64_t share = max(4096, nbytes // threads // 4096 * 4096), repeat, r
    cdef Buffer source = new_buffer(share * threads), target = new_buffer(share * threads)
    cdef float sink = 0
    cdef char *x = source.ptr
    cdef char *y = target.ptr
    memset(x, 0, share * threads)
    memset(y, 0, share * threads)
    repeat = max(1, (8 << 20) // share)     # a region takes microseconds to start
    read = copied = 0.0
    end = time.perf_counter() + seconds
    while not read or time.perf_counter() < end:
        start = time.perf_counter()
        for t in prange(threads, nogil=True, num_threads=threads, schedule="static"):
            for r in range(repeat):
                sink += kernels.read_memory(<const float *>(x + t * share), share // 4)
        middle = time.perf_counter()
        for t in prange(threads, nogil=True, num_threads=threads, schedule="static"):
            for r in range(repeat):
                memcpy(y + t * share, x + t * share, share)
        read = max(read, repeat * share * threads / (middle - start))
        copied = max(copied, 2 * repeat * share * threads / (time.perf_counter() - middle))
    assert sink == sink
    return read, copied
