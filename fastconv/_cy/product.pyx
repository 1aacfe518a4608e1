"""The five loops of a matrix product around one register tile, for matmul and conv.

out = A B + bias: the rows of A are pixels, k runs over kernel taps and channels, the columns are output
channels. B is packed into panels of tile_columns, [panel][k][tile_columns], or read in place. A is read where
it is whenever its rows lie in equal steps, and otherwise copied, a block at a time, to memory of the thread.

    for column over slabs of columns             B of the slab packed once
      for task over groups x parts x blocks      a block of tiles, and some of the slab's panels
        for segment of k                         as much of a panel as stays in the second cache
          for panel of B
            for tile of the block                (in C, fc_gemm.tile) spans of k, in registers

k is a list of spans: stretches that lie side by side in A and in B. Taps that reach no pixel have none.
The order in which an element of the output is summed depends on the shapes alone, not on threads or blocks.
"""
from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t
from libc.string cimport memset

from .buffer cimport Buffer, new_buffer
from .kernels cimport FC_NO_ACTIVATION, fc_gemm, fc_image, fc_span
from .runtime cimport kernels, threads_for
from .strided cimport Loop, MAX_DIMS, add_array, locate, set_shape, unravel

cdef enum:
    PACKED_BYTES = 12 << 20     # of B packed at once, where its columns can be cut
    BLOCK_TILES = 8             # tiles of one block
    WINDOW_BYTES = 192 << 10    # what one padded copy may hold
    BLOCK_PIXELS = 224          # outputs of a block that is read in place
    MOST_PIXELS = 1024          # and of one that is copied
    STREAM_BYTES = 24 << 20     # results from this size on go past the caches
    PANELS_IN_PLACE = 4         # panels of B up to which rows in equal steps are not packed
    TILES_IN_PLACE = 2          # tiles of A up to which B is not packed


cdef int64_t round_up(int64_t n, int64_t multiple) noexcept nogil:
    return (n + multiple - 1) // multiple * multiple


cdef void run_tasks(task_fn function, const void *job, int64_t tasks, int threads, char *workspace,
                    int64_t bytes) noexcept nogil:
    """function(job, task, a thread's own `bytes` of workspace) for each task."""
    cdef int64_t task
    if threads == 1 or tasks == 1:
        for task in range(tasks):
            function(job, task, workspace)
    else:
        for task in prange(tasks, num_threads=threads, schedule="dynamic"):
            function(job, task, workspace + threadid() * bytes)


# --- reading the operands --------------------------------------------------------------------

cdef int float_kernel(Product *p, int dtype) except -1:
    if dtype > 1:
        raise NotImplementedError("device 'cpu' has matrix products for float32 and float64 only")
    p.kernel = &kernels.gemm[dtype]
    p.itemsize = 4 if dtype == 0 else 8
    return 0


cdef int read_array(Loop *loop, object x) except -1:
    set_shape(loop, x)
    return add_array(loop, x)


cdef void add_group(Loop *groups, const Loop *x) noexcept:
    """Append an operand whose first axis is the group."""
    cdef int operand = groups.operands
    groups.ndim = 1
    groups.shape[0] = groups.size = x.shape[0]
    groups.strides[operand][0] = x.strides[0][0]
    groups.data[operand] = x.data[0]
    groups.itemsize[operand] = x.itemsize[0]
    groups.operands += 1


cdef char *group_start(const Product *p, int operand, int64_t group) noexcept nogil:
    cdef int64_t index[MAX_DIMS]
    if p.groups.ndim == 1:
        return p.groups.data[operand] + group * p.groups.strides[operand][0]
    unravel(&p.groups, group, index)
    return p.groups.data[operand] + locate(&p.groups, operand, index)


cdef int64_t list_segments(int64_t *segments, const fc_span *spans, int64_t n, int64_t longest) noexcept nogil:
    """Neighbouring spans to segments of at most `longest` elements; their number."""
    cdef int64_t count = 0, i, length = 0
    segments[0] = 0
    for i in range(n):
        if length and length + spans[i].n > longest:
            count += 1
            segments[count] = i
            length = 0
        length += spans[i].n
    if n:
        count += 1
        segments[count] = n
    return count


# --- packing B -------------------------------------------------------------------------------

cdef void pack_b_task(const void *job, int64_t task, char *workspace) noexcept nogil:
    """One stretch of one group's B over the slab."""
    cdef const Product *p = <const Product *>job
    cdef const Stretch *s = &p.stretches[task % p.n_stretches]
    cdef int64_t group = task // p.n_stretches
    p.kernel.pack_b(p.packed_b + group * p.packed_group + s.k * p.kernel.tile_columns * p.itemsize, p.b_panel,
                    group_start(p, 1, group) + (s.w + p.column * p.b_column) * p.itemsize,
                    s.n, p.b_row, p.slab, p.b_column)


