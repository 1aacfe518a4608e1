"""Convolutions with stride 1 to so few channels that they would leave most lanes of a vector empty.

Here pixels are the lanes, and output channels the tile's rows: C = w^T patches. A is the weights, [k][outs]; B is
a padded window of x with its rows turned, [row][channel][pixel], read in place: a tap is an offset in it. The
gradient of a network's first layer with respect to its images is of this kind.

Each output is the chain over (taps, channels) that conv promises, as in product.pyx.
"""
from libc.stdint cimport int64_t
from libc.string cimport memset

from .buffer cimport new_buffer
from .kernels cimport FC_NO_ACTIVATION, fc_image, fc_run, fc_span
from .product cimport Product, group_start, round_up, run_tasks
from .runs cimport list_runs
from .runtime cimport threads_for
from .strided cimport Loop

cdef enum:
    WINDOW_BYTES = 256 << 10    # what one window may hold
    BLOCK_TILES = 2             # tiles side by side in a window

cdef struct Narrow:
    Product *p
    fc_span *spans
    int64_t n_spans
    char *w                     # [group][k][outs]
    char *bias                  # [group][out][tile_columns], or NULL
    int64_t taps_d, dilation
    int64_t line, row           # elements from one channel of a window's row to the next, and from row to row


cdef int is_narrow(const Product *p) noexcept:
    cdef const fc_image *im = &p.image
    return (2 * p.columns <= p.kernel.lanes and p.columns <= p.kernel.tile_rows and im.step[2] == 1
            and im.size[4] >= 4 and im.out[2] >= p.kernel.lanes)


