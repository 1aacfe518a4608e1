"""matmul, conv and conv_weight_grad: five loops around one register tile, and what feeds it.

A convolution is the product of a matrix of patches, (pixels, k), and the weights, (k, columns):
pixels are the output positions (n, p, q, r), columns the output channels, and k runs over kernel
taps and input channels. The patch matrix is never made: packers copy the strip that a tile needs
through the strides of x, with zeros where a patch leaves the image. A matrix product is the case of
one tap; its m axes are the pixels.

    for jc over slabs of columns                 B of the slab packed once: [panel][k][tile_columns]
      for block over blocks of pixels            one task: a private block of C
        for pc over segments of k                at most fc_gemm.segment long
          for ir over panels of the block        A packed as rows [tile_rows][k], or columns [k][tile_rows]
            for jr over panels of the slab       (in C, fc_gemm.panel) the register tile

The axis k is a list of runs: stretches that lie side by side in memory, of one tap, or of all taps
in w direction where the image allows. Taps that reach no pixel have no run. When many small images
make most taps fall into the padding somewhere, each output position is a part of its own, whose
pixels are the images and whose runs are the taps inside: the zeros are not multiplied.

The order in which an element of the output is summed depends on the shapes alone, not on threads or blocks.
"""
from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t
from libc.string cimport memset

from ..reference import weight_grad_order
from .buffer cimport Buffer, new_buffer
from .kernels cimport FC_NO_ACTIVATION, FC_RELU, FC_RELU6, fc_gemm, fc_image, fc_run
from .runtime cimport kernels, threads_for
from .strided cimport Loop, MAX_DIMS, add_array, coalesce, copy_strided, locate, set_shape, unravel

cdef enum:
    SLAB = 256                  # columns of B in work at once
    BLOCK_PANELS = 8            # A panels of one block
    PANELS_IN_PLACE = 2         # panels of A up to which B is not packed
    WEIGHT_COLUMNS = 384        # columns (tap, channel) of one task of the weight gradient
    WEIGHT_PIXELS = 128         # pixels packed at once there
    MOST_POSITIONS = 64         # output positions that may become parts

# Positions become parts when less than this share of (tap, position) pairs lies inside the image.
cdef double WORTH_SPLITTING = 0.87

# Pixels with the same runs: all of them, or those of one output position.
cdef struct Part:
    fc_image image
    fc_run *runs
    int64_t *segments           # segment i is runs[segments[i]:segments[i + 1]]
    int64_t n_segments
    int64_t out                 # where its pixels start in out, in elements

cdef struct Product:
    const fc_gemm *kernel
    int itemsize
    int by_rows                 # how A is packed
    int64_t pixels, columns, k  # pixels of one part
    Part *parts
    int64_t n_parts
    fc_image image              # x without its group
    int64_t taps[3]             # kernel size
    int64_t w_stride[5]         # of w: (i, j, k, c, o)
    int64_t out_stride[5]       # of out: (n, p, q, r, o)
    int64_t bias_stride
    int out_uniform             # pixels of out lie in steps of out_stride[3]
    int has_bias
    int activation              # FC_NO_ACTIVATION, FC_RELU, FC_RELU6
    Loop groups                 # operands x, w, out, bias: where each group starts
    fc_run *runs                # all of k
    int64_t n_runs
    int64_t *segments
    int64_t n_segments
    # the slab in work
    int64_t column, slab
    int in_place                # B is read where it is, not packed
    char *packed_b
    int64_t packed_group        # bytes of one group's packed slab
    int64_t b_stride, b_panel   # from one k to the next, and between panels
    int64_t panels, blocks
    char *workspace
    int64_t panel_bytes, thread_bytes, c_stride


# --- the contraction axis: runs and segments -------------------------------------------------

cdef int reaches(int64_t tap, int64_t size, int64_t n, int64_t step, int64_t origin, int64_t dilation) noexcept nogil:
    """Whether some output o < n reads inside the image: 0 <= o * step + origin + tap * dilation < size."""
    cdef int64_t first = origin + tap * dilation
    cdef int64_t o = 0 if first >= 0 else (-first + step - 1) // step
    return o < n and o * step + first < size


cdef int tap_reaches(const fc_image *im, int axis, int64_t tap, int64_t dilation) noexcept nogil:
    return reaches(tap, im.size[axis + 1], im.out[axis], im.step[axis], im.origin[axis], dilation)


