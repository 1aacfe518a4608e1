"""Convolutions with one channel a group: see depthwise.pyx."""
from libc.stdint cimport int64_t

from .product cimport Product
from .strided cimport Loop

cdef int is_depthwise(const Loop *x, const Loop *w) noexcept
cdef int correlate(Product *p, const Loop *w, const int64_t *taps, const int64_t *dilation) except -1
cdef int weight_gradient(Product *p, const Loop *w, const Loop *g, const int64_t *taps, const int64_t *dilation,
                         int64_t chunk, int batch_inner) except -1
