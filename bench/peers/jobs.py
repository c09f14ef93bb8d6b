"""What the peers in Python share: the results, their checks, and the clock. The same jobs as in job.hpp."""
import ctypes
import signal
import statistics
import struct
import sys
import time

BIG_BYTES = 64 * 256 * 256 * 3
TRIPS_BEFORE = 500
PLACES = [BIG_BYTES - 1] + [image * (BIG_BYTES // 64) + image * 31 for image in range(64)]


def end_with_parent():
    """Called first in each worker process: a run that is ended by force leaves nobody behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def make(number):
    """The 64-byte result of a tiny message."""
    return struct.pack("8Q", number, *(number * k for k in range(3, 17, 2)))


def value_of(number):
    return number % 251 + 1


def make_big(number):
    """The array of a big one, as bytes: pickle copies those once less than any array type."""
    return bytes((value_of(number),)) * BIG_BYTES


def is_filled(array, number):
    value = value_of(number)
    return len(array) == BIG_BYTES and all(array[place] == value for place in PLACES)


class Job:
    """The arguments: JOB WORKERS TIMED IN_FLIGHT."""

    def __init__(self):
        self.name, *numbers = sys.argv[1:]
        self.workers, timed, self.in_flight = map(int, numbers)
        self.big = self.name == "big"
        if self.name == "round_trip":
            self.workers, self.in_flight = 1, 1
        self.warm_up = TRIPS_BEFORE if self.name == "round_trip" else 10 * self.in_flight
        self.all = self.warm_up + timed
        self.make = make_big if self.big else make
        self.next = 0
        self.ends = []

    def ahead(self):
        """How many messages a worker has, at most."""
        return -(-self.in_flight // self.workers)

    def take(self, result):
        """The consumer: each result must be right and in its place."""
        if not (is_filled(result, self.next) if self.big else result == make(self.next)):
            sys.exit(f"result {self.next} is wrong or out of order")
        self.next += 1
        if self.name == "round_trip":
            self.ends.append(time.perf_counter())
        if self.next == self.warm_up:
            self.begin = time.perf_counter()

    def print_figure(self):
        """Results per second, GB/s, or microseconds for a message, the median; the last line."""
        seconds = time.perf_counter() - self.begin
        if self.next != self.all:
            sys.exit(f"{self.next} of {self.all} results came")
        rate = (self.all - self.warm_up) / seconds
        if self.name == "round_trip":
            timed = self.ends[self.warm_up - 1:]
            print(1e6 * statistics.median(b - a for a, b in zip(timed, timed[1:])))
        else:
            print({"tiny": rate, "big": rate * BIG_BYTES / 1e9}[self.name])