cdef int merges_taps(const fc_image *im, const int64_t *taps, const int64_t *dilation) noexcept nogil:
    """Whether the taps in w direction lie side by side in memory, so that one run holds them."""
    return taps[2] > 1 and dilation[2] == 1 and im.stride[3] == im.size[4] * im.stride[4]


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


cdef int64_t list_segments(int64_t *segments, const fc_run *runs, int64_t n_runs, int64_t longest) noexcept nogil:
    """Neighbouring runs to segments of at most `longest` elements; their number."""
    cdef int64_t n = 0, run, length = 0
    segments[0] = 0
    for run in range(n_runs):
        if length + runs[run].length > longest:
            n += 1
            segments[n] = run
            length = 0
        length += runs[run].length
    if n_runs:
        n += 1
        segments[n] = n_runs
    return n


cdef Buffer make_runs(Product *p, const int64_t *dilation, int merge, int64_t longest):
    """Fill p's runs, segments and k; returns the memory that holds them."""
    cdef int64_t n = list_runs(NULL, &p.image, p.taps, dilation, merge, longest, NULL, &p.k)
    cdef Buffer memory = new_buffer(n * sizeof(fc_run) + (n + 2) * sizeof(int64_t))
    p.runs = <fc_run *>memory.ptr
    p.segments = <int64_t *>(memory.ptr + n * sizeof(fc_run))
    p.n_runs = list_runs(p.runs, &p.image, p.taps, dilation, merge, longest, NULL, &p.k)
    p.n_segments = list_segments(p.segments, p.runs, p.n_runs, longest)
    return memory


# --- parts -----------------------------------------------------------------------------------

cdef int64_t count_reaching(const fc_image *im, int axis, int64_t taps, int64_t dilation,
                            int64_t *pairs) noexcept nogil:
    """Taps of one axis that reach some output, and in `pairs` the (tap, output) pairs inside the image."""
    cdef int64_t tap, o, at, reaching = 0
    pairs[0] = 0
    for tap in range(taps):
        reaching += tap_reaches(im, axis, tap, dilation)
        for o in range(im.out[axis]):
            at = o * im.step[axis] + im.origin[axis] + tap * dilation
            pairs[0] += 0 <= at < im.size[axis + 1]
    return reaching


cdef int splits_positions(const Product *p, const int64_t *dilation) noexcept nogil:
    """Whether each output position becomes a part: enough images to fill tiles, enough zeros to save."""
    cdef const fc_image *im = &p.image
    cdef int64_t positions = im.out[0] * im.out[1] * im.out[2], pairs
    cdef double inside = 1
    cdef int axis
    if positions == 1 or positions > MOST_POSITIONS or im.size[0] < 2 * p.kernel.tile_rows or not p.by_rows:
        return 0
    for axis in range(3):
        inside /= max(<int64_t>1, im.out[axis] * count_reaching(im, axis, p.taps[axis], dilation[axis], &pairs))
        inside *= pairs
    return inside < WORTH_SPLITTING


cdef Buffer make_parts(Product *p, const int64_t *dilation, int merge, int split):
    """Fill p's parts; returns the memory that holds them."""
    cdef int64_t positions = p.image.out[0] * p.image.out[1] * p.image.out[2] if split else 1
    cdef int64_t taps = p.taps[0] * p.taps[1] * p.taps[2], longest = p.n_runs, part, run, t
    cdef int64_t space = longest * sizeof(fc_run) + (longest + 2) * sizeof(int64_t)
    cdef Buffer memory = new_buffer(positions * (sizeof(Part) + space) + taps * sizeof(int64_t))
    cdef int64_t *tap_k = <int64_t *>(memory.ptr + positions * (sizeof(Part) + space))
    cdef char *free_space = memory.ptr + positions * sizeof(Part)
    p.parts = <Part *>memory.ptr
    p.n_parts = positions
    if not split:
        p.parts.image = p.image
        p.parts.runs = p.runs
        p.parts.segments = p.segments
        p.parts.n_segments = p.n_segments
        p.parts.out = 0
        return memory
    for run in range(p.n_runs):
        for t in range(p.runs[run].taps):
            tap_k[p.runs[run].tap + t] = p.runs[run].k - p.runs[run].first + t * p.image.size[4]
    for part in range(positions):
        make_position(p, &p.parts[part], part, dilation, merge, tap_k, free_space + part * space)
    p.pixels = p.image.size[0]
    p.out_uniform = 1
    p.out_stride[3] = p.out_stride[0]
    return memory


