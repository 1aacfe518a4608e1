"""batch_norm and batch_norm_grad: sums over the positions of each channel, and a pass that uses them.

x (n, channels, ...) is walked as positions, (n, ...) in row-major order and merged where memory
allows, times channels. Three steps in one parallel region, apart only where a channel is summed by several threads:

    sums    of a chunk of positions and a piece of the channels, in the order of reference.norm_order
    end     chunks joined, and everything per channel that the pass needs
    pass    over the same chunks and pieces
"""
from cython.parallel cimport parallel, prange, threadid
from libc.stdint cimport int64_t
from libc.string cimport memset

from ..reference import norm_order
from .buffer cimport Buffer, new_buffer
from .conv import ACTIVATIONS
from .kernels cimport fc_norm_apply, fc_norm_end, fc_norm_sums
from .runtime cimport kernels, threads_for
from .strided cimport Loop, MAX_DIMS, add_array, copy_strided, locate, next_row, set_shape, unravel

cdef enum:
    X, Y, G                     # operands; Y is the output of the pass
    VECTORS = 8                 # values per channel that a plan holds at most
    PIECE = 16                  # the channels of a piece are a multiple of this
    COST = 4                    # of an element of an operand, in units of WORK_PER_THREAD

cdef struct Plan:
    int grad, dtype, itemsize
    Loop at                     # positions: operands X, Y and, for the gradient, G
    int64_t step[3]             # of channels, in elements
    int64_t channels, piece, pieces, chunk, chunks
    int lanes, threads
    double *lane_sums           # [thread][lanes * 2 * piece]
    double *partial             # [chunk][2][channels]
    double *centre              # per channel
    char *vectors               # room for more values per channel
    int64_t vector_bytes
    fc_norm_sums sums
    fc_norm_end end
    fc_norm_apply apply


# --- planning --------------------------------------------------------------------------------

