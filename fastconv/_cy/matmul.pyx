"""matmul: the product of product.pyx with matrices for both operands.

The m axes are the pixels; with one b for all, the leading axes are m axes too. Rows of a are read in place; a
whose columns lie side by side is packed as columns.
"""
from libc.stdint cimport int64_t
from libc.string cimport memset

from .buffer cimport Buffer, new_buffer
from .kernels cimport FC_NO_ACTIVATION, fc_run, fc_span
from .product cimport GATHERED, MATRIX, Part, Product, Stretch, float_kernel, multiply, read_array
from .strided cimport Loop, coalesce

cdef enum:
    PAGE = 4096                 # rows that lie so far apart fall into the same few places of the first cache
    FEW_ROWS = 128              # of a, for which a b with columns side by side is not packed: out^T = b^T a^T
    STRETCH = 64                # rows of B that are packed by one task


def matmul(out, a, b):
    """out (..., m, n) = a (..., m, k) @ b (..., k, n), the leading axes broadcast by stride 0."""
    cdef Product p
    cdef Loop la, lb, lout, rows
    cdef int d, last, shared
    read_array(&la, a)
    read_array(&lb, b)
    read_array(&lout, out)
    float_kernel(&p, la.dtype[0])
    last = la.ndim - 1
    if lb.strides[0][last - 1] == p.itemsize != lb.strides[0][last] and la.shape[last - 1] <= FEW_ROWS:
        la, lb = transposed(&lb), transposed(&la)
        lout = transposed(&lout)
    # the m axes: with one b for all, the leading axes are m axes too
    shared = 1
    for d in range(last - 1):
        if lb.strides[0][d] != 0:
            shared = 0
    copy_dims(&rows, &lout, &la, 0 if shared else last - 1, last)
    if shared:
        coalesce(&rows, 0)
        if rows.ndim > 4:
            shared = 0
            copy_dims(&rows, &lout, &la, last - 1, last)
    copy_dims(&p.groups, &la, &lb, 0, 0 if shared else last - 1)
    add_lead(&p.groups, &lout)
    set_rows(&p, &rows)
    p.k = p.image.size[4] = la.shape[last]
    p.image.stride[4] = la.strides[0][last] // p.itemsize if la.shape[last] > 1 else 1
    p.b_row = lb.strides[0][last - 1] // p.itemsize
    p.columns = lb.shape[last]
    p.b_column = lb.strides[0][last] // p.itemsize if p.columns > 1 else 1
    p.out_stride[4] = lout.strides[0][last] // p.itemsize if p.columns > 1 else 1
    p.has_bias = 0
    p.bias_stride = 0
    p.activation = FC_NO_ACTIVATION
    choose_mode(&p, rows.ndim)
    plan = make_plan(&p)
    multiply(&p)


cdef Loop transposed(const Loop *x) noexcept:
    """x with its last two axes swapped."""
    cdef Loop y = x[0]
    cdef int m = x.ndim - 2, n = x.ndim - 1
    y.shape[m], y.shape[n] = x.shape[n], x.shape[m]
    y.strides[0][m], y.strides[0][n] = x.strides[0][n], x.strides[0][m]
    return y


cdef void choose_mode(Product *p, int row_dims) noexcept:
    """How a is read."""
    cdef int64_t m_step = p.image.stride[3], k_step = p.image.stride[4]
    cdef int in_steps = row_dims == 1
    p.by_rows = k_step == 1 or m_step != 1 or p.image.size[3] < 4
    cdef int collides = m_step * p.itemsize % PAGE == 0 and p.columns > 4 * p.kernel.tile_columns
    if in_steps and k_step == 1 and not collides:
        p.mode = MATRIX
        p.a_stride = m_step
    elif in_steps and m_step == 1 and p.columns <= 2 * p.kernel.tile_columns:
        p.mode = MATRIX
        p.by_rows = 0
        p.a_stride = k_step
    else:
        p.mode = GATHERED
        p.a_stride = p.kernel.row_stride if p.by_rows else p.kernel.tile_rows


