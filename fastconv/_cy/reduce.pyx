"""reduce, arg_reduce, moments and product_sums: sums over some axes of strided arrays.

The dims of x, merged and in the order of its memory, fall into kept ones and reduced ones. When the
innermost is reduced, an output sums rows of x (`inner` kernels); when it is kept, a whole row of
outputs takes one row of x after the other (`outer` kernels): the case of channels-last statistics.

    tasks    (line of outputs, chunk of the reduced elements); a line is the innermost kept dim, or 1
    chunk    a fixed number of reduced elements, so that the order of a sum depends on the shape alone
    partial  double or int64_t accumulators [line][quantity][chunk][part][column], joined in order of
             chunks; sums of float32 have two parts, the second the rounding errors of the first, so that
             their result depends on no order at all (every device gives the same bits)
"""
from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint8_t
from libc.string cimport memset

from .buffer cimport Buffer, new_buffer
from .kernels cimport (FC_BOOL, FC_F32, FC_F64, FC_I32, FC_I64, FC_MAX, FC_MIN, FC_PROD, FC_SUM,
                       FC_SUM_PAIRS, FC_U8,
                       fc_arg_outer, fc_centred_inner, fc_centred_outer, fc_product_inner, fc_product_outer,
                       fc_reduce_inner, fc_reduce_outer)
from .runtime cimport kernels, threads_for
from .strided cimport Loop, MAX_DIMS, add_array, coalesce, locate, next_row, set_shape, unravel

cdef enum:
    CHUNK = 16384               # elements of x in one task, roughly
    WIDTH = 256                 # columns of one task
    TASK_WORK = 16384           # elements that a thread takes at once

cdef enum Kind:
    REDUCE
    MOMENTS
    PRODUCTS

cdef struct Plan:
    Kind kind
    int op, dtype
    Loop loop                   # operands x [, g], all dims: for the merge
    Loop kept                   # operands as given: x [, g, mean], outs; without the line's dim
    Loop reduced                # operands x [, g]
    int inputs                  # x, or x and g
    int mean, out0, out1        # operand numbers in `kept`; -1 where there is none
    int inner_reduced
    int64_t width               # columns of a line
    int64_t column[8]           # byte stride of each operand of `kept` along the line
    int64_t pieces              # a line is computed in pieces of WIDTH columns
    int64_t chunk, chunks       # reduced elements in a chunk; for lines, rows
    int64_t reduced_size
    int64_t lines, lines_per_task
    char *partial
    int parts                   # of an accumulator: 2 where a sum has a compensation
    int64_t line_bytes
    fc_reduce_inner inner
    fc_reduce_outer outer
    fc_centred_inner centred_inner
    fc_centred_outer centred_outer
    fc_product_inner product_inner
    fc_product_outer product_outer

cdef dict OPS = {"sum": FC_SUM, "prod": FC_PROD, "max": FC_MAX, "min": FC_MIN}


# --- planning --------------------------------------------------------------------------------

cdef void split(Plan *p, const int *is_reduced) noexcept nogil:
    """Dims of p.loop (merged apart) into kept, the line, and reduced."""
    cdef Loop *loop = &p.loop
    cdef int d, op, last = loop.ndim - 1
    p.inner_reduced = is_reduced[last]
    p.width = 1
    for op in range(loop.operands):
        p.column[op] = 0
    if not p.inner_reduced:
        p.width = loop.shape[last]
        for op in range(loop.operands):
            p.column[op] = loop.strides[op][last]
        last -= 1
    start_loop(&p.kept, loop)
    start_loop(&p.reduced, loop)
    for d in range(last + 1):
        append_dim(&p.reduced if is_reduced[d] else &p.kept, loop, d)
    finish_loop(&p.kept)
    finish_loop(&p.reduced)


cdef void start_loop(Loop *to, const Loop *loop) noexcept nogil:
    cdef int op
    to.operands = loop.operands
    to.ndim = 0
    to.size = 1
    for op in range(loop.operands):
        to.data[op] = loop.data[op]
        to.itemsize[op] = loop.itemsize[op]


cdef void append_dim(Loop *to, const Loop *loop, int d) noexcept nogil:
    cdef int op
    to.shape[to.ndim] = loop.shape[d]
    to.size *= loop.shape[d]
    for op in range(loop.operands):
        to.strides[op][to.ndim] = loop.strides[op][d]
    to.ndim += 1