# --- the tiles of a block --------------------------------------------------------------------

cdef int64_t list_tiles(const Product *p, const Part *part, int64_t block, Tile *tiles) noexcept nogil:
    """MATRIX and GATHERED: pixels in even shares; their number."""
    cdef int64_t first = block * p.tiles // p.row_blocks, last = (block + 1) * p.tiles // p.row_blocks
    cdef int64_t i, row, next = first * p.pixels // p.tiles
    cdef int64_t panel = p.kernel.tile_rows * p.kernel.row_stride
    for i in range(last - first):
        row = next
        next = (first + i + 1) * p.pixels // p.tiles
        tiles[i].rows = next - row
        if p.mode == GATHERED:
            tiles[i].a = i * panel
            tiles[i].out = row
        else:
            tiles[i].a = row * (p.a_stride if p.by_rows else 1)
            tiles[i].out = part.out + row * p.out_stride[3]
    return last - first


cdef void gather(const Product *p, const fc_image *image, int64_t segment, const Tile *tiles, int64_t n,
                 char *a) noexcept nogil:
    """Pack each tile's patches along one segment of k."""
    cdef const fc_run *runs = &p.runs[p.run_segments[segment]]
    cdef int64_t n_runs = p.run_segments[segment + 1] - p.run_segments[segment], i
    for i in range(n):
        if p.by_rows:
            p.kernel.pack_rows(a + tiles[i].a * p.itemsize, p.a_stride, image, tiles[i].out, tiles[i].rows, runs, n_runs)
        else:
            p.kernel.pack_columns(a + tiles[i].a * p.itemsize, p.a_stride, image, tiles[i].out, tiles[i].rows, runs,
                                  n_runs)