cdef Buffer make_plan(Product *p):
    """k in even segments: a run, a span, and stretches of B; returns the memory that holds them."""
    cdef int64_t segments = (p.k + p.kernel.segment - 1) // p.kernel.segment, i, first, n
    cdef int64_t stretches = (p.k + STRETCH - 1) // STRETCH
    memory = new_buffer(sizeof(Part) + segments * (sizeof(fc_run) + sizeof(fc_span) + sizeof(int64_t)) + sizeof(int64_t)
                        + stretches * sizeof(Stretch))
    cdef char *space = memory.ptr
    p.parts = <Part *>space
    p.runs = <fc_run *>(space + sizeof(Part))
    p.parts.spans = <fc_span *>(p.runs + segments)
    p.stretches = <Stretch *>(p.parts.spans + segments)
    p.run_segments = p.parts.segments = <int64_t *>(p.stretches + stretches)
    p.parts.n_segments = segments
    p.parts.x = p.parts.out = 0
    p.n_parts = 1
    for i in range(segments + 1):
        p.parts.segments[i] = i
    memset(p.runs, 0, segments * sizeof(fc_run))
    for i in range(segments):
        first = i * p.k // segments
        n = (i + 1) * p.k // segments - first
        p.runs[i].taps = 1
        p.runs[i].first = p.runs[i].k = first
        p.runs[i].length = n
        p.runs[i].offset = first * p.image.stride[4]
        p.parts.spans[i].a = 0 if p.mode == GATHERED else first * (1 if p.by_rows else p.a_stride)
        p.parts.spans[i].b = first
        p.parts.spans[i].n = n
    for i in range(stretches):
        p.stretches[i].k = i * STRETCH
        p.stretches[i].w = i * STRETCH * p.b_row
        p.stretches[i].n = min(<int64_t>STRETCH, p.k - i * STRETCH)
    p.n_stretches = stretches
    p.uniform = 1
    return memory


cdef void copy_dims(Loop *to, const Loop *a, const Loop *b, int first, int last) noexcept:
    """A Loop over dims [first, last) of two operands (at least one dim)."""
    cdef int d
    to.operands = 2
    to.ndim = last - first
    to.size = 1
    to.data[0] = a.data[0]
    to.data[1] = b.data[0]
    to.itemsize[0] = to.itemsize[1] = a.itemsize[0]
    for d in range(first, last):
        to.shape[d - first] = a.shape[d]
        to.size *= a.shape[d]
        to.strides[0][d - first] = a.strides[0][d]
        to.strides[1][d - first] = b.strides[0][d]
    if last == first:
        to.ndim = 1
        to.shape[0] = 1
        to.strides[0][0] = to.strides[1][0] = 0


cdef void add_lead(Loop *groups, const Loop *out) noexcept:
    cdef int d
    for d in range(groups.ndim):
        groups.strides[2][d] = out.strides[0][d]
    groups.data[2] = out.data[0]
    groups.itemsize[2] = out.itemsize[0]
    groups.operands = 3


cdef void set_rows(Product *p, const Loop *rows) noexcept:
    """Up to four m axes (operands out, a) as the pixels of an image."""
    cdef int d, at
    cdef int64_t step
    p.pixels = rows.size
    p.out_uniform = 1
    for d in range(4):
        at = d - (4 - rows.ndim)
        p.image.size[d] = rows.shape[at] if at >= 0 else 1
        p.image.stride[d] = rows.strides[1][at] // p.itemsize if at >= 0 else 0
        p.out_stride[d] = rows.strides[0][at] // p.itemsize if at >= 0 else 0
        if at > 0 and rows.strides[0][at - 1] != rows.strides[0][at] * rows.shape[at]:
            p.out_uniform = 0
        if d > 0:
            p.image.out[d - 1] = p.image.size[d]
            p.image.step[d - 1] = 1
            p.image.origin[d - 1] = 0
