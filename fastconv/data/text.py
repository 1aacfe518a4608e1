"""Word-level text for language models: Dictionary, Corpus (Penn Treebank), batches of streams."""
import operator
import os
from pathlib import Path

import numpy as np

EOS = "<eos>"


class Dictionary:
    """Words and their ids, in order of first appearance.

    >>> import fastconv as fc
    >>> d = fc.data.Dictionary()
    >>> d.add_word("a"), d.add_word("b"), d.add_word("a"), len(d)
    (0, 1, 0, 2)
    >>> d.idx2word[1], d.word2idx["b"]
    ('b', 1)
    """

    def __init__(self, words=()):
        self.word2idx, self.idx2word = {}, []
        for word in words:
            self.add_word(word)

    def add_word(self, word):
        """The id of `word`, new or known."""
        if not isinstance(word, str):
            raise TypeError(f"a word is a str, not {word!r}")
        if word not in self.word2idx:
            self.word2idx[word] = len(self.idx2word)
            self.idx2word.append(word)
        return self.word2idx[word]

    def __len__(self):
        return len(self.idx2word)

    def __contains__(self, word):
        return word in self.word2idx


class Corpus:
    """The Penn Treebank split in a folder: ids of train, valid and test, one `<eos>` at each line's end.

    folder      holds ptb.train.txt, ptb.valid.txt and ptb.test.txt (or train.txt, ...), itself or in ptb/
    max_lines   read only this many lines of each file
    .train, .valid, .test   int64 NumPy arrays; .dictionary maps words to ids, the training words first

    FileNotFoundError names a missing file; ValueError one that is not UTF-8 text or has no words.
    """

    def __init__(self, folder, max_lines=None):
        if max_lines is not None and operator.index(max_lines) < 1:
            raise ValueError(f"max_lines={max_lines} must be at least 1")
        self.dictionary = Dictionary()
        self.train, self.valid, self.test = (self.tokenize(_find(folder, part), max_lines)
                                             for part in ("train", "valid", "test"))

    def tokenize(self, path, max_lines=None):
        """The ids of the words of a text file, `<eos>` after each line; new words join the dictionary."""
        ids = []
        try:
            with open(path, encoding="utf-8") as file:
                for number, line in enumerate(file):
                    if number == max_lines:
                        break
                    ids += [self.dictionary.add_word(word) for word in line.split()]
                    ids.append(self.dictionary.add_word(EOS))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
        if not ids:
            raise ValueError(f"{path}: holds no lines")
        return np.array(ids, np.int64)


def _find(folder, part):
    folder = Path(os.fspath(folder))
    names = [base / f"{prefix}{part}.txt" for base in (folder, folder / "ptb") for prefix in ("ptb.", "")]
    for path in names:
        if path.is_file():
            return path
    raise FileNotFoundError(f"no {names[0].name} in {folder}: it holds the text files of the Penn Treebank split")


def batchify(ids, batch_size):
    """Ids (n,) as columns (n // batch_size, batch_size): each column is a stream of its own; the rest is dropped.

    >>> import fastconv as fc, numpy as np
    >>> fc.data.batchify(np.arange(7), 3)
    array([[0, 2, 4],
           [1, 3, 5]])
    """
    batch_size, ids = operator.index(batch_size), np.asarray(ids)
    if ids.ndim != 1:
        raise ValueError(f"batchify takes ids (n,), not shape {ids.shape}")
    if not 1 <= batch_size <= len(ids):
        raise ValueError(f"batchify of {len(ids)} ids into {batch_size} streams")
    steps = len(ids) // batch_size
    return np.ascontiguousarray(ids[:steps * batch_size].reshape(batch_size, steps).T)


def get_batch(batches, i, bptt):
    """(x, y): rows i..i+t of `batches` (steps, batch) with t = min(bptt, what is left), and the same one word later, flat.

    x is (t, batch), y is (t * batch,). ValueError when no step is left at i.
    """
    i, bptt = operator.index(i), operator.index(bptt)
    t = min(bptt, len(batches) - 1 - i)
    if i < 0 or t < 1:
        raise ValueError(f"get_batch at row {i} with bptt={bptt} of {len(batches)} rows")
    return batches[i:i + t], batches[i + 1:i + 1 + t].reshape(-1)
