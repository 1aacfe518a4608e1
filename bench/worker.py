"""A contestant's process: it makes Works, checks them and takes turns, as `bench.contest` asks over its pipes.

    python -m bench.worker fastconv|torch|torch-best|torch-cuda|numpy

Requests and replies are pickles: a tuple (name of a method of Worker, arguments...), then ("ok", value)
or ("error", kind, text). A library is imported here and nowhere else, so that none sees another's threads.
"""
import contextlib
import gc
import os
import pickle
import sys
import traceback
from pathlib import Path

from bench import timing
from bench.case import sample


class Library:
    """What differs between the contestants."""

    def start(self, device, threads):
        """Import it; `threads` 0: all cores, what it would take by itself."""

    def version(self):
        raise NotImplementedError

    def set_threads(self, threads):
        """Use so many threads from now on."""

    def works(self, case):
        """{variant: Work}, or {} when it cannot do that."""
        raise NotImplementedError

    def empty_cache(self):
        """Give pooled memory back to the system."""


class FastConv(Library):
    def start(self, device, threads):
        import fastconv as fc
        self.fc = fc
        if threads:
            fc.set_num_threads(threads)
        self.threads = fc.get_num_threads()
        if device:
            fc.set_default_device(device)
        self.device = fc.default_device()

    def version(self):
        return self.fc.__version__

    def set_threads(self, threads):
        self.fc.set_num_threads(threads)

    def works(self, case):
        return case.fastconv(self.device)

    def empty_cache(self):
        self.device.empty_cache()


class Torch(Library):
    def __init__(self, place="cpu", best=False):
        self.place, self.best = place, best

    def start(self, device, threads):
        import torch
        self.torch = torch
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        if self.place == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("torch-cuda: this PyTorch finds no CUDA device")
        torch.set_num_threads(threads)

    def version(self):
        return self.torch.__version__

    def set_threads(self, threads):
        self.torch.set_num_threads(threads)

    def works(self, case):
        return case.torch(self.torch, self.place, self.best)


class NumPy(Library):
    def start(self, device, threads):
        import numpy
        self.np = numpy

    def version(self):
        return self.np.__version__

    def works(self, case):
        return case.numpy()


LIBRARIES = {"fastconv": FastConv, "torch": Torch, "torch-best": lambda: Torch(best=True),
             "torch-cuda": lambda: Torch("cuda"), "numpy": NumPy}


class Worker:
    """The requests."""

    def __init__(self, name):
        self.name = name
        self.library = LIBRARIES[name]()
        self.works, self.once = {}, {}

    def start(self, device, threads):
        """(version, threads)"""
        self.library.start(device, threads)
        self.threads = getattr(self.library, "threads", threads)
        return self.library.version(), self.threads

    def describe(self):
        """What only the library under test knows: its device's name, and how it was built."""
        from bench.machine import configuration
        return configuration(self.library.device)

    def peaks(self, seconds):
        from bench.machine import peaks
        return peaks(self.library.device, seconds)

    def prepare(self, suite, name, tiny):
        """The variants that there are for this case, each warm; a "best" contestant keeps its fastest only."""
        from bench.suites import find
        self.drop()
        self.case = find(suite, name, tiny)
        if self.case.threads:
            self.library.set_threads(self.case.threads)
        self.works = self.library.works(self.case)
        self.samples = {variant: sample(work.results()) for variant, work in self.works.items()}
        self.once = {variant: timing.warm_up(work.call) for variant, work in self.works.items()}
        if self.name.endswith("-best") and self.works:
            fastest = min(self.once, key=self.once.get)
            self.works = {fastest: self.works[fastest]}
        return {variant: self.once[variant] for variant in self.works}

    def results(self, variant):
        """A sample of the results, for the contestants to compare."""
        return self.samples[variant]

    def error(self, suite, name, tiny):
        """The relative error against float64, before anything is prepared."""
        from bench.suites import find
        return find(suite, name, tiny).error(self.library.device)

    def turn(self, variant, least):
        return timing.turn(self.works[variant].call, self.once[variant], least)

    def footprint(self, suite, name, tiny, calls):
        """(peak resident bytes while the case runs, how much of it the calls added, what they keep), or None.

        Set-up does not count: the peak is reset when the first call is about to start.
        """
        from bench.suites import find
        case = find(suite, name, tiny)
        works = self.library.works(case)
        if not works:
            return None
        work = works.pop(next(iter(works)))
        works.clear()
        gc.collect()
        self.library.empty_cache()
        before = _reset_peak()
        for _ in range(calls):
            work.call()
        return _status("VmHWM"), _status("VmHWM") - before, case.keeps

    def drop(self):
        """Forget the case that was prepared."""
        if self.works and self.case.threads:
            self.library.set_threads(self.threads)
        self.works, self.once, self.samples = {}, {}, {}
        gc.collect()


def _reset_peak():
    """Let the peak of this process's resident memory start again from now; returns what is resident."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise NotImplementedError(f"measuring memory needs Linux's /proc/self/clear_refs: {error}") from None
    return _status("VmRSS")


def _status(field):
    """Bytes, from /proc/self/status."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field + ":"))
    return 1024 * int(line.split()[1])


def main():
    # Replies go where stdout went; what the libraries print goes to stderr.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    requests = sys.stdin.buffer
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            name, *arguments = pickle.load(requests)
            try:
                reply = "ok", getattr(worker, name)(*arguments)
            except Exception as error:
                reply = "error", type(error).__name__, f"{error}\n{traceback.format_exc()}"
            pickle.dump(reply, replies)
            replies.flush()


if __name__ == "__main__":
    main()
