"""The runtime of one OpenCL device: context, queue, memory, programs, launches.

One context and one in-order queue per device: whatever is enqueued later sees what was enqueued
before, so nothing here waits, and a buffer may go back to the pool while kernels still use it.
"""
import collections
import contextlib
import gc
import os
import pathlib
import re
import threading
import warnings

import pyopencl as cl
import pyopencl.tools

from . import params as _params
from .cache import ProgramCache, default_folder

KERNELS = pathlib.Path(__file__).with_name("kernels")
INCLUDES = {name: KERNELS.parents[1] / name              # shared with _cy
            for name in ("scalar_ops.h", "float_math.h", "winograd_math.h")}

# Uploads up to this size are staged in host memory and left to the queue; larger ones wait.
STAGED_BYTES = 16 << 20
PENDING_BYTES = 64 << 20


class BuildError(RuntimeError):
    """A kernel did not compile: shows which, how it was built and what the driver said."""


class Buffer:
    """Device memory of `nbytes` bytes; goes back to the pool with its last reference."""

    __slots__ = ("nbytes", "memory", "_freed", "__weakref__")

    def __init__(self, nbytes, memory, freed):
        self.nbytes = nbytes
        self.memory = memory
        self._freed = freed

    def __del__(self):
        # Appending is atomic, so that a collection in any thread at any point cannot lose a count.
        self._freed.append(self.nbytes)


class Kernel:
    """A compiled kernel with its group size; `launch` it through the Runtime."""

    __slots__ = ("kernel", "set_memory", "set_bytes", "local", "about")

    def __init__(self, kernel, local, about):
        self.kernel = kernel
        self.set_memory = kernel.set_arg
        # set_arg tries what kinds of object it was given by catching exceptions: 11 us for a struct.
        self.set_bytes = getattr(kernel, "_set_arg_buf", kernel.set_arg)
        self.local = local
        self.about = about


