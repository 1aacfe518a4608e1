"""Train a network, `python -m models.train [resnet9|resnet18|mobilenetv2|cnn|lm] --dataset ... --out runs/x`.

Without arguments: a small CNN on the handwritten digits inside scikit-learn, in under half a minute.
`lm` trains a language model and has options of its own: `python -m models.train lm --help`.
"""
import argparse
import dataclasses
import itertools
import math
import os
import pathlib
import shlex
import signal
import sys
import time

import numpy as np

import fastconv as fc
from fastconv import data, nn, optim
from fastconv.device import device as as_device
from fastconv.random import generator

from . import MobileNetV2, ResNet9, ResNet18, SimpleCNN
from .arguments import Parser, number
from .metrics import plot_curves, write_csv

OPTIMIZERS = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}
TEST_BATCH = 500
# Settings that a resumed run shares with the run that it continues. With more epochs the schedule stretches.
FIXED = ("model", "width", "dataset", "batch_size", "lr", "weight_decay", "optimizer", "schedule", "augment", "limit", "seed")


@dataclasses.dataclass(frozen=True)
class Task:
    """A data set and what is usual for it; `crop` is the padding of --augment's random crop."""
    dataset: type
    shape: tuple
    model: str
    epochs: int
    batch_size: int
    crop: int
    flip: bool
    on_disk: bool = True

    def open(self, args, train):
        transform = self.augmentation() if train and args.augment else None
        where = {"folder": args.data, "download": args.download} if self.on_disk else {}
        return self.dataset(train=train, transform=transform, **where)

    def augmentation(self):
        steps = [data.RandomCrop(self.shape[1:], padding=self.crop)]
        return data.Compose(steps + [data.RandomFlipHorizontal()] * self.flip)


TASKS = {
    "digits": Task(data.DigitsDataset, (1, 8, 8), "cnn", epochs=20, batch_size=32, crop=1, flip=False, on_disk=False),
    "mnist": Task(data.MNISTDataset, (1, 28, 28), "cnn", epochs=5, batch_size=128, crop=2, flip=False),
    "cifar10": Task(data.CIFAR10Dataset, (3, 32, 32), "resnet9", epochs=10, batch_size=128, crop=2, flip=True),
}


