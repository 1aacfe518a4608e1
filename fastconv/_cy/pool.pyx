"""max_pool, its gradient and its pick, and window_sum.

Images (n, d, h, w, c), outputs (n, p, q, r, c). One task is a line of outputs (n, p, q), or for the
gradient, whose windows overlap, one image. Each tap of the window meets a block of the line: the r
that read inside the image, times c. The loop that lies side by side in memory is the inner one.
"""
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from .buffer cimport Buffer, new_buffer
from .kernels cimport (FC_POOL_MAX_STEP, FC_POOL_PICK_STEP, FC_POOL_SPREAD_STEP, FC_POOL_SUM_STEP, fc_block, fc_pool)
from .runtime cimport kernels, threads_for
from .strided cimport Loop, add_array, set_shape

cdef struct Plan:
    int step                    # FC_POOL_..._STEP
    int itemsize
    fc_pool kernel
    Loop x                      # (n, d, h, w, c)
    Loop y                      # (n, p, q, r, c), in memory
    Loop index                  # the same shape, int32
    int has_index
    int64_t window[3]
    int64_t stride[3]
    int64_t padding[3]
    int64_t dilation[3]
    char *workspace             # double sums of a line for each thread
    int64_t line_bytes


cdef int read_plan(Plan *p, int step, y, x, index, window, stride, padding, dilation) except -1:
    cdef int d
    p.step = step
    set_shape(&p.y, y)
    add_array(&p.y, y)
    set_shape(&p.x, x)
    add_array(&p.x, x)
    p.has_index = index is not None
    if p.has_index:
        set_shape(&p.index, index)
        add_array(&p.index, index)
    if p.x.dtype[0] > 1:
        raise NotImplementedError("device 'cpu' has pooling for float32 and float64 only")
    p.itemsize = p.x.itemsize[0]
    p.kernel = kernels.pool[step][p.x.dtype[0]]
    for d in range(3):
        p.window[d] = window[d]
        p.stride[d] = stride[d]
        p.padding[d] = padding[d]
        p.dilation[d] = dilation[d]
    return 0


cdef int run(Plan *p) except -1:
    cdef int64_t task, lines = p.y.shape[0] * p.y.shape[1] * p.y.shape[2], line
    cdef int64_t per_image = p.y.shape[1] * p.y.shape[2]
    cdef int64_t taps = p.window[0] * p.window[1] * p.window[2]
    cdef int threads = threads_for(p.y.size * taps)
    cdef Buffer workspace
    p.line_bytes = p.y.shape[3] * p.y.shape[4] * 8 + 64
    workspace = new_buffer(threads * p.line_bytes if p.step == FC_POOL_SUM_STEP else 0)
    p.workspace = workspace.ptr
    if p.step == FC_POOL_SPREAD_STEP:
        for task in prange(p.y.shape[0], nogil=True, num_threads=threads, schedule="dynamic"):
            spread_image(p, task, per_image)
    else:
        for line in prange(lines, nogil=True, num_threads=threads, schedule="static"):
            pool_line(p, line, p.workspace + threadid() * p.line_bytes)
    return 0


cdef void spread_image(const Plan *p, int64_t n, int64_t per_image) noexcept nogil:
    """Zeros, then every window of one image, in order."""
    cdef int64_t line, d, h
    cdef char *x = p.x.data[0] + n * p.x.strides[0][0]
    for d in range(p.x.shape[1]):
        for h in range(p.x.shape[2]):
            fill(x + d * p.x.strides[0][1] + h * p.x.strides[0][2], p.x.strides[0][3], p.x.strides[0][4],
                 p.x.shape[3], p.x.shape[4], p.itemsize, 0)
    for line in range(n * per_image, (n + 1) * per_image):
        walk_taps(p, line, p.y.data[0] + line_start(&p.y, line), p.y.strides[0][3], p.y.strides[0][4])


