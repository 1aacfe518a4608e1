"""What the readers of data files share: finding them, saying what is missing, fetching archives."""
import os
import pathlib

from .dataset import require


def find_folder(folder, below, needed):
    """The first of `folder` and its subfolders `below` in which all files of `needed` lie, or None.

    needed   for each file the names it may have
    """
    for candidate in (pathlib.Path(folder), *(pathlib.Path(folder) / b for b in below)):
        if all(any((candidate / name).is_file() for name in names) for names in needed):
            return candidate
    return None


def fetch(url, folder, name, md5):
    """Download url + name into `folder` unless the right file is there; ValueError for a wrong hash."""
    pooch = require("pooch")
    pooch.get_logger().setLevel("WARNING")
    folder = os.path.abspath(os.path.expanduser(folder))
    return pathlib.Path(pooch.retrieve(url.rstrip("/") + "/" + name, known_hash="md5:" + md5,
                                       fname=name, path=folder))


def write_atomically(path, data):
    """Put `data` at `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def check_labels(path, labels, classes=10):
    """ValueError naming the file when a label is not one of 0 .. classes - 1."""
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        i = int(((labels < 0) | (labels >= classes)).argmax())
        raise ValueError(f"{path}: label {int(labels[i])} of record {i} is not in 0..{classes - 1}")
