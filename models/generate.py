"""Sample text from a language model's checkpoint: python -m models.generate runs/lm-ptb/checkpoint.safetensors."""
import argparse
import sys

import numpy as np

import fastconv as fc
from fastconv.random import generator

from .language_model import LanguageModel


def load(path, device=None):
    """(model in eval mode, words) from a checkpoint of models.train lm."""
    parts = fc.load_checkpoint(path)
    if "words" not in parts or "settings" not in parts:
        raise ValueError(f"{path}: not a checkpoint of a language model")
    s = parts["settings"]
    model = LanguageModel(s["embedding"] or s["hidden"], len(parts["words"]), s["hidden"], s["layers"], s["cell"], s["dropout"],
                          device=device)
    model.load_state_dict(parts["model"])
    return model.eval(), parts["words"]


def sample(model, first, count, temperature=1.0, rng=None):
    """`count` ids drawn one after the other, starting from the ids `first`."""
    rng, ids, state = generator(rng), list(first), None
    with fc.no_grad():
        new = np.array(ids)[:, None]
        for _ in range(count):
            if model.seq_model == "transformer":
                new = np.array(ids[-128:])[:, None]
            logits, state = model(new, state)
            scores = logits.numpy()[-1].astype(np.float64) / temperature
            p = np.exp(scores - scores.max())
            ids.append(int(rng.choice(len(p), p=p / p.sum())))
            new = np.array([[ids[-1]]])
    return ids[len(first):]


def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m models.generate", description=__doc__)
    p.add_argument("checkpoint")
    p.add_argument("--words", type=int, default=60)
    p.add_argument("--start", default="<eos>", help="the words to go on from")
    p.add_argument("--temperature", type=float, default=0.9)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device")
    args = p.parse_args(argv)
    try:
        if args.words < 1 or not args.temperature > 0:
            raise ValueError(f"--words {args.words} and --temperature {args.temperature} must be positive")
        model, words = load(args.checkpoint, args.device)
        known = {word: i for i, word in enumerate(words)}
        unknown = [w for w in args.start.split() if w not in known]
        if unknown or not args.start.split():
            raise ValueError(f"--start {args.start!r}: words that are not in the vocabulary: {' '.join(unknown)}")
    except (ValueError, OSError, ImportError, RuntimeError) as e:
        print(f"python -m models.generate: error: {e}", file=sys.stderr)
        return 2
    ids = sample(model, [known[w] for w in args.start.split()], args.words, args.temperature, args.seed)
    print(" ".join(words[i] for i in ids).replace("<eos>", "\n"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
