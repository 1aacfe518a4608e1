"""conv_weight_grad: products over pixels, by the register tile of product.pyx, of operands read in place.

    dw (taps and channels, outs) = sum over pixels of x[pixel at the tap, channels] * g[pixel, outs]

A is x as columns, [pixel][channels]; B is g, [pixel][outs]; k runs over the pixels of a chunk, in the order of
the contract, as spans: rows of the image that one tap sees inside it, or one output position across images.
Both operands stay where they are as long as channels lie side by side. Images of few channels are copied, a
window at a time, with zeros around, and all taps in w direction become rows of the same tile.

    for task over groups x chunks x blocks of columns x blocks of rows
      for piece of the chunk                what the second cache holds of x and g
        for run of the block's rows         taps
          for panel of columns
            for tile of the run             (in C, fc_gemm.tile) spans of pixels, in registers

Each chunk has a result of its own; they are added in order.
"""
from libc.stdint cimport int64_t
from libc.string cimport memset

from ..reference import weight_grad_order
from . cimport depthwise
from .buffer cimport Buffer, new_buffer
from .kernels cimport fc_gemm, fc_image, fc_run, fc_span
from .product cimport Product, add_group, copy_window, float_kernel, group_start, plan_windows, read_array, round_up, run_tasks
from .runs cimport list_runs, read_image
from .runtime cimport threads_for
from .strided cimport Loop, copy_strided

cdef enum:
    PIECE_BYTES = 384 << 10     # of x and g that are gone through again and again
    LEAST_PIECE = 64            # pixels
    MOST_PIECE = 1024
    BLOCK_PANELS = 8            # panels of one block of columns

# Neighbouring rows of the result: of one run.
cdef struct Rows:
    int64_t run, first, n       # elements [first, first + n) of the run
    int64_t k                   # where they lie in a chunk's result
    int64_t out                 # and in out, in elements

cdef struct WeightGradient:
    Product p                   # image, groups (x, out, g), windows
    fc_image g
    int64_t taps[3]
    int64_t dilation[3]
    int64_t stride[5]           # of out: (i, j, k, c, o)
    fc_run *runs
    int64_t n_runs
    Rows *tiles
    int64_t n_tiles
    int64_t columns
    int64_t chunk, chunks       # pixels that are summed in one go
    int64_t batch               # images, where they are the innermost pixels; else 0
    int64_t piece
    int64_t a_stride, b_stride
    int64_t row_blocks, column_blocks
    int direct                  # the first chunk's result is out itself
    int64_t c_stride
    char *c                     # [chunk, without the first where it is out][group][k][c_stride]
    int64_t c_bytes             # of one group of one chunk
    int64_t window_bytes


def conv_weight_grad(out, x, g, stride, padding, dilation):
    """The gradient of conv with respect to w (see fastconv.reference.conv_weight_grad)."""
    cdef WeightGradient t
    cdef Product *p = &t.p
    cdef Loop lx, lg, lout
    cdef int d
    read_array(&lx, x)
    read_array(&lg, g)
    read_array(&lout, out)
    float_kernel(p, lx.dtype[0])
    for d in range(3):
        t.taps[d] = lout.shape[d + 1]
        t.dilation[d] = dilation[d]
    for d in range(5):
        t.stride[d] = lout.strides[0][d + 1] // p.itemsize
    p.pixels = lg.shape[1] * lg.shape[2] * lg.shape[3] * lg.shape[4]
    t.columns = lg.shape[5]
    t.chunk, batch_inner = weight_grad_order(out.shape, g.shape)
    t.chunks = (p.pixels + t.chunk - 1) // t.chunk
    t.batch = lg.shape[1] if batch_inner else 0
    read_image(&p.image, &lx, &lg.shape[2], p.itemsize, stride, padding)
    if depthwise.is_depthwise(&lx, &lout) and lx.strides[0][0] == p.itemsize == lg.strides[0][0]:
        add_operands(p, &lx, &lout, &lg)
        depthwise.weight_gradient(p, &lout, &lg, t.taps, t.dilation, t.chunk, batch_inner)
        return
    kept = channels_last(&lg, p, -1), channels_last(&lx, p, t.batch)
    read_image(&p.image, &lx, &lg.shape[2], p.itemsize, stride, padding)
    add_operands(p, &lx, &lout, &lg)
    for d in range(5):
        t.g.stride[d] = lg.strides[0][d + 1] // p.itemsize
    rows = plan_rows(&t)
    zero_missing_taps(&t, &lout)
    if t.n_tiles:
        compute(&t)


