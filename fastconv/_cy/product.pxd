"""What matmul, conv and conv_weight_grad share: see product.pyx."""
from libc.stdint cimport int64_t

from .buffer cimport Buffer
from .kernels cimport fc_gemm, fc_image, fc_run, fc_span
from .strided cimport Loop

cdef enum:
    MATRIX                      # pixels in equal steps: A is read in place
    WINDOWS                     # blocks of output rows: A is read in place, or from a padded copy of their window
    GATHERED                    # any pixels: each tile's patches are packed

# Rows [k, k + n) of B: they start at element w of it.
cdef struct Stretch:
    int64_t k, w, n

# Pixels with the same spans: all of them, or those of one output position.
cdef struct Part:
    int64_t x, out              # where its first pixel lies, in elements
    fc_span *spans              # b counts rows of B until multiply knows how these lie
    int64_t *segments           # segment i is spans[segments[i]:segments[i + 1]]
    int64_t n_segments

# Rows of C that are computed at once.
cdef struct Tile:
    int64_t rows
    int64_t a                   # where its first row lies in A, in elements
    int64_t out                 # and in out (GATHERED: the number of its first pixel)

cdef struct Product:
    const fc_gemm *kernel
    int itemsize
    int mode
    Loop groups                 # operands x (or a), w (or b), out, bias: where each group starts
    # A
    fc_image image              # x without its group
    int by_rows                 # A's tiles: a[r * a_stride + k], else a[k * a_stride + r]
    int64_t a_stride
    int64_t pixels              # of a part
    fc_run *runs                # GATHERED: all of k, in segments as the spans are
    int64_t *run_segments
    Part *parts
    int64_t n_parts
    # WINDOWS
    int copies
    int64_t block[2]            # output rows and columns of a block
    int64_t blocks[2]           # how many there are
    int64_t window[3]           # what a block reads: planes, rows and pixels
    int64_t dilation            # between planes
    # B
    int64_t columns, k
    int64_t b_row, b_column     # strides, in elements
    Stretch *stretches
    int64_t n_stretches
    int uniform                 # B's rows lie in steps of b_row
    # out
    int64_t out_stride[5]       # n, p, q, r, o; out_stride[3] is the step of a tile's pixels
    int out_uniform             # all pixels lie in such steps
    int has_bias, activation
    int64_t bias_stride
    # the slab of columns in work
    int64_t column, slab, panels
    int64_t column_blocks       # tasks that share the panels
    int in_place                # B is read where it is, not packed
    char *packed_b
    int64_t packed_group        # bytes of one group's packed slab
    int64_t b_stride, b_panel   # from one k to the next, and between panels
    int64_t tiles, row_blocks   # of a part, MATRIX and GATHERED
    int64_t block_tiles         # at most, of a task
    int direct                  # tiles are written to out as they are
    int streams                 # past the caches
    int64_t c_bytes, a_bytes, thread_bytes

ctypedef void (*task_fn)(const void *job, int64_t task, char *workspace) noexcept nogil

cdef int64_t round_up(int64_t n, int64_t multiple) noexcept nogil
cdef void run_tasks(task_fn function, const void *job, int64_t tasks, int threads, char *workspace,
                    int64_t bytes) noexcept nogil
cdef int float_kernel(Product *p, int dtype) except -1
cdef int read_array(Loop *loop, object x) except -1
cdef void add_group(Loop *groups, const Loop *x) noexcept
cdef char *group_start(const Product *p, int operand, int64_t group) noexcept nogil
cdef int64_t list_segments(int64_t *segments, const fc_span *spans, int64_t n, int64_t longest) noexcept nogil
cdef void plan_windows(Product *p, const int64_t *taps, const int64_t *dilation) noexcept
cdef void copy_window(const Product *p, const char *x, const int64_t *start, char *dst) noexcept nogil
cdef int multiply(Product *p) except -1
