"""What a benchmark is made of: a Case says what is computed, a Work is one library's way to compute it.

Every contestant runs in a process of its own and makes its Works there from the case's name, so cases
draw their inputs from seeds, and import the libraries only inside the methods named after them.
"""
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SAMPLE = 1 << 16        # elements of each result that contestants compare


@dataclass(frozen=True)
class Work:
    """call    computes once and waits for its device
    results    what the contestants must agree on, as a list of NumPy arrays
    """

    call: Callable
    results: Callable


@dataclass(frozen=True)
class Case:
    """One line of the tables.

    flops, bytes   of one call: multiplications and additions of the direct algorithm; memory that must be
                   read and written at least
    roof           what bounds it: "fma", "copy" or "read" (bandwidths), or "" for neither
    items          (how many, of what) one call processes
    keeps          bytes of the results that one call leaves
    threads        to run with, 0 for all
    series, at     for curves: which one, and where on its axis
    tolerance      largest relative error, in the L2 norm, against float64 and among the contestants
    """

    name: str
    flops: float = 0
    bytes: float = 0
    roof: str = ""
    items: tuple = ()
    keeps: float = 0
    threads: int = 0
    series: str = ""
    at: float = 0
    tolerance: float = 1e-4

    def fastconv(self, device, dtype="float32"):
        """{variant: Work}; the first is the one that is compared with the peers' defaults."""
        raise NotImplementedError

    def torch(self, torch, place, best):
        """{variant: Work} on the torch device `place`; `best`: every way that might be its fastest."""
        return {}

    def numpy(self):
        """{variant: Work}, or {} where NumPy has no such thing."""
        return {}

    def small(self):
        """The same case at a size at which NumPy can compute it in float64."""
        return self

    def error(self, device):
        """The largest relative error on `device` against NumPy in float64."""
        import fastconv as fc
        small = self.small()
        (truth, *_) = small.fastconv(fc.reference(), "float64").values()
        expected = truth.results()
        return max(relative_error(work.results(), expected) for work in small.fastconv(device).values())

    def rng(self):
        """A generator that is the same for every contestant."""
        return np.random.default_rng(zlib.crc32(self.name.encode()))


def relative_error(results, expected):
    """The largest over the results of |result - expected| / |expected| (NaN when one is not finite)."""
    if len(results) != len(expected):
        raise ValueError(f"{len(results)} results beside {len(expected)}")
    worst = 0.0
    for a, b in zip(results, expected):
        if a.shape != b.shape:
            raise ValueError(f"a result of shape {a.shape} beside one of {b.shape}")
        b = np.asarray(b, np.float64)
        error = np.linalg.norm((a - b).ravel()) / max(np.linalg.norm(b.ravel()), 1e-30)
        worst = float(np.maximum(worst, error))         # NaN stays
    return worst


def sample(results):
    """About SAMPLE elements of each result, spread over all of it."""
    return [np.ascontiguousarray(a.reshape(-1)[::max(1, a.size // SAMPLE)]) for a in results]


def weights(named_shapes):
    """{name: float32 array} of parameters that keep a network's activations in range, by name and shape alone."""
    drawn = {}
    for name, shape in named_shapes:
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        if name.endswith("num_batches_tracked"):
            continue
        if len(shape) > 1:
            drawn[name] = rng.normal(size=shape) / np.sqrt(max(np.prod(shape[1:]), 1))
        elif name.endswith(("running_var", "weight")):
            drawn[name] = rng.uniform(0.5, 1.5, shape)
        else:
            drawn[name] = rng.normal(size=shape) * 0.1
    return {name: a.astype(np.float32) for name, a in drawn.items()}
