"""multiprocessing.Queue: two for each worker, which are asked in turn."""
import multiprocessing

import jobs


def serve(job, requests, results, share):
    jobs.end_with_parent()
    for _ in range(share):
        results.put(job.make(requests.get()))


def main():
    job = jobs.Job()
    pairs = [(multiprocessing.Queue(), multiprocessing.Queue()) for _ in range(job.workers)]
    for worker, pair in enumerate(pairs):
        share = len(range(worker, job.all, job.workers))
        multiprocessing.Process(target=serve, args=(job, *pair, share), daemon=True).start()
    for number in range(min(job.in_flight, job.all)):
        pairs[number % job.workers][0].put(number)
    for number in range(job.all):
        requests, results = pairs[number % job.workers]
        job.take(results.get())
        if number + job.in_flight < job.all:
            pairs[(number + job.in_flight) % job.workers][0].put(number + job.in_flight)
    job.print_figure()


if __name__ == "__main__":
    main()