cdef void add_operands(Product *p, const Loop *x, const Loop *out, const Loop *g) noexcept:
    p.groups.operands = 0
    add_group(&p.groups, x)
    add_group(&p.groups, out)
    add_group(&p.groups, g)


cdef Buffer channels_last(Loop *x, const Product *p, int64_t wanted):
    """Where channels do not lie side by side, and it is wanted: point x at a copy of it in which they do."""
    cdef int64_t c = x.shape[5], group, n, d, h, row = x.shape[4] * c, i
    cdef char *dst
    if not wanted or c == 1 or x.strides[0][5] == p.itemsize:
        return None
    copy = new_buffer(x.size * p.itemsize)
    dst = copy.ptr
    for i in range(x.size // row):
        h = i % x.shape[3]
        d = i // x.shape[3] % x.shape[2]
        n = i // (x.shape[3] * x.shape[2]) % x.shape[1]
        group = i // (x.shape[3] * x.shape[2] * x.shape[1])
        p.kernel.copy_pixels(
            dst, x.data[0] + group * x.strides[0][0] + n * x.strides[0][1] + d * x.strides[0][2] + h * x.strides[0][3],
            x.shape[4], c, x.strides[0][4] // p.itemsize, x.strides[0][5] // p.itemsize)
        dst += row * p.itemsize
    x.data[0] = copy.ptr
    for i in range(5, -1, -1):
        x.strides[0][i] = p.itemsize if i == 5 else x.strides[0][i + 1] * x.shape[i + 1]
    return copy


# --- the rows of the result ------------------------------------------------------------------

cdef Buffer plan_rows(WeightGradient *t):
    """Runs, and tiles of their rows; returns the memory that holds them."""
    cdef Product *p = &t.p
    cdef fc_image *im = &p.image
    cdef int64_t c = im.size[4], mr = p.kernel.tile_rows, merge, run, i, n, k, tiles, first, longest = <int64_t>1 << 40
    cdef int64_t tap_count = t.taps[0] * t.taps[1] * t.taps[2], e
    p.copies = t.batch == 0 and (im.stride[4] != 1 or c < mr and t.taps[2] > 1 and t.dilation[2] == 1)
    merge = p.copies and t.dilation[2] == 1 and c < mr
    # Rows of several taps come in one piece only where they do so in out.
    t.direct = (t.stride[4] == 1 and t.columns % p.kernel.lanes == 0
                and (not merge or c == 1 or t.stride[2] == c * t.stride[3]))
    t.n_runs = list_runs(NULL, im, t.taps, t.dilation, merge, longest, NULL, &k)
    p.k = k
    tiles = t.n_runs + k // (mr // 2) + 1
    memory = new_buffer(t.n_runs * sizeof(fc_run) + tiles * sizeof(Rows))
    t.runs = <fc_run *>memory.ptr
    t.tiles = <Rows *>(t.runs + t.n_runs)
    list_runs(t.runs, im, t.taps, t.dilation, merge, longest, NULL, &k)
    t.n_tiles = 0
    for run in range(t.n_runs):
        n = (t.runs[run].length + mr - 1) // mr
        for i in range(n):
            first = i * t.runs[run].length // n
            e = t.runs[run].tap + first // c
            t.tiles[t.n_tiles].run = run
            t.tiles[t.n_tiles].first = first
            t.tiles[t.n_tiles].n = (i + 1) * t.runs[run].length // n - first
            t.tiles[t.n_tiles].k = t.runs[run].k + first
            t.tiles[t.n_tiles].out = out_at(t, e) + first % c * t.stride[3]
            t.n_tiles += 1
    return memory


cdef int64_t out_at(const WeightGradient *t, int64_t tap) noexcept nogil:
    return (tap // (t.taps[2] * t.taps[1]) * t.stride[0] + tap // t.taps[2] % t.taps[1] * t.stride[1]
            + tap % t.taps[2] * t.stride[2])


cdef void zero_missing_taps(const WeightGradient *t, const Loop *out) except *:
    """Zeros for the taps that no run covers."""
    cdef int64_t taps = t.taps[0] * t.taps[1] * t.taps[2], tap, run, i, c, zero = 0, group
    cdef const Product *p = &t.p
    cdef char *at
    if p.k == taps * p.image.size[4]:
        return
    seen = bytearray(taps)
    for run in range(t.n_runs):
        for i in range(t.runs[run].taps):
            seen[t.runs[run].tap + i] = 1
    for tap in range(taps):
        if seen[tap]:
            continue
        for group in range(p.groups.size):
            at = group_start(p, 1, group) + out_at(t, tap) * p.itemsize
            for c in range(out.shape[4]):
                copy_strided(at + c * out.strides[0][4], out.strides[0][5], <char *>&zero, 0, out.shape[5], p.itemsize)


# --- the sums --------------------------------------------------------------------------------

cdef int compute(WeightGradient *t) except -1:
    """Share out the work, run it, and put the chunks together."""
    cdef Product *p = &t.p
    cdef fc_image *im = &p.image
    cdef int64_t nr = p.kernel.tile_columns, width = min(t.columns, BLOCK_PANELS * nr), panels, tasks, groups
    cdef int threads = threads_for(p.groups.size * p.pixels * round_up(t.columns, p.kernel.lanes) * p.k // 8)
    groups = p.groups.size
    panels = (t.columns + nr - 1) // nr
    t.column_blocks = (panels + BLOCK_PANELS - 1) // BLOCK_PANELS
    tasks = groups * t.chunks * t.column_blocks
    t.row_blocks = 1
    if threads > 1 and tasks < 4 * threads:
        t.row_blocks = min(t.n_tiles, (4 * threads + tasks - 1) // tasks)
    tasks *= t.row_blocks
    t.piece = max(<int64_t>LEAST_PIECE, min(<int64_t>MOST_PIECE, PIECE_BYTES // ((im.size[4] + width) * p.itemsize)))
    t.a_stride = im.stride[0] if t.batch else im.step[2] * im.stride[3]
    t.b_stride = t.g.stride[0] if t.batch else t.g.stride[3]
    t.window_bytes = 0
    if p.copies:
        plan_windows(p, t.taps, t.dilation)
        t.a_stride = p.a_stride
        t.window_bytes = round_up(p.window[0] * p.window[1] * p.window[2] * im.size[4] * p.itemsize + 256, 64)
    p.thread_bytes = round_up(t.window_bytes + (t.piece + 2) * sizeof(fc_span), 4096) + 64
    workspace = new_buffer(threads * p.thread_bytes)
    t.c_stride = round_up(t.columns, nr)
    t.c_bytes = p.k * t.c_stride * p.itemsize
    results = new_buffer((t.chunks - t.direct) * groups * t.c_bytes)
    t.c = results.ptr
    with nogil:
        run_tasks(sum_task, t, tasks, threads, workspace.ptr, p.thread_bytes)
        if t.chunks > 1 or not t.direct:
            run_tasks(finish_task, t, groups * t.n_tiles, min(threads, threads_for(t.chunks * groups * p.k * t.columns)),
                      NULL, 0)
    return 0


cdef char *result(const WeightGradient *t, int64_t chunk, int64_t group, const Rows *tile, int64_t *c_stride) noexcept nogil:
    """Where a tile's first row of one chunk lies."""
    if t.direct and chunk == 0:
        c_stride[0] = t.stride[3] if t.p.image.size[4] > 1 else t.stride[2]
        return group_start(&t.p, 1, group) + tile.out * t.p.itemsize
    c_stride[0] = t.c_stride
    return t.c + ((chunk - t.direct) * t.p.groups.size + group) * t.c_bytes + tile.k * t.c_stride * t.p.itemsize


cdef void sum_task(const void *job, int64_t task, char *workspace) noexcept nogil:
    """Some rows and columns of one chunk of one group."""
    cdef const WeightGradient *t = <const WeightGradient *>job
    cdef const Product *p = &t.p
    cdef int64_t rows = task % t.row_blocks, rest = task // t.row_blocks, columns = rest % t.column_blocks
    cdef int64_t group = rest // t.column_blocks % p.groups.size, chunk = rest // (t.column_blocks * p.groups.size)
    cdef int64_t first = chunk * t.chunk, pixel = first, end = min(first + t.chunk, p.pixels), n, i, last
    cdef int64_t tile1 = (rows + 1) * t.n_tiles // t.row_blocks
    cdef fc_span *spans = <fc_span *>(workspace + t.window_bytes)
    cdef int64_t at[4]
    cdef int64_t start[4]
    cdef char *a = group_start(p, 0, group)
    while pixel < end:
        locate_pixel(t, pixel, at)
        n = min(t.piece, end - pixel)
        if p.copies:
            start[0] = at[0]
            start[1] = at[1]
            start[2] = at[2]
            start[3] = at[3] if p.blocks[1] > 1 else 0
            n = min(n, p.block[0] * p.image.out[2] - at[3] if p.blocks[1] == 1 else min(p.block[1], p.image.out[2] - at[3]))
            n = min(n, (p.image.out[1] - at[2]) * p.image.out[2] - at[3])
            copy_window(p, group_start(p, 0, group), start, workspace)
            a = workspace
        i = rows * t.n_tiles // t.row_blocks
        while i < tile1:
            last = i
            while last < tile1 and t.tiles[last].run == t.tiles[i].run:
                last += 1
            sum_run(t, chunk, group, columns, i, last, a, at, start, n, pixel > first, spans)
            i = last
        pixel += n


cdef void sum_run(const WeightGradient *t, int64_t chunk, int64_t group, int64_t columns, int64_t tile0,
                  int64_t tile1, const char *a, const int64_t *at, const int64_t *start, int64_t n, int accumulate,
                  fc_span *spans) noexcept nogil:
    """n pixels from `at` on, for tiles of one run and a block of columns."""
    cdef const Product *p = &t.p
    cdef const fc_gemm *kernel = p.kernel
    cdef int64_t nr = kernel.tile_columns, panels = (t.columns + nr - 1) // nr, panel, i, c_stride, count
    cdef const fc_run *run = &t.runs[t.tiles[tile0].run]
    cdef char *g = group_start(p, 2, group)
    cdef char *c
    count = list_window_spans(t, run, at, start, n, spans) if p.copies else list_spans(t, run, at, n, spans)
    if count == 0 and accumulate:
        return
    for panel in range(columns * panels // t.column_blocks, (columns + 1) * panels // t.column_blocks):
        for i in range(tile0, tile1):
            c = result(t, chunk, group, &t.tiles[i], &c_stride) + panel * nr * p.itemsize
            kernel.tile(<int>t.tiles[i].n, 0, a + t.tiles[i].first * p.itemsize, t.a_stride, g + panel * nr * p.itemsize,
                        t.b_stride, spans, count, c, c_stride, min(nr, t.columns - panel * nr), accumulate)


cdef void locate_pixel(const WeightGradient *t, int64_t pixel, int64_t *at) noexcept nogil:
    """(n, p, q, r) of a pixel, numbered in the order of the contract."""
    cdef int64_t rest = pixel // t.batch if t.batch else pixel
    cdef int axis
    for axis in range(2, -1, -1):
        at[axis + 1] = rest % t.p.image.out[axis]
        rest //= t.p.image.out[axis]
    at[0] = pixel % t.batch if t.batch else rest


cdef int next_row(const WeightGradient *t, int64_t *at) noexcept nogil:
    """From a pixel to the first of the next row, or of the next output position."""
    cdef int axis
    if t.batch:
        at[0] = 0
    else:
        at[3] = t.p.image.out[2] - 1
    for axis in range(3, 0, -1):
        at[axis] += 1
        if at[axis] < t.p.image.out[axis - 1]:
            return 0
        at[axis] = 0
    at[0] += not t.batch
    return 0


cdef int64_t add_span(const WeightGradient *t, fc_span *spans, int64_t count, int64_t a, int64_t b, int64_t n) noexcept nogil:
    """Append n pixels, as part of the last span where they continue it."""
    cdef fc_span *last = &spans[count - 1]
    if count and a == last.a + last.n * t.a_stride and b == last.b + last.n * t.b_stride:
        last.n += n
        return count
    spans[count].a = a
    spans[count].b = b
    spans[count].n = n
    return count + 1


cdef int64_t list_spans(const WeightGradient *t, const fc_run *run, const int64_t *first, int64_t n,
                        fc_span *spans) noexcept nogil:
    """The pixels among n from `first` on from which a tap sees x, in place; their number of spans."""
    cdef const fc_image *im = &t.p.image
    cdef int64_t step = im.step[2], w = im.origin[2] + run.w, rest = im.size[3] - 1 - w, d, h, lo, hi, size, count = 0
    cdef int64_t tap_lo = 0 if w >= 0 else (-w + step - 1) // step, tap_hi = rest // step + 1 if rest >= 0 else 0
    cdef int64_t at[4]
    at[0], at[1], at[2], at[3] = first[0], first[1], first[2], first[3]
    while n > 0:
        size = min(n, t.batch - at[0] if t.batch else im.out[2] - at[3])
        d = at[1] * im.step[0] + im.origin[0] + run.d
        h = at[2] * im.step[1] + im.origin[1] + run.h
        lo = max(at[3], tap_lo)
        hi = min(at[3] + (1 if t.batch else size), tap_hi)
        if 0 <= d < im.size[1] and 0 <= h < im.size[2] and lo < hi:
            count = add_span(
                t, spans, count,
                at[0] * im.stride[0] + d * im.stride[1] + h * im.stride[2] + (lo * step + w) * im.stride[3],
                at[0] * t.g.stride[0] + at[1] * t.g.stride[1] + at[2] * t.g.stride[2] + lo * t.g.stride[3],
                size if t.batch else hi - lo)
        n -= size
        next_row(t, at)
    return count


cdef int64_t list_window_spans(const WeightGradient *t, const fc_run *run, const int64_t *first, const int64_t *start,
                               int64_t n, fc_span *spans) noexcept nogil:
    """All of n pixels from `first` on, rows of a window that begins at `start`; their number of spans."""
    cdef const Product *p = &t.p
    cdef const fc_image *im = &p.image
    cdef int64_t row = p.window[2] * im.size[4], size, count = 0, q = first[2], r = first[3]
    cdef int64_t tap = run.tap // (t.taps[1] * t.taps[2]) * p.window[1] * row + run.h * row + run.w * im.size[4]
    while n > 0:
        size = min(n, im.out[2] - r)
        count = add_span(
            t, spans, count, tap + (q - start[2]) * im.step[1] * row + (r - start[3]) * t.a_stride,
            first[0] * t.g.stride[0] + first[1] * t.g.stride[1] + q * t.g.stride[2] + r * t.g.stride[3], size)
        n -= size
        q += 1
        r = 0
    return count


cdef void finish_task(const void *job, int64_t task, char *workspace) noexcept nogil:
    """Add the chunks of one tile in order; to out, if it is not there yet."""
    cdef const WeightGradient *t = <const WeightGradient *>job
    cdef const Product *p = &t.p
    cdef const Rows *tile = &t.tiles[task % t.n_tiles]
    cdef int64_t group = task // t.n_tiles, chunk, row, c_stride, stride, e, n, c = p.image.size[4]
    cdef char *sums = result(t, 0, group, tile, &c_stride)
    cdef char *part
    for chunk in range(1, t.chunks):
        part = result(t, chunk, group, tile, &stride)
        for row in range(tile.n):
            p.kernel.accumulate(sums + row * c_stride * p.itemsize, part + row * stride * p.itemsize, t.columns)
    if t.direct:
        return
    e = tile.first
    while e < tile.first + tile.n:                  # rows of one tap at a time
        n = min(tile.first + tile.n, (e // c + 1) * c) - e
        p.kernel.copy_block(
            group_start(p, 1, group) + (out_at(t, t.runs[tile.run].tap + e // c) + e % c * t.stride[3]) * p.itemsize,
            t.stride[3], t.stride[4], sums + (e - tile.first) * c_stride * p.itemsize, c_stride, 1, n, t.columns)
        e += n
