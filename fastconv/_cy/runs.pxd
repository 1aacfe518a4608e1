"""The contraction axis of a convolution: see runs.pyx."""
from libc.stdint cimport int64_t

from .kernels cimport fc_image, fc_run
from .strided cimport Loop

cdef int tap_reaches(const fc_image *im, int axis, int64_t tap, int64_t dilation) noexcept nogil
cdef int64_t list_runs(fc_run *runs, const fc_image *im, const int64_t *taps, const int64_t *dilation, int merge,
                       int64_t longest, const int64_t *tap_k, int64_t *total) noexcept nogil
cdef int read_image(fc_image *im, const Loop *x, const int64_t *out_size, int itemsize, stride, padding) except -1
