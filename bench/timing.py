"""Timing: a turn repeats a call for a while; contestants take turns, and medians count."""
import statistics
import time


def warm_up(call, least=0.01, most=50):
    """Run `call` until it has settled; returns about how many seconds one takes."""
    call()
    taken = []
    end = time.perf_counter() + least
    while not taken or (time.perf_counter() < end and len(taken) < most):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def turn(call, once, least):
    """Seconds of one call: the median over a turn of at least `least` seconds.

    `once` is about what a call takes. A short one is run before the clock starts, because the other
    contestants have filled the caches and the threads sleep; calls too short for the clock are timed in groups.
    """
    group = max(1, int(1e-4 / max(once, 1e-9)))
    if once < 0.02:
        end = time.perf_counter() + min(least, 0.01)
        while True:
            call()
            if time.perf_counter() > end:
                break
    taken = []
    for _ in range(max(1, int(least / max(once * group, 1e-9)))):
        start = time.perf_counter()
        for _ in range(group):
            call()
        taken.append((time.perf_counter() - start) / group)
    return statistics.median(taken)


def spread(seconds):
    """Distance of the quartiles as a share of the median; 0 for fewer than three turns."""
    if len(seconds) < 3:
        return 0.0
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return (high - low) / middle