cdef void make_position(const Product *p, Part *part, int64_t position, const int64_t *dilation, int merge,
                        const int64_t *tap_k, char *space) noexcept nogil:
    """One output position of all images: an image with one pixel each, and the taps inside."""
    cdef int64_t at, n, total
    cdef int axis
    part.image = p.image
    part.out = 0
    for axis in range(2, -1, -1):
        at = position % p.image.out[axis]
        position //= p.image.out[axis]
        part.image.out[axis] = 1
        part.image.origin[axis] += at * p.image.step[axis]
        part.out += at * p.out_stride[axis + 1]
    part.runs = <fc_run *>space
    n = list_runs(part.runs, &part.image, p.taps, dilation, merge, p.kernel.segment, tap_k, &total)
    part.segments = <int64_t *>(space + n * sizeof(fc_run))
    part.n_segments = list_segments(part.segments, part.runs, n, p.kernel.segment)


# --- packing B -------------------------------------------------------------------------------

cdef void pack_b_task(const Product *p, int64_t task) noexcept nogil:
    """One run of one group's B over the slab; a merged run tap by tap, unless w's taps lie in channel steps."""
    cdef const fc_run *run = &p.runs[task % p.n_runs]
    cdef const char *w = group_start(p, 1, task // p.n_runs) + p.column * p.w_stride[4] * p.itemsize
    cdef char *packed = p.packed_b + task // p.n_runs * p.packed_group
    cdef int64_t c = p.image.size[4], e = run.first, end = run.first + run.length, n, tap
    cdef int64_t kw = p.taps[2], kh = p.taps[1], nr = p.kernel.tile_columns
    cdef int merged = p.w_stride[2] == c * p.w_stride[3]
    while e < end:
        tap = run.tap + e // c
        n = end - e if merged else min(end, (e // c + 1) * c) - e
        p.kernel.pack_b(
            packed + (run.k + e - run.first) * nr * p.itemsize, p.k * nr,
            w + (tap // (kw * kh) * p.w_stride[0] + tap // kw % kh * p.w_stride[1] + tap % kw * p.w_stride[2]
                 + e % c * p.w_stride[3]) * p.itemsize,
            n, p.w_stride[3], p.slab, p.w_stride[4])
        e += n


cdef char *group_start(const Product *p, int operand, int64_t group) noexcept nogil:
    cdef int64_t index[MAX_DIMS]
    unravel(&p.groups, group, index)
    return p.groups.data[operand] + locate(&p.groups, operand, index)


# --- one block of C --------------------------------------------------------------------------

cdef void compute_block(const Product *p, int64_t task, char *workspace) noexcept nogil:
    """C of one block of a part's pixels over the slab, from A packed panel by panel, and its store."""
    cdef const fc_gemm *kernel = p.kernel
    cdef const Part *part = &p.parts[task // p.blocks % p.n_parts]
    cdef int64_t block = task % p.blocks, group = task // (p.blocks * p.n_parts)
    cdef int64_t panel0 = block * p.panels // p.blocks, panel1 = (block + 1) * p.panels // p.blocks
    cdef int64_t row0 = panel0 * p.pixels // p.panels, row1 = panel1 * p.pixels // p.panels
    cdef int64_t segment, panel, row, rows, run, runs
    cdef int64_t a_stride = kernel.row_stride if p.by_rows else kernel.tile_rows
    cdef char *c = workspace + p.panel_bytes
    cdef char *packed_b = p.packed_b + group * p.packed_group
    cdef fc_image image = part.image
    if p.in_place:
        packed_b = group_start(p, 1, group) + p.column * p.itemsize
    image.x = group_start(p, 0, group)
    if part.n_segments == 0:
        memset(c, 0, (row1 - row0) * p.c_stride * p.itemsize)
    for segment in range(part.n_segments):
        run = part.segments[segment]
        runs = part.segments[segment + 1] - run
        for panel in range(panel0, panel1):
            row = panel * p.pixels // p.panels
            rows = (panel + 1) * p.pixels // p.panels - row
            if p.by_rows:
                kernel.pack_rows(workspace, a_stride, &image, row, rows, &part.runs[run], runs)
            else:
                kernel.pack_columns(workspace, a_stride, &image, row, rows, &part.runs[run], runs)
            multiply_panel(p, &part.runs[run], runs, <int>rows, workspace, a_stride, packed_b,
                           c + (row - row0) * p.c_stride * p.itemsize, segment > 0)
    store_block(p, part, group, row0, row1, c)


cdef void multiply_panel(const Product *p, const fc_run *runs, int64_t n_runs, int rows, const char *a,
                         int64_t a_stride, const char *packed_b, char *c, int accumulate) noexcept nogil:
    """One packed panel of A by the slab of B, for each stretch of runs that are neighbours in B."""
    cdef const fc_gemm *kernel = p.kernel
    cdef int64_t run = 0, k, length
    while run < n_runs:
        k = runs[run].k
        length = 0
        while run < n_runs and runs[run].k == k + length:
            length += runs[run].length
            run += 1
        kernel.panel(rows, p.by_rows, a, a_stride, packed_b + k * p.b_stride * p.itemsize, p.b_stride, p.b_panel,
                     c, p.c_stride, length, p.slab, accumulate)
        a += length * (1 if p.by_rows else a_stride) * p.itemsize
        accumulate = 1


cdef void store_block(const Product *p, const Part *part, int64_t group, int64_t row0, int64_t row1,
                      const char *c) noexcept nogil:
    """Rows of C, plus bias, to the output, a stretch of equally spaced pixels at a time."""
    cdef char *out = group_start(p, 2, group) + (part.out + p.column * p.out_stride[4]) * p.itemsize
    cdef char *bias = NULL
    cdef int64_t row = row0, n, at, q
    cdef const int64_t *size = &p.image.out[0]
    if p.has_bias:
        bias = group_start(p, 3, group) + p.column * p.bias_stride * p.itemsize
    while row < row1:
        if p.out_uniform:
            n = row1 - row
            at = row * p.out_stride[3]
        else:
            n = min(row1 - row, size[2] - row % size[2])
            q = row // size[2]
            at = (row % size[2] * p.out_stride[3] + q % size[1] * p.out_stride[2]
                  + q // size[1] % size[0] * p.out_stride[1] + q // size[1] // size[0] * p.out_stride[0])
        p.kernel.store(out + at * p.itemsize, p.out_stride[3], p.out_stride[4],
                       c + (row - row0) * p.c_stride * p.itemsize, p.c_stride, n, p.slab, bias, p.bias_stride,
                       p.activation)
        row += n


cdef int64_t round_up(int64_t n, int64_t multiple) noexcept nogil:
    return (n + multiple - 1) // multiple * multiple


cdef int multiply(Product *p) except -1:
    """out = A B + bias for every group: the outer loops, and who computes which block."""
    cdef const fc_gemm *kernel = p.kernel
    cdef int64_t nr = kernel.tile_columns, mr = kernel.tile_rows, groups = p.groups.size
    cdef int64_t slab = round_up(min(p.columns, <int64_t>SLAB), nr)
    cdef int threads = threads_for(groups * p.n_parts * p.pixels * round_up(p.columns, kernel.lanes) * p.k // 8)
    cdef int pack_threads = min(threads, threads_for(groups * p.k * slab))
    cdef int64_t task, tasks, packs = groups * p.n_runs
    cdef Buffer packed, workspace
    p.panels = (p.pixels + mr - 1) // mr
    p.blocks = (p.panels + BLOCK_PANELS - 1) // BLOCK_PANELS
    if p.blocks * groups * p.n_parts < 4 * threads:         # few blocks: the same number for each thread
        p.blocks = min(p.panels, round_up(p.blocks, threads))
    tasks = groups * p.n_parts * p.blocks
    p.packed_group = p.k * slab * p.itemsize
    # A few rows do not repay the packing of B; whole vectors of it may be read beyond its last column.
    p.in_place = p.taps[0] * p.taps[1] * p.taps[2] == 1 and p.w_stride[4] == 1 and p.panels <= PANELS_IN_PLACE
    p.b_stride = p.w_stride[3] if p.in_place else nr
    p.b_panel = nr if p.in_place else p.k * nr
    if p.in_place:
        packs = 0
    packed = new_buffer(groups * p.packed_group if packs else 0)
    p.packed_b = packed.ptr
    p.c_stride = slab + kernel.lanes
    p.panel_bytes = round_up((mr * kernel.row_stride + 64) * p.itemsize, 64)
    p.thread_bytes = round_up(
        p.panel_bytes + ((p.panels + p.blocks - 1) // p.blocks + 1) * mr * p.c_stride * p.itemsize, 4096) + 64
    workspace = new_buffer(threads * p.thread_bytes)
    p.workspace = workspace.ptr
    p.column = 0
    while p.column < p.columns:
        p.slab = min(slab, p.columns - p.column)
        with nogil:
            if threads == 1:
                for task in range(packs):
                    pack_b_task(p, task)
                for task in range(tasks):
                    compute_block(p, task, p.workspace)
            else:
                for task in prange(packs, num_threads=pack_threads, schedule="static"):
                    pack_b_task(p, task)
                for task in prange(tasks, num_threads=threads, schedule="dynamic"):
                    compute_block(p, task, p.workspace + threadid() * p.thread_bytes)
        p.column += p.slab
    return 0


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


cdef void read_image(Product *p, const Loop *x, const int64_t *out_size, stride, padding):
    """x (groups, n, d, h, w, c) as an image; sizes of one get the strides that suit the packers."""
    cdef fc_image *im = &p.image
    cdef int d
    for d in range(5):
        im.size[d] = x.shape[d + 1]
        im.stride[d] = x.strides[0][d + 1] // p.itemsize
    for d in range(3):
        im.out[d] = out_size[d]
        im.step[d] = stride[d]
        im.origin[d] = -<int64_t>padding[d]
    if im.size[4] == 1:
        im.stride[4] = 1
    if im.size[3] == 1:
        im.stride[3] = im.size[4] * im.stride[4]


cdef void add_group(Loop *groups, const Loop *x) noexcept:
    """Append an operand whose first axis is the group."""
    cdef int operand = groups.operands
    groups.ndim = 1
    groups.shape[0] = groups.size = x.shape[0]
    groups.strides[operand][0] = x.strides[0][0]
    groups.data[operand] = x.data[0]
    groups.itemsize[operand] = x.itemsize[0]
    groups.operands += 1


cdef void read_output(Product *p, const Loop *out) noexcept:
    """Strides of out (groups, n, p, q, r, o), and whether its pixels lie in equal steps."""
    cdef int64_t step = 0
    cdef int d
    for d in range(5):
        p.out_stride[d] = out.strides[0][d + 1] // p.itemsize
    if out.shape[5] == 1:
        p.out_stride[4] = 1
    p.out_uniform = 1
    for d in range(4, 0, -1):
        if out.shape[d] > 1:
            if step and out.strides[0][d] != step:
                p.out_uniform = 0
            elif not step:
                p.out_stride[3] = out.strides[0][d] // p.itemsize
            step = out.strides[0][d] * out.shape[d]
    if not p.out_uniform:
        p.out_stride[3] = out.strides[0][4] // p.itemsize
    p.pixels = out.shape[1] * out.shape[2] * out.shape[3] * out.shape[4]


ACTIVATIONS = {None: FC_NO_ACTIVATION, "relu": FC_RELU, "relu6": FC_RELU6}


cdef int packs_by_rows(const fc_image *im) noexcept nogil:
    """Rows unless pixels lie side by side and channels do not."""
    return im.stride[4] == 1 or im.step[2] * im.stride[3] != 1 or im.out[2] < 4


# --- entry points ----------------------------------------------------------------------------

def conv(out, x, w, bias, stride, padding, dilation, activation=None):
    """Correlation in three spatial dimensions (see fastconv.reference.conv)."""
    cdef Product p
    cdef Loop lx, lw, lout, lbias
    cdef int64_t dilations[3]
    cdef int d, merge
    read_array(&lx, x)
    read_array(&lw, w)
    read_array(&lout, out)
    float_kernel(&p, lx.dtype[0])
    read_image(&p, &lx, &lout.shape[2], stride, padding)
    read_output(&p, &lout)
    for d in range(3):
        p.taps[d] = lw.shape[d + 1]
        dilations[d] = dilation[d]
    for d in range(5):
        p.w_stride[d] = lw.strides[0][d + 1] // p.itemsize
    p.columns = lw.shape[5]
    if p.columns == 1:
        p.w_stride[4] = 1
    p.groups.operands = 0
    add_group(&p.groups, &lx)
    add_group(&p.groups, &lw)
    add_group(&p.groups, &lout)
    p.has_bias = bias is not None
    p.activation = ACTIVATIONS[activation]
    if p.has_bias:
        read_array(&lbias, bias)
        p.bias_stride = lbias.strides[0][1] // p.itemsize if p.columns > 1 else 1
        add_group(&p.groups, &lbias)
    p.by_rows = packs_by_rows(&p.image)
    merge = p.by_rows and merges_taps(&p.image, p.taps, dilations)
    runs = make_runs(&p, dilations, merge, p.kernel.segment)
    parts = make_parts(&p, dilations, merge, splits_positions(&p, dilations))
    multiply(&p)


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
    p.image.size[4] = la.shape[last]
    p.image.stride[4] = la.strides[0][last] // p.itemsize if la.shape[last] > 1 else 1
    for d in range(3):
        p.taps[d] = 1
        p.w_stride[d] = 0
    p.w_stride[3] = lb.strides[0][last - 1] // p.itemsize
    p.columns = lb.shape[last]
    p.w_stride[4] = lb.strides[0][last] // p.itemsize if p.columns > 1 else 1
    p.out_stride[4] = lout.strides[0][last] // p.itemsize if p.columns > 1 else 1
    p.has_bias = 0
    p.activation = FC_NO_ACTIVATION
    p.bias_stride = 0
    p.by_rows = packs_by_rows(&p.image)
    runs = make_runs(&p, p.taps, 0, p.kernel.segment)
    parts = make_parts(&p, p.taps, 0, 0)
    multiply(&p)


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


# --- the weight gradient ---------------------------------------------------------------------

cdef struct WeightGradient:
    Product p                   # image, taps, runs; segments are the column tasks; groups x, out, g
    fc_image g                  # the gradient of the output as an image of its own pixels
    int64_t rows                # output channels
    int by_columns              # g has its channels side by side
    int64_t chunk, chunks       # pixels that are summed in one go, in the order of the contract
    int64_t batch               # images, where they are the innermost pixels; else 0
    int skips                   # taps outside the image are left out, position by position
    int64_t panels
    int64_t b_stride            # of packed patches
    int64_t c_stride
    char *c                     # [chunk][group][column task][rows][c_stride]
    int64_t c_bytes
    char *workspace
    int64_t a_bytes, thread_bytes


ctypedef void (*pack_fn)(void *dst, int64_t dst_stride, const fc_image *image, int64_t pixel, int64_t rows,
                         const fc_run *runs, int64_t n_runs) noexcept nogil


cdef void pack_pixels(const WeightGradient *t, pack_fn pack, char *dst, int64_t dst_stride, int64_t pixel_stride,
                      const fc_image *image, int64_t pixel, int64_t n, const fc_run *runs,
                      int64_t n_runs) noexcept nogil:
    """Pixels [pixel, pixel + n) in the order of the contract: as they lie, or position by position."""
    cdef fc_image at
    cdef int64_t position, first, rows, o
    cdef int axis
    if t.batch == 0:
        pack(dst, dst_stride, image, pixel, n, runs, n_runs)
        return
    at = image[0]
    at.out[0] = at.out[1] = at.out[2] = 1
    while n > 0:
        position = pixel // t.batch
        first = pixel % t.batch
        rows = min(n, t.batch - first)
        for axis in range(2, -1, -1):
            o = position % image.out[axis]
            position //= image.out[axis]
            at.origin[axis] = image.origin[axis] + o * image.step[axis]
        pack(dst, dst_stride, &at, first, rows, runs, n_runs)
        dst += rows * pixel_stride * t.p.itemsize
        pixel += rows
        n -= rows


cdef void reaching_runs(const WeightGradient *t, int64_t position, int64_t *first, int64_t *last) noexcept nogil:
    """Narrow runs [first, last) to those between the first and the last that sees the image from a position.

    The tile writes whole vectors: the end stays where columns fill one, or where it was.
    """
    cdef const fc_image *im = &t.p.image
    cdef const fc_run *runs = t.p.runs
    cdef int64_t at[3]
    cdef int64_t run, low = last[0], high = first[0]
    cdef int axis
    for axis in range(2, -1, -1):
        at[axis] = position % im.out[axis] * im.step[axis] + im.origin[axis]
        position //= im.out[axis]
    for run in range(first[0], last[0]):
        if (0 <= at[0] + runs[run].d < im.size[1] and 0 <= at[1] + runs[run].h < im.size[2]
                and at[2] + runs[run].w < im.size[3] and at[2] + runs[run].w + runs[run].taps > 0):
            low = min(low, run)
            high = run + 1
    while low < high < last[0] and (runs[high].k - runs[low].k) % t.p.kernel.lanes:
        high += 1
    first[0] = low
    last[0] = high


cdef void weight_task(const WeightGradient *t, int64_t task, char *workspace) noexcept nogil:
    """C (rows, columns of one column task) of one group, summed over one chunk of pixels.

    A is g as [pixel][tile_rows] (or its rows), B the patches as [pixel][columns].
    """
    cdef const Product *p = &t.p
    cdef const fc_gemm *kernel = p.kernel
    cdef int64_t segment = task % p.n_segments, rest = task // p.n_segments
    cdef int64_t group = rest % p.groups.size
    cdef int64_t pixel0 = rest // p.groups.size * t.chunk, pixel1 = min(pixel0 + t.chunk, p.pixels)
    cdef int64_t run0 = p.segments[segment], run, end, columns
    cdef int64_t pixel = pixel0, n, panel, row, rows
    cdef char *c = t.c + task * t.c_bytes
    cdef char *packed_b = workspace + t.a_bytes
    cdef fc_image x = p.image, g = t.g
    cdef fc_run channels
    memset(&channels, 0, sizeof(channels))
    channels.taps = 1
    x.x = group_start(p, 0, group)
    g.x = group_start(p, 2, group)
    if t.skips:
        memset(c, 0, t.c_bytes)
    while pixel < pixel1:
        n = min(pixel1 - pixel, <int64_t>WEIGHT_PIXELS)
        run = run0
        end = p.segments[segment + 1]
        if t.skips:
            n = min(n, t.batch - pixel % t.batch)
            reaching_runs(t, pixel // t.batch, &run, &end)
            if run >= end:
                pixel += n
                continue
        columns = p.runs[end - 1].k + p.runs[end - 1].length - p.runs[run].k
        c = t.c + task * t.c_bytes + (p.runs[run].k - p.runs[run0].k) * p.itemsize
        pack_pixels(t, kernel.pack_rows, packed_b, t.b_stride, t.b_stride, &x, pixel, n, &p.runs[run], end - run)
        for panel in range(t.panels):
            row = panel * t.rows // t.panels
            rows = (panel + 1) * t.rows // t.panels - row
            channels.first = row
            channels.offset = row * t.g.stride[4]
            channels.length = rows
            if t.by_columns:
                pack_pixels(t, kernel.pack_rows, workspace, kernel.tile_rows, kernel.tile_rows, &g, pixel, n,
                            &channels, 1)
            else:
                pack_pixels(t, kernel.pack_columns, workspace, kernel.row_stride, 1, &g, pixel, n, &channels, 1)
            kernel.panel(<int>rows, not t.by_columns, workspace, kernel.tile_rows, packed_b, t.b_stride,
                         kernel.tile_columns, c + row * t.c_stride * p.itemsize, t.c_stride, n, columns,
                         t.skips or pixel > pixel0)
        pixel += n


cdef void weight_store(const WeightGradient *t, int64_t task) noexcept nogil:
    """Add the chunks in order and write one column task, [rows][columns], to out (i, j, k, c, o)."""
    cdef const Product *p = &t.p
    cdef int64_t segment = task % p.n_segments, tasks = p.n_segments * p.groups.size, i, e, n, tap
    cdef int64_t channels = p.image.size[4], kw = p.taps[2], kh = p.taps[1], first
    cdef char *c = t.c + task * t.c_bytes
    cdef char *out = group_start(p, 1, task // p.n_segments)
    cdef const fc_run *run
    for i in range(1, t.chunks):
        p.kernel.accumulate(c, c + i * tasks * t.c_bytes, t.rows * t.c_stride)
    first = p.runs[p.segments[segment]].k
    for i in range(p.segments[segment], p.segments[segment + 1]):
        run = &p.runs[i]
        e = run.first
        while e < run.first + run.length:
            tap = run.tap + e // channels
            n = min(run.first + run.length, (e // channels + 1) * channels) - e
            p.kernel.copy_block(
                out + (tap // (kw * kh) * p.w_stride[0] + tap // kw % kh * p.w_stride[1]
                       + tap % kw * p.w_stride[2] + e % channels * p.w_stride[3]) * p.itemsize,
                p.w_stride[3], p.w_stride[4],
                c + (run.k + e - run.first - first) * p.itemsize, 1, t.c_stride, n, t.rows)
            e += n


cdef void zero_missing_taps(const Product *p, const Loop *out) except *:
    """Zeros for the taps that no run covers."""
    cdef int64_t taps = p.taps[0] * p.taps[1] * p.taps[2], tap, run, covered = 0, i, c, zero = 0, group
    cdef char *at
    seen = bytearray(taps)
    for run in range(p.n_runs):
        for i in range(p.runs[run].taps):
            seen[p.runs[run].tap + i] = 1
    for tap in range(taps):
        if seen[tap]:
            continue
        for group in range(p.groups.size):
            at = (group_start(p, 1, group) + tap // (p.taps[2] * p.taps[1]) * out.strides[0][1]
                  + tap // p.taps[2] % p.taps[1] * out.strides[0][2] + tap % p.taps[2] * out.strides[0][3])
            for c in range(out.shape[4]):
                copy_strided(at + c * out.strides[0][4], p.w_stride[4] * p.itemsize, <char *>&zero, 0, out.shape[5],
                             p.itemsize)


def conv_weight_grad(out, x, g, stride, padding, dilation):
    """The gradient of conv with respect to w (see fastconv.reference.conv_weight_grad)."""
    cdef WeightGradient t
    cdef Product *p = &t.p
    cdef Loop lx, lg, lout
    cdef int64_t dilations[3]
    cdef int64_t columns, nr, mr, task, tasks, column_tasks
    cdef int d, threads, store_threads
    cdef Buffer blocks, workspace
    read_array(&lx, x)
    read_array(&lg, g)
    read_array(&lout, out)
    float_kernel(p, lx.dtype[0])
    read_image(p, &lx, &lg.shape[2], stride, padding)
    for d in range(3):
        p.taps[d] = lout.shape[d + 1]
        dilations[d] = dilation[d]
    for d in range(5):
        p.w_stride[d] = lout.strides[0][d + 1] // p.itemsize
    p.groups.operands = 0
    add_group(&p.groups, &lx)
    add_group(&p.groups, &lout)
    add_group(&p.groups, &lg)
    read_gradient(&t, &lg)
    if lout.shape[5] == 1:
        p.w_stride[4] = 1
    nr = p.kernel.tile_columns
    mr = p.kernel.tile_rows
    threads = threads_for(p.groups.size * p.pixels * t.rows * lout.shape[1] * lout.shape[2] * lout.shape[3]
                          * lout.shape[4] // 8)
    column_tasks = (p.taps[0] * p.taps[1] * p.taps[2] * p.image.size[4] + WEIGHT_COLUMNS - 1) // WEIGHT_COLUMNS
    t.chunk, batch_inner = weight_grad_order(out.shape, g.shape)
    t.chunks = (p.pixels + t.chunk - 1) // t.chunk
    t.batch = p.image.size[0] if batch_inner else 0
    t.skips = t.batch >= WEIGHT_PIXELS // 2 and p.pixels > t.batch
    t.by_columns |= batch_inner                     # its pixels never lie side by side in w
    columns = WEIGHT_COLUMNS
    while threads > 1 and columns > 2 * nr and t.chunks * p.groups.size * column_tasks < 2 * threads:
        columns = round_up(columns // 2, nr)
        column_tasks *= 2
    runs = make_runs(p, dilations, merges_taps(&p.image, p.taps, dilations), columns)
    zero_missing_taps(p, &lout)
    if p.n_segments == 0:
        return
    t.panels = (t.rows + mr - 1) // mr
    t.c_stride = t.b_stride = columns + p.kernel.lanes
    t.c_bytes = t.rows * t.c_stride * p.itemsize
    tasks = t.chunks * p.groups.size * p.n_segments
    blocks = new_buffer(tasks * t.c_bytes)
    t.c = blocks.ptr
    t.a_bytes = round_up((mr * p.kernel.row_stride + 64) * p.itemsize, 64)
    t.thread_bytes = round_up(t.a_bytes + (WEIGHT_PIXELS * t.b_stride + 64) * p.itemsize, 4096) + 64
    workspace = new_buffer(threads * t.thread_bytes)
    t.workspace = workspace.ptr
    store_threads = min(threads, threads_for(tasks * t.rows * t.c_stride))
    with nogil:
        if threads == 1:
            for task in range(tasks):
                weight_task(&t, task, t.workspace)
            for task in range(tasks // t.chunks):
                weight_store(&t, task)
        else:
            for task in prange(tasks, num_threads=threads, schedule="dynamic"):
                weight_task(&t, task, t.workspace + threadid() * t.thread_bytes)
            for task in prange(tasks // t.chunks, num_threads=store_threads, schedule="static"):
                weight_store(&t, task)


cdef void read_gradient(WeightGradient *t, const Loop *g) noexcept:
    """g (groups, n, p, q, r, o) as an image that is read pixel by pixel."""
    cdef fc_image *im = &t.g
    cdef int d
    for d in range(5):
        im.size[d] = g.shape[d + 1]
        im.stride[d] = g.strides[0][d + 1] // t.p.itemsize
    for d in range(3):
        im.out[d] = g.shape[d + 2]
        im.step[d] = 1
        im.origin[d] = 0
    t.rows = g.shape[5]
    if t.rows == 1:
        im.stride[4] = 1
    t.p.pixels = g.shape[1] * g.shape[2] * g.shape[3] * g.shape[4]
    t.by_columns = im.stride[4] == 1 or im.stride[3] != 1
