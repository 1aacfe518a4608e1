"""Where the time goes: `with fc.profile() as p:` records every kernel, on every device.

A Device binds its kernels as attributes, the only way to reach them (device.py). A profile puts a recorder in
front of each for as long as it runs; without one nothing stands there. CPU kernels are timed from call to
return; on OpenCL a call only enqueues, so the queue records and its events are read at the end.
"""
import json
import math
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

from . import device as _device
from .array import Array
from .autograd import REGISTRY
from .reference import KERNELS

_MEBI = 1 << 20
_running = threading.Lock()


def profile(device=None):
    """A context manager that records every kernel of `device` (a Device, its name, or None: all in use).

    Prints as a table; `rows()`, `seconds`, `uploads` and `downloads` hold the numbers, and `save_trace(path)`
    writes them for chrome://tracing or ui.perfetto.dev. Recording costs some microseconds a kernel; on OpenCL
    the queue changes at the start and at the end, each after everything before has finished.

    Raises RuntimeError while another profile runs.

    >>> import fastconv as fc
    >>> x = fc.init.rand(64, 64)
    >>> with fc.profile() as p:
    ...     y = fc.ops.tanh(x @ x)
    >>> [(row.op, row.calls, row.flops) for row in p.rows() if row.kernel == "matmul"]
    [('matmul', 1, 524288)]
    >>> print(p)                        # doctest: +ELLIPSIS
    op ... kernel ... calls ... launches ... ms ...
    """
    return Profile(device)


@dataclass
class Row:
    """All calls of one kernel by one op on one device.

    op         the op of fastconv.ops that was called, "<op> gradient" in backward, "" outside of ops
    kernel     of the contract (fastconv.reference); "map" with the function, "reduce" with its name
    calls      of the kernel; `launches` of OpenCL kernels behind them, on other devices the same
    seconds    in the kernel: on the CPU from call to return, on OpenCL on the device
    bytes      of its operands, each counted once
    flops      multiplications and additions of a product by the direct algorithm, 0 for other kernels
    """

    device: str
    op: str
    kernel: str
    calls: int = 0
    launches: int = 0
    seconds: float = 0.0
    bytes: int = 0
    flops: int = 0


@dataclass
class _Call:
    device: object
    op: str
    kernel: str
    start: float
    host: float = 0.0               # seconds until the call returned
    bytes: int = 0
    flops: int = 0
    events: list = field(default_factory=list)      # OpenCL's, of its launches
    spans: list = field(default_factory=list)       # (start, seconds) on the device, from the events


class Profile:
    """What `fastconv.profile` returns."""

    def __init__(self, device=None):
        self._wanted = None if device is None else _device.device(device)
        self._calls, self._hooked, self._used, self._current = [], [], [], threading.local()
        self.seconds = 0.0

    # --- recording

    def __enter__(self):
        if not _running.acquire(blocking=False):
            raise RuntimeError("a profile is running already: they do not nest")
        self._calls.clear()
        self._ops = _code_of_ops()
        try:
            if self._wanted is None:
                _device.on_made = self._hook        # those that are opened while it runs
            for device in list(_device.made) if self._wanted is None else [self._wanted]:
                self._hook(device)
        except BaseException:
            self._release()
            raise
        self._start = time.perf_counter()
        return self

    def __exit__(self, *error):
        try:
            for device in self._used:
                device.implementation.synchronize()
            self.seconds = time.perf_counter() - self._start
        finally:
            self._release()

    def _hook(self, device):
        kernels = {entry: getattr(device, entry) for entry in (*KERNELS, "upload", "download", "synchronize")}
        self._hooked.append((device, kernels))
        for entry, kernel in kernels.items():
            setattr(device, entry, self._recorder(device, entry, kernel))
        if device.kind != "opencl" or "runtime" in vars(device.implementation):
            self._use(device)

    def _use(self, device):
        """An OpenCL device that nobody has used yet is opened by this: only at its first call."""
        self._used.append(device)
        if device.kind == "opencl":
            device.implementation.runtime.observe(self._launched)

    def _release(self):
        _device.on_made = None
        for device, kernels in self._hooked:
            for entry, kernel in kernels.items():
                setattr(device, entry, kernel)
        for device in self._used:
            if device.kind == "opencl":
                device.implementation.runtime.observe(None)
        self._hooked, self._used = [], []
        try:
            _read_events(self._calls)           # a driver may fail here; the next profile is to run all the same
        finally:
            _running.release()

    def _recorder(self, device, entry, kernel):
        def record(*args, **keywords):
            if device not in self._used:
                self._use(device)
            call = _Call(device, self._op(), _kernel_name(entry, args), time.perf_counter())
            call.bytes, call.flops = _bytes(args), _flops(entry, args)
            self._current.call = call
            try:
                return kernel(*args, **keywords)
            finally:
                call.host = time.perf_counter() - call.start
                self._calls.append(call)
                self._current.call = None
        return record

    def _launched(self, event):
        call = getattr(self._current, "call", None)
        if call is not None:
            call.events.append(event)

    def _op(self):
        """The outermost op that is running in this thread."""
        frame, found = sys._getframe(2), ""
        while frame is not None:
            found = self._ops.get(frame.f_code) or found
            frame = frame.f_back
        return found

    # --- what was recorded

    def rows(self):
        """A list of Row, the one that took longest first."""
        rows = {}
        for call in self._calls:
            if call.kernel not in ("upload", "download", "synchronize"):
                key = call.device.name, call.op, call.kernel
                row = rows.setdefault(key, Row(*key))
                row.calls += 1
                row.launches += len(call.spans) or 1
                row.seconds += sum(seconds for _, seconds in call.spans) if call.spans else call.host
                row.bytes += call.bytes
                row.flops += call.flops
        return sorted(rows.values(), key=lambda row: -row.seconds)

    @property
    def uploads(self):
        """(how many, bytes): copies from the host to a device."""
        return self._transfers("upload")

    @property
    def downloads(self):
        """(how many, bytes): copies to the host, each of which waited for the device."""
        return self._transfers("download")

    def _transfers(self, kind):
        found = [call.bytes for call in self._calls if call.kernel == kind]
        return len(found), sum(found)

    def __str__(self):
        rows = self.rows()
        inside = sum(row.seconds for row in rows)
        many = len({row.device for row in rows}) > 1
        header = ["op", "kernel", "calls", "launches", "ms", "%", "MiB", "GB/s", "GFLOP/s"]
        body = [[row.op or "-", row.kernel, str(row.calls), str(row.launches), f"{row.seconds * 1e3:.3f}",
                 f"{100 * row.seconds / inside:.1f}" if inside else "-", f"{row.bytes / _MEBI:.2f}",
                 f"{row.bytes / row.seconds / 1e9:.1f}" if row.seconds else "-",
                 f"{row.flops / row.seconds / 1e9:.1f}" if row.seconds and row.flops else ""] for row in rows]
        if many:
            header, body = [*header, "device"], [[*line, row.device] for line, row in zip(body, rows)]
        waits = [call.host for call in self._calls if call.kernel in ("download", "synchronize")]
        return "\n".join([*_aligned(header, body),
                          f"{self.seconds * 1e3:.3f} ms in all, {inside * 1e3:.3f} ms in kernels; "
                          f"{_count(self.uploads, 'upload')}, {_count(self.downloads, 'download')}, "
                          f"{sum(waits) * 1e3:.3f} ms waiting for the device"])

    def save_trace(self, path):
        """Write a Chrome trace (JSON): for each device what the host called and what the device ran."""
        events, tracks = [], defaultdict(lambda: len(tracks) + 1)
        for call in self._calls:
            sizes = {"bytes": call.bytes, **({"flops": call.flops} if call.flops else {})}
            host = tracks[call.device.name, "host"]
            events.append(_trace_event(call, host, call.start - self._start, call.host, sizes))
            for start, seconds in call.spans:
                events.append(_trace_event(call, tracks[call.device.name, "device"], start - self._start, seconds, sizes))
        names = [{"name": "thread_name", "ph": "M", "pid": 1, "tid": tid, "args": {"name": f"{device} ({side})"}}
                 for (device, side), tid in tracks.items()]
        with open(path, "w") as file:
            json.dump({"traceEvents": names + events, "displayTimeUnit": "ms"}, file)


