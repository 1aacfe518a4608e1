"""Convolutions to few channels: see narrow.pyx."""
from libc.stdint cimport int64_t

from .product cimport Product
from .strided cimport Loop

cdef int is_narrow(const Product *p) noexcept
cdef int correlate(Product *p, const Loop *w, const int64_t *taps, const int64_t *dilation) except -1
