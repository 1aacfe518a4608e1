"""reduce and arg_reduce: sums, products and extremes over some axes of strided arrays.

The dims of x, merged and in the order of its memory, fall into kept ones and reduced ones. The last
kept dim makes a line of outputs, columns, that are reduced together: run after run of x when the
innermost dim is reduced (`inner` kernels), row after row when it is kept (`outer` kernels).

    tasks    (piece of a line, chunk of the reduced elements)
    chunk    runs and how much of each, by the shape alone (reference.sum_order), so that the order of
             a sum depends on neither threads nor device
    partial  double or int64_t accumulators [piece][chunk][column], joined in order of chunks
"""
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY
from libc.stdint cimport INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, int32_t, int64_t, uint8_t
from libc.string cimport memset

from ..reference import INNER_CHUNK, OUTER_CHUNK, SHORT_RUN
from .buffer cimport Buffer, new_buffer
from .kernels cimport (FC_BOOL, FC_F32, FC_F64, FC_I32, FC_I64, FC_MAX, FC_MIN, FC_PROD, FC_SUM, FC_SUM_LANES, fc_arg_outer,
                       fc_reduce_inner, fc_reduce_outer)
from .runtime cimport kernels, threads_for
from .strided cimport Loop, MAX_DIMS, add_array, coalesce, locate, next_row, set_shape, unravel

cdef enum:
    X, OUT                      # operands
    WIDTH = 256                 # columns of a piece at most
    TASK_WORK = 16384           # elements that a thread takes at once

cdef struct Plan:
    int op, dtype
    Loop loop                   # all dims: for the merge
    Loop kept                   # without the line's dim
    Loop reduced
    int inner_reduced, laned
    int64_t width               # columns of a line
    int64_t column[2]           # byte stride of each operand along the line
    int64_t piece, pieces       # a line is computed in pieces of columns
    int64_t runs, run           # the reduced elements: runs of the innermost dim
    int64_t chunk_runs, chunk_run, run_chunks, chunks
    int64_t lines               # pieces of all lines
    char *partial
    char *lanes                 # [thread][column][FC_SUM_LANES]
    fc_reduce_inner inner
    fc_reduce_outer outer

cdef dict OPS = {"sum": FC_SUM, "prod": FC_PROD, "max": FC_MAX, "min": FC_MIN}
cdef int64_t inner_chunk = INNER_CHUNK, outer_chunk = OUTER_CHUNK, short_run = SHORT_RUN


# --- planning --------------------------------------------------------------------------------

cdef void plan_dims(Plan *p) noexcept:
    """Merge the dims, and split them into kept, the line, and reduced ones, in which out has stride 0."""
    cdef Loop *loop = &p.loop
    cdef int is_reduced[MAX_DIMS]
    cdef int d, op, line = -1
    coalesce(loop, X)
    for d in range(loop.ndim):
        is_reduced[d] = loop.size == 1 or loop.strides[OUT][d] == 0
        if not is_reduced[d]:
            line = d
    p.inner_reduced = line < loop.ndim - 1
    p.width = 1 if line < 0 else loop.shape[line]
    for op in range(2):
        p.column[op] = 0 if line < 0 else loop.strides[op][line]
    start_loop(&p.kept, loop)
    start_loop(&p.reduced, loop)
    for d in range(loop.ndim):
        if is_reduced[d]:
            append_dim(&p.reduced, loop, d)
        elif d != line:
            append_dim(&p.kept, loop, d)
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
    """One more dim, merged with the last where they lie in one piece."""
    cdef int op, last = to.ndim - 1, whole = to.ndim > 0
    for op in range(loop.operands):
        if whole and to.strides[op][last] != loop.strides[op][d] * loop.shape[d]:
            whole = 0
    if whole:
        to.ndim -= 1
    to.shape[to.ndim] = loop.shape[d] * (to.shape[last] if whole else 1)
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


