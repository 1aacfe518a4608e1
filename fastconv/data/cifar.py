"""CIFAR-10 (Krizhevsky 2009), in the official binary version or the python one."""
import pathlib
import pickle
import tarfile

import numpy as np

from .dataset import ArrayDataset
from .files import check_labels, fetch, find_folder, write_atomically

IMAGE = (3, 32, 32)
PIXELS = 3 * 32 * 32
RECORDS = 10000                     # in each file
RECORD_BYTES = 1 + PIXELS           # the label, then the red, green and blue planes


class CIFAR10Dataset(ArrayDataset):
    """60,000 photographs in ten classes: (3, 32, 32) float32 in [0, 1], int.

    folder      holds cifar-10-batches-bin or cifar-10-batches-py, or is one of them
    train       True: the 50,000 images of data_batch_1 to 5; False: the 10,000 of test_batch
    transform   a function of one image, or one of `fastconv.data`'s
    download    fetch the binary version into `folder` when the files are not there
    url         where the archive lies, for a mirror

    Raises FileNotFoundError when there are no files, ValueError naming the file that is damaged.
    """
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    url = "https://www.cs.toronto.edu/~kriz/"
    archive = "cifar-10-binary.tar.gz"
    md5 = "c32a1d4ab5d03f1284b67883e8d87530"

    def __init__(self, folder, train=True, transform=None, download=False, url=None):
        names = [f"data_batch_{k}" for k in range(1, 6)] if train else ["test_batch"]
        found = self._find(folder, names)
        if found is None and download:
            archive = fetch(url or self.url, folder, self.archive, self.md5)
            extract_binary(archive, pathlib.Path(folder).expanduser())
            found = self._find(folder, names)
        if found is None:
            raise FileNotFoundError(
                f"no CIFAR-10 in {str(folder)!r}: it needs cifar-10-batches-bin/{names[0]}.bin and its like. "
                f"Pass download=True, or unpack {self.archive} from {self.url} there")
        read, paths = found
        images, labels = zip(*(read(p) for p in paths))
        super().__init__(np.concatenate(images), np.concatenate(labels), transform=transform)

    @staticmethod
    def _find(folder, names):
        """(reader, its files) of the version that lies in `folder`, or None."""
        folder = pathlib.Path(folder).expanduser()
        for below, suffix, read in (("cifar-10-batches-bin", ".bin", read_binary),
                                    ("cifar-10-batches-py", "", read_python)):
            if home := find_folder(folder, [below], [[n + suffix] for n in names]):
                return read, [home / (n + suffix) for n in names]
        return None


def read_binary(path):
    """Images (10000, 3, 32, 32) uint8 and labels (10000,) int64 of one file of the binary version."""
    size = path.stat().st_size
    if size != RECORDS * RECORD_BYTES:
        raise ValueError(f"{path}: {size} bytes; a CIFAR-10 batch has {RECORDS} records of {RECORD_BYTES} "
                         f"bytes, {RECORDS * RECORD_BYTES} in all")
    records = np.fromfile(path, np.uint8).reshape(RECORDS, RECORD_BYTES)
    labels = records[:, 0].astype(np.int64)
    check_labels(path, labels)
    return records[:, 1:].reshape(RECORDS, *IMAGE), labels


def extract_binary(archive, folder):
    """Unpack the binary version's files; names that are not theirs are not written anywhere."""
    wanted = {f"cifar-10-batches-bin/{n}.bin" for n in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name in wanted and member.isfile() and member.size == RECORDS * RECORD_BYTES:
                    write_atomically(folder / member.name, tar.extractfile(member).read())
                    wanted.remove(member.name)
    except (tarfile.TarError, EOFError, OSError) as e:
        raise ValueError(f"{archive}: not a readable archive: {e}") from e
    if wanted:
        raise ValueError(f"{archive}: {', '.join(sorted(wanted))} missing or not of the right size")


# --- the python version ----------------------------------------------------------------------
#
# Its files are pickles, which may name any function to be called. These hold dicts, lists, strings
# and one NumPy array, so three names are admitted (a fourth for files written again by Python 3),
# and each stands for a class below that only remembers what it was given: NumPy is not run either.

class _Dtype:
    def __init__(self, *args):
        self.args = args

    def __setstate__(self, state):
        self.state = state


class _Ndarray:
    """What `ndarray.__reduce__` stored: (version, shape, dtype, fortran order, bytes)."""

    def __setstate__(self, state):
        self.state = state

    def value(self):
        """The uint8 array (n, 3072) that the official files hold, else ValueError."""
        _, shape, dtype, fortran, raw = self.state
        if dtype.args[0] not in ("u1", b"u1") or fortran or len(shape) != 2 or shape[1] != PIXELS \
                or not isinstance(raw, bytes) or len(raw) != shape[0] * PIXELS:
            raise ValueError(f"the array is not uint8 (n, {PIXELS})")
        return np.frombuffer(raw, np.uint8).reshape(shape)


def _latin1(text, encoding):
    if encoding != "latin1":
        raise ValueError(f"encoding {encoding!r}")
    return text.encode("latin1")


def _reconstruct(cls, shape, typecode):
    return _Ndarray()


_ADMITTED = {("numpy", "ndarray"): _Ndarray, ("numpy", "dtype"): _Dtype, ("_codecs", "encode"): _latin1,
             ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
             ("numpy._core.multiarray", "_reconstruct"): _reconstruct}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which CIFAR-10 files never do")
        return _ADMITTED[module, name]


def read_python(path):
    """Images and labels of one file of the python version, through an unpickler that runs nothing."""
    try:
        with open(path, "rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
        content = {k.decode() if isinstance(k, bytes) else k: v for k, v in content.items()}
        pixels, labels = content["data"].value(), np.asarray(content["labels"])
    except MemoryError:
        raise
    except Exception as e:      # a damaged pickle raises almost anything
        raise ValueError(f"{path}: not a CIFAR-10 batch of the python version: {e or type(e).__name__}") from e
    if len(pixels) != RECORDS or labels.shape != (RECORDS,) or labels.dtype.kind not in "iu":
        raise ValueError(f"{path}: {len(pixels)} images and labels of shape {labels.shape}; "
                         f"a CIFAR-10 batch has {RECORDS} of each")
    labels = labels.astype(np.int64)
    check_labels(path, labels)
    return pixels.reshape(RECORDS, *IMAGE), labels
