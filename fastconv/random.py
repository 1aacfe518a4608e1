"""The library's source of randomness: one NumPy generator, seeded by `manual_seed`."""
import numpy as np

_global = np.random.default_rng()


def manual_seed(seed):
    """Seed the generator that initialisers, Dropout, transforms and loaders use when given none.

    >>> import fastconv as fc
    >>> fc.manual_seed(0)
    """
    global _global
    _global = np.random.default_rng(seed)


def generator(rng=None):
    """`rng` itself when it is a Generator, one seeded with it when it is an int, the library's when None."""
    if rng is None:
        return _global
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (int, np.integer)):
        return np.random.default_rng(rng)
    raise TypeError(f"rng is a numpy.random.Generator, an int or None, not {rng!r}")


def as_generator(rng):
    """None stays None (decide at the call); a seed or a numpy.random.Generator becomes a Generator."""
    return None if rng is None else generator(rng)