cdef Buffer prepare(Plan *p, x, y, g, activation):
    """Fill in all but the values per channel; returns the memory that the plan lives in."""
    cdef int64_t wanted, lane_count, room
    cdef Buffer memory
    if activation not in ACTIVATIONS:
        raise NotImplementedError(f"device 'cpu' has no normalisation with activation {activation!r}")
    p.grad = g is not None
    set_shape(&p.at, x)
    add_array(&p.at, x)
    add_array(&p.at, y)
    if p.grad:
        add_array(&p.at, g)
    p.dtype = p.at.dtype[X]
    if p.dtype > 1:
        raise NotImplementedError("device 'cpu' has normalisation for float32 and float64 only")
    p.itemsize = p.at.itemsize[X]
    p.channels = p.at.shape[1]
    p.chunk, p.lanes = norm_order(x.shape, x.strides)
    p.threads = threads_for(p.at.size * p.at.operands * COST)
    take_channels(p)
    p.chunks = (p.at.size + p.chunk - 1) // p.chunk
    wanted = (2 * p.threads + p.chunks - 1) // p.chunks if p.threads > 1 else 1
    p.piece = ((p.channels + wanted - 1) // wanted + PIECE - 1) // PIECE * PIECE
    p.pieces = (p.channels + p.piece - 1) // p.piece
    lane_count = p.lanes * 2 * p.piece
    room = (p.channels + 7) // 8 * 8
    memory = new_buffer((p.threads * lane_count + p.chunks * 2 * p.channels + room + VECTORS * room) * 8)
    p.lane_sums = <double *>memory.ptr
    p.partial = p.lane_sums + p.threads * lane_count
    p.centre = p.partial + p.chunks * 2 * p.channels
    p.vectors = <char *>(p.centre + room)
    p.vector_bytes = room * p.itemsize
    p.sums.lanes = p.lanes
    p.sums.activation = p.apply.activation = ACTIVATIONS[activation]
    p.end.count = p.at.size
    p.end.chunks = p.chunks
    p.end.stride = p.channels
    return memory


cdef void take_channels(Plan *p) noexcept nogil:
    """Positions and channels apart; dims of positions that lie in one piece become one, none is moved."""
    cdef Loop *loop = &p.at
    cdef int d, op, kept = 0, whole
    for op in range(loop.operands):
        p.step[op] = loop.strides[op][1] // p.itemsize
    loop.size //= p.channels
    for d in range(loop.ndim):
        if d == 1 or loop.shape[d] == 1:
            continue
        whole = kept > 0
        for op in range(loop.operands):
            if whole and loop.strides[op][kept - 1] != loop.strides[op][d] * loop.shape[d]:
                whole = 0
        kept -= whole
        loop.shape[kept] = loop.shape[d] * (loop.shape[kept] if whole else 1)
        for op in range(loop.operands):
            loop.strides[op][kept] = loop.strides[op][d]
        kept += 1
    if kept == 0:
        kept = loop.shape[0] = 1
        for op in range(loop.operands):
            loop.strides[op][0] = p.itemsize
    loop.ndim = kept


cdef char *vector(Plan *p) noexcept:
    """Room for one value per channel, side by side."""
    p.vectors += p.vector_bytes
    return p.vectors - p.vector_bytes


cdef char *loaded(Plan *p, object x) except? NULL:
    """The values of x (channels,) side by side; NULL for None."""
    cdef Loop loop
    cdef char *to
    if x is None:
        return NULL
    set_shape(&loop, x)
    add_array(&loop, x)
    to = vector(p)
    copy_strided(to, p.itemsize, loop.data[0], loop.strides[0][0], p.channels, p.itemsize)
    return to


cdef int store(const Plan *p, object out, const void *values) except -1:
    """The other way, to out (channels,)."""
    cdef Loop loop
    set_shape(&loop, out)
    add_array(&loop, out)
    copy_strided(loop.data[0], loop.strides[0][0] or p.itemsize, <const char *>values, p.itemsize, p.channels, p.itemsize)
    return 0


# --- the three steps -------------------------------------------------------------------------

cdef void run(const Plan *p) noexcept nogil:
    cdef int64_t task, tasks = p.chunks * p.pieces
    if p.chunks == 1:               # pieces are independent
        for task in prange(tasks, num_threads=p.threads, schedule="static"):
            sum_task(p, task, threadid())
            end_task(p, task)
            apply_task(p, task)
        return
    if p.threads == 1:
        for task in range(tasks):
            sum_task(p, task, 0)
        for task in range(p.pieces):
            end_task(p, task)
        for task in range(tasks):
            apply_task(p, task)
        return
    with parallel(num_threads=p.threads):
        for task in prange(tasks, schedule="static"):
            sum_task(p, task, threadid())
        for task in prange(p.pieces, schedule="static"):
            end_task(p, task)
        for task in prange(tasks, schedule="static"):
            apply_task(p, task)


cdef inline char *from_channel(const Plan *p, const void *values, int64_t channel) noexcept nogil:
    return NULL if values is NULL else <char *>values + channel * p.itemsize


cdef inline char *operand(const Plan *p, int op, const int64_t *index, int64_t channel) noexcept nogil:
    """Where an operand has this position and channel."""
    return p.at.data[op] + locate(&p.at, op, index) + channel * p.step[op] * p.itemsize


cdef void sum_task(const Plan *p, int64_t task, int thread) noexcept nogil:
    """The sums of one chunk of the positions and one piece of the channels."""
    cdef fc_norm_sums s = p.sums
    cdef int64_t index[MAX_DIMS]
    cdef int last = p.at.ndim - 1
    cdef int64_t chunk = task // p.pieces, channel = task % p.pieces * p.piece
    cdef int64_t start = chunk * p.chunk, left = min(p.chunk, p.at.size - start)
    s.width = min(p.piece, p.channels - channel)
    s.sums = p.lane_sums + thread * p.lanes * 2 * p.piece
    memset(s.sums, 0, p.lanes * 2 * s.width * 8)
    s.centre = p.centre + channel
    s.mean = from_channel(p, s.mean, channel)
    s.scale = from_channel(p, s.scale, channel)
    s.bias = from_channel(p, s.bias, channel)
    s.x_row, s.x_step = p.at.strides[X][last] // p.itemsize, p.step[X]
    if p.grad:
        s.g_row, s.g_step = p.at.strides[G][last] // p.itemsize, p.step[G]
    s.phase = 0
    unravel(&p.at, start, index)
    while left > 0:
        s.n = min(left, p.at.shape[last] - index[last])
        s.x = operand(p, X, index, channel)
        if p.grad:
            s.g = operand(p, G, index, channel)
            kernels.norm_gradient[p.dtype](&s)
        else:
            kernels.norm_statistics[p.dtype](&s)
        s.phase += s.n
        left -= s.n
        next_row(&p.at, index)
    kernels.norm_fold[p.dtype](&s, p.partial + chunk * 2 * p.channels + channel, p.channels)


cdef void end_task(const Plan *p, int64_t piece) noexcept nogil:
    """The values per channel of one piece."""
    cdef fc_norm_end e = p.end
    cdef int64_t channel = piece * p.piece
    e.width = min(p.piece, p.channels - channel)
    e.partial = p.partial + channel
    e.centre = p.centre + channel
    e.rstd = from_channel(p, e.rstd, channel)
    if p.grad:
        e.d_weight = from_channel(p, e.d_weight, channel)
        e.d_bias = from_channel(p, e.d_bias, channel)
        e.g_mean = from_channel(p, e.g_mean, channel)
        e.slope = from_channel(p, e.slope, channel)
        kernels.norm_end_gradient[p.dtype](&e)
    else:
        e.weight = from_channel(p, e.weight, channel)
        e.bias = from_channel(p, e.bias, channel)
        e.mean = from_channel(p, e.mean, channel)
        e.scale = from_channel(p, e.scale, channel)
        e.shift = from_channel(p, e.shift, channel)
        e.running_mean = from_channel(p, e.running_mean, channel)
        e.running_var = from_channel(p, e.running_var, channel)
        kernels.norm_end_statistics[p.dtype](&e)


cdef void apply_task(const Plan *p, int64_t task) noexcept nogil:
    """The pass over one chunk of the positions and one piece of the channels."""
    cdef fc_norm_apply a = p.apply
    cdef int64_t index[MAX_DIMS]
    cdef int last = p.at.ndim - 1
    cdef int64_t channel = task % p.pieces * p.piece
    cdef int64_t start = task // p.pieces * p.chunk, left = min(p.chunk, p.at.size - start)
    a.width = min(p.piece, p.channels - channel)
    a.mean = from_channel(p, a.mean, channel)
    a.scale = from_channel(p, a.scale, channel)
    a.bias = from_channel(p, a.bias, channel)
    a.x_row, a.x_step = p.at.strides[X][last] // p.itemsize, p.step[X]
    a.y_row, a.y_step = p.at.strides[Y][last] // p.itemsize, p.step[Y]
    if p.grad:
        a.g_mean = from_channel(p, a.g_mean, channel)
        a.slope = from_channel(p, a.slope, channel)
        a.g_row, a.g_step = p.at.strides[G][last] // p.itemsize, p.step[G]
    unravel(&p.at, start, index)
    while left > 0:
        a.n = min(left, p.at.shape[last] - index[last])
        a.x = operand(p, X, index, channel)
        a.y = operand(p, Y, index, channel)
        if p.grad:
            a.g = operand(p, G, index, channel)
            kernels.norm_apply_grad[p.dtype](&a)
        else:
            kernels.norm_apply[p.dtype](&a)
        left -= a.n
        next_row(&p.at, index)


# --- entry points ----------------------------------------------------------------------------

cdef inline double element(const Plan *p, const void *values, int64_t i) noexcept nogil:
    return (<const float *>values)[i] if p.itemsize == 4 else (<const double *>values)[i]


def batch_norm(y, mean, rstd, running_mean, running_var, x, weight, bias, momentum, eps, activation):
    """Batch normalisation in training (see fastconv.reference.batch_norm)."""
    cdef Plan p
    cdef int64_t j
    cdef Buffer memory = prepare(&p, x, y, None, activation)
    for j in range(p.channels):
        p.centre[j] = element(&p, p.at.data[X], j * p.step[X])
    p.end.weight, p.end.bias = loaded(&p, weight), loaded(&p, bias)
    p.end.running_mean, p.end.running_var = loaded(&p, running_mean), loaded(&p, running_var)
    p.end.mean, p.end.rstd, p.end.scale, p.end.shift = vector(&p), vector(&p), vector(&p), vector(&p)
    p.end.momentum, p.end.eps = momentum, eps
    p.apply.mean, p.apply.scale, p.apply.bias = p.end.mean, p.end.scale, p.end.shift
    with nogil:
        run(&p)
    store(&p, mean, p.end.mean)
    store(&p, rstd, p.end.rstd)
    if running_mean is not None:
        store(&p, running_mean, p.end.running_mean)
        store(&p, running_var, p.end.running_var)


def batch_norm_grad(dx, d_weight, d_bias, g, x, mean, rstd, weight, bias, activation):
    """The gradient of batch_norm (see fastconv.reference.batch_norm_grad)."""
    cdef Plan p
    cdef int64_t j
    cdef char *scale
    cdef char *shift
    cdef Buffer memory = prepare(&p, x, dx, g, activation)
    p.sums.mean = p.apply.mean = loaded(&p, mean)
    p.end.rstd = loaded(&p, rstd)
    scale, shift = loaded(&p, rstd if weight is None else weight), loaded(&p, mean if bias is None else bias)
    for j in range(p.channels):
        p.centre[j] = element(&p, p.apply.mean, j)
        if weight is not None and p.itemsize == 4:
            (<float *>scale)[j] *= (<const float *>p.end.rstd)[j]
        elif weight is not None:
            (<double *>scale)[j] *= (<const double *>p.end.rstd)[j]
    if bias is None:
        memset(shift, 0, p.vector_bytes)
    p.sums.scale = p.apply.scale = scale
    p.sums.bias = p.apply.bias = shift
    p.end.d_weight, p.end.d_bias, p.end.g_mean, p.end.slope = vector(&p), vector(&p), vector(&p), vector(&p)
    p.apply.g_mean, p.apply.slope = p.end.g_mean, p.end.slope
    with nogil:
        run(&p)
    store(&p, d_weight, p.end.d_weight)
    store(&p, d_bias, p.end.d_bias)
