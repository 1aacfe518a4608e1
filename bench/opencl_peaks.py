"""What an OpenCL device does at best: chains of multiply-adds on registers, and a copy of large buffers."""
import time

import numpy as np

SOURCE = """
#define CHAINS 8
__kernel void fma_chains(__global float *out, int steps) {
    VEC acc[CHAINS];
    const VEC a = (VEC)(0.999f), b = (VEC)(0.001f);
    #pragma unroll
    for (int c = 0; c < CHAINS; c++)
        acc[c] = (VEC)(0.001f * (float)get_global_id(0) + c);
    for (int s = 0; s < steps; s++) {
        #pragma unroll
        for (int c = 0; c < CHAINS; c++)
            acc[c] = fma(acc[c], a, b);
    }
    #pragma unroll
    for (int c = 1; c < CHAINS; c++)
        acc[0] += acc[c];
    float sum = 0;
    for (int i = 0; i < WIDTH; i++)
        sum += ((const float *)acc)[i];
    out[get_global_id(0)] = sum;
}
__kernel void copy(__global VEC *out, __global const VEC *x) {
    out[get_global_id(0)] = x[get_global_id(0)];
}
"""


def peaks(device, seconds=0.3):
    """dict: fma (FLOP/s) and copy (byte/s; also taken for reading)."""
    import pyopencl as cl
    runtime = device.implementation.runtime
    is_cpu = bool(runtime.device.type & cl.device_type.CPU)
    width = runtime.device.native_vector_width_float if is_cpu else 4
    width = width if width in (2, 4, 8, 16) else 4
    program = cl.Program(runtime.context, f"#define VEC float{width}\n#define WIDTH {width}\n{SOURCE}").build()
    chains, copy = cl.Kernel(program, "fma_chains"), cl.Kernel(program, "copy")

    def best(enqueue, amount):
        """The most of `amount` per second."""
        enqueue()
        runtime.queue.finish()
        found, end = 0.0, time.perf_counter() + seconds
        while not found or time.perf_counter() < end:
            start = time.perf_counter()
            enqueue()
            runtime.queue.finish()
            found = max(found, amount / (time.perf_counter() - start))
        return found

    group = 1 if is_cpu else min(256, runtime.device.max_work_group_size)
    items = runtime.device.max_compute_units * (4 if is_cpu else 16 * group)
    steps = (1 << 18) if is_cpu else (1 << 12)
    out = cl.Buffer(runtime.context, cl.mem_flags.READ_WRITE, 4 * items)
    chains.set_args(out, np.int32(steps))
    fma = best(lambda: cl.enqueue_nd_range_kernel(runtime.queue, chains, (items,), (group,)), 2 * 8 * width * items * steps)
    nbytes = min(128 << 20, runtime.device.max_mem_alloc_size // 4 // (4096 * width) * (4096 * width))
    x, y = (cl.Buffer(runtime.context, cl.mem_flags.READ_WRITE, nbytes) for _ in range(2))
    cl.enqueue_fill_buffer(runtime.queue, x, np.float32(0), 0, nbytes)
    copy.set_args(y, x)
    copied = best(lambda: cl.enqueue_nd_range_kernel(runtime.queue, copy, (nbytes // 4 // width,), None), 2 * nbytes)
    return {"fma": fma, "read": copied, "copy": copied}