cdef int correlate(Product *p, const Loop *w, const int64_t *taps, const int64_t *dilation) except -1:
    """conv, p's operands being read."""
    cdef Narrow t
    cdef fc_image *im = &p.image
    cdef int64_t nr = p.kernel.tile_columns, n_runs, i, pixel, rows, group, e, n, bytes_w
    cdef int64_t reach_h = (taps[1] - 1) * dilation[1] + 1, reach_w = (taps[2] - 1) * dilation[2] + 1
    cdef fc_run *runs
    cdef char *from_w
    cdef char *to_w
    cdef int threads = threads_for(p.groups.size * p.pixels * p.columns * im.size[4] * taps[0] * taps[1] * taps[2] // 4)
    t.p = p
    t.taps_d = taps[0]
    t.dilation = dilation[0]
    p.block[1] = min(im.out[2], BLOCK_TILES * nr)
    t.line = p.block[1] + reach_w - 1
    t.row = t.line * im.size[4]
    pixel = taps[0] * im.size[4] * p.itemsize
    rows = (WINDOW_BYTES // (pixel * t.line) - reach_h) // im.step[1] + 1
    p.block[0] = max(<int64_t>1, min(im.out[1], rows))
    p.blocks[0] = (im.out[1] + p.block[0] - 1) // p.block[0]
    p.blocks[1] = (im.out[2] + p.block[1] - 1) // p.block[1]
    p.window[0] = taps[0]
    p.window[1] = (p.block[0] - 1) * im.step[1] + reach_h
    p.window[2] = t.line
    # spans, weights and bias
    n_runs = list_runs(NULL, im, taps, dilation, 0, <int64_t>1 << 40, NULL, &p.k)
    bytes_w = p.k * p.columns * p.itemsize
    memory = new_buffer(n_runs * (sizeof(fc_run) + sizeof(fc_span)) + p.groups.size * (bytes_w + p.columns * nr * p.itemsize))
    runs = <fc_run *>memory.ptr
    t.spans = <fc_span *>(runs + n_runs)
    t.n_spans = n_runs
    t.w = <char *>(t.spans + n_runs)
    t.bias = t.w + p.groups.size * bytes_w if p.has_bias else NULL
    list_runs(runs, im, taps, dilation, 0, <int64_t>1 << 40, NULL, &p.k)
    for i in range(n_runs):
        n = runs[i].tap // (taps[1] * taps[2])
        t.spans[i].a = runs[i].k * p.columns
        t.spans[i].b = (n * p.window[1] + runs[i].h) * t.row + runs[i].w
        t.spans[i].n = runs[i].length
        for group in range(p.groups.size):
            from_w = group_start(p, 1, group) + (n * w.strides[0][1] + runs[i].tap // taps[2] % taps[1] * w.strides[0][2]
                                                 + runs[i].tap % taps[2] * w.strides[0][3])
            to_w = t.w + group * bytes_w + runs[i].k * p.columns * p.itemsize
            p.kernel.copy_block(to_w, p.columns, 1, from_w, w.strides[0][4] // p.itemsize,
                                w.strides[0][5] // p.itemsize if p.columns > 1 else 1, im.size[4], p.columns)
    if p.has_bias:
        for group in range(p.groups.size):
            for e in range(p.columns):
                p.kernel.copy_block(t.bias + (group * p.columns + e) * nr * p.itemsize, 0, 1,
                                    group_start(p, 3, group) + e * p.bias_stride * p.itemsize, 0, 0, 1, nr)
    p.thread_bytes = round_up((p.window[0] * p.window[1] * t.row + 2 * nr + p.columns * nr) * p.itemsize + 256, 4096) + 64
    workspace = new_buffer(threads * p.thread_bytes)
    with nogil:
        run_tasks(block_task, &t, p.groups.size * im.size[0] * im.out[0] * p.blocks[0] * p.blocks[1], threads,
                  workspace.ptr, p.thread_bytes)
    return 0


cdef void block_task(const void *job, int64_t task, char *workspace) noexcept nogil:
    """A block of outputs of one image."""
    cdef const Narrow *t = <const Narrow *>job
    cdef const Product *p = t.p
    cdef const fc_image *im = &p.image
    cdef int64_t nr = p.kernel.tile_columns, q, r, n, group, e
    cdef char *c = workspace
    cdef char *window = workspace + p.columns * nr * p.itemsize
    cdef char *out
    cdef int64_t start[4]
    start[3] = task % p.blocks[1] * p.block[1]
    task //= p.blocks[1]
    start[2] = task % p.blocks[0] * p.block[0]
    task //= p.blocks[0]
    start[1] = task % im.out[0]
    task //= im.out[0]
    start[0] = task % im.size[0]
    group = task // im.size[0]
    copy_rows(t, group_start(p, 0, group), start, window)
    for q in range(start[2], min(start[2] + p.block[0], im.out[1])):
        r = start[3]
        while r < min(start[3] + p.block[1], im.out[2]):
            n = min(nr, min(start[3] + p.block[1], im.out[2]) - r)
            p.kernel.tile(<int>p.columns, 0, t.w + group * p.k * p.columns * p.itemsize, p.columns,
                          window + ((q - start[2]) * im.step[1] * t.row + r - start[3]) * p.itemsize, t.line,
                          t.spans, t.n_spans, c, nr, n, 0)
            if p.has_bias or p.activation != FC_NO_ACTIVATION:
                for e in range(p.columns):
                    p.kernel.store(c + e * nr * p.itemsize, 0, 1, c + e * nr * p.itemsize, nr, 1, n,
                                   t.bias + (group * p.columns + e) * nr * p.itemsize if p.has_bias else NULL, 1,
                                   p.activation)
            out = group_start(p, 2, group) + (start[0] * p.out_stride[0] + start[1] * p.out_stride[1] + q * p.out_stride[2]
                                              + r * p.out_stride[3]) * p.itemsize
            p.kernel.copy_block(out, p.out_stride[4], p.out_stride[3], c, nr, 1, p.columns, n)
            r += n


cdef void copy_rows(const Narrow *t, const char *x, const int64_t *start, char *dst) noexcept nogil:
    """What a block of outputs from `start` (n, p, q, r) on reads, rows of [channel][pixel], zeros outside the image."""
    cdef const Product *p = t.p
    cdef const fc_image *im = &p.image
    cdef int64_t i, j, c, d, h, w = start[3] + im.origin[2], lo = min(max(-w, <int64_t>0), t.line)
    cdef int64_t hi = max(min(im.size[3] - w, t.line), lo), line = t.line * p.itemsize
    x += start[0] * im.stride[0] * p.itemsize
    for i in range(t.taps_d):
        d = start[1] * im.step[0] + im.origin[0] + i * t.dilation
        for j in range(p.window[1]):
            h = start[2] * im.step[1] + im.origin[1] + j
            if lo == hi or not (0 <= d < im.size[1] and 0 <= h < im.size[2]):
                memset(dst, 0, im.size[4] * line)
            else:
                for c in range(im.size[4] if hi - lo < t.line else 0):
                    memset(dst + c * line, 0, lo * p.itemsize)
                    memset(dst + c * line + hi * p.itemsize, 0, line - hi * p.itemsize)
                p.kernel.copy_block(
                    dst + lo * p.itemsize, t.line, 1,
                    x + (d * im.stride[1] + h * im.stride[2] + (w + lo) * im.stride[3]) * p.itemsize,
                    im.stride[4], im.stride[3], im.size[4], hi - lo)
            dst += im.size[4] * line
