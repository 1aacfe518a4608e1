"""Convolutions in which each group has one input and one output channel: the groups are the vectors' lanes.

Nothing is multiplied that is not read once per tap, so these are no matrix products: a row of outputs runs
along the taps inside the image, a few pixels in registers at once. Channels lie side by side where layers put
them; otherwise a padded copy of a window is made, and results pass through a row of their own.

The sums' orders are those of conv and conv_weight_grad, so that devices agree.
"""
from libc.stdint cimport int64_t
from libc.string cimport memset

from .buffer cimport Buffer, new_buffer
from .kernels cimport FC_NO_ACTIVATION, fc_image, fc_tap
from .product cimport Product, copy_window, plan_windows, round_up, run_tasks
from .runtime cimport threads_for
from .strided cimport Loop

cdef enum:
    CHANNELS = 64               # of one task of the weight gradient, at least

cdef struct Depthwise:
    Product *p                  # image: x with the groups as its channels
    int64_t channels
    int64_t taps[3]
    int64_t dilation[3]
    char *w                     # (tap, channels), packed
    char *bias                  # (channels), packed, or NULL
    int64_t out_channel         # stride of out's channels
    int64_t x_bytes, row_bytes
    # the weight gradient
    fc_image g
    int64_t chunk, chunks, batch
    int64_t channel_blocks
    char *sums                  # [chunk][tap][channels]


cdef int is_depthwise(const Loop *x, const Loop *w) noexcept:
    """x (groups, n, d, h, w, c), w (groups, i, j, k, c, o)."""
    return x.shape[0] > 1 and x.shape[5] == 1 and w.shape[5] == 1


cdef void groups_as_channels(Depthwise *d, Product *p, const int64_t *taps, const int64_t *dilation) noexcept:
    cdef int axis
    d.p = p
    d.channels = p.groups.shape[0]
    p.image.size[4] = d.channels
    p.image.stride[4] = p.groups.strides[0][0] // p.itemsize
    for axis in range(3):
        d.taps[axis] = taps[axis]
        d.dilation[axis] = dilation[axis]


