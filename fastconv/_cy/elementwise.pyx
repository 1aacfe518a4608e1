"""map: scalar functions over whole arrays.

The operands are coalesced in the order of the output's memory and cut into blocks. An operand whose
block lies side by side in memory is used in place; the others are staged, a block at a time, in L1.
An operand that repeats (a scalar, a channel's mean) has blocks that hold whole periods, so its stage
is filled once.
"""
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t

from ..view cimport View
from .buffer cimport Buffer, new_buffer
from .kernels cimport (FC_BOOL, FC_F32, FC_F64, FC_I32, FC_I64, FC_OPS, FC_U8, fc_map)
from .runtime cimport kernels, threads_for
from .strided cimport (Loop, MAX_DIMS, MAX_OPERANDS, add_array, coalesce, copy_strided, dtype_code,
                       gather, is_dense, locate, scatter, set_shape, unravel)

cdef extern from *:
    """
    static const struct { const char *name; int arity, cost; } fc_op_rows[] = {
    #define FC_OP(name, arity, domain, result, ...) {#name, arity, 1},
    #include "../scalar_ops.h"
    #undef FC_OP
    };
    """
    struct fc_op_row:
        const char *name
        int arity
    fc_op_row *fc_op_rows

cdef enum:
    BLOCK = 512                 # elements of a staged block
    LONGEST_BLOCK = 2048
    WORTH_RELEASING = 2000      # operations from which other Python threads may run meanwhile
    LONG_ROW = 384              # rows from here on are cut into blocks of their own
    COPY_ROWS = 32              # of one strip of a transposing copy

# Rough costs of an element, in units of an addition.
cdef dict COSTS = {"exp": 4, "log": 4, "tanh": 6, "sigmoid": 5, "power": 60, "divide": 2, "sqrt": 2, "rsqrt": 3}

cdef enum:                      # in place of a number in fc_op_rows
    COPY = -1
    WHERE = -2


cdef class Row:
    """A scalar function: its number in fc_op_rows, how many operands it takes, what an element costs."""
    cdef int op, arity, cost

    def __init__(self, name, op, arity):
        self.op, self.arity, self.cost = op, arity, COSTS.get(name, 1)


cdef dict ROWS = {"copy": Row("copy", COPY, 1), "where": Row("where", WHERE, 3)}
for _op in range(FC_OPS):
    _name = fc_op_rows[_op].name.decode()
    ROWS[_name] = Row(_name, _op, fc_op_rows[_op].arity)

cdef enum:
    IN_PLACE                    # dense over the whole loop
    REPEATED                    # the same in every block
    PER_ROW                     # in place or constant within a row
    STAGED

cdef struct Plan:
    Loop loop
    fc_map function
    int mode[MAX_OPERANDS]
    int64_t block, blocks, per_row      # per_row: blocks of one row, 0 when blocks run across rows
    int64_t blocks_per_task
    int stages
    int64_t stage_bytes
    char *workspace
    int64_t scalars[MAX_OPERANDS]       # values of Python numbers


cdef void put_scalar(int64_t *slot, int dtype, object value) except *:
    """A Python number as an element of dtype, wrapping as a C cast does."""
    if dtype == FC_F32:
        (<float *>slot)[0] = <float><double>value
    elif dtype == FC_F64:
        (<double *>slot)[0] = value
    elif dtype == FC_BOOL:
        (<uint8_t *>slot)[0] = 1 if value else 0
    else:
        slot[0] = wrap(int(value))              # little-endian: the low bytes are the narrower types
        if dtype == FC_I32:
            (<int32_t *>slot)[0] = <int32_t>slot[0]
        elif dtype == FC_U8:
            (<uint8_t *>slot)[0] = <uint8_t>slot[0]


cdef int64_t wrap(object value) except? -1:
    value &= 0xFFFFFFFFFFFFFFFF
    return <int64_t><unsigned long long>value


cdef int add_scalar(Plan *plan, int dtype, object value) except -1:
    cdef Loop *loop = &plan.loop
    cdef int operand = loop.operands, d
    put_scalar(&plan.scalars[operand], dtype, value)
    loop.data[operand] = <char *>&plan.scalars[operand]
    loop.dtype[operand] = dtype
    loop.itemsize[operand] = 4 if dtype in (FC_F32, FC_I32) else 8 if dtype in (FC_F64, FC_I64) else 1
    for d in range(loop.ndim):
        loop.strides[operand][d] = 0
    loop.operands += 1
    return operand


