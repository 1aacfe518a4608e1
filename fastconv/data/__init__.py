"""Data sets, transforms and the loader that turns them into batches of NumPy arrays."""
from .cifar import CIFAR10Dataset
from .dataset import ArrayDataset, Dataset, DigitsDataset
from .loader import DataLoader
from .mnist import MNISTDataset
from .text import Corpus, Dictionary, batchify, get_batch
from .transforms import Compose, Normalize, RandomCrop, RandomFlipHorizontal, Transform

__all__ = ["ArrayDataset", "CIFAR10Dataset", "Compose", "Corpus", "DataLoader", "Dataset", "Dictionary", "DigitsDataset",
           "MNISTDataset", "Normalize", "RandomCrop", "RandomFlipHorizontal", "Transform", "batchify", "get_batch"]
