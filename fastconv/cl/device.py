"""OpenCL: one device behind the contract of `fastconv.reference`, as launch code.

Each entry looks up a plan by what the compiled kernel and its arguments depend on (name, dtypes,
shapes, strides, offsets), makes it on first sight, and enqueues it with today's buffers.
"""
import functools
import math

import numpy as np

from . import layout, products
from .layout import merge, round_up, struct
from .normalisation import Normalisation
from .reductions import ArgReduction, Reduction
from .types import BOOL, C_TYPES, kernel_index
from .types import key_of as _key
from .types import number as _number

MAX_PLANS = 16384
ROW_LANES = 32          # of kernels/softmax.cl


class OpenCL:
    """The kernels and storage of one OpenCL device; opens its context on first use."""

    kind = "opencl"

    def __init__(self, index, cl_device):
        self.cl_device = cl_device
        self.device_name = cl_device.name.strip()
        self.platform_name = cl_device.platform.name.strip()
        self.name = f"opencl:{index} {self.device_name}"
        self._plans = {}

    def __repr__(self):
        return f"<{self.name}>"

    @functools.cached_property
    def runtime(self):
        from .runtime import Runtime
        return Runtime(self.cl_device)

    # --- storage

    def allocate(self, nbytes):
        return self.runtime.allocate(nbytes)

    def upload(self, out, source):
        self._check_dtype("upload", out.dtype)
        self.runtime.write(out.buffer, out.offset * out.dtype.itemsize, source)

    def download(self, x):
        target = np.empty(x.shape, x.dtype)
        self.runtime.read(target, x.buffer, x.offset * x.dtype.itemsize)
        return target

    def synchronize(self):
        self.runtime.synchronize()

    def memory_stats(self):
        return self.runtime.memory_stats()

    def empty_cache(self):
        self.runtime.empty_cache()

    # --- plans

    def _check_dtype(self, what, dtype):
        if dtype == np.float64 and not self.runtime.has_double:
            raise NotImplementedError(f"{what} of float64: device {self.name!r} has no float64 (cl_khr_fp64)")

    def _plan(self, key, build, *args):
        plan = self._plans.get(key)
        if plan is None:
            plan = build(*args)
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    # --- elementwise

    def map(self, name, out, *inputs):
        key, memory, values = [name, _key(out)], [out.buffer.memory], []
        for x in inputs:
            if hasattr(x, "buffer"):
                key.append((x.dtype.char, x.shape, x.strides, x.offset))
                memory.append(x.buffer.memory)
            else:
                key.append(None)
                values.append(x)
        key = tuple(key)
        plan = self._plans.get(key) or self._plan(key, self._plan_map, name, out, inputs)
        scalars = [_number(dtype, value) for dtype, value in zip(plan.scalars, values)] if values else ()
        for fields in plan.structs:
            self.runtime.launch(plan.kernel, plan.size, fields, memory, scalars)

    def _plan_map(self, name, out, inputs):
        arrays = [out, *(x for x in inputs if hasattr(x, "buffer"))]
        for x in arrays:
            self._check_dtype(name, x.dtype)
        compute = out.dtype if name in ("copy", "where") else arrays[1].dtype
        pointers, numbers, values, scalars, operand = [], [], [], [], 1
        for k, x in enumerate(inputs):
            if hasattr(x, "buffer"):
                pointers.append(f"__global const {C_TYPES[x.dtype.name]} *x{k}")
                values.append(f"x{k}[AT({operand})]")
                operand += 1
            else:
                dtype = BOOL if name == "where" and k == 0 else compute
                numbers.append(f"const {C_TYPES[dtype.name]} x{k}")
                values.append(f"x{k}")
                scalars.append(dtype)
        defines = {"FUNCTION": f"fc_{name}", "T": C_TYPES[compute.name], "TO": C_TYPES[out.dtype.name],
                   **({"IS_FLOAT": 1} if compute.kind == "f" else {"IS_BOOL": 1} if compute == BOOL else {}),
                   **({"TO_BOOL": 1} if out.dtype == BOOL else {}),
                   "OPERANDS": len(arrays), "PARAMS": ", ".join(pointers + numbers), "VALUES": ", ".join(values)}
        shape, strides = merge(out.shape, *(x.strides for x in arrays))
        return self._strided_plan("map", "map.cl", defines, shape, strides, [x.offset for x in arrays], scalars)

    def _strided_plan(self, kernel, file, defines, shape, strides, offsets, scalars=()):
        """A plan for one work-item per element of operands that are walked together (kernels/strided.h)."""
        runtime, group = self.runtime, self.runtime.params.map_group
        size = math.prod(shape)
        if not shape or (len(shape) == 1 and all(s == (1,) for s in strides)):
            built = runtime.kernel(kernel, file, (group,), **defines, INDEX="long", ND=0)
            return Plan(built, (round_up(size, group),), [struct(True, size, offsets)], scalars)
        index, wide = kernel_index(*(layout.reach(shape, s, o) for s, o in zip(strides, offsets)), size + group,
                                   *(n for s in strides for n in s))
        # A struct argument has to fit the device's room for parameters: walk the rest of the dimensions here.
        room = runtime.device.max_parameter_size - 16 * len(strides) - 64
        most = (room // (8 if wide else 4) - 3 - len(strides)) // (3 + len(strides))
        outer, shape = shape[:-most], shape[-most:]
        inner, rows = shape[-1], math.prod(shape[:-1])
        by_rows = inner >= 8
        width = next((w for w in (16, 64) if inner <= w), 256) if by_rows else group
        width = min(width, group)
        height = group // width if by_rows else 1
        blocks = -(-inner // width)
        magic = [layout.reciprocal(n) for n in shape]
        structs = []
        for place in np.ndindex(*outer):
            starts = [o + sum(i * s for i, s in zip(place, st)) for o, st in zip(offsets, strides)]
            structs.append(struct(wide, rows if by_rows else rows * inner, inner, blocks, starts, shape,
                                  [m for m, _ in magic], [s for _, s in magic], [st[len(outer):] for st in strides]))
        if not by_rows:
            built = runtime.kernel(kernel, file, (group,), **defines, **index, ND=len(shape))
            return Plan(built, (round_up(rows * inner, group),), structs, scalars)
        steps = {f"STEP{k}": {0: "0", 1: "i"}.get(st[-1], f"i * STRIDE({k})") for k, st in enumerate(strides)}
        built = runtime.kernel(kernel, file, (width, height), **defines, **index, ND=len(shape), INNER=1, LX=width,
                               LY=height, **steps)
        return Plan(built, (-(-rows // height) * blocks * width, height), structs, scalars)

    # --- reductions

    def reduce(self, name, out, x, axes):
        self._check_dtype(name, x.dtype)
        plan = self._plan((name, axes, _key(out), _key(x)), Reduction, self.runtime, name, out, x, axes)
        plan.run(self.runtime, out, x)

    def arg_reduce(self, name, out, x, axis):
        self._check_dtype(name, x.dtype)
        plan = self._plan((name, axis, _key(out), _key(x)), ArgReduction, self.runtime, name, out, x, axis)
        plan.run(self.runtime, out, x)

    # --- normalisation

    def batch_norm(self, y, mean, rstd, running_mean, running_var, x, weight, bias, momentum, eps, activation):
        self._normalise((x, y), (mean, rstd, weight, bias, running_mean, running_var, None, None), activation, (momentum, eps))

    def batch_norm_grad(self, dx, d_weight, d_bias, g, x, mean, rstd, weight, bias, activation):
        self._normalise((x, dx, g), (mean, rstd, weight, bias, None, None, d_weight, d_bias), activation)

    def _normalise(self, operands, vectors, activation, scalars=()):
        self._check_dtype("batch_norm", operands[0].dtype)
        key = ("batch_norm", activation, *map(_key, operands), *(None if v is None else _key(v) for v in vectors))
        plan = self._plan(key, Normalisation, self.runtime, operands, vectors, activation)
        plan.run(self.runtime, operands, vectors, scalars)

    # --- products

    def matmul(self, out, a, b):
        self._check_dtype("matmul", out.dtype)
        plan = self._plan(("matmul", _key(out), _key(a), _key(b)), products.matmul, self.runtime, out, a, b)
        plan.run(self.runtime, out, a, b)

    def conv(self, out, x, w, bias, stride, padding, dilation, activation=None):
        self._check_dtype("conv", out.dtype)
        key = ("conv", _key(out), _key(x), _key(w), None if bias is None else _key(bias),
               tuple(stride), tuple(padding), tuple(dilation), activation)
        plan = self._plan(key, products.conv, self.runtime, out, x, w, bias, stride, padding, dilation, activation)
        plan.run(self.runtime, out, x, w, bias)

    def conv_weight_grad(self, out, x, g, stride, padding, dilation):
        self._check_dtype("conv_weight_grad", out.dtype)
        key = ("conv_weight_grad", _key(out), _key(x), _key(g), tuple(stride), tuple(padding), tuple(dilation))
        plan = self._plan(key, products.WeightGrad, self.runtime, out, x, g, stride, padding, dilation)
        plan.run(self.runtime, out, x, g)

    def _wide(self, dtype):
        """The C type in which short sums of `dtype` are added."""
        wide = dtype == np.float32 and self.runtime.has_double and self.runtime.params.double_sums
        return "double" if wide else C_TYPES[dtype.name]

    # --- pooling

    def max_pool(self, out, index, x, window, stride, padding, dilation):
        self._pool("max_pool", (out, index, x), x, out, (out, x, index), (window, stride, padding, dilation))

    def max_pool_grad(self, out, g, index, window, stride, padding, dilation):
        self._pool("max_pool_grad", (out, g, index), out, g, (out, g, index), (window, stride, padding, dilation))

    def max_pool_pick(self, out, x, index, window, stride, padding, dilation):
        self._pool("max_pool_pick", (out, x, index), x, out, (out, x, index), (window, stride, padding, dilation))

    def window_sum(self, out, x, window, stride, padding, dilation):
        self._pool("window_sum", (out, x), x, out, (out, x, out), (window, stride, padding, dilation))

    def _pool(self, name, operands, image, windows, placed, geometry):
        geometry = tuple(map(tuple, geometry))
        plan = self._plan((name, *map(_key, operands), geometry), self._plan_pool, name, image, windows, placed, geometry)
        self.runtime.launch(plan.kernel, plan.size, plan.structs[0], [x.buffer.memory for x in operands])

    def _plan_pool(self, name, image, windows, placed, geometry):
        """A plan of kernels/pool.cl; `placed` are out, the other values, and the index."""
        runtime, out = self.runtime, placed[0]
        self._check_dtype(name, out.dtype)
        group = min(runtime.params.map_group, 64)
        window, stride, padding, dilation = geometry
        index, wide = kernel_index(out.size + group, *padding, *(
            n * s for n, s in zip(windows.shape[1:4], stride)), *(n * d for n, d in zip(window, dilation)), math.prod(window),
            *(n for x in placed for n in (*x.strides, layout.reach(x.shape, x.strides, x.offset))))
        built = runtime.kernel(name, "pool.cl", (group,), T=C_TYPES[out.dtype.name], A=self._wide(out.dtype),
                               **index, **{name.upper(): 1}, **({"C_LAST": 1} if out.strides[4] == 1 else {}))
        fields = struct(wide, out.size, out.shape[0], out.shape[4], image.shape[1:4], windows.shape[1:4], *geometry,
                        [(x.offset, x.strides) for x in placed])
        return Plan(built, (round_up(out.size, group),), [fields])

    # --- indexing

    def take(self, out, x, indices):
        self._check_dtype("take", x.dtype)
        plan = self._plan(("take", _key(out), _key(x), _key(indices)), self._plan_rows, "take", out, x,
                          indices.strides[0], (indices.offset, 0, 0), indices.size)
        self.runtime.launch(plan.kernel, plan.size, plan.structs[0],
                            (out.buffer.memory, x.buffer.memory, indices.buffer.memory))

    def put(self, out, x, indices):
        self._check_dtype("put", x.dtype)
        plan = self._plan(("put", _key(out), _key(x), _key(indices)), self._plan_rows, "put", out, x,
                          indices.strides[0], (indices.offset, 0, 0), indices.size, indices.size)
        self.runtime.launch(plan.kernel, plan.size, plan.structs[0],
                            (out.buffer.memory, x.buffer.memory, indices.buffer.memory))

    def csr_matmul(self, out, indptr, indices, data, x):
        self._check_dtype("csr_matmul", x.dtype)
        key = ("csr_matmul", _key(out), _key(indptr), _key(indices), _key(data), _key(x))
        plan = self._plan(key, self._plan_rows, "csr_matmul", out, x, data.strides[0],
                          (indptr.offset, indices.offset, data.offset), data.size)
        self.runtime.launch(plan.kernel, plan.size, plan.structs[0],
                            [v.buffer.memory for v in (out, indptr, indices, data, x)])

    def add_rows(self, out, rows, starts, order, g):
        self._check_dtype("add_rows", out.dtype)
        key = ("add_rows", _key(out), _key(rows), _key(starts), _key(order), _key(g))
        plan = self._plan(key, self._plan_rows, "add_rows", out, g, 1, (rows.offset, starts.offset, order.offset),
                          order.size, rows.size)
        self.runtime.launch(plan.kernel, plan.size, plan.structs[0],
                            [v.buffer.memory for v in (out, rows, starts, order, g)])

    def _plan_rows(self, name, out, x, step, offsets, entries, rows=None):
        """A plan of kernels/indexing.cl: one work-item per element of `rows` rows as wide as out."""
        runtime = self.runtime
        group = min(runtime.params.map_group, 64)
        rows, width = rows or out.shape[0], out.shape[1]
        index, wide = kernel_index(rows * width + group, layout.size_of(x.shape), entries * max(1, abs(step)), *offsets,
                                   *x.strides, *out.strides, layout.reach(x.shape, x.strides, x.offset),
                                   layout.reach(out.shape, out.strides, out.offset))
        built = runtime.kernel(name, "indexing.cl", (group,), T=C_TYPES[out.dtype.name], A=self._wide(out.dtype), **index)
        return Plan(built, (round_up(rows * width, group),),
                    [struct(wide, rows, width, out.strides, x.strides, out.offset, x.offset, step, offsets)])

    # --- softmax

    def softmax(self, out, x, log):
        self._rows("softmax", (out, x), 0, log)

    def softmax_grad(self, out, g, y, log):
        self._rows("softmax_grad", (out, g, y), 0, log)

    def cross_entropy(self, loss, top, total, x, labels):
        self._rows("cross_entropy", (loss, top, total, x, labels), 3)

    def cross_entropy_grad(self, out, g, x, top, total, labels):
        self._rows("cross_entropy_grad", (out, g, x, top, total, labels), 0)

    def _rows(self, name, operands, matrix, log=False):
        key = (name, bool(log), *map(_key, operands))
        plan = self._plan(key, self._plan_softmax, name, operands, operands[matrix].shape, log)
        self.runtime.launch(plan.kernel, plan.size, plan.structs[0], [x.buffer.memory for x in operands])

    def _plan_softmax(self, name, operands, shape, log):
        """A plan of kernels/softmax.cl: a work-group for each row, or a work-item where a group runs as a loop."""
        runtime, dtype, rows = self.runtime, operands[0].dtype, shape[0]
        self._check_dtype(name, dtype)
        shared = runtime.params.reduce_lanes >= ROW_LANES
        group = ROW_LANES if shared else 1
        strides = [(*x.strides, 0)[:2] for x in operands]
        index, wide = kernel_index(math.prod(shape) + ROW_LANES, *(n for s in strides for n in s),
                                   *(layout.reach(x.shape, x.strides, x.offset) for x in operands))
        built = runtime.kernel(name, "softmax.cl", (group,), T=C_TYPES[dtype.name], A=self._wide(dtype), **index,
                               OPERANDS=len(operands), **{f"{name}_ONLY": 1}, **({"SHARED": 1} if shared else {}),
                               **({"LOG": 1} if log else {}))
        return Plan(built, (rows * group,),
                    [struct(wide, shape, [x.offset for x in operands], [s[0] for s in strides], [s[1] for s in strides])])

    # --- recurrent steps

    def lstm_step(self, h, c, gates, gx, c_prev):
        self._recurrent("lstm_step", (h, c, gates, gx, c_prev))

    def lstm_step_grad(self, d_gates, dc_prev, dh, dc, gates, c, c_prev):
        self._recurrent("lstm_step_grad", (d_gates, dc_prev, dh, dc, gates, c, c_prev), unit=1)

    def gru_step(self, h, gates, gx, gh, bias, h_prev):
        self._recurrent("gru_step", (h, gates, gx, gh, bias, h_prev))

    def gru_step_grad(self, d_gx, d_gh, dh_prev, dh, gates, gh, h_prev):
        self._recurrent("gru_step_grad", (d_gx, d_gh, dh_prev, dh, gates, gh, h_prev), unit=2)

    def _recurrent(self, name, operands, unit=0):
        plan = self._plan((name, *map(_key, operands)), self._plan_recurrent, name, operands, operands[unit].shape)
        self.runtime.launch(plan.kernel, plan.size, plan.structs[0], [x.buffer.memory for x in operands])

    def _plan_recurrent(self, name, operands, shape):
        """A plan of kernels/recurrent.cl: one work-item per element of `shape`, (rows, hidden units)."""
        runtime, dtype = self.runtime, operands[0].dtype
        self._check_dtype(name, dtype)
        group = min(runtime.params.map_group, 64)
        strides = [(0, *x.strides)[-2:] for x in operands]
        index, wide = kernel_index(math.prod(shape) + group, *(n for s in strides for n in s),
                                   *(layout.reach(x.shape, x.strides, x.offset) for x in operands))
        built = runtime.kernel(name, "recurrent.cl", (group,), T=C_TYPES[dtype.name], **index, OPERANDS=len(operands),
                               **{f"{name}_ONLY": 1})
        return Plan(built, (round_up(math.prod(shape), group),),
                    [struct(wide, shape, [x.offset for x in operands], [s[0] for s in strides], [s[1] for s in strides])])

    # --- optimisers

    def sgd_step(self, params, grads, buffers, lr, momentum, weight_decay, nesterov, first):
        flags = {"SGD": 1}
        if momentum:
            flags["MOMENTUM"] = 1
            if nesterov:
                flags["NESTEROV"] = 1
            if first:
                flags["FIRST"] = 1
        scalars = (lr, momentum, weight_decay)
        for p, g, buf in zip(params, grads, buffers):
            self._step("sgd_step", flags, (p, g, buf) if momentum else (p, g), scalars)

    def adam_step(self, params, grads, ms, vs, lr, beta1, beta2, eps, weight_decay, decoupled, step):
        flags = {"ADAM": 1, "DECOUPLED": 1} if decoupled else {"ADAM": 1}
        scalars = (lr / (1 - beta1 ** step), 1 / math.sqrt(1 - beta2 ** step), beta1, 1 - beta1, beta2, 1 - beta2, eps,
                   weight_decay, lr * weight_decay)
        for operands in zip(params, grads, ms, vs):
            self._step("adam_step", flags, operands, scalars)

    def _step(self, name, flags, operands, scalars):
        plan = self._plan((name, tuple(flags), *map(_key, operands)), self._plan_step, name, flags, operands)
        dtype = operands[0].dtype
        values = [_number(dtype, value) for value in scalars]
        memory = [x.buffer.memory for x in operands]
        for fields in plan.structs:
            self.runtime.launch(plan.kernel, plan.size, fields, memory, values)

    def _plan_step(self, name, flags, operands):
        dtype = operands[0].dtype
        self._check_dtype(name, dtype)
        shape, strides = merge(operands[0].shape, *(x.strides for x in operands))
        defines = {"T": C_TYPES[dtype.name], **flags, "OPERANDS": len(operands)}
        return self._strided_plan(name, "steps.cl", defines, shape, strides, [x.offset for x in operands])


class Plan:
    """A kernel, its number of work-items, its struct argument(s), the dtypes of its scalar operands."""

    __slots__ = ("kernel", "size", "structs", "scalars")

    def __init__(self, kernel, size, structs, scalars=()):
        self.kernel = kernel
        self.size = size
        self.structs = structs
        self.scalars = tuple(scalars)