def map(name, out, *inputs):
    """out[i] = f(inputs[i]...) for the scalar function `name` (see fastconv.reference.map)."""
    cdef Plan plan
    cdef Row row = ROWS.get(name)
    cdef int code, n = 0
    if row is None:
        raise NotImplementedError(f"device 'cpu' has no scalar function {name!r}")
    if len(inputs) != row.arity:
        raise TypeError(f"{name} takes {row.arity} operands, not {len(inputs)}")
    set_shape(&plan.loop, out)
    add_array(&plan.loop, out)
    code = plan.loop.dtype[0] if row.op < 0 else compute_dtype(inputs)
    for x in inputs:
        if isinstance(x, View):
            add_array(&plan.loop, x)
        else:
            add_scalar(&plan, FC_BOOL if row.op == WHERE and n == 0 else code, x)
        n += 1
    if row.op == COPY:
        plan.function = kernels.cast[code][plan.loop.dtype[1]]
    elif row.op == WHERE:
        plan.function = kernels.where[code]
    else:
        plan.function = kernels.map[row.op][code]
        if plan.function is NULL:
            raise NotImplementedError(f"device 'cpu' has no {name} for dtype {inputs[0].dtype}")
        if code in (FC_I32, FC_I64) and name == "power":
            check_exponents(inputs[1])
    run(&plan, row.cost, row.op == COPY and code == plan.loop.dtype[1])


cdef int compute_dtype(tuple inputs) except -1:
    for x in inputs:
        if isinstance(x, View):
            return dtype_code((<View>x).dtype)
    raise TypeError("at least one operand is an Array")


cdef int check_exponents(exponent) except -1:
    """Integers have no negative powers, as in NumPy."""
    cdef Loop loop
    cdef int64_t i
    cdef int64_t index[MAX_DIMS]
    cdef char *at
    cdef int negative = 0
    if not isinstance(exponent, View):
        negative = exponent < 0
    else:
        set_shape(&loop, exponent)
        add_array(&loop, exponent)
        coalesce(&loop, 0)
        for i in range(loop.size):
            unravel(&loop, i, index)
            at = loop.data[0] + locate(&loop, 0, index)
            negative |= (<int32_t *>at)[0] < 0 if loop.itemsize[0] == 4 else (<int64_t *>at)[0] < 0
    if negative:
        raise ValueError("integers to negative integer powers are not allowed")
    return 0