cdef void plan_chunks(Plan *p, int threads) noexcept nogil:
    """Chunks by reference.sum_order; pieces so that every thread has some, and no task is too long."""
    cdef int64_t limit = inner_chunk if p.inner_reduced else outer_chunk, per_chunk
    p.run = p.reduced.shape[p.reduced.ndim - 1]
    p.runs = p.reduced.size // p.run
    p.chunk_run = min(p.run, limit)
    p.chunk_runs = min(p.runs, max(<int64_t>1, limit // p.run))
    p.run_chunks = (p.run + p.chunk_run - 1) // p.chunk_run
    p.chunks = p.run_chunks * ((p.runs + p.chunk_runs - 1) // p.chunk_runs)
    p.laned = p.inner_reduced and p.op == FC_SUM and p.dtype <= FC_F64 and p.run >= short_run
    per_chunk = p.chunk_run * p.chunk_runs
    p.piece = WIDTH
    if p.inner_reduced:
        p.piece = max(<int64_t>1, min(<int64_t>WIDTH, TASK_WORK // per_chunk))
    elif p.chunks * p.kept.size < 2 * threads:
        p.piece = 64
    p.pieces = (p.width + p.piece - 1) // p.piece
    p.piece = min(p.piece, p.width)
    p.lines = p.kept.size * p.pieces


cdef int run(Plan *p) except -1:
    """Chunks, partial results, tasks."""
    cdef int64_t task, tasks, per_task, columns
    cdef int threads = threads_for(p.loop.size)
    cdef Buffer partial
    plan_chunks(p, threads)
    tasks = p.lines * p.chunks
    per_task = max(<int64_t>1, TASK_WORK // (p.piece * p.chunk_run * p.chunk_runs))     # several short ones make one task
    tasks = (tasks + per_task - 1) // per_task
    columns = p.lines * p.piece * p.chunks
    partial = new_buffer(columns * 8 + (threads * p.piece * FC_SUM_LANES * 8 if p.laned else 0))
    p.partial = partial.ptr
    p.lanes = p.partial + columns * 8
    with nogil:
        if threads == 1:
            for task in range(tasks):
                chunk_task(p, task, per_task, 0)
            for task in range(p.lines):
                finish_line(p, task)
        else:
            for task in prange(tasks, num_threads=threads, schedule="static"):
                chunk_task(p, task, per_task, threadid())
            threads = threads_for(columns)
            for task in prange(p.lines, num_threads=threads, schedule="static"):
                finish_line(p, task)
    return 0


# --- partial results -------------------------------------------------------------------------

cdef void chunk_task(const Plan *p, int64_t task, int64_t per_task, int thread) noexcept nogil:
    cdef int64_t part
    for part in range(task * per_task, min((task + 1) * per_task, p.lines * p.chunks)):
        chunk_line(p, part // p.chunks, part % p.chunks, p.lanes + thread * p.piece * FC_SUM_LANES * 8)


cdef inline char *accumulators(const Plan *p, int64_t line, int64_t chunk) noexcept nogil:
    return p.partial + (line * p.chunks + chunk) * p.piece * 8


cdef void chunk_line(const Plan *p, int64_t line, int64_t chunk, char *lanes) noexcept nogil:
    """The accumulators of one piece of a line for one chunk: some runs, or a part of one."""
    cdef int64_t index[MAX_DIMS]
    cdef const Loop *r = &p.reduced
    cdef int last = r.ndim - 1
    cdef int itemsize = r.itemsize[X]
    cdef int64_t column = line % p.pieces * p.piece, width = min(p.piece, p.width - column)
    cdef int64_t first = chunk // p.run_chunks * p.chunk_runs, run_index = min(p.chunk_runs, p.runs - first)
    cdef int64_t start = chunk % p.run_chunks * p.chunk_run, n = min(p.chunk_run, p.run - start)
    cdef int64_t step = r.strides[X][last] // itemsize, column_step = p.column[X] // itemsize
    cdef char *acc = accumulators(p, line, chunk)
    cdef const char *x
    cdef const char *at
    unravel(&p.kept, line // p.pieces, index)
    x = p.kept.data[X] + locate(&p.kept, X, index) + column * p.column[X]
    if p.laned:
        memset(lanes, 0, width * FC_SUM_LANES * 8)
    else:
        start_accumulators(p, acc, width)
    unravel(r, first * p.run, index)
    while run_index > 0:
        index[last] = start
        at = x + locate(r, X, index)
        if p.laned:
            kernels.sum_lanes[p.dtype](<double *>lanes, at, n, step, width, column_step)
        elif p.inner_reduced:
            p.inner(acc, at, n, step, width, column_step)
        else:
            p.outer(acc, at, n, step, width, column_step)
        next_row(r, index)
        run_index -= 1
    if p.laned:
        kernels.fold_lanes(<double *>acc, <double *>lanes, width)


cdef void start_accumulators(const Plan *p, char *acc, int64_t width) noexcept nogil:
    """What leaves every value as it is, in the type itself."""
    cdef int64_t j, first_int = 1
    cdef double first = 1.0
    if p.op == FC_SUM:
        memset(acc, 0, width * 8)
        return
    if p.op != FC_PROD:
        first = -INFINITY if p.op == FC_MAX else INFINITY
        if p.dtype == FC_I64:
            first_int = INT64_MIN if p.op == FC_MAX else INT64_MAX
        elif p.dtype == FC_I32:
            first_int = INT32_MIN if p.op == FC_MAX else INT32_MAX
        else:
            first_int = 0 if p.op == FC_MAX else 255
    for j in range(width):
        if p.dtype <= FC_F64:
            (<double *>acc)[j] = first
        else:
            (<int64_t *>acc)[j] = first_int


# --- joining chunks and storing --------------------------------------------------------------

cdef void finish_line(const Plan *p, int64_t line) noexcept nogil:
    """Join the chunks of a piece of a line in order, and store."""
    cdef int64_t index[MAX_DIMS]
    cdef int64_t column = line % p.pieces * p.piece, width = min(p.piece, p.width - column), chunk
    cdef int wide = FC_F64 if p.dtype <= FC_F64 else FC_I64
    cdef char *acc = accumulators(p, line, 0)
    for chunk in range(1, p.chunks):
        kernels.reduce_outer[p.op][wide](acc, accumulators(p, line, chunk), 1, 0, width, 1)
    unravel(&p.kept, line // p.pieces, index)
    store(p, p.kept.data[OUT] + locate(&p.kept, OUT, index) + column * p.column[OUT], p.column[OUT], acc, width)


cdef void store(const Plan *p, char *out, int64_t stride, const char *acc, int64_t width) noexcept nogil:
    cdef int64_t j
    if p.dtype == FC_F32:
        for j in range(width):
            (<float *>(out + j * stride))[0] = <float>(<const double *>acc)[j]
    elif p.dtype == FC_F64:
        for j in range(width):
            (<double *>(out + j * stride))[0] = (<const double *>acc)[j]
    elif p.dtype == FC_I64:
        for j in range(width):
            (<int64_t *>(out + j * stride))[0] = (<const int64_t *>acc)[j]
    elif p.dtype == FC_I32:
        for j in range(width):
            (<int32_t *>(out + j * stride))[0] = <int32_t>(<const int64_t *>acc)[j]
    else:
        for j in range(width):
            (<uint8_t *>(out + j * stride))[0] = <uint8_t>(<const int64_t *>acc)[j]


# --- entry points ----------------------------------------------------------------------------

def reduce(name, out, x, axes):
    """Reduce `x` over `axes`: sum, prod, max or min (see fastconv.reference.reduce)."""
    cdef Plan p
    if name not in OPS:
        raise NotImplementedError(f"device 'cpu' has no reduction {name!r}")
    p.op = OPS[name]
    set_shape(&p.loop, x)
    add_array(&p.loop, x)
    add_array(&p.loop, out)
    p.dtype = p.loop.dtype[X]
    if p.dtype == FC_BOOL and p.op in (FC_SUM, FC_PROD):
        raise NotImplementedError(f"device 'cpu' has no {name} for dtype bool")
    p.inner = kernels.reduce_inner[p.op][p.dtype]
    p.outer = kernels.reduce_outer[p.op][p.dtype]
    plan_dims(&p)
    run(&p)


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
