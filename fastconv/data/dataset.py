"""Dataset: `len`, `[i]` -> tuple, and a fast way to a whole batch."""
import importlib
import operator

import numpy as np

from .transforms import apply_to_batch, apply_to_one


class Dataset:
    """Base class of data sets: `len(dataset)`, and `dataset[i]`, a tuple such as (image, label).

    A subclass defines `__len__` and `__getitem__`. One that can make many samples at once faster
    than one by one also overrides `batch`.
    """

    def __len__(self):
        raise NotImplementedError(f"{type(self).__name__} defines no __len__")

    def __getitem__(self, i):
        raise NotImplementedError(f"{type(self).__name__} defines no __getitem__")

    def batch(self, indices, rng=None):
        """The samples of `indices` as a tuple of stacked NumPy arrays.

        rng   the numpy.random.Generator that random transforms draw from.
        """
        return stack_samples([self[int(i)] for i in indices])


class ArrayDataset(Dataset):
    """Rows of NumPy arrays: `ArrayDataset(images, labels)[i]` is `(images[i], labels[i])`.

    Labels (one-dimensional integers) come out as Python ints. uint8 images are kept as they are
    and come out as float32 in [0, 1].

    transform   applied to the first array's row: any function of one image, or one of
                `fastconv.data`'s, which also work on whole batches.

    >>> ArrayDataset(np.zeros((5, 3)), np.arange(5))[-1]
    (array([0., 0., 0.]), 4)
    """

    def __init__(self, *arrays, transform=None):
        if not arrays:
            raise ValueError("ArrayDataset needs at least one array")
        self.arrays = tuple(np.asarray(a) for a in arrays)
        shapes = ", ".join(str(a.shape) for a in self.arrays)
        if any(a.ndim == 0 for a in self.arrays) or len({len(a) for a in self.arrays}) > 1:
            raise ValueError(f"the arrays of a data set have one length, not shapes {shapes}")
        if transform is not None and not callable(transform):
            raise TypeError(f"transform is a function of one image, not {transform!r}")
        self.transform = transform

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, i):
        try:
            i = operator.index(i)
        except TypeError:
            raise TypeError(f"a data set is indexed with an int, not {i!r}") from None
        if not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is out of range for {len(self)} samples")
        first, *rest = (_as_sample(a[i]) for a in self.arrays)
        if self.transform is not None:
            first = apply_to_one(self.transform, first)
        return (first, *rest)

    def batch(self, indices, rng=None):
        first, *rest = (_scaled(a[np.asarray(indices, np.int64)]) for a in self.arrays)
        if self.transform is not None:
            first = apply_to_batch(self.transform, first, rng)
        return (first, *rest)


class DigitsDataset(ArrayDataset):
    """The 1,797 handwritten digits that come inside scikit-learn: (1, 8, 8) float32 in [0, 1], int.

    train   True: four fifths of them, 1,438 images; False: the held-out fifth, 359. The split is
            always the same.
    """
    classes = tuple("0123456789")

    def __init__(self, train=True, transform=None):
        digits = require("sklearn.datasets").load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))
        held_out = len(order) // 5
        rows = order[held_out:] if train else order[:held_out]
        images = (digits.images[rows, None] / 16).astype(np.float32)
        super().__init__(images, digits.target[rows].astype(np.int64), transform=transform)


def _scaled(x):
    """uint8 images as float32 in [0, 1]; integer labels as int64; the rest as it is."""
    if x.ndim > 1 and x.dtype == np.uint8:
        return np.divide(x, np.float32(255), dtype=np.float32)
    if x.ndim <= 1 and x.dtype.kind in "iu":
        return x.astype(np.int64)
    return x


def _as_sample(row):
    """One row of an array as `[i]` gives it."""
    if np.ndim(row) == 0:
        return row.item()
    return np.divide(row, np.float32(255), dtype=np.float32) if row.dtype == np.uint8 else row.copy()


def stack_samples(samples):
    """A list of tuples as a tuple of arrays: ints become int64, Python floats float32."""
    for sample in samples:
        if not isinstance(sample, (tuple, list)):
            raise TypeError(f"dataset[i] gives a tuple such as (image, label), not {type(sample).__name__}")
    if len({len(sample) for sample in samples}) > 1:
        raise ValueError(f"samples of unlike lengths: {sorted({len(s) for s in samples})}")
    return tuple(_stack(column) for column in zip(*samples))


def _stack(values):
    arrays = [np.asarray(v) for v in values]
    shapes = {a.shape for a in arrays}
    if len(shapes) > 1:
        raise ValueError(f"samples of one batch have unlike shapes: {', '.join(map(str, sorted(shapes)))}")
    out = np.stack(arrays)
    if out.ndim == 1 and out.dtype.kind in "iu":
        return out.astype(np.int64)
    if out.dtype == np.float64 and all(isinstance(v, float) for v in values):
        return out.astype(np.float32)
    return out


def require(module):
    """Import an optional dependency, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise ImportError(f'{module.partition(".")[0]} is needed for this: pip install "fastconv[models]"') from e