cdef int64_t line_start(const Loop *y, int64_t line) noexcept nogil:
    return (line % y.shape[2] * y.strides[0][2] + line // y.shape[2] % y.shape[1] * y.strides[0][1]
            + line // y.shape[2] // y.shape[1] * y.strides[0][0])


cdef void pool_line(const Plan *p, int64_t line, char *sums) noexcept nogil:
    """One line of outputs: their start, all taps, and what remains to be done."""
    cdef char *y = p.y.data[0] + line_start(&p.y, line)
    cdef int64_t rows = p.y.shape[3], n = p.y.shape[4], r, c
    cdef int64_t row = p.y.strides[0][3], step = p.y.strides[0][4]
    cdef char *index
    if p.step == FC_POOL_SUM_STEP:
        memset(sums, 0, rows * n * 8)
        walk_taps(p, line, sums, n * 8, 8)
        for r in range(rows):
            for c in range(n):
                if p.itemsize == 4:
                    (<float *>(y + r * row + c * step))[0] = <float>(<double *>sums)[r * n + c]
                else:
                    (<double *>(y + r * row + c * step))[0] = (<double *>sums)[r * n + c]
        return
    fill(y, row, step, rows, n, p.itemsize, -INFINITY if p.step == FC_POOL_MAX_STEP else 0)
    if p.step == FC_POOL_PICK_STEP:
        walk_taps(p, line, y, row, step)
        return
    index = p.index.data[0] + line_start(&p.index, line)
    for r in range(rows):
        for c in range(n):
            (<int32_t *>(index + r * p.index.strides[0][3] + c * p.index.strides[0][4]))[0] = -1
    walk_taps(p, line, y, row, step)
    for r in range(rows):
        for c in range(n):
            if (<int32_t *>(index + r * p.index.strides[0][3] + c * p.index.strides[0][4]))[0] < 0:
                (<int32_t *>(index + r * p.index.strides[0][3] + c * p.index.strides[0][4]))[0] = 0


cdef void fill(char *y, int64_t row, int64_t step, int64_t rows, int64_t n, int itemsize, double value) noexcept nogil:
    cdef int64_t r, c
    for r in range(rows):
        for c in range(n):
            if itemsize == 4:
                (<float *>(y + r * row + c * step))[0] = <float>value
            else:
                (<double *>(y + r * row + c * step))[0] = value


cdef void walk_taps(const Plan *p, int64_t line, char *y, int64_t y_row, int64_t y_step) noexcept nogil:
    """Every tap of the window over one line; y's strides in bytes (8-byte sums for window_sum)."""
    cdef fc_block b
    cdef int64_t q = line % p.y.shape[2], pp = line // p.y.shape[2] % p.y.shape[1]
    cdef int64_t n = line // p.y.shape[2] // p.y.shape[1], i, j, k, d, h, w, lo, hi
    cdef int64_t y_size = 8 if p.step == FC_POOL_SUM_STEP else p.itemsize
    cdef const int64_t *s = &p.x.strides[0][0]
    cdef const int64_t *t = &p.index.strides[0][0]
    cdef char *index = p.index.data[0] + line_start(&p.index, line) if p.has_index else NULL
    for i in range(p.window[0]):
        d = pp * p.stride[0] - p.padding[0] + i * p.dilation[0]
        if not 0 <= d < p.x.shape[1]:
            continue
        for j in range(p.window[1]):
            h = q * p.stride[1] - p.padding[1] + j * p.dilation[1]
            if not 0 <= h < p.x.shape[2]:
                continue
            for k in range(p.window[2]):
                w = k * p.dilation[2] - p.padding[2]
                lo = 0 if w >= 0 else (-w + p.stride[2] - 1) // p.stride[2]
                if p.x.shape[3] <= w:
                    continue
                hi = min(p.y.shape[3], (p.x.shape[3] - 1 - w) // p.stride[2] + 1)
                if lo >= hi:
                    continue
                b.tap = <int32_t>((i * p.window[1] + j) * p.window[2] + k)
                b.rows = hi - lo
                b.n = p.y.shape[4]
                b.y = y + lo * y_row
                b.y_row = y_row // y_size
                b.y_step = y_step // y_size
                b.x = p.x.data[0] + n * s[0] + d * s[1] + h * s[2] + (w + lo * p.stride[2]) * s[3]
                b.x_row = p.stride[2] * s[3] // p.itemsize
                b.x_step = s[4] // p.itemsize
                b.index = <int32_t *>(index + lo * t[3]) if p.has_index else NULL
                b.index_row = t[3] // 4 if p.has_index else b.y_row
                b.index_step = t[4] // 4 if p.has_index else 1
                turn_block(&b)
                p.kernel(&b)


cdef void turn_block(fc_block *b) noexcept nogil:
    """Make the r axis the inner one where only it lies side by side (NCHW), or c has one element."""
    if b.n == 1 or (b.y_step != 1 and b.y_row == 1):
        b.rows, b.n = b.n, b.rows
        b.y_row, b.y_step = b.y_step, b.y_row
        b.x_row, b.x_step = b.x_step, b.x_row
        b.index_row, b.index_step = b.index_step, b.index_row


def max_pool(out, index, x, window, stride, padding, dilation):
    """Largest element of each window and the number of its tap (see fastconv.reference.max_pool)."""
    cdef Plan p
    read_plan(&p, FC_POOL_MAX_STEP, out, x, index, window, stride, padding, dilation)
    run(&p)


def max_pool_grad(out, g, index, window, stride, padding, dilation):
    """The gradient of max_pool (see fastconv.reference.max_pool_grad)."""
    cdef Plan p
    read_plan(&p, FC_POOL_SPREAD_STEP, g, out, index, window, stride, padding, dilation)
    run(&p)


def max_pool_pick(out, x, index, window, stride, padding, dilation):
    """The element of each window that `index` names (see fastconv.reference.max_pool_pick)."""
    cdef Plan p
    read_plan(&p, FC_POOL_PICK_STEP, out, x, index, window, stride, padding, dilation)
    run(&p)


def window_sum(out, x, window, stride, padding, dilation):
    """The sum of each window (see fastconv.reference.window_sum)."""
    cdef Plan p
    read_plan(&p, FC_POOL_SUM_STEP, out, x, None, window, stride, padding, dilation)
    run(&p)
