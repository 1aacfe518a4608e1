"""DataLoader: shuffled batches, made ahead of time in a thread, resumable in the middle of an epoch."""
import collections
import concurrent.futures
import numbers

import numpy as np

from ..random import as_generator, generator
from ..tensor import Tensor
from .dataset import Dataset, stack_samples


class DataLoader:
    """Iterates over batches of `dataset`: tuples of NumPy arrays (images float32, labels int64).

    dataset      anything with `len` and `[i]` returning a tuple
    shuffle      a new random order each epoch
    drop_last    leave out a last batch that is not full
    num_workers  0: one thread prepares batches ahead of the consumer; n: n of them do (`dataset[i]`
                 must then bear being called from several threads). Threads, never processes, and
                 none of them touches a device.
    prefetch     how many batches to prepare ahead; 0 makes them on demand, in the consumer
    rng          a seed or a numpy.random.Generator for orders and transforms; without it every
                 epoch draws its seed from fastconv's generator (`fastconv.manual_seed`)
    device       a Device or its name: batches are then Tensors on it

    The order of an epoch and the random transforms of each of its batches depend on one seed
    drawn when the epoch starts, so threads do not change them, and `state_dict()` taken while
    batch k is worked on lets `load_state_dict` go on with batch k + 1.

    >>> loader = DataLoader([(i, -i) for i in range(5)], batch_size=2)
    >>> [x.tolist() for x, y in loader]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, dataset, batch_size=1, shuffle=False, drop_last=False, num_workers=0,
                 prefetch=2, rng=None, device=None):
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise TypeError(f"a data set has len and [i], {type(dataset).__name__} has not")
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0),
                                   ("prefetch", prefetch, 0)):
            if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} is an int of at least {least}, not {value!r}")
        self.dataset, self.batch_size = dataset, int(batch_size)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self.num_workers, self.prefetch = int(num_workers), int(prefetch)
        self.device = device
        self._rng = as_generator(rng)
        self._epoch_seed, self._position = None, 0      # of the epoch under way
        self._resume = False                            # the next epoch starts at _position

    def __len__(self):
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self):
        if not self._resume:
            self._epoch_seed, self._position = self._draw_seed(), 0
        self._resume = False
        return self._epoch(self._epoch_seed, self._position)

    def _draw_seed(self):
        """The seed of one epoch; nothing is drawn where nothing is random."""
        random = isinstance(self.dataset, Dataset) and getattr(self.dataset, "transform", True) is not None
        if not self.shuffle and not random:
            return 0
        return int(generator(self._rng).integers(2 ** 63))

    def _epoch(self, seed, first):
        n = len(self.dataset)
        order = np.random.default_rng(seed).permutation(n) if self.shuffle else np.arange(n)
        for k, batch in self._ahead(seed, order, range(first, len(self))):
            self._position = k + 1
            yield self._placed(batch)
        self.restart()

    def restart(self):
        """Forget the epoch under way: the next iteration starts a new one, also after load_state_dict."""
        self._epoch_seed, self._position, self._resume = None, 0, False

    def _ahead(self, seed, order, steps):
        """(k, batch k), made by threads up to `prefetch` batches ahead; their errors are raised here."""
        if not (self.prefetch or self.num_workers):
            for k in steps:
                yield k, self._batch(seed, order, k)
            return
        depth = max(self.prefetch, self.num_workers)
        pending, steps = collections.deque(), iter(steps)
        pool = concurrent.futures.ThreadPoolExecutor(max(self.num_workers, 1), "fastconv-data")
        try:
            while True:
                while len(pending) < depth and (k := next(steps, None)) is not None:
                    pending.append((k, pool.submit(self._batch, seed, order, k)))
                if not pending:
                    return
                k, future = pending.popleft()
                yield k, future.result()
        finally:                                        # also when the consumer stops early
            pool.shutdown(wait=False, cancel_futures=True)

    def _batch(self, seed, order, k):
        indices = order[k * self.batch_size:(k + 1) * self.batch_size]
        if isinstance(self.dataset, Dataset):
            return self.dataset.batch(indices, np.random.default_rng((seed, k)))
        return stack_samples([self.dataset[int(i)] for i in indices])

    def _placed(self, batch):
        if self.device is None:
            return batch
        return tuple(Tensor(x, device=self.device) for x in batch)

    def state_dict(self):
        """Where this loader is, as plain numbers: its generator, the epoch's seed, batches delivered."""
        return {"rng": _plain(generator(self._rng).bit_generator.state), "epoch_seed": self._epoch_seed,
                "position": self._position, **self._identity()}

    def load_state_dict(self, state):
        """Go on where `state` was taken: the next iteration starts with the batch after it.

        A loader that was made without `rng` gets a generator of its own here.
        """
        if (theirs := {k: state[k] for k in self._identity()}) != self._identity():
            raise ValueError(f"the state is of another loader: {theirs}, this one has {self._identity()}")
        if self._rng is None:
            self._rng = np.random.default_rng()
        if state["rng"]["bit_generator"] != self._rng.bit_generator.state["bit_generator"]:
            raise ValueError(f"the state holds a {state['rng']['bit_generator']} generator, this loader has a "
                             f"{self._rng.bit_generator.state['bit_generator']}")
        self._rng.bit_generator.state = state["rng"]
        self._epoch_seed, self._position = state["epoch_seed"], int(state["position"])
        self._resume = self._epoch_seed is not None

    def _identity(self):
        return {"samples": len(self.dataset), "batch_size": self.batch_size, "shuffle": self.shuffle,
                "drop_last": self.drop_last}


def _plain(state):
    """A bit generator's state without NumPy types (JSON takes it)."""
    if isinstance(state, dict):
        return {k: _plain(v) for k, v in state.items()}
    return state.tolist() if isinstance(state, (np.ndarray, np.generic)) else state