class Training:
    """One run: model, optimiser and loader, where it stands, and the loop over them."""

    def __init__(self, args):
        for module in ("tqdm", "matplotlib", "safetensors"):        # better now than after the first epoch
            data.dataset.require(module)
        task = TASKS[args.dataset]
        self.args, self.out = args, pathlib.Path(args.out)
        self.device = as_device(args.device) if args.device else fc.default_device()
        fc.manual_seed(args.seed)
        train, test = task.open(args, train=True), task.open(args, train=False)
        self.loader = data.DataLoader(train, args.batch_size, shuffle=True, rng=args.seed)
        self.test_loader = data.DataLoader(test, TEST_BATCH)
        self.model = build_model(args, task, self.device)
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = OPTIMIZERS[args.optimizer](self.model.parameters(), lr=args.lr,
                                                    weight_decay=args.weight_decay,
                                                    **({"momentum": 0.9} if args.optimizer == "sgd" else {}))
        self.steps = min(len(self.loader), args.limit or len(self.loader))      # in an epoch
        self.epoch, self.history, self.stop = 0, [], False
        self._clear_sums()
        if args.resume:
            self._restore()
        self.out.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self):
        return self.out / "checkpoint.safetensors"

    # --- the loop ---

    def run(self):
        """Train to the last epoch; False when it was interrupted (a checkpoint has been written then)."""
        while self.epoch < self.args.epochs:
            start = time.perf_counter()
            finished = self._train_epoch() and self._evaluate()
            self.seconds += time.perf_counter() - start
            if not finished:
                self._save()
                self._plot()
                return False
            self.epoch += 1
            self.loader.restart()
            self._record_epoch()
            self._clear_sums()
            self._save()
        self._plot()
        return True

    def _train_epoch(self):
        self.model.train()
        batches = itertools.islice(self.loader, self.steps - self.done)
        with self._bar(f"epoch {self.epoch + 1}/{self.args.epochs}") as bar:
            shown = -math.inf
            for x, y in batches:
                self._train_step(x, y)
                bar.update(len(x))
                if (now := time.perf_counter()) - shown > 0.5:
                    shown = now
                    bar.set_postfix(loss=f"{self.loss_sum / self.seen:.4f}",
                                    acc=f"{100 * self._correct() / self.seen:.2f} %", refresh=False)
                if self.stop:
                    return False
        return True

    def _train_step(self, x, y):
        self.optimizer.lr = self._learning_rate()
        logits = self.model(fc.Tensor(x, device=self.device))
        loss = self.loss(logits, y)         # labels from the host: they are checked there, without waiting
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        # Hits are counted on the device and read when they are shown; only the loss is read each step.
        self.hits = self.hits + count_hits(logits, y)
        value = loss.item()
        if not math.isfinite(value):
            raise Diverged(f"the loss became {value} in epoch {self.epoch + 1}, batch {self.done + 1}: "
                           f"try a lower --lr than {self.args.lr:g}")
        self.losses.append(value)
        self.loss_sum += value * len(x)
        self.seen += len(x)
        self.done += 1

    def _learning_rate(self):
        """Up in a line over the first epoch, then down to 0 along half a cosine; or constant."""
        if self.args.schedule == "none":
            return self.args.lr
        step = self.epoch * self.steps + self.done
        if step < self.steps:
            return self.args.lr * (step + 1) / self.steps
        progress = (step - self.steps) / max((self.args.epochs - 1) * self.steps, 1)
        return self.args.lr * (1 + math.cos(math.pi * progress)) / 2

    def _evaluate(self):
        """Loss and accuracy on the test set, in evaluation mode; False when interrupted."""
        self.model.eval()
        loss, hits, seen = 0.0, 0, 0
        with fc.no_grad():
            for x, y in itertools.islice(self.test_loader, self.args.limit):
                logits = self.model(fc.Tensor(x, device=self.device))
                loss += self.loss(logits, y).item() * len(x)
                hits = hits + count_hits(logits, y)
                seen += len(x)
                if self.stop:
                    return False
        self.test = {"test_loss": loss / seen, "test_accuracy": int(hits.item()) / seen}
        return True

    # --- what is shown and kept ---

    def _bar(self, title):
        tqdm = data.dataset.require("tqdm").tqdm
        total = min(self.steps * self.args.batch_size, len(self.loader.dataset))
        return tqdm(total=total, initial=self.seen, desc=title, unit="images", leave=False, dynamic_ncols=True,
                    mininterval=0.25)

    def _record_epoch(self):
        row = {"epoch": self.epoch, "train_loss": self.loss_sum / self.seen,
               "train_accuracy": self._correct() / self.seen, **self.test, "seconds": round(self.seconds, 2)}
        self.history.append(row)
        write_csv(self.out / "metrics.csv", self.history)
        print(f"epoch {self.epoch:3d}/{self.args.epochs}  train loss {row['train_loss']:.4f} "
              f"accuracy {100 * row['train_accuracy']:.2f} %  test loss {row['test_loss']:.4f} "
              f"accuracy {100 * row['test_accuracy']:.2f} %  {row['seconds']:.1f} s", flush=True)

    def _plot(self):
        if self.history:
            title = (f"{self.args.model} on {self.args.dataset}, {self.device.name}: "
                     f"test accuracy {100 * self.history[-1]['test_accuracy']:.2f} %")
            plot_curves(self.out / "curves.png", self.history, title)

    def _correct(self):
        return int(self.hits.item()) if hasattr(self.hits, "item") else self.hits

    def _clear_sums(self):
        self.loss_sum, self.hits, self.seen, self.done, self.seconds = 0.0, 0, 0, 0, 0.0
        self.losses = []                    # of the steps of this epoch, for those who call Training themselves

    # --- checkpoints ---

    def _save(self):
        progress = {
            "settings": {name: getattr(self.args, name) for name in FIXED},
            "epoch": self.epoch, "done": self.done, "loss_sum": self.loss_sum, "correct": self._correct(),
            "seen": self.seen, "seconds": self.seconds, "history": self.history,
            "rng": generator().bit_generator.state}
        fc.save_checkpoint(self.checkpoint, model=self.model, optimizer=self.optimizer, loader=self.loader,
                           progress=progress)

    def _restore(self):
        if not self.checkpoint.is_file():
            raise FileNotFoundError(f"--resume: there is no {self.checkpoint}")
        parts = fc.load_checkpoint(self.checkpoint)
        if missing := [name for name in ("model", "optimizer", "loader", "progress") if name not in parts]:
            raise ValueError(f"--resume: {self.checkpoint} holds no {', '.join(missing)}")
        progress = parts["progress"]
        then = progress["settings"]
        differing = [f"{name} was {then[name]}, is {getattr(self.args, name)}" for name in FIXED
                     if then[name] != getattr(self.args, name)]
        if differing:
            raise ValueError(f"--resume: {self.checkpoint} is of another run: {'; '.join(differing)}")
        for name in ("model", "optimizer", "loader"):
            getattr(self, name).load_state_dict(parts[name])
        self.epoch, self.done, self.history = progress["epoch"], progress["done"], progress["history"]
        self.loss_sum, self.hits, self.seen = progress["loss_sum"], progress["correct"], progress["seen"]
        self.seconds = progress["seconds"]
        generator().bit_generator.state = progress["rng"]


