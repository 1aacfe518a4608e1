"""conv: a product of patches and weights (product.pyx) whose patches are never made.

A patch matrix has a row for each output position (n, p, q, r); k runs over kernel taps and input channels.
How it is read, in order of preference:

    one output position at a time   many small images: their pixels lie an image apart, and the runs are the
                                    taps inside, so that the zeros of the padding are not multiplied
    as a matrix                     one tap and stride 1: pixels lie side by side
    by windows                      rows of outputs, whose pixels lie `stride` apart: in x itself where no patch
                                    leaves the image, else in a padded copy of what a block of them reads
    gathered                        rows too short to fill a tile: each tile's patches are copied
"""
from libc.stdint cimport int64_t

from . cimport depthwise, narrow
from .buffer cimport Buffer, new_buffer
from .kernels cimport FC_NO_ACTIVATION, FC_RELU, FC_RELU6, fc_image, fc_run, fc_span
from .product cimport (GATHERED, MATRIX, WINDOWS, Part, Product, Stretch, add_group, float_kernel, list_segments,
                       multiply, plan_windows, read_array)
from .runs cimport list_runs, read_image, tap_reaches
from .strided cimport Loop

cdef enum:
    LONGEST = 1536              # k of a panel of B that is kept in the second cache
    MOST_POSITIONS = 64         # output positions that may become parts
    STRETCH = 64                # rows of B that are packed by one task

# Positions become parts when less than this share of (tap, position) pairs lies inside the image.
cdef double WORTH_SPLITTING = 0.87

ACTIVATIONS = {None: FC_NO_ACTIVATION, "relu": FC_RELU, "relu6": FC_RELU6}


def conv(out, x, w, bias, stride, padding, dilation, activation=None):
    """Correlation in three spatial dimensions (see fastconv.reference.conv)."""
    cdef Product p
    cdef Loop lx, lw, lout, lbias
    cdef int64_t taps[3]
    cdef int64_t dilations[3]
    cdef int d
    read_array(&lx, x)
    read_array(&lw, w)
    read_array(&lout, out)
    float_kernel(&p, lx.dtype[0])
    read_image(&p.image, &lx, &lout.shape[2], p.itemsize, stride, padding)
    read_output(&p, &lout)
    for d in range(3):
        taps[d] = lw.shape[d + 1]
        dilations[d] = dilation[d]
    p.columns = lw.shape[5]
    p.groups.operands = 0
    add_group(&p.groups, &lx)
    add_group(&p.groups, &lw)
    add_group(&p.groups, &lout)
    p.has_bias = bias is not None
    p.activation = ACTIVATIONS[activation]
    p.bias_stride = 1
    if p.has_bias:
        read_array(&lbias, bias)
        p.bias_stride = lbias.strides[0][1] // p.itemsize if p.columns > 1 else 1
        add_group(&p.groups, &lbias)
    if depthwise.is_depthwise(&lx, &lw):
        depthwise.correlate(&p, &lw, taps, dilations)
        return
    if narrow.is_narrow(&p):
        narrow.correlate(&p, &lw, taps, dilations)
        return
    choose_mode(&p, taps, dilations)
    plan = make_plan(&p, &lw, taps, dilations)
    multiply(&p)


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


# --- which way to read x ---------------------------------------------------------------------

cdef int64_t pairs_inside(const fc_image *im, int axis, int64_t taps, int64_t dilation,
                          int64_t *reaching) noexcept nogil:
    """(tap, output) pairs of one axis that lie inside the image, and the number of taps that reach some output."""
    cdef int64_t tap, o, at, pairs = 0
    reaching[0] = 0
    for tap in range(taps):
        reaching[0] += tap_reaches(im, axis, tap, dilation)
        for o in range(im.out[axis]):
            at = o * im.step[axis] + im.origin[axis] + tap * dilation
            pairs += 0 <= at < im.size[axis + 1]
    return pairs


cdef int splits_positions(const Product *p, const int64_t *taps, const int64_t *dilation) noexcept nogil:
    """Whether each output position becomes a part: enough images to fill tiles, enough zeros to save."""
    cdef const fc_image *im = &p.image
    cdef int64_t positions = im.out[0] * im.out[1] * im.out[2], reaching, pairs
    cdef double inside = 1
    cdef int axis
    if positions == 1 or positions > MOST_POSITIONS or im.size[0] < 2 * p.kernel.tile_rows or im.stride[4] != 1:
        return 0
    for axis in range(3):
        pairs = pairs_inside(im, axis, taps[axis], dilation[axis], &reaching)
        inside *= <double>pairs / max(<int64_t>1, im.out[axis] * reaching)
    return inside < WORTH_SPLITTING


