from libc.stdint cimport int64_t

cdef enum:
    MOST_DIMS = 16

cdef class Kernels:
    cdef public object allocate, map

cdef class View:
    cdef public object buffer, dtype
    cdef public Kernels device
    cdef public tuple shape, strides
    cdef public int64_t offset
    cdef object __weakref__

cpdef int64_t elements(tuple shape) except? -1
cpdef tuple as_shape(object shape, object known=*)
cpdef tuple as_axes(object axis, int64_t ndim)
cpdef tuple compact_strides(object shape)
cpdef bint is_row_major(tuple shape, tuple strides) except -1
cpdef bint repeats(tuple shape, tuple strides) except -1
cpdef tuple dense_strides(tuple shape, tuple strides)
cpdef tuple broadcast_two(tuple a, tuple b)
cpdef tuple broadcast_strides(tuple shape, tuple strides, tuple target)
cpdef tuple reshaped_strides(tuple shape, tuple strides, tuple target)
cpdef tuple indexed(object key, tuple shape, tuple strides, int64_t offset)
cpdef bint is_float(object dtype) noexcept
cpdef int64_t itemsize_of(object dtype) except -1
