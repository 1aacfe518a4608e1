"""What the commands share: errors in one line, and numbers checked as they are read."""
import argparse
import math


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message}\n")


def number(kind, least, what):
    """An argparse type: a finite number of at least `least` (more than it when `least` is None: 0 excluded)."""
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or (value <= 0 if least is None else value < least):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value
    return parse