class Runtime:
    """Everything that is opened for one device. Create it on first use: it makes a context."""

    def __init__(self, device):
        self.device = device
        self.params = _params.lookup(device)
        self.context = cl.Context([device])
        self.queue = self._plain_queue = cl.CommandQueue(self.context, device)
        self._enqueue = cl.enqueue_nd_range_kernel
        self.lock = threading.RLock()
        without = os.environ.get("FASTCONV_CL_WITHOUT", "").replace(",", " ").split()
        self.has_double = bool(device.double_fp_config) and "fp64" not in without
        self.has_fma = bool(device.single_fp_config & cl.device_fp_config.FMA) and "fma" not in without
        self.max_alloc = device.max_mem_alloc_size
        self.max_total = device.global_mem_size
        self._pool = cl.tools.MemoryPool(cl.tools.ImmediateAllocator(self.queue))
        self._live = self._peak = 0
        self._freed = collections.deque()
        self._pending = collections.deque()     # (event that owns the staged source, bytes)
        self._pending_bytes = 0
        self._kernels = {}
        self._programs = {}
        self._cache = ProgramCache(default_folder())
        self._take, self._least = self._pool.allocate, 16
        if os.environ.get("FASTCONV_CL_DEBUG", "0") not in ("", "0"):
            self._take, self._least = self._take_exactly, 1
            self.launch = self._launch_and_wait
        platform = device.platform
        self._identity = ", ".join(part.strip() for part in (
            device.name, device.vendor, device.version, device.driver_version, platform.name, platform.version))
        self.options = ["-cl-std=CL1.2", "-w"]
        if device.single_fp_config & cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT:
            self.options.append("-cl-fp32-correctly-rounded-divide-sqrt")

    # --- memory

    def allocate(self, nbytes):
        """A Buffer of at least `nbytes` bytes from the pool; MemoryError when there is no room."""
        with self.lock:
            self._live -= self._count_freed()
            # Drivers promise memory that they do not have, and fail or swap later: keep within what there is.
            if self._live + nbytes > self.max_total:
                gc.collect()
                self._live -= self._count_freed()
            if nbytes > self.max_alloc or self._live + nbytes > self.max_total:
                raise MemoryError(self._no_room(nbytes))
            if self._pool.managed_bytes + nbytes > self.max_total:
                self._pool.free_held()
            try:
                memory = self._take(max(nbytes, self._least))
            except (cl.MemoryError, cl.LogicError, cl.RuntimeError, MemoryError):
                memory = self._again(nbytes, self._take, max(nbytes, self._least))
            self._live += nbytes
            self._peak = max(self._peak, self._live)
        return Buffer(nbytes, memory, self._freed)

    def _take_exactly(self, nbytes):
        """Memory of its own, so that simulators see what nobody wrote and where it ends (FASTCONV_CL_DEBUG=1)."""
        return cl.Buffer(self.context, cl.mem_flags.READ_WRITE, nbytes)

    def _again(self, nbytes, call, *arguments, **options):
        """Call once more, now that garbage and what the pool kept are gone; MemoryError that says what there is."""
        gc.collect()
        self.empty_cache()
        try:
            return call(*arguments, **options)
        except (cl.Error, MemoryError) as error:
            raise MemoryError(f"{self._no_room(nbytes)}: {error}") from None

    def _copy(self, nbytes, *arguments, **options):
        # Some drivers attach memory at its first use.
        try:
            return cl.enqueue_copy(self.queue, *arguments, **options)
        except cl.MemoryError:
            return self._again(nbytes, cl.enqueue_copy, self.queue, *arguments, **options)

    def _count_freed(self):
        total = 0
        while self._freed:
            total += self._freed.popleft()
        return total

    def _no_room(self, nbytes):
        stats = self.memory_stats()
        what = f"{nbytes} bytes" if nbytes else "a launch"
        return (f"no room for {what} on {self.device.name.strip()}: {stats['allocated']} allocated, "
                f"{stats['cached']} cached, at most {self.max_alloc} in one buffer, "
                f"{self.max_total} in all")

    def memory_stats(self):
        with self.lock:
            self._live -= self._count_freed()
            # Live blocks are rounded up and the difference counts as managed: not what the pool holds.
            cached = self._pool.managed_bytes - self._pool.active_bytes if self._pool.held_blocks else 0
            return {"allocated": self._live, "peak": self._peak, "cached": cached}

    def empty_cache(self):
        with self.lock:
            self.synchronize()
            self._pool.free_held()

    def write(self, buffer, offset, source):
        """Copy a C-contiguous NumPy array to `offset` bytes; the source is free on return."""
        with self.lock:
            if source.nbytes > STAGED_BYTES:
                self._copy(source.nbytes, buffer.memory, source, dst_offset=offset, is_blocking=True)
                return
            # pyopencl's event owns the staged copy; dropping it would wait, so keep it until it is done.
            while self._pending and (self._pending_bytes > PENDING_BYTES or self._done(self._pending[0][0])):
                event, nbytes = self._pending.popleft()
                self._pending_bytes -= nbytes
                event.wait()
            event = self._copy(source.nbytes, buffer.memory, source.copy(), dst_offset=offset, is_blocking=False)
            self._pending.append((event, source.nbytes))
            self._pending_bytes += source.nbytes

    @staticmethod
    def _done(event):
        return event.command_execution_status == cl.command_execution_status.COMPLETE

    def read(self, target, buffer, offset):
        """Copy from `offset` bytes into a C-contiguous NumPy array; waits."""
        with self.lock:
            self._copy(target.nbytes, target, buffer.memory, src_offset=offset, is_blocking=True)

    def synchronize(self):
        with self.lock:
            self.queue.finish()
            self._pending.clear()
            self._pending_bytes = 0

    def observe(self, observer):
        """Call observer(event) for each launch from now on, in a queue that records their times; None: as before.

        Waits for what was enqueued, so that the two queues never run at once.
        """
        with self.lock:
            self.synchronize()
            if observer is None:
                self.queue, self._enqueue = self._plain_queue, cl.enqueue_nd_range_kernel
            else:
                self.queue = cl.CommandQueue(self.context, self.device, cl.command_queue_properties.PROFILING_ENABLE)
                self._enqueue = lambda *args: observer(cl.enqueue_nd_range_kernel(*args))

    # --- programs

    def kernel(self, name, file, local, **defines):
        """The kernel `name` of kernels/<file> built with these defines for groups of size `local`."""
        key = (name, file, local, tuple(defines.items()))
        found = self._kernels.get(key)
        if found is None:
            with self.lock:
                found = self._kernels.get(key)
                if found is None:
                    found = self._kernels[key] = self._build(name, file, local, defines)
        return found

    def _build(self, name, file, local, defines):
        """The kernel from its program, which other kernels of the file may share."""
        source = self._source(file, local, defines)
        try:
            program = self._programs.get(source)
            if program is None:
                program = self._programs[source] = self._program(source)
            about = " ".join(f"{key}={value}" for key, value in defines.items())
            return Kernel(cl.Kernel(program, name), local, f"{name} of {file}, groups of {local}, {about}")
        except cl.Error as error:
            given = source.partition("\n\n")[0]
            raise BuildError(f"kernel {name!r} of {file} does not build on {self._identity}\n"
                             f"options: {' '.join(self.options)}\n{given}\n{error}") from None

    def _source(self, file, local, defines):
        """The text of one program: what was asked for, what the device has, an empty line, the file."""
        given = [f"#define {key} {int(value) if isinstance(value, bool) else value}" for key, value in defines.items()]
        given.append("#define GROUP_SIZE " + ", ".join(map(str, (local + (1, 1, 1))[:3])))
        if self.has_double:
            given.append("#define HAS_DOUBLE 1")
        if self.has_fma:
            given.append("#define HAS_FMA 1")
        return "\n".join(given) + "\n\n" + _text(file)

    def _program(self, source):
        """A built program, from the binary of an earlier run where there is one."""
        key = "\n".join((self._identity, *self.options, os.environ.get("PYOPENCL_BUILD_OPTIONS", ""), source))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", cl.CompilerWarning)
            binary = self._cache.load(key)
            if binary is not None:
                # A driver may refuse what it wrote itself, before an update that left its version as it was.
                with contextlib.suppress(cl.Error):
                    return cl.Program(self.context, [self.device], [binary]).build(self.options)
            # pyopencl has a cache too, behind one lock and without the driver's binary on PoCL and NVIDIA: one is enough.
            program = cl.Program(self.context, source).build(self.options, cache_dir=False)
        self._cache.keep(key, program)
        return program

    def _launch_and_wait(self, *arguments):
        """launch, and wait, so that an error shows in the call that caused it (FASTCONV_CL_DEBUG=1)."""
        with self.lock:
            type(self).launch(self, *arguments)
            self.queue.finish()

    def launch(self, kernel, size, struct, memory, scalars=()):
        """Enqueue `kernel` over `size` work-items (a multiple of its group).

        Its parameters are the struct, then these memory objects, then these NumPy scalars.
        """
        # A kernel object carries its arguments: one thread at a time between setting and enqueueing.
        with self.lock:
            kernel.set_bytes(0, struct)
            n = 1
            set_memory = kernel.set_memory
            for m in memory:
                set_memory(n, m)
                n += 1
            for value in scalars:
                kernel.set_bytes(n, value)
                n += 1
            try:
                self._enqueue(self.queue, kernel.kernel, size, kernel.local)
            except cl.MemoryError:
                self._again(0, self._enqueue, self.queue, kernel.kernel, size, kernel.local)


_INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)
_texts: dict = {}


def _text(file):
    """The text of kernels/<file> with its includes pasted in (no driver needs to find our files)."""
    text = _texts.get(file)
    if text is None:
        path = INCLUDES.get(file) or KERNELS / file
        text = _texts[file] = _INCLUDE.sub(lambda m: _text(m.group(1)), path.read_text())
    return text
