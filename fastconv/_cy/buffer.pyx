"""Storage of the CPU device: aligned buffers from a pool.

Fresh memory costs page faults (10 GB/s at best), so freed blocks wait in a list per size class: four
classes per power of two. Blocks of 2 MiB and more are aligned to huge pages and ask for them. Every
block has SLACK bytes beyond its size, so that kernels may read whole vectors across the end.
"""
cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    #define fc_ask_huge_pages(p, n) madvise((p), (n), MADV_HUGEPAGE)
    #else
    #define fc_ask_huge_pages(p, n) ((void)0)
    #endif
    #if defined(Py_GIL_DISABLED)
    static PyMutex fc_pool_mutex;
    #define fc_lock() PyMutex_Lock(&fc_pool_mutex)
    #define fc_unlock() PyMutex_Unlock(&fc_pool_mutex)
    #else
    #define fc_lock() ((void)0)
    #define fc_unlock() ((void)0)
    #endif
    """
    void fc_ask_huge_pages(void *p, size_t n) nogil
    void fc_lock()
    void fc_unlock()

cdef enum:
    ALIGNMENT = 64
    HUGE_PAGE = 2 << 20
    SLACK = 256
    CLASSES = 4 * 64
    HEADER = 16                 # where the address that malloc gave is kept, before the block

# Free blocks of each size class, linked through their first words. The GIL guards them; without one it is a
# lock, and no Python object is made or dropped while that is held: it could run the collector, and free a Buffer inside.
cdef char *pool[CLASSES]
cdef int64_t allocated = 0, peak = 0, cached = 0
cdef char *FORMAT = b"B"
cdef double MOST_BYTES = 2.0 ** 61


cdef int64_t size_class(int64_t nbytes, int *number) noexcept:
    """The smallest of four sizes per power of two that holds nbytes, and its number."""
    cdef int64_t size = 256, quarter
    cdef int power = 8, below = 0
    while size < nbytes:
        size *= 2
        power += 1
    quarter = size // 8
    while power > 8 and below < 3 and size - quarter >= nbytes:
        size -= quarter
        below += 1
    number[0] = 4 * power - below
    return size


cdef char *system_allocate(int64_t size) noexcept:
    cdef int64_t alignment = HUGE_PAGE if size >= HUGE_PAGE else ALIGNMENT
    cdef char *raw = <char *>malloc(size + SLACK + alignment + HEADER)
    if raw is NULL:
        return NULL
    cdef char *block = <char *>((<uintptr_t>raw + HEADER + alignment - 1) & ~<uintptr_t>(alignment - 1))
    (<char **>(block - HEADER))[0] = raw
    if size >= HUGE_PAGE:
        fc_ask_huge_pages(block, size)
    return block


cdef void system_free(char *block) noexcept:
    free((<char **>(block - HEADER))[0])


cdef char *take_block(int64_t size, int number) except NULL:
    """A block of this size class, from the pool or fresh; MemoryError when there is none."""
    global allocated, peak, cached
    cdef char *block
    fc_lock()
    block = pool[number]
    if block is not NULL:
        pool[number] = (<char **>block)[0]
        cached -= size
        allocated += size
        peak = max(peak, allocated)
    fc_unlock()
    return block if block is not NULL else fresh_block(size)


cdef char *fresh_block(int64_t size) except NULL:
    """From the system, pooled memory given back first when there is no room otherwise."""
    global allocated, peak
    cdef char *block = system_allocate(size)
    if block is NULL:
        empty_cache()
        block = system_allocate(size)
    if block is NULL:
        raise MemoryError(f"no room for {size} bytes on the CPU ({allocated} in use)")
    fc_lock()
    allocated += size
    peak = max(peak, allocated)
    fc_unlock()
    return block


cdef void return_block(char *block, int64_t size, int number) noexcept:
    global allocated, cached
    fc_lock()
    allocated -= size
    cached += size
    (<char **>block)[0] = pool[number]
    pool[number] = block
    fc_unlock()


@cython.final
@cython.no_gc                       # the owner of shared memory knows nothing of this
@cython.freelist(64)
cdef class Buffer:
    """A block of memory: `.nbytes`, `.address`, and the buffer protocol (writable bytes)."""

    def __dealloc__(self):
        if self.ptr is not NULL and self.number >= 0:
            return_block(self.ptr, self.reserved, self.number)
            self.ptr = NULL

    @property
    def address(self):
        """Where the block starts, as an int."""
        return <uintptr_t>self.ptr

    def __len__(self):
        return self.nbytes

    def __getbuffer__(self, Py_buffer *view, int flags):
        view.buf = self.ptr
        view.obj = self
        view.len = self.nbytes
        view.itemsize = 1
        view.readonly = 0
        view.ndim = 1
        view.format = FORMAT if flags & PyBUF_FORMAT else NULL
        view.shape = self.shape if flags & PyBUF_ND else NULL
        view.strides = self.strides if flags & PyBUF_STRIDES == PyBUF_STRIDES else NULL
        view.suboffsets = NULL
        view.internal = NULL

    def __releasebuffer__(self, Py_buffer *view):
        pass


cdef Buffer new_buffer(int64_t nbytes):
    cdef Buffer buffer = Buffer.__new__(Buffer)
    buffer.reserved = size_class(nbytes, &buffer.number)
    buffer.ptr = take_block(buffer.reserved, buffer.number)
    buffer.nbytes = nbytes
    buffer.shape[0] = nbytes
    buffer.strides[0] = 1
    return buffer


def allocate(nbytes):
    """A fresh buffer of `nbytes` bytes (contents undefined); MemoryError when there is no room."""
    cdef double size = nbytes
    if size < 0 or size > MOST_BYTES:
        raise MemoryError(f"cannot allocate {nbytes} bytes")
    return new_buffer(nbytes)


def memory_stats():
    """dict of bytes: `allocated` (live), `peak` (highest live) and `cached` (pooled, unused)."""
    return {"allocated": allocated, "peak": peak, "cached": cached}


def empty_cache():
    """Give pooled, unused memory back to the system."""
    global cached
    cdef char *block
    cdef int number
    fc_lock()
    for number in range(CLASSES):
        while pool[number] is not NULL:
            block = pool[number]
            pool[number] = (<char **>block)[0]
            system_free(block)
    cached = 0
    fc_unlock()


def share(address, int64_t nbytes, owner):
    """A Buffer of memory that `owner` keeps: nothing is copied, and nothing is given back to the pool.

    Kernels may read SLACK bytes beyond it, so these must not reach into another page.
    """
    cdef Buffer buffer = Buffer.__new__(Buffer)
    buffer.number = -1
    buffer.owner = owner
    buffer.ptr = <char *><uintptr_t>address
    buffer.nbytes = nbytes
    buffer.shape[0] = nbytes
    buffer.strides[0] = 1
    return buffer