cdef void plan_windows(Product *p, const int64_t *taps, const int64_t *dilation) noexcept:
    """Blocks of outputs, and the window that each reads."""
    cdef const fc_image *im = &p.image
    cdef int64_t mr = p.kernel.tile_rows, reach_h = (taps[1] - 1) * dilation[1] + 1
    cdef int64_t reach_w = (taps[2] - 1) * dilation[2] + 1, pixel = taps[0] * im.size[4] * p.itemsize, rows, columns
    p.block[1] = im.out[2]
    p.block[0] = max(<int64_t>1, min(im.out[1], BLOCK_PIXELS // im.out[2]))
    if p.copies:
        columns = (WINDOW_BYTES // (pixel * reach_h) - reach_w) // im.step[2] + 1
        p.block[1] = min(im.out[2], max(2 * mr, columns // mr * mr))
        p.window[2] = (p.block[1] - 1) * im.step[2] + reach_w
        rows = (WINDOW_BYTES // (pixel * p.window[2]) - reach_h) // im.step[1] + 1
        p.block[0] = max(<int64_t>1, min(im.out[1], rows, MOST_PIXELS // p.block[1]))
    p.blocks[0] = (im.out[1] + p.block[0] - 1) // p.block[0]
    p.blocks[1] = (im.out[2] + p.block[1] - 1) // p.block[1]
    p.block[0] = (im.out[1] + p.blocks[0] - 1) // p.blocks[0]
    p.window[0] = taps[0]
    p.window[1] = (p.block[0] - 1) * im.step[1] + reach_h
    p.window[2] = (p.block[1] - 1) * im.step[2] + reach_w
    p.dilation = dilation[0]
    p.a_stride = im.step[2] * (im.size[4] if p.copies else im.stride[3])


cdef int64_t list_window_tiles(const Product *p, const int64_t *start, const int64_t *size,
                               Tile *tiles) noexcept nogil:
    """WINDOWS: the rows of a block, each in even shares; their number. start and size: n, p, q, r."""
    cdef const fc_image *im = &p.image
    cdef int64_t per_row = (size[3] + p.kernel.tile_rows - 1) // p.kernel.tile_rows, q, t, at, next, n = 0
    cdef int64_t x_row = im.step[1] * (p.window[2] * im.size[4] if p.copies else im.stride[2])
    for q in range(size[2]):
        next = 0
        for t in range(per_row):
            at = next
            next = (t + 1) * size[3] // per_row
            tiles[n].rows = next - at
            tiles[n].a = q * x_row + at * p.a_stride
            tiles[n].out = (start[0] * p.out_stride[0] + start[1] * p.out_stride[1]
                            + (start[2] + q) * p.out_stride[2] + (start[3] + at) * p.out_stride[3])
            n += 1
    return n


cdef void copy_window(const Product *p, const char *x, const int64_t *start, char *dst) noexcept nogil:
    """What a block of outputs from `start` (n, p, q, r) on reads, channels last, with zeros outside the image."""
    cdef const fc_image *im = &p.image
    cdef int64_t i, j, d, h, w = start[3] * im.step[2] + im.origin[2], row = p.window[2] * im.size[4] * p.itemsize
    cdef int64_t lo = min(max(-w, <int64_t>0), p.window[2]), hi = max(min(im.size[3] - w, p.window[2]), lo)
    cdef int64_t pixel = im.size[4] * p.itemsize
    x += start[0] * im.stride[0] * p.itemsize
    for i in range(p.window[0]):
        d = start[1] * im.step[0] + im.origin[0] + i * p.dilation
        for j in range(p.window[1]):
            h = start[2] * im.step[1] + im.origin[1] + j
            if lo == hi or d < 0 or d >= im.size[1] or h < 0 or h >= im.size[2]:
                memset(dst, 0, row)
            else:
                memset(dst, 0, lo * pixel)
                p.kernel.copy_pixels(
                    dst + lo * pixel,
                    x + (d * im.stride[1] + h * im.stride[2] + (w + lo) * im.stride[3]) * p.itemsize,
                    hi - lo, im.size[4], im.stride[3], im.stride[4])
                memset(dst + hi * pixel, 0, row - hi * pixel)
            dst += row


# --- one task --------------------------------------------------------------------------------

cdef void block_task(const void *job, int64_t task, char *workspace) noexcept nogil:
    """C of one block of pixels over some panels of the slab."""
    cdef const Product *p = <const Product *>job
    cdef int64_t columns = task % p.column_blocks, rest = task // p.column_blocks
    cdef int64_t panel0 = columns * p.panels // p.column_blocks, panel1 = (columns + 1) * p.panels // p.column_blocks
    cdef Tile *tiles = <Tile *>(workspace + p.c_bytes + p.a_bytes)
    cdef char *a = workspace + p.c_bytes
    cdef const Part *part = p.parts
    cdef fc_image image
    cdef int64_t start[4]
    cdef int64_t size[4]
    cdef int64_t n, group, segment
    if p.mode == WINDOWS:
        start[3] = rest % p.blocks[1] * p.block[1]
        rest //= p.blocks[1]
        start[2] = rest % p.blocks[0] * p.block[0]
        rest //= p.blocks[0]
        start[1] = rest % p.image.out[0]
        rest //= p.image.out[0]
        start[0] = rest % p.image.size[0]
        group = rest // p.image.size[0]
        size[2] = min(p.block[0], p.image.out[1] - start[2])
        size[3] = min(p.block[1], p.image.out[2] - start[3])
        n = list_window_tiles(p, start, size, tiles)
        if p.copies:
            copy_window(p, group_start(p, 0, group), start, a)
        else:
            a = group_start(p, 0, group) + (
                start[0] * p.image.stride[0] + (start[1] * p.image.step[0] + p.image.origin[0]) * p.image.stride[1]
                + (start[2] * p.image.step[1] + p.image.origin[1]) * p.image.stride[2]
                + (start[3] * p.image.step[2] + p.image.origin[2]) * p.image.stride[3]) * p.itemsize
        multiply_tiles(p, part, 0, part.n_segments, group, panel0, panel1, a, tiles, n, workspace)
        return
    part = &p.parts[rest // p.row_blocks % p.n_parts]
    group = rest // (p.row_blocks * p.n_parts)
    n = list_tiles(p, part, rest % p.row_blocks, tiles)
    if p.mode == MATRIX:
        a = group_start(p, 0, group) + part.x * p.itemsize
        multiply_tiles(p, part, 0, part.n_segments, group, panel0, panel1, a, tiles, n, workspace)
        return
    image = p.image
    image.x = group_start(p, 0, group)
    for segment in range(part.n_segments):
        gather(p, &image, segment, tiles, n, a)
        multiply_tiles(p, part, segment, segment + 1, group, panel0, panel1, a, tiles, n, workspace)
    if part.n_segments == 0:
        multiply_tiles(p, part, 0, 0, group, panel0, panel1, a, tiles, n, workspace)


cdef void multiply_tiles(const Product *p, const Part *part, int64_t segment0, int64_t segment1, int64_t group,
                         int64_t panel0, int64_t panel1, const char *a, const Tile *tiles, int64_t n,
                         char *scratch) noexcept nogil:
    """Segments of k for some tiles and panels; what is complete then goes to out."""
    cdef const fc_gemm *kernel = p.kernel
    cdef int64_t nr = kernel.tile_columns, mr = kernel.tile_rows, segment = segment0, panel, i, c_stride = nr
    cdef int64_t spans, columns
    cdef char *out = group_start(p, 2, group)
    cdef char *b = p.packed_b + group * p.packed_group
    cdef char *c
    if p.in_place:
        b = group_start(p, 1, group) + p.column * p.itemsize
    while True:
        for panel in range(panel0, panel1):
            columns = min(nr, p.slab - panel * nr)
            for i in range(n):
                if p.direct:
                    c = out + (tiles[i].out + p.column + panel * nr) * p.itemsize
                    c_stride = p.out_stride[3]
                else:                           # one tile is enough where k has one segment
                    c = scratch + ((panel - panel0) * n + i) * mr * nr * p.itemsize * (part.n_segments > 1)
                if segment < part.n_segments:
                    spans = part.segments[segment]
                    kernel.tile(<int>tiles[i].rows, p.by_rows, a + tiles[i].a * p.itemsize, p.a_stride,
                                b + panel * p.b_panel * p.itemsize, p.b_stride, &part.spans[spans],
                                part.segments[segment + 1] - spans, c, c_stride, columns, segment > 0)
                else:                           # no tap reaches the image
                    kernel.tile(<int>tiles[i].rows, 1, NULL, 0, NULL, 0, NULL, 0, c, c_stride, columns, 0)
                if not p.direct and segment + 1 >= part.n_segments:
                    store_tile(p, group, &tiles[i], c, p.column + panel * nr, columns)
        segment += 1
        if segment >= segment1:
            return


cdef void store_tile(const Product *p, int64_t group, const Tile *tile, const char *c, int64_t column,
                     int64_t columns) noexcept nogil:
    """Bias, activation, and to the output, a stretch of equally spaced pixels at a time."""
    cdef char *out = group_start(p, 2, group) + column * p.out_stride[4] * p.itemsize
    cdef char *bias = NULL
    cdef int64_t row = 0, n, at, q
    cdef const int64_t *size = &p.image.out[0]
    if p.has_bias:
        bias = group_start(p, 3, group) + column * p.bias_stride * p.itemsize
    while row < tile.rows:
        n = tile.rows - row
        at = tile.out + row
        if p.mode == GATHERED and p.out_uniform:
            at *= p.out_stride[3]
        elif p.mode == GATHERED:
            n = min(n, size[2] - at % size[2])
            q = at // size[2]
            at = (at % size[2] * p.out_stride[3] + q % size[1] * p.out_stride[2]
                  + q // size[1] % size[0] * p.out_stride[1] + q // size[1] // size[0] * p.out_stride[0])
        if p.streams:
            p.kernel.stream(out + at * p.itemsize, p.out_stride[3], c + row * p.kernel.tile_columns * p.itemsize,
                            p.kernel.tile_columns, n, columns, bias, p.activation)
            row += n
            continue
        p.kernel.store(out + at * p.itemsize, p.out_stride[3], p.out_stride[4],
                       c + row * p.kernel.tile_columns * p.itemsize, p.kernel.tile_columns, n, columns, bias,
                       p.bias_stride, p.activation)
        row += n


# --- the outer loops -------------------------------------------------------------------------

cdef void plan_blocks(Product *p, int threads) noexcept:
    """How pixels and columns are shared out. Few pixels: rather the columns, so that threads share B."""
    cdef int64_t mr = p.kernel.tile_rows, blocks
    cdef int64_t most = (p.slab + p.kernel.tile_columns - 1) // p.kernel.tile_columns
    if p.mode == WINDOWS:
        blocks = p.groups.size * p.image.size[0] * p.image.out[0] * p.blocks[0] * p.blocks[1]
        p.block_tiles = p.block[0] * ((p.block[1] + mr - 1) // mr)
    else:
        p.tiles = (p.pixels + mr - 1) // mr
        p.row_blocks = (p.tiles + BLOCK_TILES - 1) // BLOCK_TILES
        blocks = p.groups.size * p.n_parts * p.row_blocks
        if blocks < 4 * threads and p.tiles > 2 * BLOCK_TILES:
            p.row_blocks = min(p.tiles, round_up(p.row_blocks, threads))
            blocks = p.groups.size * p.n_parts * p.row_blocks
        p.block_tiles = (p.tiles + p.row_blocks - 1) // p.row_blocks
    p.column_blocks = 1
    if threads > 1 and blocks < 4 * threads and blocks % threads:
        p.column_blocks = min(most, 2 * threads)


cdef int streams(const Product *p) noexcept:
    """Whether out is too large for the caches, and made of whole vectors in aligned places."""
    cdef int64_t vector = p.kernel.lanes * p.itemsize, places = <int64_t>p.groups.data[2]
    cdef int d
    for d in range(4):
        places |= p.out_stride[d] * p.itemsize
    for d in range(p.groups.ndim):
        places |= p.groups.strides[2][d]
    return (p.groups.size * p.pixels * p.n_parts * p.columns * p.itemsize >= STREAM_BYTES and places % vector == 0
            and p.columns % p.kernel.lanes == 0 and p.out_stride[4] == 1 and (not p.has_bias or p.bias_stride == 1))


cdef void place_spans(Product *p) noexcept:
    """From rows of B to elements."""
    cdef int64_t i, part
    for part in range(p.n_parts):
        for i in range(p.parts[part].segments[p.parts[part].n_segments]):
            p.parts[part].spans[i].b *= p.b_stride


cdef int multiply(Product *p) except -1:
    """out = A B + bias for every group: the outer loops, and who computes which block."""
    cdef const fc_gemm *kernel = p.kernel
    cdef int64_t nr = kernel.tile_columns, groups = p.groups.size, pixels = p.pixels * p.n_parts, slab, panels
    cdef int threads = threads_for(groups * pixels * round_up(p.columns, kernel.lanes) * p.k // 8)
    cdef int64_t most = max(nr, PACKED_BYTES // max(<int64_t>1, groups * p.k * p.itemsize) // nr * nr)
    cdef Buffer packed, workspace
    slab = round_up(p.columns, nr)
    if slab > most:
        slab = round_up((slab + (slab + most - 1) // most - 1) // ((slab + most - 1) // most), nr)
    p.slab = min(slab, p.columns)
    plan_blocks(p, threads)
    p.in_place = p.uniform and p.b_column == 1 and (p.b_row <= PANELS_IN_PLACE * nr
                                                    or p.mode != WINDOWS and p.n_parts * p.tiles <= TILES_IN_PLACE)
    p.b_stride = p.b_row if p.in_place else nr
    p.b_panel = nr if p.in_place else p.k * nr
    p.packed_group = p.k * slab * p.itemsize
    packed = new_buffer(0 if p.in_place else groups * p.packed_group)
    p.packed_b = packed.ptr
    p.streams = streams(p)
    p.direct = (not p.streams and p.out_stride[4] == 1 and not p.has_bias and p.activation == FC_NO_ACTIVATION
                and p.columns % kernel.lanes == 0 and p.mode != GATHERED)
    panels = (slab // nr + p.column_blocks - 1) // p.column_blocks * p.block_tiles if p.parts.n_segments > 1 else 1
    p.c_bytes = round_up(0 if p.direct else panels * kernel.tile_rows * nr * p.itemsize, 64)
    p.a_bytes = 64
    if p.mode == WINDOWS and p.copies:
        p.a_bytes += p.window[0] * p.window[1] * p.window[2] * p.image.size[4] * p.itemsize
    elif p.mode == GATHERED:
        p.a_bytes += p.block_tiles * kernel.tile_rows * kernel.row_stride * p.itemsize
    p.a_bytes = round_up(p.a_bytes + 256, 64)
    p.thread_bytes = round_up(p.c_bytes + p.a_bytes + p.block_tiles * sizeof(Tile), 4096) + 64
    workspace = new_buffer(threads * p.thread_bytes)
    place_spans(p)
    p.column = 0
    with nogil:
        while p.column < p.columns:
            p.slab = min(slab, p.columns - p.column)
            p.panels = (p.slab + nr - 1) // nr
            if not p.in_place:
                run_tasks(pack_b_task, p, groups * p.n_stretches, min(threads, threads_for(groups * p.k * p.slab)),
                          NULL, 0)
            if p.mode == WINDOWS:
                run_tasks(block_task, p, groups * p.image.size[0] * p.image.out[0] * p.blocks[0] * p.blocks[1]
                          * p.column_blocks, threads, workspace.ptr, p.thread_bytes)
            else:
                run_tasks(block_task, p, groups * p.n_parts * p.row_blocks * p.column_blocks, threads, workspace.ptr,
                          p.thread_bytes)
            p.column += p.slab
    return 0
