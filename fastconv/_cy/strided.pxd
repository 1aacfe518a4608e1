from libc.stdint cimport int64_t

from .buffer cimport Buffer

cdef enum:
    MAX_DIMS = 16
    MAX_OPERANDS = 8

# Operands that are walked together: one shape, and each operand's strides in bytes.
cdef struct Loop:
    int operands
    int ndim
    int64_t size
    int64_t shape[MAX_DIMS]
    int64_t strides[MAX_OPERANDS][MAX_DIMS]
    char *data[MAX_OPERANDS]
    int itemsize[MAX_OPERANDS]
    int dtype[MAX_OPERANDS]

cdef int dtype_code(object dtype) except -1
cdef int set_shape(Loop *loop, object x) except -1
cdef int add_array(Loop *loop, object x) except -1
cdef void coalesce(Loop *loop, int by) noexcept nogil
cdef int is_dense(const Loop *loop, int operand) noexcept nogil
cdef void unravel(const Loop *loop, int64_t start, int64_t *index) noexcept nogil
cdef int64_t locate(const Loop *loop, int operand, const int64_t *index) noexcept nogil
cdef void next_row(const Loop *loop, int64_t *index) noexcept nogil
cdef void copy_strided(char *dst, int64_t dst_stride, const char *src, int64_t src_stride, int64_t n,
                       int itemsize) noexcept nogil
cdef void gather(char *dst, const Loop *loop, int operand, int64_t start, int64_t n) noexcept nogil
cdef void scatter(const Loop *loop, int operand, const char *src, int64_t start, int64_t n) noexcept nogil
