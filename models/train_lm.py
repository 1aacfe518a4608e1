"""Train a language model, `python -m models.train lm --dataset ptb --data DIR --cell lstm`.

The recipe is that of Zaremba, Sutskever and Vinyals 2014 in small: SGD, gradients clipped by their
norm, the learning rate divided when validation stops improving, dropout between layers.
"""
import argparse
import math
import os
import pathlib
import sys
import time

import numpy as np

import fastconv as fc
from fastconv import data, optim
from fastconv.device import device as as_device

from .arguments import Parser, number
from .language_model import LanguageModel
from .metrics import plot_perplexity, write_csv

EVAL_BATCH = 10
COLUMNS = ("epoch", "lr", "train_perplexity", "valid_perplexity", "tokens_per_second", "seconds")


class LanguageTraining:
    """One run: corpus, model and optimiser, where it stands, and the loop over them."""

    def __init__(self, args):
        self.args, self.out = args, pathlib.Path(args.out)
        self.device = as_device(args.device) if args.device else fc.default_device()
        fc.manual_seed(args.seed)
        self.corpus = data.Corpus(args.data, args.max_lines)
        self.train_ids = data.batchify(self.corpus.train, args.batch_size)
        self.valid_ids = data.batchify(self.corpus.valid, EVAL_BATCH)
        self.model = LanguageModel(args.embedding or args.hidden, len(self.corpus.dictionary), args.hidden, args.layers,
                                   args.cell, args.dropout, device=self.device)
        self.model.initialize_uniform()
        self.parameters = self.model.parameters()
        self.optimizer = optim.SGD(self.parameters, lr=args.lr)
        self.epoch, self.history, self.losses, self.best = 0, [], [], math.inf
        if args.resume:
            self._restore()
        self.out.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self):
        return self.out / "checkpoint.safetensors"

    # --- the loop

    def run(self):
        """Train to the last epoch."""
        while self.epoch < self.args.epochs:
            start, lr = time.perf_counter(), self.optimizer.lr
            train_loss, tokens = self._train_epoch()
            seconds = time.perf_counter() - start
            valid_loss = self.evaluate(self.valid_ids)
            self.epoch += 1
            if valid_loss > self.best - 0.003:
                self.optimizer.lr /= self.args.decay
            self.best = min(self.best, valid_loss)
            self._record(lr, train_loss, valid_loss, tokens / seconds, time.perf_counter() - start)
            self._save()

    def _train_epoch(self):
        """(mean loss, tokens seen)."""
        self.model.train()
        state, total, seen = None, 0.0, 0
        starts = range(0, len(self.train_ids) - 1, self.args.bptt)[:self.args.limit]
        with self._bar(len(starts)) as bar:
            for i in starts:
                x, y = data.get_batch(self.train_ids, i, self.args.bptt)
                loss, state = self.step(x, y, state)
                total, seen = total + loss * len(y), seen + len(y)
                bar.update(len(y))
                bar.set_postfix(perplexity=f"{math.exp(min(total / seen, 20)):.1f}", refresh=False)
        return total / seen, seen

    def step(self, x, y, state):
        """One step on a chunk; returns (loss, detached state)."""
        logits, state = self.model(x, state)
        loss = fc.ops.cross_entropy(logits, y)
        self.optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm(self.parameters, self.args.clip)
        self.optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            raise ArithmeticError(f"the loss became {value} in epoch {self.epoch + 1}: try a lower --lr than {self.args.lr:g}")
        self.losses.append(value)
        return value, self.model.detach(state)

    def evaluate(self, ids):
        """The mean loss over a batchified text, state carried through."""
        self.model.eval()
        state, total, seen = None, 0.0, 0
        with fc.no_grad():
            for i in range(0, len(ids) - 1, self.args.bptt)[:self.args.limit]:
                x, y = data.get_batch(ids, i, self.args.bptt)
                logits, state = self.model(x, state)
                total, seen = total + fc.ops.cross_entropy(logits, y).item() * len(y), seen + len(y)
        return total / seen

    # --- what is shown and kept

    def _bar(self, chunks):
        from tqdm import tqdm
        return tqdm(total=chunks * self.args.bptt * self.args.batch_size, desc=f"epoch {self.epoch + 1}/{self.args.epochs}",
                    unit="tokens", unit_scale=True, leave=False, dynamic_ncols=True, mininterval=0.25)

    def _record(self, lr, train_loss, valid_loss, rate, seconds):
        row = {"epoch": self.epoch, "lr": lr, "train_perplexity": math.exp(train_loss), "valid_perplexity": math.exp(valid_loss),
               "tokens_per_second": round(rate), "seconds": round(seconds, 1)}
        self.history.append(row)
        write_csv(self.out / "metrics.csv", self.history, COLUMNS)
        plot_perplexity(self.out / "curves.png", self.history, f"{self.args.cell} language model, {self.device.name}")
        print(f"epoch {self.epoch:3d}/{self.args.epochs}  lr {lr:g}  train perplexity {row['train_perplexity']:.1f}  "
              f"valid perplexity {row['valid_perplexity']:.1f}  {row['tokens_per_second']} tokens/s  {row['seconds']} s",
              flush=True)

    def _settings(self):
        names = ("cell", "hidden", "embedding", "layers", "dropout")
        return {name: getattr(self.args, name) for name in names}

    def _save(self):
        fc.save_checkpoint(self.checkpoint, model=self.model, optimizer=self.optimizer, settings=self._settings(),
                           words=self.corpus.dictionary.idx2word,
                           progress={"epoch": self.epoch, "history": self.history, "best": self.best,
                                     "rng": fc.random.generator().bit_generator.state})

    def _restore(self):
        parts = fc.load_checkpoint(self.checkpoint)
        check_vocabulary(self.checkpoint, parts, self.corpus.dictionary)
        if parts["settings"] != self._settings():
            raise ValueError(f"--resume: {self.checkpoint} is of another model: {parts['settings']}")
        self.model.load_state_dict(parts["model"])
        self.optimizer.load_state_dict(parts["optimizer"])
        progress = parts["progress"]
        self.epoch, self.history, self.best = progress["epoch"], progress["history"], progress["best"]
        fc.random.generator().bit_generator.state = progress["rng"]


