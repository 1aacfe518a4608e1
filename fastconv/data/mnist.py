"""MNIST (LeCun, Cortes, Burges 1998): idx files, gzipped or not."""
import gzip
import math
import pathlib
import zlib

import numpy as np

from .dataset import ArrayDataset
from .files import check_labels, fetch, find_folder

FILES = {True: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
         False: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}
MD5 = {"train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
       "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
       "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
       "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c"}
IMAGE = (28, 28)
LARGEST = 1 << 30       # bytes: far above any MNIST file, far below what would fill a machine


class MNISTDataset(ArrayDataset):
    """70,000 handwritten digits: (1, 28, 28) float32 in [0, 1], int.

    folder      holds the four idx files (or their .gz), itself or in mnist or MNIST/raw
    train       True: 60,000 images; False: the other 10,000
    transform   a function of one image, or one of `fastconv.data`'s
    download    fetch the files into folder/mnist when they are not there
    url         where they lie, for a mirror

    Raises FileNotFoundError when there are no files, ValueError naming the file that is damaged.
    """
    classes = tuple("0123456789")
    url = "https://ossci-datasets.s3.amazonaws.com/mnist/"
    md5 = MD5

    def __init__(self, folder, train=True, transform=None, download=False, url=None):
        folder = pathlib.Path(folder).expanduser()
        names = [[name, name + ".gz"] for name in FILES[bool(train)]]
        home = find_folder(folder, ["mnist", "MNIST/raw"], names)
        if home is None and download:
            home = folder / "mnist"
            for _, name in names:
                fetch(url or self.url, home, name, self.md5[name])
        if home is None:
            raise FileNotFoundError(f"no MNIST in {str(folder)!r}: it needs {names[0][0]} and {names[1][0]} "
                                    f"(or .gz). Pass download=True, or put them there from {self.url}")
        image_path, label_path = (next(home / n for n in pair if (home / n).is_file()) for pair in names)
        images, labels = read_idx(image_path, 3), read_idx(label_path, 1).astype(np.int64)
        if images.shape[1:] != IMAGE:
            raise ValueError(f"{image_path}: images of {images.shape[1:]}, MNIST has {IMAGE}")
        if len(images) != len(labels):
            raise ValueError(f"{label_path}: {len(labels)} labels for the {len(images)} images of {image_path.name}")
        check_labels(label_path, labels)
        super().__init__(images[:, None], labels, transform=transform)


def read_idx(path, ndim):
    """The uint8 array of `ndim` dimensions in an idx file.

    Layout: two zero bytes, 8 for "unsigned byte", ndim, the sizes as big-endian 32-bit numbers, the values.
    """
    header = 4 + 4 * ndim
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            head = file.read(header)
            if head[:4] != bytes((0, 0, 8, ndim)):
                raise ValueError(f"{path}: starts with {head[:4].hex(' ')}, an idx file of {ndim}-dimensional "
                                 f"bytes with 00 00 08 0{ndim}")
            shape = tuple(int(s) for s in np.frombuffer(head[4:header].ljust(4 * ndim, b"\0"), ">u4"))
            size = math.prod(shape)
            if size > LARGEST:
                raise ValueError(f"{path}: its header promises shape {shape}, {size} bytes")
            body = file.read(size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise ValueError(f"{path}: damaged gzip file: {e}") from e
    if len(head) < header or len(body) != size:
        raise ValueError(f"{path}: its header promises shape {shape}, {size} bytes, and "
                         f"{'more' if len(body) > size else len(body)} follow")
    return np.frombuffer(body, np.uint8).reshape(shape)
