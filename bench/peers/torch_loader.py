"""PyTorch's DataLoader: batches of 64 images, 12.6 MB, which its workers put together in shared memory."""
import torch
import torch.utils.data

import jobs


class Images(torch.utils.data.Dataset):
    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return 64 * self.batches

    def __getitem__(self, index):
        return torch.full((256, 256, 3), jobs.value_of(index // 64), dtype=torch.uint8)


def main():
    job = jobs.Job()
    loader = torch.utils.data.DataLoader(Images(job.all), batch_size=64, num_workers=job.workers,
                                         prefetch_factor=job.ahead(),
                                         worker_init_fn=lambda worker: jobs.end_with_parent())
    for batch in loader:
        job.take(memoryview(batch.view(-1).numpy()))
    job.print_figure()


if __name__ == "__main__":
    main()