cdef int stays_inside(const fc_image *im, const int64_t *taps, const int64_t *dilation) noexcept nogil:
    """Whether no patch leaves the image."""
    cdef int axis
    for axis in range(3):
        if im.origin[axis] < 0 or ((im.out[axis] - 1) * im.step[axis] + im.origin[axis] + (taps[axis] - 1) * dilation[axis]
                                   >= im.size[axis + 1]):
            return 0
    return 1


cdef int64_t pixel_step(const fc_image *im) noexcept nogil:
    """The step of pixels_uniform."""
    cdef int d
    for d in range(3, 0, -1):
        if im.out[d - 1] > 1:
            return im.stride[d] * im.step[d - 1]
    return im.stride[0]


cdef int pixels_uniform(const fc_image *im) noexcept nogil:
    """Whether the pixels that one tap sees lie in steps of the last dimension that has several (0 where it repeats)."""
    cdef int64_t step = pixel_step(im), pixels = 1, n
    cdef int d
    for d in range(3, -1, -1):
        n = im.out[d - 1] if d else im.size[0]
        if n > 1 and pixels > 1 and im.stride[d] * (im.step[d - 1] if d else 1) != step * pixels:
            return 0
        pixels *= n
    return 1


cdef void choose_mode(Product *p, const int64_t *taps, const int64_t *dilation) noexcept:
    cdef const fc_image *im = &p.image
    cdef int64_t mr = p.kernel.tile_rows, positions = im.out[0] * im.out[1] * im.out[2]
    cdef int inside = stays_inside(im, taps, dilation), one_tap = taps[0] * taps[1] * taps[2] == 1
    p.by_rows = 1
    p.n_parts = 1
    p.copies = 0
    if splits_positions(p, taps, dilation):
        p.mode = MATRIX
        p.n_parts = positions
        p.pixels = im.size[0]
        p.a_stride = im.stride[0]
    elif im.stride[4] == 1 and (positions == 1 or inside and one_tap and p.out_uniform and pixels_uniform(im)):
        p.mode = MATRIX
        p.a_stride = pixel_step(im)
    elif im.out[2] * 2 >= mr:
        p.mode = WINDOWS
        p.copies = not inside or im.stride[4] != 1
        if p.copies and one_tap and im.stride[4] != 1 and im.step[2] * im.stride[3] == 1:
            p.mode = GATHERED               # pixels side by side: columns of A need no transposing
    else:
        p.mode = GATHERED
    if p.mode == GATHERED:
        p.by_rows = im.stride[4] == 1 or im.step[2] * im.stride[3] != 1 or im.out[2] < 4
        p.a_stride = p.kernel.row_stride if p.by_rows else mr


# --- spans of k ------------------------------------------------------------------------------

cdef Buffer make_plan(Product *p, const Loop *w, const int64_t *taps, const int64_t *dilation):
    """Fill p's runs, spans, parts and the stretches of B; returns the memory that holds them."""
    cdef fc_image *im = &p.image
    cdef int64_t wrap = im.size[4]                     # elements from one tap to the next, where they are neighbours
    cdef int64_t longest = p.kernel.segment if p.mode == GATHERED else LONGEST
    cdef int64_t n, tap_count = taps[0] * taps[1] * taps[2], k, pieces, space
    cdef int merge
    cdef char *memory
    if p.mode == WINDOWS:
        plan_windows(p, taps, dilation)
    merge = (taps[2] > 1 and dilation[2] == 1
             and (p.mode == WINDOWS and p.copies or p.by_rows and im.stride[4] == 1 and im.stride[3] == wrap))
    n = list_runs(NULL, im, taps, dilation, merge, longest, NULL, &k)
    pieces = k // STRETCH + tap_count + n
    space = n * sizeof(fc_span) + (2 * n + 4) * sizeof(int64_t)
    buffer = new_buffer(n * sizeof(fc_run) + pieces * sizeof(Stretch) + p.n_parts * (sizeof(Part) + space)
                        + tap_count * sizeof(int64_t))
    memory = buffer.ptr
    p.k = k
    p.runs = <fc_run *>memory
    memory += n * sizeof(fc_run)
    p.parts = <Part *>memory
    memory += p.n_parts * sizeof(Part)
    p.stretches = <Stretch *>memory
    memory += pieces * sizeof(Stretch)
    list_runs(p.runs, im, taps, dilation, merge, longest, NULL, &k)
    read_weights(p, w, taps, n)
    if p.n_parts > 1:
        make_positions(p, taps, dilation, merge, n, <int64_t *>memory, memory + tap_count * sizeof(int64_t), space)
    else:
        make_part(p, taps, n, longest, memory)
    return buffer