cdef int run(Plan *plan, int cost, bint is_copy) except -1:
    cdef Loop *loop = &plan.loop
    cdef int64_t task, tasks, work = loop.size * loop.operands * cost
    cdef int threads
    cdef Buffer workspace = None
    coalesce(loop, 0)
    if is_copy and loop.ndim > 1 and transposes(loop):
        copy_transposed(loop)
        return 0
    choose_blocks(plan)
    threads = threads_for(work // 2)
    tasks = min(<int64_t>threads, plan.blocks)
    plan.blocks_per_task = (plan.blocks + tasks - 1) // tasks
    if plan.stages:
        workspace = new_buffer(tasks * plan.stage_bytes)
        plan.workspace = workspace.ptr
    if tasks == 1 and work < WORTH_RELEASING:
        run_task(plan, 0)
    elif tasks == 1:
        with nogil:
            run_task(plan, 0)
    else:
        for task in prange(tasks, nogil=True, num_threads=threads, schedule="static"):
            run_task(plan, task)
    return 0


cdef void choose_blocks(Plan *plan) noexcept nogil:
    """How each operand is read, and how long the blocks are."""
    cdef Loop *loop = &plan.loop
    cdef int last = loop.ndim - 1, op, d
    cdef int64_t period, longest = 1, row = loop.shape[last], step
    cdef int all_dense = 1
    for op in range(loop.operands):
        plan.mode[op] = IN_PLACE if is_dense(loop, op) else STAGED
        if plan.mode[op] == STAGED:
            all_dense = 0
    plan.stages = 0
    plan.per_row = 0
    if all_dense:
        plan.block = 16384
    elif row >= LONG_ROW:
        plan.block = min(row, <int64_t>LONGEST_BLOCK // 2)
        plan.per_row = (row + plan.block - 1) // plan.block
    else:
        for op in range(1, loop.operands):
            period = period_of(loop, op)
            if plan.mode[op] == STAGED and period <= LONGEST_BLOCK:
                plan.mode[op] = REPEATED
                longest = max(longest, period)
        plan.block = longest * ((BLOCK + longest - 1) // longest)
    for op in range(loop.operands):
        step = loop.strides[op][last]
        if plan.mode[op] == STAGED and plan.per_row and (step == loop.itemsize[op] or (step == 0 and op > 0)):
            plan.mode[op] = REPEATED if period_of(loop, op) == 1 else PER_ROW
        if plan.mode[op] != IN_PLACE:
            plan.stages = op + 1
    plan.blocks = (plan.per_row * (loop.size // row) if plan.per_row
                   else (loop.size + plan.block - 1) // plan.block)
    plan.stage_bytes = plan.stages * plan.block * 8


cdef int64_t period_of(const Loop *loop, int op) noexcept nogil:
    """After how many elements the operand starts again (1 for a constant)."""
    cdef int d = 0
    cdef int64_t period = loop.size
    while d < loop.ndim and loop.strides[op][d] == 0:
        period //= loop.shape[d]
        d += 1
    return period


cdef void run_task(const Plan *plan, int64_t task) noexcept nogil:
    """Blocks of one thread, in turn."""
    cdef const Loop *loop = &plan.loop
    cdef char *stage = plan.workspace + task * plan.stage_bytes
    cdef int64_t index[MAX_DIMS]
    cdef void *data[MAX_OPERANDS]
    cdef const char *filled[MAX_OPERANDS]
    cdef int64_t b, start, n, row = loop.shape[loop.ndim - 1]
    cdef int64_t end = min(plan.blocks, (task + 1) * plan.blocks_per_task)
    cdef int op
    for op in range(loop.operands):
        filled[op] = NULL
    for b in range(task * plan.blocks_per_task, end):
        if plan.per_row:
            start = (b % plan.per_row) * plan.block
            n = min(plan.block, row - start)
            start += (b // plan.per_row) * row
            unravel(loop, start, index)
        else:
            start = b * plan.block
            n = min(plan.block, loop.size - start)
        for op in range(loop.operands):
            data[op] = operand_block(plan, op, start, n, index, stage + op * plan.block * 8, &filled[op])
        plan.function(data[0], <const void **>&data[1], n)
        if plan.mode[0] == STAGED:
            scatter(loop, 0, <char *>data[0], start, n)


cdef char *operand_block(const Plan *plan, int op, int64_t start, int64_t n, const int64_t *index, char *stage,
                         const char **filled) noexcept nogil:
    """Where elements [start, start + n) of an operand lie side by side, staged if they must be."""
    cdef const Loop *loop = &plan.loop
    cdef int itemsize = loop.itemsize[op]
    cdef char *at
    if plan.mode[op] == IN_PLACE:
        return loop.data[op] + start * itemsize
    if plan.mode[op] == PER_ROW:
        at = loop.data[op] + locate(loop, op, index)
        if loop.strides[op][loop.ndim - 1] != 0:
            return at
        if filled[0] != at:
            copy_strided(stage, itemsize, at, 0, plan.block, itemsize)
            filled[0] = at
    elif plan.mode[op] == REPEATED:
        if filled[0] is NULL:
            gather(stage, loop, op, 0, min(plan.block, loop.size))
            filled[0] = stage
    elif op > 0:
        gather(stage, loop, op, start, n)
    return stage


# --- copies between layouts ------------------------------------------------------------------

cdef int transposes(Loop *loop) noexcept nogil:
    """Whether out is dense in the last dim and the input in another one, which moves next to it."""
    cdef int last = loop.ndim - 1, d, op
    cdef int itemsize = loop.itemsize[0]
    if loop.strides[0][last] != itemsize or loop.strides[1][last] == itemsize or loop.shape[last] < 4:
        return 0
    for d in range(last):
        if loop.strides[1][d] == itemsize and loop.shape[d] >= 4:
            while d < last - 1:
                loop.shape[d], loop.shape[d + 1] = loop.shape[d + 1], loop.shape[d]
                for op in range(2):
                    loop.strides[op][d], loop.strides[op][d + 1] = loop.strides[op][d + 1], loop.strides[op][d]
                d += 1
            return 1
    return 0


cdef int copy_transposed(const Loop *loop) except -1:
    """out[..., i, j] = x[..., i, j], x dense in i and out in j, in strips of COPY_ROWS rows i."""
    cdef int last = loop.ndim - 1
    cdef int64_t strips = (loop.shape[last - 1] + COPY_ROWS - 1) // COPY_ROWS
    cdef int64_t task, tasks = loop.size // (loop.shape[last] * loop.shape[last - 1]) * strips
    cdef int threads = threads_for(loop.size * 2)
    if threads == 1:
        with nogil:
            for task in range(tasks):
                copy_strip(loop, task // strips, task % strips * COPY_ROWS)
    else:
        for task in prange(tasks, nogil=True, num_threads=threads, schedule="static"):
            copy_strip(loop, task // strips, task % strips * COPY_ROWS)
    return 0


cdef void copy_strip(const Loop *loop, int64_t outer, int64_t i0) noexcept nogil:
    cdef int last = loop.ndim - 1, d, itemsize = loop.itemsize[0]
    cdef char *out = loop.data[0]
    cdef const char *x = loop.data[1]
    cdef int64_t i, j, i1 = min(i0 + COPY_ROWS, loop.shape[last - 1]), at
    cdef int64_t out_step = loop.strides[0][last - 1], x_step = loop.strides[1][last]
    for d in range(last - 2, -1, -1):
        at = outer % loop.shape[d]
        outer //= loop.shape[d]
        out += at * loop.strides[0][d]
        x += at * loop.strides[1][d]
    if itemsize > 1:            # words of the size of a float or double move as such
        kernels.gemm[itemsize // 8].transpose(
            out + i0 * out_step, out_step // itemsize, x + i0 * itemsize, x_step // itemsize, i1 - i0,
            loop.shape[last])
        return
    for j in range(loop.shape[last]):
        for i in range(i0, i1):
            (out + i * out_step)[j] = (x + j * x_step)[i]