class Diverged(ArithmeticError):
    """The loss is no longer a finite number."""


def build_model(args, task, device):
    name, (channels, size, _) = args.model, task.shape
    if name == "cnn":
        return SimpleCNN(channels, image_size=size, device=device)
    if task.shape != (3, 32, 32):
        raise ValueError(f"{name} takes images of 3 x 32 x 32, these are {' x '.join(map(str, task.shape))}: use cnn")
    if name == "resnet9":
        return ResNet9(device=device, width=args.width)
    return {"resnet18": ResNet18, "mobilenetv2": MobileNetV2}[name](10, 32, device=device)


def count_hits(logits, labels):
    """How many rows of `logits` have their maximum at the label: a 0-d Array on the device."""
    return (logits.data.argmax(axis=1) == labels).sum()


# --- the command line ------------------------------------------------------------------------

def parse_arguments(argv=None):
    positive = number(int, 1, "a positive whole number")
    p = Parser(prog="python -m models.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", nargs="?", choices=("resnet9", "resnet18", "mobilenetv2", "cnn"),
                   help="default: what suits the data set")
    p.add_argument("--width", choices=("seed", "full"), default="seed", help="of resnet9: the course's, or the original")
    p.add_argument("--dataset", choices=tuple(TASKS), help="default: cifar10 for resnet9, else digits")
    p.add_argument("--data", metavar="DIR", default=os.environ.get("FASTCONV_DATA") or "data",
                   help="folder with the files (default: FASTCONV_DATA or data)")
    p.add_argument("--download", action="store_true", help="fetch the files into DIR when they are not there")
    p.add_argument("--device", help="cpu, opencl, opencl:0, opencl:NVIDIA, reference (default: FASTCONV_DEVICE or cpu)")
    p.add_argument("--epochs", type=positive, help="default: 20 for digits, 5 for mnist, 10 for cifar10")
    p.add_argument("--batch-size", type=positive, help="default: 32 for digits, else 128")
    p.add_argument("--lr", type=number(float, None, "a positive, finite learning rate"), default=1e-3)
    p.add_argument("--weight-decay", type=number(float, 0, "a finite weight decay of at least 0"), default=1e-3)
    p.add_argument("--optimizer", choices=tuple(OPTIMIZERS), default="adam",
                   help="adam adds the weight decay to the gradient, adamw applies it apart; sgd has momentum 0.9")
    p.add_argument("--schedule", choices=("none", "cosine"), default="cosine",
                   help="of the learning rate: up over the first epoch and down to 0 along a cosine, or constant")
    p.add_argument("--augment", action="store_true", help="random crops, and for cifar10 flips, of the training images")
    p.add_argument("--seed", type=number(int, 0, "a whole number of at least 0"), default=0)
    p.add_argument("--limit", type=positive, metavar="N", help="only N batches an epoch, for a quick look")
    p.add_argument("--out", metavar="DIR", help="default: runs/MODEL-DATASET")
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    args = p.parse_args(argv)
    args.dataset = args.dataset or ("digits" if args.model in (None, "cnn") else "cifar10")
    task = TASKS[args.dataset]
    args.model = args.model or task.model
    args.epochs = args.epochs or task.epochs
    args.batch_size = args.batch_size or task.batch_size
    args.out = args.out or f"runs/{args.model}-{args.dataset}"
    return args


def main(argv=None):
    """The command; returns its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["lm"]:
        from . import train_lm
        return train_lm.main(argv[1:])
    args = parse_arguments(argv)
    try:
        training = Training(args)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as e:
        print(f"python -m models.train: error: {e}", file=sys.stderr)
        return 2
    count = sum(int(np.prod(p.shape)) for p in training.model.parameters())
    print(f"{args.model} with {count:,} parameters, {args.dataset}, batches of {args.batch_size}, "
          f"{training.device.name}", flush=True)

    def interrupt(*_):      # a second Ctrl-C stops at once
        training.stop = True
        signal.signal(signal.SIGINT, previous)
    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        finished = training.run()
    except Diverged as e:
        print(f"python -m models.train: error: {e}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, previous)
    if not finished:
        again = shlex.join(argv if "--resume" in argv else [*argv, "--resume"])
        print(f"stopped; saved {training.checkpoint}. Go on with:\n    python -m models.train {again}", flush=True)
        return 130
    print(f"test accuracy {100 * training.history[-1]['test_accuracy']:.2f} % after {training.epoch} epochs; "
          f"metrics.csv, curves.png and checkpoint.safetensors are in {training.out}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
