from libc.stdint cimport int64_t

from .kernels cimport fc_kernels

cdef const fc_kernels *kernels
cdef int threads_for(int64_t work) noexcept nogil
cdef int max_threads() noexcept nogil