cdef void read_weights(Product *p, const Loop *w, const int64_t *taps, int64_t n_runs) noexcept:
    """The stretches of B, and whether its rows lie in equal steps."""
    cdef int64_t stride[5]
    cdef int64_t run, e, end, n, tap, at, c = p.image.size[4], i = 0
    cdef int d, merged
    for d in range(5):
        stride[d] = w.strides[0][d + 1] // p.itemsize
    p.b_row = stride[3]
    p.b_column = stride[4] if p.columns > 1 else 1
    if c == 1:                                          # the taps are the rows
        p.b_row = stride[2] if taps[2] > 1 else stride[1] if taps[1] > 1 else stride[0]
        stride[3] = p.b_row
    merged = taps[2] == 1 or stride[2] == c * stride[3]
    p.uniform = 1
    for run in range(n_runs):
        e = p.runs[run].first
        end = e + p.runs[run].length
        while e < end:
            tap = p.runs[run].tap + e // c
            n = end - e if merged else min(end, (e // c + 1) * c) - e
            n = min(n, <int64_t>STRETCH)
            at = (tap // (taps[2] * taps[1]) * stride[0] + tap // taps[2] % taps[1] * stride[1]
                  + tap % taps[2] * stride[2] + e % c * stride[3])
            p.stretches[i].k = p.runs[run].k + e - p.runs[run].first
            p.stretches[i].w = at
            p.stretches[i].n = n
            p.uniform &= at == p.stretches[i].k * p.b_row
            e += n
            i += 1
    p.n_stretches = i


cdef void make_part(Product *p, const int64_t *taps, int64_t n, int64_t longest, char *space) noexcept:
    """The spans of all pixels."""
    cdef Part *part = p.parts
    cdef fc_image *im = &p.image
    cdef int64_t i, run, e, row = p.window[2] * im.size[4]
    cdef int d
    part.spans = <fc_span *>space
    part.segments = <int64_t *>(space + n * sizeof(fc_span))
    part.x = 0
    part.out = 0
    for d in range(3):
        part.x += im.origin[d] * im.stride[d + 1]
    for i in range(n):
        part.spans[i].b = p.runs[i].k
        part.spans[i].n = p.runs[i].length
        part.spans[i].a = p.runs[i].offset
        if p.mode == WINDOWS and p.copies:
            part.spans[i].a = (p.runs[i].tap // (taps[1] * taps[2]) * p.window[1] * row + p.runs[i].h * row
                               + p.runs[i].w * im.size[4] + p.runs[i].first)
    part.n_segments = list_segments(part.segments, part.spans, n, longest)
    if p.mode != GATHERED:
        return
    p.run_segments = part.segments                      # a segment is packed, and becomes one span
    part.segments = part.segments + part.n_segments + 1
    for i in range(part.n_segments):
        e = 0
        for run in range(p.run_segments[i], p.run_segments[i + 1]):
            e += p.runs[run].length
        part.spans[i].a = 0
        part.spans[i].b = p.runs[p.run_segments[i]].k
        part.spans[i].n = e
        part.segments[i] = i
    part.segments[part.n_segments] = part.n_segments


cdef void make_positions(Product *p, const int64_t *taps, const int64_t *dilation, int merge, int64_t n_runs,
                         int64_t *tap_k, char *space, int64_t bytes) noexcept:
    """A part for each output position of all images: an image with one pixel each, and the taps inside."""
    cdef Part *part
    cdef fc_image at
    cdef int64_t position, rest, run, t, n, k, o
    cdef fc_run *runs
    cdef int axis
    for run in range(n_runs):
        for t in range(p.runs[run].taps):
            tap_k[p.runs[run].tap + t] = p.runs[run].k - p.runs[run].first + t * p.image.size[4]
    memory = new_buffer(n_runs * sizeof(fc_run))
    runs = <fc_run *>memory.ptr
    for position in range(p.n_parts):
        part = &p.parts[position]
        at = p.image
        rest = position
        part.x = 0
        part.out = 0
        for axis in range(2, -1, -1):
            o = rest % p.image.out[axis]
            rest //= p.image.out[axis]
            at.out[axis] = 1
            at.origin[axis] += o * at.step[axis]
            part.x += at.origin[axis] * at.stride[axis + 1]
            part.out += o * p.out_stride[axis + 1]
        n = list_runs(runs, &at, taps, dilation, merge, LONGEST, tap_k, &k)
        part.spans = <fc_span *>(space + position * bytes)
        part.segments = <int64_t *>(part.spans + n)
        for run in range(n):
            part.spans[run].a = runs[run].offset
            part.spans[run].b = runs[run].k
            part.spans[run].n = runs[run].length
        part.n_segments = list_segments(part.segments, part.spans, n, LONGEST)
    p.out_stride[3] = p.out_stride[0]
