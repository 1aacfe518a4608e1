"""winograd_conv and winograd_weight_grad: 3x3 convolutions with fewer multiplications.

Tiles of the output, numbered row-major as (n, row, column), are computed from squares two pixels wider.
Transformed, every convolution is one matrix product per point of the square, over the channels:

    V [point][tile][channel]  from x      U [point][channel][out channel]  from w
    M [point][tile][out]  =  V U          D [point][channel][out]  =  V^T Y, with Y from g

Of large kernels, which no cache keeps, each point's product is taken over as many tiles at once as
the workspace allows (a wave), in three parallel loops. Otherwise a thread takes a block of tiles through all
three steps, and its V and M stay in its L2.

Images whose channels do not lie side by side are brought into that form a strip at a time: the rows that
a row of tiles reads.
"""
from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t
from libc.string cimport memset

from ..reference import winograd_chunk
from .buffer cimport Buffer, new_buffer
from .conv import ACTIVATIONS
from .kernels cimport FC_WINOGRAD_BLOCK, fc_gemm, fc_winograd
from .runtime cimport kernels, threads_for
from .strided cimport Loop, add_array, copy_strided, set_shape

cdef enum:
    MOST_POINTS = 36
    BLOCK_BYTES = 512 << 10         # of V that a thread keeps in its L2
    SLAB = 128                      # out channels in work at once there
    KEPT_BYTES = 14 << 20           # of U up to which it pays that every block reads all of it
    STREAMED_BYTES = 4 << 20        # of U from which it is written past the caches
    WAVE_BYTES = 8 << 20            # of V and M, or V and Y, in a wave; more beside a larger U
    KERNEL_ROWS = 16                # channels of the kernel that are transformed in one task
    WAVE_TILES = 16                 # tiles that are transformed in one task of a wave
    CHUNK_TILES = 32                # of the weight gradient, as the contract says
    PART_TILES = 1024

# Images (n, h, w, c) of one group; squares of `side` pixels start `step` apart at `origin`.
cdef struct Images:
    char *data
    int64_t size[4]
    int64_t stride[4]
    int64_t origin[2]
    int64_t side, step
    int64_t strip_stride            # of a pixel in a strip; 0 where none is needed

cdef struct Plan:
    const fc_winograd *kernel
    const fc_gemm *gemm
    int itemsize
    int tile, side, points
    int64_t rows, columns, tiles    # tiles of an image, and of all
    int64_t channels, outs
    int64_t chunk                   # channels that are summed in one go
    int64_t w_stride[4]             # of the kernel: (i, j, c, o)
    char *w
    char *bias                      # dense, or NULL
    int activation
    Images x, out                   # out is also the gradient of the output
    # Matrices by point, strides in elements
    char *v
    int64_t v_tiles, v_point        # tiles for which there is room
    char *u
    int64_t u_panel, u_point
    int streamed
    char *m                         # M, or Y
    int64_t m_stride, m_point
    char *d
    int64_t d_stride, d_point
    # Threads
    int threads
    char *workspace
    int64_t thread_bytes, strip_bytes, zero_bytes, scratch_bytes

# What a thread has for itself, at the start of its part of the workspace.
cdef struct Thread:
    void *pixel[MOST_POINTS]
    int64_t strip                   # which one is staged
    char *zeros
    char *strip_data
    char *scratch
    char *rest


cdef int64_t round_up(int64_t n, int64_t multiple) noexcept nogil:
    return (n + multiple - 1) // multiple * multiple


