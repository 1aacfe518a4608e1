"""Launch code of the products: matmul, convolution and its weight gradient as gather-GEMMs."""
import collections
import math

from ..reference import weight_grad_order
from .layout import dense, merge, reach, round_up, struct
from .types import C_TYPES, kernel_index

# An operand of our own making, as kernels' launch code sees Arrays.
View = collections.namedtuple("View", "buffer shape strides offset dtype")


def tile(params, dtype, cols, rows):
    """(V, TM, TN, GN, GM) for a product of this many columns and rows."""
    vector = max(1, params.vector * 4 // dtype.itemsize)
    narrow = params.vector // 4 or 1
    tile_n, group_n = params.tile_n, params.group_n
    while vector > narrow and vector // 2 >= cols:
        vector //= 2
    while tile_n > 1 and vector * (tile_n - 1) * group_n >= cols:
        tile_n -= 1
    group_m = params.group_m
    while group_n > 1 and vector * tile_n * (group_n // 2) >= cols:
        group_n //= 2
        group_m *= 2
    tile_m = params.tile_m
    while tile_m > 1 and tile_m // 2 >= rows:
        tile_m //= 2
    return vector, tile_m, tile_n, group_n, group_m


class Gemm:
    """A plan for kernels/gemm.cl: pack the columns' operand, then multiply.

    groups, rows and k are lists of (size, stride of ...) dimensions; taps describes space.
    """

    def __init__(self, runtime, out, x, w, bias, groups, rows, k, cols, channels, c_step, w_col, out_col,
                 bias_col=0, taps=(), first_tap=0, x_shift=0, activation=None):
        params, dtype = runtime.params, out.dtype
        n_rows, n_k = math.prod(r[0] for r in rows), math.prod(d[0] for d in k)
        n_groups = math.prod(g[0] for g in groups)
        vector, tile_m, tile_n, group_n, group_m = tile(params, dtype, cols, n_rows)
        panel = vector * tile_n * group_n
        blocks = -(-cols // panel)
        one_panel = all(g[3] == 0 for g in groups)      # every group has the same w
        packed_groups = 1 if one_panel else n_groups
        packed = packed_groups * blocks * n_k * panel
        x_offset = x.offset + x_shift
        tile_groups = -(-n_rows // (tile_m * group_m))
        row_bytes = n_k * dtype.itemsize * tile_m * group_m     # at most: taps overlap
        chunks = -(-tile_groups // max(1, params.cache_bytes // row_bytes))
        tile_groups = -(-tile_groups // chunks)
        numbers = [packed, tile_groups * tile_m * group_m * chunks, cols + panel, tile_groups * blocks * chunks * n_groups,
                   x_offset, *(r[0] * r[1] for r in rows),
                   *(abs(n) for part in (groups, rows, k) for dim in part for n in dim),
                   *(abs(n) for tap in taps for n in tap),
                   *(reach(v.shape, [abs(s) for s in v.strides], v.offset) for v in (out, x, w))]
        index, wide = kernel_index(*numbers)
        common = {"T": C_TYPES[dtype.name], **index, "V": vector, "TM": tile_m, "TN": tile_n, "GN": group_n, "GM": group_m,
                  "RD": len(rows), "GD": len(groups), "TAPS": len(taps), "FIRST_TAP": first_tap}
        self.packed_bytes = packed * dtype.itemsize
        self.pack_struct = struct(wide, packed // vector, n_k, cols, blocks, _column(k, 0), _column(k, 1),
                                  [1] * len(groups) if one_panel else _column(groups, 0), _column(groups, 3), w_col, w.offset)
        self.pack = _pack_kernel(runtime, common, panel, len(groups), w_col)
        self.pack_size = (round_up(packed // vector, self.pack.local[0]),)
        local = (group_n, group_m)
        self.kernel = runtime.kernel(
            "gemm", "gemm.cl", local, **common,
            **({"C_STEP_1": 1} if c_step == 1 else {}), **({"OUT_STEP_1": 1} if out_col == 1 else {}),
            **({} if bias is None else {"HAS_BIAS": 1}), **({} if activation is None else {activation.upper(): 1}))
        self.size = (tile_groups * blocks * chunks * n_groups * group_n, group_m)
        self.struct = struct(
            wide, n_rows, cols, channels, c_step, 0 if one_panel else blocks * n_k * panel,
            tile_groups, blocks, chunks,
            _column(rows, 0), _column(rows, 1), _column(rows, 2),
            _column(groups, 0), _column(groups, 1), _column(groups, 2), _column(groups, 4),
            x_offset, out.offset, 0 if bias is None else bias.offset, out_col, bias_col,
            *([[t[n] for t in taps] for n in range(6)] if taps else [0] * 6))

    def run(self, runtime, out, x, w, bias=None):
        panels = runtime.allocate(self.packed_bytes)
        runtime.launch(self.pack, self.pack_size, self.pack_struct, (panels.memory, w.buffer.memory))
        target = out.buffer.memory
        runtime.launch(self.kernel, self.size, self.struct,
                       (target, x.buffer.memory, panels.memory, target if bias is None else bias.buffer.memory))


def matmul(runtime, out, a, b):
    """A Gemm plan for out = a @ b. Leading axes along which b does not change become rows."""
    (m, k), n = a.shape[-2:], b.shape[-1]
    leading = list(zip(a.shape[:-2], a.strides[:-2], out.strides[:-2], b.strides[:-2]))
    rows = [(size, a_step, out_step) for size, a_step, out_step, b_step in leading if b_step == 0]
    rows.append((m, a.strides[-2], out.strides[-2]))
    groups = [(size, a_step, out_step, b_step, 0) for size, a_step, out_step, b_step in leading if b_step != 0]
    return Gemm(runtime, out, a, b, None, _merged(groups), _merged(rows, True), _merged_k([(k, b.strides[-2])]), n, k,
                a.strides[-1], b.strides[-1], out.strides[-1])


def _merged(dims, rows=False):
    """The same dimensions with fewer of them; at least one."""
    if not dims:
        return [(1, 0, 0) if rows else (1, 0, 0, 0, 0)]
    shape, strides = merge([d[0] for d in dims], *([d[n] for d in dims] for n in range(1, len(dims[0]))))
    return [(size, *(s[d] for s in strides)) for d, size in enumerate(shape)] or _merged([], rows)


def _space(size, out_size, kernel, stride, padding, dilation):
    """The spatial dimensions that matter: not those of one output pixel that looks at all of one input pixel."""
    axes = [d for d in range(3) if not (size[d] == out_size[d] == kernel[d] == 1 and padding[d] == 0)]
    return axes or [2]


def conv(runtime, out, x, w, bias, stride, padding, dilation, activation):
    """A Gemm plan for a convolution."""
    groups, batch, *out_size, cols = out.shape
    size, kernel, channels = x.shape[2:5], w.shape[1:4], x.shape[5]
    axes = _space(size, out_size, kernel, stride, padding, dilation)
    if (kernel == (1, 1, 1) and not any(padding)
            and all((o - 1) * s < n for o, s, n in zip(out_size, stride, size))):
        axes = []       # a matrix product of the pixels
    space = [(out_size[d], stride[d] * x.strides[2 + d], out.strides[2 + d]) for d in (axes or range(3))]
    image = (batch, x.strides[1], out.strides[1])
    small = math.prod(out_size) <= 16 and batch >= 8
    if axes:
        # Rows of one pixel across small images have their taps inside or outside together.
        rows = [*space, image] if small else [image, *space]
    else:
        rows = _merged([image, *space], True)
    k = [(kernel[d], w.strides[1 + d]) for d in axes] + [(channels, w.strides[4])]
    k = _merged_k(k)
    taps = [(size[d], kernel[d], stride[d], padding[d], dilation[d], dilation[d] * x.strides[2 + d]) for d in axes]
    shift = -sum(padding[d] * x.strides[2 + d] for d in axes)
    group = [(groups, x.strides[0], out.strides[0], w.strides[0] if groups > 1 else 0,
              bias.strides[0] if bias is not None else 0)]
    return Gemm(runtime, out, x, w, bias, group, rows, k, cols, channels, x.strides[5],
                w.strides[5], out.strides[5], 0 if bias is None else bias.strides[1], taps, 0 if small else 1, shift,
                activation)


def _merged_k(k):
    """The same k dimensions in the same order, joined where they lie in memory like one; four of them."""
    joined = []
    for size, step in k:
        if joined and joined[-1][1] == step * size:
            joined[-1] = (joined[-1][0] * size, step)
        elif size > 1:
            joined.append((size, step))
    return [(1, 0)] * (4 - len(joined)) + joined


def _column(dims, n):
    return [d[n] for d in dims]


def _pack_kernel(runtime, common, panel, group_dims, col_step):
    """`pack` for the panels of a product that is built with these defines."""
    defines = {name: common[name] for name in ("T", "INDEX", "V")}
    return runtime.kernel("pack", "pack.cl", (min(runtime.params.map_group, 64),), **defines, PANEL=panel, GD=group_dims,
                          **({"COL_STEP_1": 1} if col_step == 1 else {}))


class WeightGrad:
    """A plan for kernels/weight_grad.cl: pack g, multiply over chunks of the pixels, add the chunks."""

    def __init__(self, runtime, out, x, g, stride, padding, dilation):
        params, dtype = runtime.params, out.dtype
        groups, batch, *out_size, cols = g.shape
        size, kernel, channels = x.shape[2:5], out.shape[1:4], x.shape[5]
        axes = _space(size, out_size, kernel, stride, padding, dilation)
        n_taps = math.prod(kernel)
        vector, tile_m, tile_n, group_n, group_m = tile(params, dtype, cols, channels)
        panel = vector * tile_n * group_n
        blocks, c_blocks = -(-cols // panel), -(-channels // tile_m)
        # A line across the batch has no borders, but its pixels are an image apart: only where rows are short.
        chunk, batch_line = weight_grad_order(out.shape, g.shape)
        space = [(out_size[d], stride[d] * x.strides[2 + d], g.strides[2 + d]) for d in axes]
        image = (batch, x.strides[1], g.strides[1])
        *lines, line = [*space, image] if batch_line else [image, *space]
        n_lines, length = math.prod(n[0] for n in lines), line[0]
        pixels = n_lines * length
        row_groups = -(-c_blocks * n_taps // group_m)
        parts = -(-pixels // chunk)
        packed = groups * blocks * pixels * panel
        x_offset = x.offset - sum(padding[d] * x.strides[2 + d] for d in axes)
        target = out
        self.partial = None
        if parts > 1:
            self.partial = View(None, (parts, *out.shape), dense((parts, *out.shape)), 0, dtype)
            target = View(None, out.shape, self.partial.strides[1:], 0, dtype)
        part_step = out.size * (parts > 1)
        index, wide = kernel_index(packed, out.size * parts, *x.strides, *g.strides, *out.strides, x_offset, *padding,
                                   *(s * t for s, t in zip(stride, out_size)), *(d * t for d, t in zip(dilation, kernel)),
                                   *(s * t for s, t in zip(stride, x.strides[2:5])),
                                   *(s * t for s, t in zip(dilation, x.strides[2:5])),
                                   *(reach(v.shape, [abs(s) for s in v.strides], v.offset) for v in (out, x, g)))
        common = {"T": C_TYPES[dtype.name], **index, "V": vector, "TM": tile_m, "TN": tile_n, "GN": group_n, "GM": group_m}
        self.packed_bytes = packed * dtype.itemsize
        k = _merged_k([(n[0], n[2]) for n in (*lines, line)])
        self.pack_struct = struct(wide, packed // vector, pixels, cols, blocks, _column(k, 0), _column(k, 1),
                                  [groups], [g.strides[0]], g.strides[5], g.offset)
        self.pack = _pack_kernel(runtime, common, panel, 1, g.strides[5])
        self.pack_size = (round_up(packed // vector, self.pack.local[0]),)
        local = (group_n, group_m)
        self.kernel = runtime.kernel(
            "weight_grad", "weight_grad.cl", local, **common, TAPS=len(axes), LD=len(lines),
            FIRST_TAP=0 if batch_line else 1, **({"LINE_IS_BATCH": 1} if batch_line else {}),
            **({"OUT_STEP_1": 1} if target.strides[5] == 1 else {}))
        self.size = (row_groups * blocks * groups * parts * group_n, group_m)
        self.struct = struct(
            wide, channels, cols, x.strides[5], c_blocks, n_taps, row_groups, blocks,
            blocks * pixels * panel,
            n_lines, length, parts, chunk,
            [n[0] for n in lines], [n[1] for n in lines], line[1],
            x.strides[0], target.strides[0], part_step, target.strides[4], target.strides[5], x_offset, target.offset,
            *([t[n] for t in [(size[d], kernel[d], stride[d], padding[d], dilation[d], dilation[d] * x.strides[2 + d],
                               target.strides[1 + d]) for d in axes]] for n in range(7)))
        if parts > 1:
            vectors = math.prod(out.shape[:5]) * -(-cols // vector)
            add = {name: common[name] for name in ("T", "INDEX", "V")}
            self.add = runtime.kernel("add_parts", "add_parts.cl", (min(params.map_group, 64),), **add,
                                      **({"OUT_STEP_1": 1} if out.strides[5] == 1 else {}))
            self.add_size = (round_up(vectors, self.add.local[0]),)
            self.add_struct = struct(wide, vectors, cols, out.size, parts, out.shape[:5], out.strides, out.offset)

    def run(self, runtime, out, x, g):
        panels = runtime.allocate(self.packed_bytes)
        runtime.launch(self.pack, self.pack_size, self.pack_struct, (panels.memory, g.buffer.memory))
        if self.partial is None:
            runtime.launch(self.kernel, self.size, self.struct, (out.buffer.memory, x.buffer.memory, panels.memory))
            return
        partial = runtime.allocate(math.prod(self.partial.shape) * self.partial.dtype.itemsize)
        runtime.launch(self.kernel, self.size, self.struct, (partial.memory, x.buffer.memory, panels.memory))
        runtime.launch(self.add, self.add_size, self.add_struct, (out.buffer.memory, partial.memory))
