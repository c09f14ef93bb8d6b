"""concurrent.futures.ProcessPoolExecutor. Tiny messages go in chunks of 100, which map() does by itself when asked; arrays
are submitted as many ahead as may be in flight."""
import collections
import concurrent.futures

import jobs


def main():
    job = jobs.Job()
    with concurrent.futures.ProcessPoolExecutor(job.workers, initializer=jobs.end_with_parent) as pool:
        if job.name == "tiny":
            for result in pool.map(job.make, range(job.all), chunksize=100):
                job.take(result)
        else:
            futures = collections.deque()
            for number in range(job.all):
                futures.append(pool.submit(job.make, number))
                if len(futures) == job.in_flight:
                    job.take(futures.popleft().result())
            while futures:
                job.take(futures.popleft().result())
        job.print_figure()


if __name__ == "__main__":
    main()
