from libc.stdint cimport int64_t

cdef class Buffer:
    cdef char *ptr
    cdef readonly int64_t nbytes
    cdef int64_t reserved       # bytes of the size class
    cdef int number             # of the size class; -1: the memory is somebody else's
    cdef object owner           # who keeps that memory
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]

cdef Buffer new_buffer(int64_t nbytes)