cdef void finish_loop(Loop *to) noexcept nogil:
    """At least one dim."""
    cdef int op
    if to.ndim == 0:
        to.ndim = 1
        to.shape[0] = 1
        for op in range(to.operands):
            to.strides[op][0] = 0


cdef void plan_dims(Plan *p) noexcept:
    """Merge the dims. Reduced ones are those in which the output has stride 0: it has size 1 there."""
    cdef Loop *loop = &p.loop
    cdef int is_reduced[MAX_DIMS]
    cdef int d
    coalesce(loop, 0)
    for d in range(loop.ndim):
        is_reduced[d] = loop.size == 1 or loop.strides[p.out0][d] == 0
    split(p, is_reduced)


cdef int run(Plan *p, int accumulators) except -1:
    """Chunks, partial results and tasks; `accumulators` (of double or int64_t) per output."""
    cdef int64_t task, tasks, chunk_tasks
    cdef int threads = threads_for(p.loop.size * p.inputs)
    cdef int finish_threads
    cdef Buffer partial
    p.reduced_size = p.reduced.size
    p.pieces = (p.width + WIDTH - 1) // WIDTH
    p.chunk = max(<int64_t>1, CHUNK // min(p.width, <int64_t>WIDTH))
    p.chunks = (p.reduced_size + p.chunk - 1) // p.chunk
    p.lines = p.kept.size * p.pieces
    p.line_bytes = accumulators * p.chunks * min(p.width, <int64_t>WIDTH) * p.parts * 8
    partial = new_buffer(p.lines * p.line_bytes)
    p.partial = partial.ptr
    # Several short lines make one task.
    p.lines_per_task = max(<int64_t>1, TASK_WORK // max(<int64_t>1, p.reduced_size * min(p.width, <int64_t>WIDTH)))
    chunk_tasks = (p.lines + p.lines_per_task - 1) // p.lines_per_task * p.chunks
    tasks = (p.lines + p.lines_per_task - 1) // p.lines_per_task
    finish_threads = min(threads, threads_for(p.kept.size * p.width * p.chunks * accumulators))
    with nogil:
        if threads == 1:
            for task in range(chunk_tasks):
                chunk_task(p, task)
            for task in range(tasks):
                finish_task(p, task)
        else:
            for task in prange(chunk_tasks, num_threads=threads, schedule="dynamic"):
                chunk_task(p, task)
            for task in prange(tasks, num_threads=finish_threads, schedule="static"):
                finish_task(p, task)
    return 0


# --- partial results -------------------------------------------------------------------------

cdef void chunk_task(const Plan *p, int64_t task) noexcept nogil:
    cdef int64_t chunk = task % p.chunks, line
    cdef int64_t line0 = task // p.chunks * p.lines_per_task
    for line in range(line0, min(line0 + p.lines_per_task, p.lines)):
        chunk_line(p, line, chunk)


cdef void chunk_line(const Plan *p, int64_t line, int64_t chunk) noexcept nogil:
    """The accumulators of one piece of a line for one chunk of the reduced elements."""
    cdef int64_t index[MAX_DIMS]
    cdef int64_t column = line % p.pieces * WIDTH, width = min(<int64_t>WIDTH, p.width - column)
    cdef int64_t start = chunk * p.chunk, n = min(p.chunk, p.reduced_size - start), j
    cdef const char *x
    cdef const char *g = NULL
    cdef double mean[WIDTH]
    cdef int64_t step = width * p.parts * 8         # bytes of an accumulator
    cdef char *acc = p.partial + line * p.line_bytes + chunk * step
    cdef char *acc1 = acc + p.chunks * step
    cdef double *chunk_mean
    unravel(&p.kept, line // p.pieces, index)
    x = p.kept.data[0] + locate(&p.kept, 0, index) + column * p.column[0]
    if p.kind == REDUCE:
        start_accumulators(p, acc, width * p.parts)
        accumulate(p, acc, NULL, x, NULL, NULL, start, n, width, 0)
    elif p.kind == MOMENTS:
        memset(acc, 0, step)
        memset(acc1, 0, step)
        accumulate(p, acc, NULL, x, NULL, NULL, start, n, width, 0)
        chunk_mean = <double *>(acc1 + p.chunks * step)
        for j in range(width):
            chunk_mean[j] = value(p, acc, j, width) / n
        accumulate(p, acc1, NULL, x, NULL, chunk_mean, start, n, width, 1)
    else:
        memset(acc, 0, step)
        memset(acc1, 0, step)
        g = p.kept.data[1] + locate(&p.kept, 1, index) + column * p.column[1]
        load_mean(p, mean, index, column, width)
        accumulate(p, acc, acc1, x, g, mean, start, n, width, 0)


cdef void start_accumulators(const Plan *p, char *acc, int64_t width) noexcept nogil:
    cdef int64_t j
    cdef int real = p.dtype == FC_F32 or p.dtype == FC_F64
    cdef double first = 1.0 if p.op == FC_PROD else -INFINITY if p.op == FC_MAX else INFINITY
    cdef int64_t first_int = 1 if p.op == FC_PROD else INT64_MIN if p.op == FC_MAX else INT64_MAX
    if p.op == FC_SUM:
        memset(acc, 0, width * 8)
        return
    for j in range(width):
        if real:
            (<double *>acc)[j] = first
        else:
            (<int64_t *>acc)[j] = first_int


cdef void load_mean(const Plan *p, double *mean, const int64_t *index, int64_t column, int64_t width) noexcept nogil:
    cdef const char *at = p.kept.data[p.mean] + locate(&p.kept, p.mean, index) + column * p.column[p.mean]
    cdef int64_t j
    for j in range(width):
        if p.dtype == FC_F32:
            mean[j] = (<const float *>(at + j * p.column[p.mean]))[0]
        else:
            mean[j] = (<const double *>(at + j * p.column[p.mean]))[0]


cdef void accumulate(const Plan *p, char *acc, char *acc1, const char *x, const char *g, const double *mean,
                     int64_t start, int64_t n, int64_t width, int centred) noexcept nogil:
    """Walk reduced elements [start, start + n) stretch by stretch of the last reduced dim."""
    cdef int64_t index[MAX_DIMS]
    cdef const Loop *r = &p.reduced
    cdef int last = r.ndim - 1
    cdef int itemsize = r.itemsize[0]
    cdef int64_t length, x_step = r.strides[0][last] // itemsize, x_column = p.column[0] // itemsize
    cdef int64_t g_step = 0, g_column = 0
    cdef const char *at
    cdef const char *g_at = NULL
    if g is not NULL:
        g_step = r.strides[1][last] // itemsize
        g_column = p.column[1] // itemsize
    unravel(r, start, index)
    while n > 0:
        length = min(n, r.shape[last] - index[last])
        at = x + locate(r, 0, index)
        if g is not NULL:
            g_at = g + locate(r, 1, index)
        if p.inner_reduced:
            if g is not NULL:
                p.product_inner(<double *>acc, <double *>acc1, g_at, at, length, g_step, x_step, mean[0])
            elif centred:
                p.centred_inner(<double *>acc, at, length, x_step, mean[0])
            else:
                p.inner(acc, at, length, x_step)
        elif g is not NULL:
            p.product_outer(<double *>acc, <double *>acc1, g_at, at, length, g_step, x_step, width, g_column,
                            x_column, mean)
        elif centred:
            p.centred_outer(<double *>acc, at, length, x_step, width, x_column, mean)
        else:
            p.outer(acc, at, length, x_step, width, x_column)
        n -= length
        next_row(r, index)


# --- joining chunks and storing --------------------------------------------------------------

cdef void finish_task(const Plan *p, int64_t task) noexcept nogil:
    cdef int64_t line
    for line in range(task * p.lines_per_task, min((task + 1) * p.lines_per_task, p.lines)):
        finish_line(p, line)


cdef void finish_line(const Plan *p, int64_t line) noexcept nogil:
    """Join the chunks of a piece of a line in order, and store."""
    cdef int64_t index[MAX_DIMS]
    cdef int64_t column = line % p.pieces * WIDTH, width = min(<int64_t>WIDTH, p.width - column), j, chunk
    cdef int64_t step = width * p.parts * 8
    cdef char *acc = p.partial + line * p.line_bytes
    cdef char *acc1 = acc + p.chunks * step
    cdef char *acc2 = acc1 + p.chunks * step
    cdef char *out
    unravel(&p.kept, line // p.pieces, index)
    out = p.kept.data[p.out0] + locate(&p.kept, p.out0, index) + column * p.column[p.out0]
    for chunk in range(1, p.chunks):
        join(p, acc, acc + chunk * step, width)
        if p.kind == MOMENTS:
            join_moments(p, <double *>acc2, <double *>acc1, chunk, width)
        elif p.kind == PRODUCTS:
            join(p, acc1, acc1 + chunk * step, width)
    if p.parts == 2:
        settle(p, acc, width)
        if p.kind == PRODUCTS:
            settle(p, acc1, width)
    if p.kind == MOMENTS:
        for j in range(width):
            (<double *>acc)[j] = (<double *>acc)[j] / p.reduced_size if p.parts == 2 else (<double *>acc2)[j]
            (<double *>acc1)[j] /= p.reduced_size
    store(p, out, p.column[p.out0], acc, width)
    if p.out1 >= 0:
        out = p.kept.data[p.out1] + locate(&p.kept, p.out1, index) + column * p.column[p.out1]
        store(p, out, p.column[p.out1], acc1, width)


cdef void join(const Plan *p, char *acc, const char *more, int64_t width) noexcept nogil:
    """acc takes the accumulators of the next chunk: the reduction again, on accumulators."""
    cdef int dtype = FC_F64 if p.dtype == FC_F32 or p.dtype == FC_F64 else FC_I64
    cdef double *s = <double *>acc
    cdef const double *v = <const double *>more
    cdef double t, z
    cdef int64_t j
    if p.parts == 1:
        kernels.reduce_outer[p.op][dtype](acc, more, 1, 0, width, 1)
        return
    for j in range(width):          # Knuth's two-sum
        t = s[j] + v[j]
        z = t - s[j]
        s[width + j] += ((s[j] - (t - z)) + (v[j] - z)) + v[width + j]
        s[j] = t


cdef double value(const Plan *p, const char *acc, int64_t j, int64_t width) noexcept nogil:
    """A sum with its compensation, which is NaN where the sum is infinite."""
    cdef double s = (<const double *>acc)[j]
    return s + (<const double *>acc)[width + j] if p.parts == 2 and s - s == 0 else s


cdef void settle(const Plan *p, char *acc, int64_t width) noexcept nogil:
    cdef int64_t j
    for j in range(width):
        (<double *>acc)[j] = value(p, acc, j, width)


cdef void join_moments(const Plan *p, double *mean, double *m2, int64_t chunk, int64_t width) noexcept nogil:
    """Chan, Golub and LeVeque 1979: mean and centred squares of two sets."""
    cdef double na = <double>(chunk * p.chunk)
    cdef double nb = <double>min(p.chunk, p.reduced_size - chunk * p.chunk), delta
    cdef int64_t j, more = chunk * width * p.parts
    for j in range(width):
        delta = mean[more + j] - mean[j]
        mean[j] += delta * (nb / (na + nb))
        m2[j] += m2[more + j] + delta * delta * (na * nb / (na + nb))


cdef void store(const Plan *p, char *out, int64_t stride, const char *acc, int64_t width) noexcept nogil:
    cdef int64_t j
    for j in range(width):
        if p.dtype == FC_F32:
            (<float *>(out + j * stride))[0] = <float>(<const double *>acc)[j]
        elif p.dtype == FC_F64:
            (<double *>(out + j * stride))[0] = (<const double *>acc)[j]
        elif p.dtype == FC_I64:
            (<int64_t *>(out + j * stride))[0] = (<const int64_t *>acc)[j]
        elif p.dtype == FC_I32:
            (<int32_t *>(out + j * stride))[0] = <int32_t>(<const int64_t *>acc)[j]
        else:
            (<uint8_t *>(out + j * stride))[0] = <uint8_t>(<const int64_t *>acc)[j]


# --- entry points ----------------------------------------------------------------------------

cdef void set_kernels(Plan *p) noexcept:
    cdef int row = p.op
    p.parts = 1
    if p.op == FC_SUM and p.dtype == FC_F32:
        p.parts = 2
        row = FC_SUM_PAIRS
    p.inner = kernels.reduce_inner[row][p.dtype]
    p.outer = kernels.reduce_outer[row][p.dtype]


def reduce(name, out, x, axes):
    """Reduce `x` over `axes`: sum, prod, max or min (see fastconv.reference.reduce)."""
    cdef Plan p
    if name not in OPS:
        raise NotImplementedError(f"device 'cpu' has no reduction {name!r}")
    p.kind = REDUCE
    p.op = OPS[name]
    set_shape(&p.loop, x)
    add_array(&p.loop, x)
    p.out0 = add_array(&p.loop, out)
    p.mean = p.out1 = -1
    p.inputs = 1
    p.dtype = p.loop.dtype[0]
    if p.dtype == FC_BOOL and p.op in (FC_SUM, FC_PROD):
        raise NotImplementedError(f"device 'cpu' has no {name} for dtype bool")
    set_kernels(&p)
    plan_dims(&p)
    run(&p, 1)


cdef int require_float(Plan *p, what) except -1:
    p.dtype = p.loop.dtype[0]
    if p.dtype > 1:
        raise NotImplementedError(f"device 'cpu' has {what} for float32 and float64 only")
    return 0


def moments(mean, var, x, axes):
    """Mean and biased variance of `x` over `axes` (see fastconv.reference.moments)."""
    cdef Plan p
    p.kind = MOMENTS
    p.op = FC_SUM
    set_shape(&p.loop, x)
    add_array(&p.loop, x)
    p.out1 = add_array(&p.loop, var)
    p.out0 = add_array(&p.loop, mean)
    p.mean = -1
    p.inputs = 1
    require_float(&p, "moments")
    set_kernels(&p)
    p.centred_inner = kernels.centred_inner[p.dtype]
    p.centred_outer = kernels.centred_outer[p.dtype]
    plan_dims(&p)
    run(&p, 3)


def product_sums(sum_g, sum_gx, g, x, mean, axes):
    """sum_g = sum of g, sum_gx = sum of g * (x - mean) (see fastconv.reference.product_sums)."""
    cdef Plan p
    p.kind = PRODUCTS
    p.op = FC_SUM
    set_shape(&p.loop, x)
    add_array(&p.loop, x)
    add_array(&p.loop, g)
    p.mean = add_array(&p.loop, mean)
    p.out1 = add_array(&p.loop, sum_gx)
    p.out0 = add_array(&p.loop, sum_g)
    p.inputs = 2
    require_float(&p, "product_sums")
    set_kernels(&p)
    p.product_inner = kernels.product_inner[p.dtype]
    p.product_outer = kernels.product_outer[p.dtype]
    plan_dims(&p)
    run(&p, 2)


def arg_reduce(name, out, x, axis):
    """Index of the first max or min along one axis (see fastconv.reference.arg_reduce)."""
    cdef Loop loop
    cdef int64_t rows, row_stride, line, lines, width
    cdef int largest = name == "argmax", d, last, threads
    cdef fc_arg_outer kernel
    if name not in ("argmax", "argmin"):
        raise NotImplementedError(f"device 'cpu' has no reduction {name!r}")
    set_shape(&loop, x)
    add_array(&loop, x)
    add_array(&loop, out)
    rows = loop.shape[axis]
    row_stride = loop.strides[0][axis] // loop.itemsize[0]
    kernel = kernels.arg_outer[loop.dtype[0]]
    threads = threads_for(loop.size * 2)
    loop.shape[axis] = 1
    loop.size //= rows
    coalesce(&loop, 1)
    last = loop.ndim - 1
    width = loop.shape[last]
    if loop.size == 1:
        loop.strides[0][last] = loop.strides[1][last] = 8
    lines = loop.size // width
    if lines < threads:             # one output at a time
        for line in prange(loop.size, nogil=True, num_threads=threads, schedule="static"):
            arg_line(&loop, kernel, line, 1, rows, row_stride, largest)
    else:
        for line in prange(lines, nogil=True, num_threads=threads, schedule="static"):
            arg_line(&loop, kernel, line * width, width, rows, row_stride, largest)


cdef void arg_line(const Loop *loop, fc_arg_outer kernel, int64_t start, int64_t width, int64_t rows,
                   int64_t row_stride, int largest) noexcept nogil:
    """Outputs [start, start + width) of one row of the coalesced loop."""
    cdef int64_t index[MAX_DIMS]
    cdef int64_t best[64]
    cdef int last = loop.ndim - 1
    cdef int64_t j, done = 0, n
    cdef char *out
    cdef const char *x
    unravel(loop, start, index)
    x = loop.data[0] + locate(loop, 0, index)
    out = loop.data[1] + locate(loop, 1, index)
    while done < width:
        n = min(<int64_t>64, width - done)
        kernel(best, x + done * loop.strides[0][last], rows, row_stride, n,
               loop.strides[0][last] // loop.itemsize[0], largest)
        for j in range(n):
            (<int64_t *>(out + (done + j) * loop.strides[1][last]))[0] = best[j]
        done += n
