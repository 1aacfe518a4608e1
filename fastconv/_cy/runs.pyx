"""The contraction axis of a convolution as a list of runs: stretches of input that lie side by side.

A run is of one tap, or of all taps in w direction where these are neighbours. Taps that reach no pixel have none.
"""
from libc.stdint cimport int64_t

from .kernels cimport fc_image, fc_run
from .strided cimport Loop


cdef int read_image(fc_image *im, const Loop *x, const int64_t *out_size, int itemsize, stride, padding) except -1:
    """x (groups, n, d, h, w, c) as an image; sizes of one get the strides that suit the packers."""
    cdef int d
    for d in range(5):
        im.size[d] = x.shape[d + 1]
        im.stride[d] = x.strides[0][d + 1] // itemsize
    for d in range(3):
        im.out[d] = out_size[d]
        im.step[d] = stride[d]
        im.origin[d] = -<int64_t>padding[d]
    if im.size[4] == 1:
        im.stride[4] = 1
    if im.size[3] == 1:
        im.stride[3] = im.size[4] * im.stride[4]
    return 0


cdef int reaches(int64_t tap, int64_t size, int64_t n, int64_t step, int64_t origin, int64_t dilation) noexcept nogil:
    """Whether some output o < n reads inside the image: 0 <= o * step + origin + tap * dilation < size."""
    cdef int64_t first = origin + tap * dilation
    if n == 1:
        return 0 <= first < size
    cdef int64_t o = 0 if first >= 0 else (-first + step - 1) // step
    return o < n and o * step + first < size


cdef int tap_reaches(const fc_image *im, int axis, int64_t tap, int64_t dilation) noexcept nogil:
    return reaches(tap, im.size[axis + 1], im.out[axis], im.step[axis], im.origin[axis], dilation)


cdef int64_t list_runs(fc_run *runs, const fc_image *im, const int64_t *taps, const int64_t *dilation, int merge,
                       int64_t longest, const int64_t *tap_k, int64_t *total) noexcept nogil:
    """Write the runs of k, none longer than `longest`; their number, and the length of k in `total`.

    With runs NULL only count. tap_k, where given, says where each tap starts in k.
    """
    cdef int64_t i, j, t, lo = 0, hi = taps[2], length, pieces, piece, first, n = 0, k = 0
    cdef int64_t c = im.size[4], w_taps = 1
    if merge:
        while lo < hi and not tap_reaches(im, 2, lo, dilation[2]):
            lo += 1
        while hi > lo and not tap_reaches(im, 2, hi - 1, dilation[2]):
            hi -= 1
        w_taps = hi - lo
    for i in range(taps[0]):
        if not tap_reaches(im, 0, i, dilation[0]):
            continue
        for j in range(taps[1]):
            if not tap_reaches(im, 1, j, dilation[1]):
                continue
            t = lo
            while t < hi:
                if merge or tap_reaches(im, 2, t, dilation[2]):
                    length = w_taps * c
                    pieces = (length + longest - 1) // longest
                    for piece in range(pieces):
                        first = piece * length // pieces
                        if runs is not NULL:
                            runs[n].d = i * dilation[0]
                            runs[n].h = j * dilation[1]
                            runs[n].w = t * dilation[2]
                            runs[n].taps = w_taps
                            runs[n].first = first
                            runs[n].length = (piece + 1) * length // pieces - first
                            runs[n].tap = (i * taps[1] + j) * taps[2] + t
                            runs[n].offset = (runs[n].d * im.stride[1] + runs[n].h * im.stride[2]
                                              + runs[n].w * im.stride[3] + first * im.stride[4])
                            runs[n].k = (k if tap_k is NULL else tap_k[runs[n].tap]) + first
                        n += 1
                    k += length
                t += w_taps
    total[0] = k
    return n