# --- parts -----------------------------------------------------------------------------------

def _code_of_ops():
    """{code object: name} of the forwards and gradient rules of every op."""
    found = {}
    for op in REGISTRY.values():
        rules = [*op.rules.values(), *([op.joint_rule] if op.joint_rule else [])]
        for function, name in [(op.forward, op.name), *((rule, f"{op.name} gradient") for rule in rules)]:
            code = getattr(function, "__code__", None)
            # Rules that one function makes for several ops share their code: it names none of them.
            if code is not None:
                found[code] = name if found.get(code, name) == name else ""
    return found


def _kernel_name(entry, args):
    return f"{entry} {args[0]}" if entry in ("map", "reduce", "arg_reduce") else entry


def _arrays(args):
    for x in args:
        if isinstance(x, Array):
            yield x
        elif isinstance(x, (list, tuple)):
            yield from _arrays(x)


def _bytes(args):
    """Of all operands; what a broadcast repeats counts once."""
    return sum(math.prod(n for n, stride in zip(x.shape, x.strides) if stride) * x.dtype.itemsize for x in _arrays(args))


def _flops(entry, args):
    if entry == "matmul":
        out, a = args[:2]
        return 2 * math.prod(out.shape) * a.shape[-1]
    if entry == "conv":
        out, _, w = args[:3]
        return 2 * math.prod(out.shape) * math.prod(w.shape[1:5])
    if entry == "conv_weight_grad":
        out, _, g = args[:3]
        return 2 * math.prod(g.shape) * math.prod(out.shape[1:5])
    return 0


def _read_events(calls):
    """Turn OpenCL's events into spans on the host's clock, on which the first launch was queued when its call started."""
    shift = {}
    for call in calls:
        for event in call.events:
            event.wait()
            began, ended = event.profile.start * 1e-9, event.profile.end * 1e-9
            offset = shift.setdefault(call.device.name, call.start - event.profile.queued * 1e-9)
            call.spans.append((began + offset, ended - began))
        call.events.clear()


def _trace_event(call, track, start, seconds, sizes):
    return {"name": f"{call.op or call.kernel}", "cat": call.kernel, "ph": "X", "ts": start * 1e6, "dur": seconds * 1e6,
            "pid": 1, "tid": track, "args": {"kernel": call.kernel, **sizes}}


def _count(transfers, what):
    count, nbytes = transfers
    return f"{count} {what}{'' if count == 1 else 's'} ({nbytes / _MEBI:.2f} MiB)"


def _aligned(header, body):
    """Lines of a table: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *body)]
    names = {"op", "kernel", "device"}
    return ["  ".join(cell.ljust(w) if title in names else cell.rjust(w) for cell, w, title in zip(line, widths, header)).rstrip()
            for line in (header, *body)]
