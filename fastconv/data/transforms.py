"""Transforms of images (C, H, W): each is written once, for a whole batch (N, C, H, W)."""
import numbers

import numpy as np

from ..random import as_generator, generator


class Transform:
    """Base class: `transform(image, rng=None)` for one image, `transform.batch(images, rng=None)` for many.

    A subclass defines `batch`. Random ones draw from the generator they were made with, else from
    the `rng` of the call (a DataLoader passes its own), else from fastconv's.
    """

    def __call__(self, image, rng=None):
        image = np.asarray(image)
        if image.ndim != 3:
            raise ValueError(f"{type(self).__name__} takes an image (C, H, W), not shape {image.shape}")
        return self.batch(image[None], rng)[0]

    def batch(self, images, rng=None):
        raise NotImplementedError(f"{type(self).__name__} defines no batch(images, rng)")


class Compose(Transform):
    """Several transforms, one after the other; any function of one image may be among them."""

    def __init__(self, *transforms):
        if len(transforms) == 1 and isinstance(transforms[0], (list, tuple)):
            transforms = transforms[0]
        for t in transforms:
            if not callable(t):
                raise TypeError(f"a transform is a function of one image, not {t!r}")
        self.transforms = tuple(transforms)

    def __call__(self, image, rng=None):
        for t in self.transforms:
            image = apply_to_one(t, image, rng)
        return image

    def batch(self, images, rng=None):
        for t in self.transforms:
            images = apply_to_batch(t, images, rng)
        return images

    def __repr__(self):
        return f"Compose({', '.join(map(repr, self.transforms))})"


class RandomCrop(Transform):
    """A window of `size` (an int or (height, width)) at a random place of the image with `padding` zeros around it.

    >>> RandomCrop(32, padding=4)(np.zeros((3, 32, 32), np.float32)).shape
    (3, 32, 32)
    """

    def __init__(self, size=32, padding=4, rng=None):
        pair = size if isinstance(size, (tuple, list)) else (size, size)
        if len(pair) != 2 or not all(_is_int(s) and s > 0 for s in pair):
            raise ValueError(f"size is a positive int or a pair of them, not {size!r}")
        if not _is_int(padding) or padding < 0:
            raise ValueError(f"padding is an int of at least 0, not {padding!r}")
        self.size, self.padding, self.rng = tuple(int(s) for s in pair), int(padding), as_generator(rng)

    def batch(self, images, rng=None):
        images = as_images(images)
        n, c, h, w = images.shape
        p, (height, width) = self.padding, self.size
        room = h + 2 * p - height, w + 2 * p - width
        if min(room) < 0:
            raise ValueError(f"images of {h} x {w} with padding {p} are smaller than the crop {height} x {width}")
        padded = np.zeros((n, c, h + 2 * p, w + 2 * p), images.dtype)
        padded[:, :, p:p + h, p:p + w] = images
        rng = generator(self.rng if self.rng is not None else rng)
        top, left = (rng.integers(0, r + 1, n) for r in room)
        # windows[n, c, top, left] is the crop that starts there: a view, gathered once.
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.size, axis=(2, 3))
        return np.ascontiguousarray(windows[np.arange(n), :, top, left])

    def __repr__(self):
        return f"RandomCrop({self.size}, padding={self.padding})"


class RandomFlipHorizontal(Transform):
    """Mirrors an image left to right with probability `p`."""

    def __init__(self, p=0.5, rng=None):
        if not _is_number(p) or not 0 <= p <= 1:
            raise ValueError(f"p is a probability in [0, 1], not {p!r}")
        self.p, self.rng = float(p), as_generator(rng)

    def batch(self, images, rng=None):
        images = as_images(images)
        flip = generator(self.rng if self.rng is not None else rng).random(len(images)) < self.p
        out = images.copy()
        out[flip] = images[flip][..., ::-1]
        return out

    def __repr__(self):
        return f"RandomFlipHorizontal({self.p})"


class Normalize(Transform):
    """(image - mean) / std, as float32; `mean` and `std` are numbers or one number per channel."""

    def __init__(self, mean, std):
        self.mean, self.std = (self._per_channel(*v) for v in (("mean", mean), ("std", std)))
        if not (self.std > 0).all():
            raise ValueError(f"std is positive, not {std!r}")

    @staticmethod
    def _per_channel(name, value):
        try:
            out = np.asarray(value, np.float32)
        except (TypeError, ValueError):
            raise TypeError(f"{name} is a number or one number per channel, not {value!r}") from None
        if out.ndim > 1 or not np.isfinite(out).all():
            raise ValueError(f"{name} is a finite number or one per channel, not {value!r}")
        return out.reshape(-1, 1, 1)

    def batch(self, images, rng=None):
        images = as_images(images)
        for name, value in (("mean", self.mean), ("std", self.std)):
            if len(value) not in (1, images.shape[1]):
                raise ValueError(f"{name} has {len(value)} values for {images.shape[1]} channels")
        return (images.astype(np.float32, copy=False) - self.mean) / self.std

    def __repr__(self):
        return f"Normalize({self.mean.ravel().tolist()}, {self.std.ravel().tolist()})"


def apply_to_one(transform, image, rng=None):
    """`transform(image)`, with the generator where the transform takes one."""
    return transform(image, rng) if isinstance(transform, Transform) else transform(image)


def apply_to_batch(transform, images, rng=None):
    """A transform on a batch: at once where it offers `batch`, else image by image."""
    if isinstance(transform, Transform) or hasattr(transform, "batch"):
        return transform.batch(images, rng)
    return np.stack([np.asarray(transform(image)) for image in images])


def as_images(images):
    """`images` as an array (N, C, H, W)."""
    images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(f"a batch of images is (N, C, H, W), not shape {images.shape}")
    return images


def _is_int(x):
    return isinstance(x, numbers.Integral) and not isinstance(x, (bool, np.bool_))


def _is_number(x):
    return isinstance(x, numbers.Real) and not isinstance(x, (bool, np.bool_))