cdef int64_t odd(int64_t n, int itemsize) noexcept nogil:
    """At least n elements: an odd number of cache lines, so that those of all points fall into different sets."""
    cdef int64_t line = 64 // itemsize
    return (round_up(n, line) // line | 1) * line


# --- pixels ----------------------------------------------------------------------------------

cdef Thread *thread_at(const Plan *p, int number) noexcept nogil:
    return <Thread *>(p.workspace + number * p.thread_bytes)


cdef void prepare_threads(Plan *p, char *workspace) noexcept nogil:
    cdef Thread *t
    cdef int number
    p.workspace = workspace
    for number in range(p.threads):
        t = thread_at(p, number)
        t.zeros = <char *>t + round_up(sizeof(Thread), 64)
        t.strip_data = t.zeros + p.zero_bytes
        t.scratch = t.strip_data + p.strip_bytes
        t.rest = t.scratch + p.scratch_bytes
        memset(t.zeros, 0, p.zero_bytes)


cdef void stage_strip(const Plan *p, const Images *im, int64_t row, Thread *t) noexcept nogil:
    """The rows that tiles of row `row` (counted through all images) read, as [side][w][channels]."""
    cdef int64_t h0 = row % p.rows * im.step + im.origin[0], n = row // p.rows, i, h
    for i in range(im.side):
        h = h0 + i
        if 0 <= h < im.size[1]:
            p.gemm.copy_block(t.strip_data + i * im.size[2] * im.strip_stride * p.itemsize, im.strip_stride, 1,
                              im.data + (n * im.stride[0] + h * im.stride[1]) * p.itemsize, im.stride[2], im.stride[3],
                              im.size[2], im.size[3])
    t.strip = row


cdef void find_pixels(const Plan *p, const Images *im, int64_t tile, Thread *t) noexcept nogil:
    """Pointers to the pixels of one tile's square; zeros stand for what lies outside."""
    cdef int64_t row = tile // p.columns, n = row // p.rows, i, j, h, w
    cdef int64_t h0 = row % p.rows * im.step + im.origin[0], w0 = tile % p.columns * im.step + im.origin[1]
    if im.strip_stride and t.strip != row:
        stage_strip(p, im, row, t)
    for i in range(im.side):
        h = h0 + i
        for j in range(im.side):
            w = w0 + j
            if not (0 <= h < im.size[1] and 0 <= w < im.size[2]):
                t.pixel[i * im.side + j] = t.zeros
            elif im.strip_stride:
                t.pixel[i * im.side + j] = t.strip_data + (i * im.size[2] + w) * im.strip_stride * p.itemsize
            else:
                t.pixel[i * im.side + j] = (im.data + (n * im.stride[0] + h * im.stride[1] + w * im.stride[2])
                                            * p.itemsize)


# --- transforms ------------------------------------------------------------------------------

cdef void transform_kernel(const Plan *p, int64_t task, Thread *t) noexcept nogil:
    """KERNEL_ROWS channels of one panel of U; through a dense copy unless the panel lies in rows."""
    cdef int64_t blocks = (p.channels + KERNEL_ROWS - 1) // KERNEL_ROWS, nr = p.gemm.tile_columns, i, j
    cdef int64_t panel = task // blocks, c = task % blocks * KERNEL_ROWS
    cdef int64_t rows = min(<int64_t>KERNEL_ROWS, p.channels - c), columns = min(nr, p.outs - panel * nr)
    cdef char *w = p.w + (c * p.w_stride[2] + panel * nr * p.w_stride[3]) * p.itemsize
    cdef char *u = p.u + (panel * p.u_panel + c * nr) * p.itemsize
    if p.w_stride[3] == 1 and columns == nr:
        p.kernel.kernel(u, p.u_point, w, p.w_stride[0], p.w_stride[1], p.w_stride[2], rows, p.streamed)
        return
    if columns < nr:
        memset(t.scratch, 0, 9 * KERNEL_ROWS * nr * p.itemsize)
    for i in range(3):
        for j in range(3):
            p.gemm.copy_block(t.scratch + (i * 3 + j) * KERNEL_ROWS * nr * p.itemsize, nr, 1,
                              w + (i * p.w_stride[0] + j * p.w_stride[1]) * p.itemsize, p.w_stride[2], p.w_stride[3],
                              rows, columns)
    p.kernel.kernel(u, p.u_point, t.scratch, 3 * KERNEL_ROWS * nr, KERNEL_ROWS * nr, nr, rows, p.streamed)


cdef void transform_images(const Plan *p, int64_t first, int64_t last, char *v, Thread *t) noexcept nogil:
    """Tiles [first, last) of x to V, which starts with tile `first`."""
    cdef int64_t tile
    t.strip = -1
    for tile in range(first, last):
        find_pixels(p, &p.x, tile, t)
        p.kernel.image(v + (tile - first) * FC_WINOGRAD_BLOCK * p.itemsize, p.v_point, p.v_tiles * FC_WINOGRAD_BLOCK,
                       <const void **>t.pixel, p.channels)


cdef void transform_grads(const Plan *p, int64_t first, int64_t last, char *y, Thread *t) noexcept nogil:
    """Tiles [first, last) of g to Y, which starts with tile `first`."""
    cdef int64_t tile, nr = p.gemm.tile_columns
    t.strip = -1
    for tile in range(first, last):
        find_pixels(p, &p.out, tile, t)
        p.kernel.grad(y + (tile - first) * nr * p.itemsize, p.m_point, p.v_tiles * nr, <const void **>t.pixel, p.outs)


cdef void store_results(const Plan *p, int64_t first, int64_t last, const char *m, int64_t column, int64_t columns,
                        Thread *t) noexcept nogil:
    """Tiles [first, last) of columns [column, column + columns) of out, from their M."""
    cdef const Images *im = &p.out
    cdef int64_t tile, row, i, j, h, w
    cdef char *to
    cdef char *bias = NULL if p.bias is NULL else p.bias + column * p.itemsize
    cdef int dense = im.stride[3] == 1
    for tile in range(first, last):
        row = tile // p.columns
        for i in range(p.tile):
            h = row % p.rows * p.tile + i
            for j in range(p.tile):
                w = tile % p.columns * p.tile + j
                to = NULL
                if h < im.size[1] and w < im.size[2]:
                    to = t.scratch + (i * p.tile + j) * p.m_stride * p.itemsize
                    if dense:
                        to = im.data + (row // p.rows * im.stride[0] + h * im.stride[1] + w * im.stride[2]
                                        + column) * p.itemsize
                t.pixel[i * p.tile + j] = to
        p.kernel.result(t.pixel, m + (tile - first) * p.m_stride * p.itemsize, p.m_point, columns, bias, p.activation)
        if dense:
            continue
        for i in range(p.tile * p.tile):
            if t.pixel[i] is not NULL:
                h = row % p.rows * p.tile + i // p.tile
                w = tile % p.columns * p.tile + i % p.tile
                to = im.data + (row // p.rows * im.stride[0] + h * im.stride[1] + w * im.stride[2]
                                + column * im.stride[3]) * p.itemsize
                copy_strided(to, im.stride[3] * p.itemsize, <char *>t.pixel[i], p.itemsize, columns, p.itemsize)


cdef void store_kernel_grad(const Plan *p, int64_t c, Thread *t) noexcept nogil:
    """One channel of the kernel's gradient from its D."""
    cdef const char *d = p.d + c * p.d_stride * p.itemsize
    cdef char *dw = p.w + c * p.w_stride[2] * p.itemsize
    cdef int64_t i, j
    if p.w_stride[3] == 1:
        p.kernel.kernel_grad(dw, p.w_stride[0], p.w_stride[1], d, p.d_point, p.outs)
        return
    p.kernel.kernel_grad(t.scratch, 3 * p.d_stride, p.d_stride, d, p.d_point, p.outs)
    for i in range(3):
        for j in range(3):
            copy_strided(dw + (i * p.w_stride[0] + j * p.w_stride[1]) * p.itemsize, p.w_stride[3] * p.itemsize,
                         t.scratch + (i * 3 + j) * p.d_stride * p.itemsize, p.itemsize, p.outs, p.itemsize)


# --- products --------------------------------------------------------------------------------

cdef void multiply_point(const Plan *p, int64_t point, const char *v, int64_t tiles, char *m, int64_t column,
                         int64_t columns) noexcept nogil:
    """M = V U of one point for columns [column, column + columns)."""
    p.kernel.multiply(1, v + point * p.v_point * p.itemsize, p.v_tiles * FC_WINOGRAD_BLOCK, tiles,
                      p.u + (point * p.u_point + column // p.gemm.tile_columns * p.u_panel) * p.itemsize, p.u_panel,
                      m + point * p.m_point * p.itemsize, p.m_stride, columns, p.channels, p.chunk, 0)


cdef void compute_block(const Plan *p, int64_t first, int64_t last, Thread *t) noexcept nogil:
    """All three steps for tiles [first, last), in the thread's own memory."""
    cdef char *v = t.rest
    cdef char *m = v + p.points * p.v_point * p.itemsize
    cdef int64_t column = 0, columns, point
    transform_images(p, first, last, v, t)
    while column < p.outs:
        columns = min(<int64_t>SLAB, p.outs - column)
        for point in range(p.points):
            multiply_point(p, point, v, last - first, m, column, columns)
        store_results(p, first, last, m, column, columns, t)
        column += columns


cdef void multiply_task(const Plan *p, int64_t task, int64_t tiles) noexcept nogil:
    """A slab of columns of one point, of a wave of tiles."""
    cdef int64_t slabs = (p.outs + SLAB - 1) // SLAB, column = task % slabs * SLAB
    multiply_point(p, task // slabs, p.v, tiles, p.m + column * p.itemsize, column, min(<int64_t>SLAB, p.outs - column))


cdef void grad_task(const Plan *p, int64_t task, int64_t tiles, char *d, int accumulate) noexcept nogil:
    """D += V^T Y of a block of channels of one point, of a wave of tiles."""
    cdef int64_t blocks = (p.channels + FC_WINOGRAD_BLOCK - 1) // FC_WINOGRAD_BLOCK
    cdef int64_t block = task % blocks, point = task // blocks, c = block * FC_WINOGRAD_BLOCK
    p.kernel.multiply(0, p.v + (point * p.v_point + block * p.v_tiles * FC_WINOGRAD_BLOCK) * p.itemsize, 0,
                      min(<int64_t>FC_WINOGRAD_BLOCK, p.channels - c), p.m + point * p.m_point * p.itemsize,
                      p.v_tiles * p.gemm.tile_columns, d + (point * p.d_point + c * p.d_stride) * p.itemsize, p.d_stride,
                      p.outs, tiles, CHUNK_TILES, accumulate)


# --- reading the operands --------------------------------------------------------------------

cdef int read_images(Plan *p, Images *im, object x, Loop *loop) except -1:
    """x (groups, n, 1, h, w, c); its group is set later."""
    cdef int d
    set_shape(loop, x)
    add_array(loop, x)
    if loop.dtype[0] > 1:
        raise NotImplementedError("device 'cpu' has convolutions for float32 and float64 only")
    for d in range(4):
        im.size[d] = loop.shape[d + 1 + (d > 0)]
        im.stride[d] = loop.strides[0][d + 1 + (d > 0)] // loop.itemsize[0]
    if im.size[3] == 1:
        im.stride[3] = 1
    im.strip_stride = 0 if im.stride[3] == 1 else odd(im.size[3], loop.itemsize[0])
    return 0


cdef int make_plan(Plan *p, object x, object w, object out, padding, int tile, Loop *lx, Loop *lw, Loop *lout) except -1:
    """Everything but the groups' data and the workspace."""
    cdef int d
    read_images(p, &p.x, x, lx)
    read_images(p, &p.out, out, lout)
    set_shape(lw, w)
    add_array(lw, w)
    p.itemsize = lx.itemsize[0]
    p.kernel = &kernels.winograd[lx.dtype[0]][0 if tile == 4 else 1]
    p.gemm = &kernels.gemm[lx.dtype[0]]
    p.tile = tile
    p.side = tile + 2
    p.points = p.side * p.side
    p.x.side = p.side
    p.x.step = p.out.side = p.out.step = tile
    for d in range(2):
        p.x.origin[d] = -<int64_t>padding[d + 1]
        p.out.origin[d] = 0
    p.rows = (p.out.size[1] + tile - 1) // tile
    p.columns = (p.out.size[2] + tile - 1) // tile
    p.tiles = p.out.size[0] * p.rows * p.columns
    p.channels = p.x.size[3]
    p.outs = p.out.size[3]
    p.chunk = winograd_chunk(p.channels)
    for d in range(4):
        p.w_stride[d] = lw.strides[0][d + 2] // p.itemsize
    if p.outs == 1:
        p.w_stride[3] = 1
    p.bias = NULL
    p.threads = threads_for(p.points * p.tiles * p.channels * p.outs // 16)
    p.zero_bytes = round_up((max(p.channels, p.outs) + 64) * p.itemsize, 64)
    p.strip_bytes = round_up(max(p.side * p.x.size[2] * p.x.strip_stride, tile * p.out.size[2] * p.out.strip_stride)
                             * p.itemsize + 256, 64)
    return 0


cdef void start_group(Plan *p, int64_t group, const Loop *lx, const Loop *lw, const Loop *lout) noexcept:
    p.x.data = lx.data[0] + group * lx.strides[0][0]
    p.w = lw.data[0] + group * lw.strides[0][0]
    p.out.data = lout.data[0] + group * lout.strides[0][0]


cdef int64_t wave_tiles(const Plan *p) noexcept:
    """Tiles of a wave: chunks of the weight gradient that are a part of PART_TILES."""
    cdef int64_t room = max(<int64_t>WAVE_BYTES, 2 * p.points * p.channels * p.outs * p.itemsize), n = PART_TILES
    while n > CHUNK_TILES and n * p.points * (p.channels + p.outs) * p.itemsize > room:
        n //= 2
    return min(n, round_up(p.tiles, CHUNK_TILES))


# --- entry points ----------------------------------------------------------------------------

def winograd_conv(out, x, w, bias, padding, tile, activation=None):
    """3x3 correlation by Winograd's algorithm (see fastconv.reference.winograd_conv)."""
    cdef Plan p
    cdef Loop lx, lw, lout, lbias
    cdef Buffer transformed, workspace, matrices, dense_bias
    cdef int64_t group, task, kernel_tasks, blocks, nr, wave, mr, bytes_of_u
    cdef int private
    make_plan(&p, x, w, out, padding, tile, &lx, &lw, &lout)
    p.activation = ACTIVATIONS[activation]
    nr = p.gemm.tile_columns
    mr = p.gemm.tile_rows
    # U
    p.u_panel = p.channels * nr
    p.u_point = odd((p.outs + nr - 1) // nr * p.u_panel, p.itemsize)
    bytes_of_u = p.points * p.u_point * p.itemsize
    p.streamed = bytes_of_u > STREAMED_BYTES
    transformed = new_buffer(bytes_of_u)
    p.u = transformed.ptr
    kernel_tasks = (p.outs + nr - 1) // nr * ((p.channels + KERNEL_ROWS - 1) // KERNEL_ROWS)
    # V and M
    private = bytes_of_u <= KEPT_BYTES
    wave = wave_tiles(&p)
    blocks = 1
    if private:
        wave = max(mr, BLOCK_BYTES // (p.points * p.channels * p.itemsize) // mr * mr)
        blocks = (p.tiles + wave - 1) // wave
        if blocks < 4 * p.threads:          # few blocks: the same number for each thread
            blocks = min(p.tiles, round_up(blocks, p.threads))
        wave = (p.tiles + blocks - 1) // blocks
    p.v_tiles = wave
    p.v_point = odd(round_up(p.channels, FC_WINOGRAD_BLOCK) * wave, p.itemsize)
    p.m_stride = odd(round_up(min(p.outs, <int64_t>SLAB) if private else p.outs, nr), p.itemsize)
    p.m_point = odd(p.m_stride * wave, p.itemsize)
    p.scratch_bytes = max(9 * KERNEL_ROWS * nr, tile * tile * p.m_stride) * p.itemsize
    p.thread_bytes = round_up(sizeof(Thread), 64) + p.zero_bytes + p.strip_bytes + p.scratch_bytes
    if private:
        p.thread_bytes += p.points * (p.v_point + p.m_point) * p.itemsize
    p.thread_bytes = round_up(p.thread_bytes, 4096) + 64
    workspace = new_buffer(p.threads * p.thread_bytes)
    prepare_threads(&p, workspace.ptr)
    matrices = new_buffer(0 if private else p.points * (p.v_point + p.m_point) * p.itemsize)
    p.v = matrices.ptr
    p.m = p.v + p.points * p.v_point * p.itemsize
    if bias is not None:
        set_shape(&lbias, bias)
        add_array(&lbias, bias)
        dense_bias = new_buffer(p.outs * p.itemsize)
        p.bias = dense_bias.ptr
    for group in range(lx.shape[0]):
        start_group(&p, group, &lx, &lw, &lout)
        if bias is not None:
            copy_strided(p.bias, p.itemsize, lbias.data[0] + group * lbias.strides[0][0], lbias.strides[0][1], p.outs,
                         p.itemsize)
        for task in prange(kernel_tasks, nogil=True, num_threads=p.threads, schedule="static"):
            transform_kernel(&p, task, thread_at(&p, threadid()))
        if private:
            for task in prange(blocks, nogil=True, num_threads=p.threads, schedule="dynamic"):
                compute_block(&p, task * p.tiles // blocks, (task + 1) * p.tiles // blocks, thread_at(&p, threadid()))
        else:
            for task in range(0, p.tiles, wave):
                conv_wave(&p, task, min(wave, p.tiles - task))


cdef int conv_wave(Plan *p, int64_t first, int64_t tiles) except -1:
    """The three steps for tiles [first, first + tiles), each in parallel."""
    cdef int64_t blocks = (tiles + WAVE_TILES - 1) // WAVE_TILES, task
    cdef int64_t products = p.points * ((p.outs + SLAB - 1) // SLAB)
    with nogil:
        for task in prange(blocks, num_threads=p.threads, schedule="static"):
            transform_images(p, first + task * tiles // blocks, first + (task + 1) * tiles // blocks,
                             p.v + task * tiles // blocks * FC_WINOGRAD_BLOCK * p.itemsize, thread_at(p, threadid()))
        for task in prange(products, num_threads=p.threads, schedule="dynamic"):
            multiply_task(p, task, tiles)
        for task in prange(blocks, num_threads=p.threads, schedule="static"):
            store_results(p, first + task * tiles // blocks, first + (task + 1) * tiles // blocks,
                          p.m + task * tiles // blocks * p.m_stride * p.itemsize, 0, p.outs, thread_at(p, threadid()))
    return 0


def winograd_weight_grad(out, x, g, padding, tile):
    """The gradient of winograd_conv with respect to w (see fastconv.reference.winograd_weight_grad)."""
    cdef Plan p
    cdef Loop lx, lw, lg
    cdef Buffer matrices, workspace
    cdef int64_t group, task, wave, nr, first, parts
    cdef char *total
    make_plan(&p, x, out, g, padding, tile, &lx, &lw, &lg)
    nr = p.gemm.tile_columns
    wave = wave_tiles(&p)
    parts = (p.tiles + PART_TILES - 1) // PART_TILES
    p.v_tiles = wave
    p.v_point = odd(round_up(p.channels, FC_WINOGRAD_BLOCK) * wave, p.itemsize)
    p.m_point = odd(round_up(p.outs, nr) * wave, p.itemsize)
    p.d_stride = odd(round_up(p.outs, nr), p.itemsize)
    p.d_point = odd(p.d_stride * p.channels, p.itemsize)
    p.scratch_bytes = 9 * p.d_stride * p.itemsize
    p.thread_bytes = round_up(round_up(sizeof(Thread), 64) + p.zero_bytes + p.strip_bytes + p.scratch_bytes, 4096) + 64
    workspace = new_buffer(p.threads * p.thread_bytes)
    prepare_threads(&p, workspace.ptr)
    matrices = new_buffer(p.points * (p.v_point + p.m_point + min(parts, <int64_t>2) * p.d_point) * p.itemsize)
    p.v = matrices.ptr
    p.m = p.v + p.points * p.v_point * p.itemsize
    p.d = p.m + p.points * p.m_point * p.itemsize
    for group in range(lx.shape[0]):
        start_group(&p, group, &lx, &lw, &lg)
        for first in range(0, p.tiles, wave):
            grad_wave(&p, first, min(wave, p.tiles - first))
        for task in prange(p.channels, nogil=True, num_threads=p.threads, schedule="static"):
            store_kernel_grad(&p, task, thread_at(&p, threadid()))


cdef int grad_wave(Plan *p, int64_t first, int64_t tiles) except -1:
    """Tiles [first, first + tiles) into D; those of later parts are summed beside it, and then added."""
    cdef int64_t blocks = (tiles + WAVE_TILES - 1) // WAVE_TILES, task
    cdef int64_t products = p.points * ((p.channels + FC_WINOGRAD_BLOCK - 1) // FC_WINOGRAD_BLOCK)
    cdef int64_t size = p.d_point * p.itemsize
    cdef char *part = p.d if first < PART_TILES else p.d + p.points * size
    with nogil:
        for task in prange(blocks, num_threads=p.threads, schedule="static"):
            transform_images(p, first + task * tiles // blocks, first + (task + 1) * tiles // blocks,
                             p.v + task * tiles // blocks * FC_WINOGRAD_BLOCK * p.itemsize, thread_at(p, threadid()))
        for task in prange(blocks, num_threads=p.threads, schedule="static"):
            transform_grads(p, first + task * tiles // blocks, first + (task + 1) * tiles // blocks,
                            p.m + task * tiles // blocks * p.gemm.tile_columns * p.itemsize, thread_at(p, threadid()))
        for task in prange(products, num_threads=p.threads, schedule="dynamic"):
            grad_task(p, task, tiles, part, first % PART_TILES > 0)
        if part != p.d and ((first + tiles) % PART_TILES == 0 or first + tiles == p.tiles):
            for task in prange(p.points, num_threads=p.threads, schedule="static"):
                p.gemm.accumulate(p.d + task * size, part + task * size, p.d_point)
    return 0