cdef int correlate(Product *p, const Loop *w, const int64_t *taps, const int64_t *dilation) except -1:
    """conv, p's operands being read."""
    cdef Depthwise d
    cdef fc_image *im = &p.image
    cdef int64_t n_taps = taps[0] * taps[1] * taps[2], tap, tasks, list_bytes
    cdef int threads
    groups_as_channels(&d, p, taps, dilation)
    d.out_channel = p.groups.strides[2][0] // p.itemsize
    weights = new_buffer((n_taps + 1) * d.channels * p.itemsize)
    d.w = weights.ptr
    for tap in range(n_taps):
        p.kernel.copy_pixels(
            d.w + tap * d.channels * p.itemsize,
            p.groups.data[1] + (tap // (taps[1] * taps[2]) * w.strides[0][1] + tap // taps[2] % taps[1] * w.strides[0][2]
                                + tap % taps[2] * w.strides[0][3]),
            d.channels, 1, p.groups.strides[1][0] // p.itemsize, 1)
    d.bias = NULL
    if p.has_bias:
        d.bias = d.w + n_taps * d.channels * p.itemsize
        p.kernel.copy_pixels(d.bias, p.groups.data[3], d.channels, 1, p.groups.strides[3][0] // p.itemsize, 1)
    p.copies = im.stride[4] != 1
    p.block[0] = p.block[1] = 1
    if p.copies:
        plan_windows(p, taps, dilation)
    else:
        p.blocks[0] = im.out[1]
        p.blocks[1] = 1
        p.block[1] = im.out[2]
    d.x_bytes = round_up(64 + p.window[0] * p.window[1] * p.window[2] * d.channels * p.itemsize if p.copies else 0, 64)
    d.row_bytes = round_up(p.block[1] * d.channels * p.itemsize if d.out_channel != 1 else 0, 64)
    list_bytes = n_taps * sizeof(fc_tap)
    tasks = im.size[0] * im.out[0] * p.blocks[0] * p.blocks[1]
    threads = threads_for(p.pixels * d.channels * (n_taps + 4) // 8)
    p.thread_bytes = round_up(256 + d.x_bytes + d.row_bytes + list_bytes, 4096) + 64
    workspace = new_buffer(threads * p.thread_bytes)
    with nogil:
        run_tasks(correlate_block, &d, tasks, threads, workspace.ptr, p.thread_bytes)
    return 0


cdef void correlate_block(const void *job, int64_t task, char *workspace) noexcept nogil:
    """A block of output rows of one image."""
    cdef const Depthwise *d = <const Depthwise *>job
    cdef const Product *p = d.p
    cdef const fc_image *im = &p.image
    cdef fc_image window = im[0]
    cdef int64_t start[4]
    cdef int64_t q, r1
    cdef int axis
    start[3] = task % p.blocks[1] * p.block[1]
    task //= p.blocks[1]
    start[2] = task % p.blocks[0] * p.block[0]
    task //= p.blocks[0]
    start[1] = task % im.out[0]
    start[0] = task // im.out[0]
    r1 = min(start[3] + p.block[1], im.out[2])
    window.x = p.groups.data[0] + start[0] * im.stride[0] * p.itemsize
    if p.copies:                        # an image without borders, read from the block's first output on
        copy_window(p, p.groups.data[0], start, workspace)
        window.x = workspace
        window.stride[3] = d.channels
        window.stride[2] = d.channels * p.window[2]
        window.stride[1] = window.stride[2] * p.window[1]
        for axis in range(3):
            window.origin[axis] = -start[axis + 1] * im.step[axis]
            window.size[axis + 1] = p.window[axis]
        window.size[1] = (p.window[0] - 1) * d.dilation[0] + 1      # of which it holds what the taps see
    for q in range(start[2], min(start[2] + p.block[0], im.out[1])):
        correlate_row(d, &window, start[0], start[1], q, start[3], r1, workspace + d.x_bytes)


cdef void correlate_row(const Depthwise *d, const fc_image *im, int64_t n, int64_t at_d, int64_t at_h, int64_t r0,
                        int64_t r1, char *workspace) noexcept nogil:
    """Outputs [r0, r1) of a row: those whose taps in w direction are all inside together, the others one by one."""
    cdef const Product *p = d.p
    cdef int64_t step = im.step[2], origin = im.origin[2], reach = (d.taps[2] - 1) * d.dilation[2]
    cdef int64_t lo = 0 if origin >= 0 else (-origin + step - 1) // step, r, count, pixels
    cdef int64_t hi = (im.size[3] - 1 - reach - origin) // step + 1 if im.size[3] - 1 - reach - origin >= 0 else 0
    cdef fc_tap *taps = <fc_tap *>(workspace + d.row_bytes)
    cdef char *out = p.groups.data[2] + (n * p.out_stride[0] + at_d * p.out_stride[1] + at_h * p.out_stride[2]
                                         + r0 * p.out_stride[3]) * p.itemsize
    cdef char *row = out if d.out_channel == 1 else workspace
    cdef int64_t row_step = p.out_stride[3] if d.out_channel == 1 else d.channels
    r = r0
    while r < r1:
        pixels = 1
        if lo <= r < hi:
            pixels = min(hi, r1) - r
        count = list_taps(d, im, at_d, at_h, r, taps)
        p.kernel.depthwise(row + (r - r0) * row_step * p.itemsize, row_step, im.x, step * im.stride[3], taps, count,
                           d.w, pixels, d.channels, d.bias, p.activation)
        r += pixels
    if d.out_channel != 1:
        p.kernel.store(out, p.out_stride[3], d.out_channel, row, d.channels, r1 - r0, d.channels, NULL, 0,
                       FC_NO_ACTIVATION)


cdef int64_t list_taps(const Depthwise *d, const fc_image *im, int64_t at_d, int64_t at_h, int64_t at_w,
                       fc_tap *taps) noexcept nogil:
    """The taps inside the image as an output sees them; their number."""
    cdef int64_t i, j, t, z, y, x, n = 0
    for i in range(d.taps[0]):
        z = at_d * im.step[0] + im.origin[0] + i * d.dilation[0]
        if not 0 <= z < im.size[1]:
            continue
        if d.p.copies:
            z = i
        for j in range(d.taps[1]):
            y = at_h * im.step[1] + im.origin[1] + j * d.dilation[1]
            if not 0 <= y < im.size[2]:
                continue
            for t in range(d.taps[2]):
                x = at_w * im.step[2] + im.origin[2] + t * d.dilation[2]
                if 0 <= x < im.size[3]:
                    taps[n].x = z * im.stride[1] + y * im.stride[2] + x * im.stride[3]
                    taps[n].w = ((i * d.taps[1] + j) * d.taps[2] + t) * d.channels
                    n += 1
    return n


# --- the weight gradient ---------------------------------------------------------------------

cdef int weight_gradient(Product *p, const Loop *w, const Loop *g, const int64_t *taps, const int64_t *dilation,
                         int64_t chunk, int batch_inner) except -1:
    """conv_weight_grad where channels lie side by side in x and g; p's groups are x, out and g."""
    cdef Depthwise d
    cdef int64_t n_taps = taps[0] * taps[1] * taps[2], size, tap, i, tasks
    cdef int axis, threads
    groups_as_channels(&d, p, taps, dilation)
    for axis in range(5):
        d.g.stride[axis] = g.strides[0][axis + 1] // p.itemsize
    d.chunk = chunk
    d.chunks = (p.pixels + chunk - 1) // chunk
    d.batch = p.image.size[0] if batch_inner else 0
    threads = threads_for(p.pixels * d.channels * n_taps // 8)
    d.channel_blocks = 1
    if d.chunks < 2 * threads:
        d.channel_blocks = max(<int64_t>1, min(d.channels // CHANNELS, 2 * threads))
    size = n_taps * d.channels
    sums = new_buffer(d.chunks * size * p.itemsize)
    d.sums = sums.ptr
    tasks = d.chunks * d.channel_blocks
    with nogil:
        run_tasks(sum_chunk, &d, tasks, threads, NULL, 0)
        for i in range(1, d.chunks):
            p.kernel.accumulate(d.sums, d.sums + i * size * p.itemsize, size)
        for tap in range(n_taps):
            p.kernel.copy_block(
                p.groups.data[1] + (tap // (taps[1] * taps[2]) * w.strides[0][1]
                                    + tap // taps[2] % taps[1] * w.strides[0][2] + tap % taps[2] * w.strides[0][3]),
                0, p.groups.strides[1][0] // p.itemsize, d.sums + tap * d.channels * p.itemsize, 0, 1, 1, d.channels)
    return 0


cdef void sum_chunk(const void *job, int64_t task, char *workspace) noexcept nogil:
    """One chunk of pixels, in the order of the contract, for a block of channels."""
    cdef const Depthwise *d = <const Depthwise *>job
    cdef const Product *p = d.p
    cdef const fc_image *im = &p.image
    cdef int64_t block = task % d.channel_blocks, chunk = task // d.channel_blocks
    cdef int64_t c0 = block * d.channels // d.channel_blocks, c1 = (block + 1) * d.channels // d.channel_blocks
    cdef int64_t pixel = chunk * d.chunk, end = min(pixel + d.chunk, p.pixels), n, size, rest
    cdef int64_t n_taps = d.taps[0] * d.taps[1] * d.taps[2], tap
    cdef int64_t at[4]
    cdef int axis
    for tap in range(n_taps):
        memset(d.sums + ((chunk * n_taps + tap) * d.channels + c0) * p.itemsize, 0, (c1 - c0) * p.itemsize)
    while pixel < end:
        rest = pixel // d.batch if d.batch else pixel
        for axis in range(2, -1, -1):
            at[axis + 1] = rest % im.out[axis]
            rest //= im.out[axis]
        at[0] = pixel % d.batch if d.batch else rest
        size = d.batch - at[0] if d.batch else im.out[2] - at[3]
        n = min(size, end - pixel)
        sum_row(d, at, n, c0, c1 - c0, d.sums + (chunk * n_taps * d.channels + c0) * p.itemsize)
        pixel += n


cdef void sum_row(const Depthwise *d, const int64_t *at, int64_t n, int64_t c0, int64_t channels,
                  char *sums) noexcept nogil:
    """Add n pixels from `at` on, of a row or of one position across images, for every tap."""
    cdef const Product *p = d.p
    cdef const fc_image *im = &p.image
    cdef int64_t step = im.step[2], reach = (d.taps[2] - 1) * d.dilation[2], i, j, z, y, x, r, pixels, t0, t1
    cdef int64_t x_step = im.stride[0] if d.batch else step * im.stride[3]
    cdef int64_t g_step = d.g.stride[0] if d.batch else d.g.stride[3]
    cdef int64_t inside = im.size[3] - 1 - reach - im.origin[2], hi = inside // step + 1 if inside >= 0 else 0
    cdef char *g
    for i in range(d.taps[0]):
        z = at[1] * im.step[0] + im.origin[0] + i * d.dilation[0]
        for j in range(d.taps[1]):
            y = at[2] * im.step[1] + im.origin[1] + j * d.dilation[1]
            if not (0 <= z < im.size[1] and 0 <= y < im.size[2]):
                continue
            r = 0
            while r < n:
                x = (at[3] + (0 if d.batch else r)) * step + im.origin[2]
                t0 = 0
                t1 = d.taps[2]
                pixels = n
                if not d.batch:
                    pixels = min(hi - at[3], n) - r if x >= 0 and at[3] + r < hi else 1
                while t0 < t1 and x + t0 * d.dilation[2] < 0:
                    t0 += 1
                while t0 < t1 and x + (t1 - 1) * d.dilation[2] >= im.size[3]:
                    t1 -= 1
                g = p.groups.data[2] + (at[0] * d.g.stride[0] + at[1] * d.g.stride[1] + at[2] * d.g.stride[2]
                                        + at[3] * d.g.stride[3] + r * g_step + c0) * p.itemsize
                p.kernel.depthwise_grad(
                    sums + ((i * d.taps[1] + j) * d.taps[2] + t0) * d.channels * p.itemsize, d.channels,
                    p.groups.data[0] + (at[0] * im.stride[0] + z * im.stride[1] + y * im.stride[2]
                                        + (x + t0 * d.dilation[2]) * im.stride[3] + c0) * p.itemsize,
                    x_step, d.dilation[2] * im.stride[3], t1 - t0, g, g_step, pixels, channels)
                r += pixels
