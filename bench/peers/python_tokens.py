"""Token passing over RawArrays: a loader fills an array that nobody else uses and passes its index on; the consumer looks at it
where it lies and passes the index back. Each loader has arrays and two queues of its own, so several of them lose nothing, and
whoever takes from them in turn has the order. SimpleQueue: no thread in between; it holds all indices there are."""
import ctypes
import multiprocessing
from multiprocessing.sharedctypes import RawArray

import jobs


class Arrays:
    """All arrays of one loader. They are wrapped once, in the process that uses them."""

    def __init__(self, count, size):
        self.size, self.raw = size, RawArray(ctypes.c_ubyte, count * size)
        ctypes.memset(self.raw, 0, count * size)  # first touch is no part of any figure

    def wrap(self):
        self.view = memoryview(self.raw).cast("B")
        self.address = ctypes.addressof(self.raw)

    def fill(self, index, number):
        if self.size == jobs.BIG_BYTES:
            ctypes.memset(self.address + index * self.size, jobs.value_of(number), self.size)
        else:
            self.view[index * self.size:(index + 1) * self.size] = jobs.make(number)

    def __getitem__(self, index):
        return self.view[index * self.size:(index + 1) * self.size]


def load(arrays, free, used, numbers):
    jobs.end_with_parent()
    arrays.wrap()
    for number in numbers:
        index = free.get()
        arrays.fill(index, number)
        used.put(index)


def main():
    job = jobs.Job()
    size = jobs.BIG_BYTES if job.big else 64
    loaders = []
    for worker in range(job.workers):
        arrays = Arrays(job.ahead(), size)
        free, used = multiprocessing.SimpleQueue(), multiprocessing.SimpleQueue()
        numbers = range(worker, job.all, job.workers)
        multiprocessing.Process(target=load, args=(arrays, free, used, numbers), daemon=True).start()
        arrays.wrap()
        loaders.append((arrays, free, used))
        for index in range(job.ahead()):
            free.put(index)
    for number in range(job.all):
        arrays, free, used = loaders[number % job.workers]
        index = used.get()
        job.take(arrays[index])
        free.put(index)
    job.print_figure()


if __name__ == "__main__":
    main()