def check_vocabulary(path, parts, dictionary):
    """ValueError when a checkpoint's words are not those of a dictionary."""
    words = parts.get("words", [])
    if words != dictionary.idx2word:
        pairs = enumerate(zip(words, dictionary.idx2word))
        differs = next((i for i, (a, b) in pairs if a != b), min(len(words), len(dictionary)))
        raise ValueError(f"{path}: its vocabulary of {len(words)} words does not match the corpus's {len(dictionary)}; "
                         f"they differ from word {differs} on")


def parse_arguments(argv):
    positive, finite = number(int, 1, "a positive whole number"), number(float, None, "a positive, finite number")
    p = Parser(prog="python -m models.train lm", description=__doc__,
               formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dataset", choices=("ptb",), default="ptb")
    p.add_argument("--data", metavar="DIR", default=os.environ.get("FASTCONV_DATA") or "data",
                   help="folder with ptb.train.txt, ptb.valid.txt, ptb.test.txt (default: FASTCONV_DATA or data)")
    p.add_argument("--cell", choices=("rnn", "lstm", "gru", "transformer"), default="lstm")
    p.add_argument("--device")
    for name, default in (("hidden", 200), ("embedding", None), ("layers", 2), ("epochs", 10), ("batch-size", 20), ("bptt", 35),
                          ("max-lines", None), ("limit", None)):
        p.add_argument(f"--{name}", type=positive, default=default)
    p.add_argument("--seed", type=number(int, 0, "a whole number of at least 0"), default=0)
    p.add_argument("--dropout", type=number(float, 0, "a probability"), default=0.2)
    for name, default in (("lr", 20.0), ("clip", 0.25), ("decay", 4.0)):
        p.add_argument(f"--{name}", type=finite, default=default)
    p.add_argument("--out", metavar="DIR", default="runs/lm-ptb")
    p.add_argument("--resume", action="store_true")
    return p.parse_args(argv)


def main(argv):
    """The command; returns its exit status."""
    args = parse_arguments(argv)
    try:
        training = LanguageTraining(args)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as e:
        print(f"python -m models.train lm: error: {e}", file=sys.stderr)
        return 2
    count = sum(int(np.prod(p.shape)) for p in training.parameters)
    print(f"{args.cell} language model with {count:,} parameters, {len(training.corpus.train):,} training tokens, "
          f"vocabulary {len(training.corpus.dictionary):,}, {training.device.name}", flush=True)
    try:
        training.run()
    except KeyboardInterrupt:
        kept = f"{training.checkpoint} holds the last finished epoch; go on with --resume" if training.epoch else \
            "no epoch was finished, nothing is saved"
        print(f"stopped; {kept}", flush=True)
        return 130
    except ArithmeticError as e:
        print(f"python -m models.train lm: error: {e}", file=sys.stderr)
        return 1
    test_ids = data.batchify(training.corpus.test, EVAL_BATCH)
    print(f"test perplexity {math.exp(training.evaluate(test_ids)):.1f}; metrics.csv, curves.png and checkpoint.safetensors "
          f"are in {training.out}")
    return 0
