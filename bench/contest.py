"""The contestants: each a process of its own, taking turns."""
import os
import pickle
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import timing

ROOT = Path(__file__).parents[1]
# What would hold a peer back, or help one only. (Huge pages are part of "torch-best".)
DROPPED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "THP_MEM_ALLOC_ENABLE")
SETTLE = 0.003          # seconds between turns, in which the last one's threads fall asleep
SETTLE_NUMPY = 0.15     # OpenBLAS's spin long


class Failed(Exception):
    """A contestant could not do what it was asked: `kind` of exception and its text."""

    def __init__(self, who, kind, text):
        self.who, self.kind = who, kind
        super().__init__(f"{who}: {kind}: {text}")

    @property
    def line(self):
        """Without the traceback."""
        return str(self).partition("\nTraceback")[0].strip()


class Contestant:
    """One library in a process of its own; `ask` it what bench.worker.Worker does.

    threads   to use, 0 for the library's own choice
    """

    def __init__(self, name, device, threads):
        self.name = name
        environment = {key: value for key, value in os.environ.items() if key not in DROPPED}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH")])])
        if name == "torch-best":
            environment["THP_MEM_ALLOC_ENABLE"] = "1"
        if name == "numpy":
            environment["OPENBLAS_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = str(threads)
        else:
            environment["OPENBLAS_NUM_THREADS"] = "1"       # not the one that is timed
        self.process = subprocess.Popen([sys.executable, "-m", "bench.worker", name], cwd=ROOT, env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.version, self.threads = self.ask("start", device, threads)
        except BaseException:
            self.close()
            raise

    def ask(self, request, *arguments):
        """The reply; raises Failed when the contestant raises or dies."""
        try:
            pickle.dump((request, *arguments), self.process.stdin)
            self.process.stdin.flush()
            reply = pickle.load(self.process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            raise Failed(self.name, "process", f"ended with status {self.process.wait()} while asked for {request}") from None
        if reply[0] == "error":
            raise Failed(self.name, *reply[1:])
        return reply[1]

    @property
    def alive(self):
        return self.process.poll() is None

    def settle(self):
        time.sleep(SETTLE_NUMPY if self.name == "numpy" else SETTLE)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def alternate(players, rounds, least, budget):
    """Time `players`, a list of (contestant, variant, seconds of one call), in turns.

    Every player gets `rounds` turns of `least` seconds or one call, fewer (but three) where they would take
    longer than `budget` seconds. Returns the list of each one's seconds, a turn each.
    """
    taken = [[] for _ in players]
    for number in range(rounds):
        for (contestant, variant, once), seconds in zip(players, taken):
            if number < max(3, int(budget / max(once, least))) or number == 0:
                seconds.append(contestant.ask("turn", variant, least))
                contestant.settle()
    return taken


def summary(seconds):
    """{"seconds": median, "spread": of the quartiles, "turns": how many}"""
    return {"seconds": statistics.median(seconds), "spread": timing.spread(seconds), "turns": len(seconds)}
