#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "../array_pool.hpp"
#include "../fill.hpp"
#include "job.hpp"

// What mpirun starts for the comparison: rank 0 asks, the others are workers. Prints its figure, or with --version that of
// the library. Arrays are sent from, and taken into, one warm array.

namespace {

using bench::Job;

constexpr int kTag = 1;

void serve(const Job& job, int worker) {
  std::vector<std::byte> result(job.bytes);
  for (std::uint64_t left = job.share(worker); left > 0; --left) {
    std::uint64_t number = 0;
    MPI_Recv(&number, 1, MPI_UINT64_T, 0, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    job.make(number, result.data());
    MPI_Send(result.data(), static_cast<int>(result.size()), MPI_BYTE, 0, kTag, MPI_COMM_WORLD);
  }
}

void ask(const Job& job) {
  std::vector<std::byte> result(job.bytes);
  bench::pass_in_turn(
      job,
      [&](int worker, std::uint64_t number) {
        MPI_Send(&number, 1, MPI_UINT64_T, worker + 1, kTag, MPI_COMM_WORLD);
      },
      [&](int worker) {
        MPI_Recv(result.data(), static_cast<int>(result.size()), MPI_BYTE, worker + 1, kTag, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
        job.take(result.data());
      });
}

void print_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string version{text, static_cast<std::size_t>(length)};
  fmt::print("{}\n", version.substr(0, version.find(',')));
}

}  // namespace

// tandem_compare_mpi JOB TIMED IN_FLIGHT
int main(int argc, char** argv) {
  if (argc == 2 && std::string{argv[1]} == "--version") {
    print_version();
    return 0;
  }
  MPI_Init(&argc, &argv);
  int rank = 0;
  int ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  try {
    if (argc != 4 || ranks < 2) throw std::runtime_error("wanted: mpirun -n 2 ... JOB TIMED IN_FLIGHT");
    bench::Options options;
    options.workers = ranks - 1;
    options.messages = options.arrays = options.trips = std::strtoull(argv[2], nullptr, 10);
    options.in_flight = options.big_in_flight = static_cast<std::uint32_t>(std::strtoul(argv[3], nullptr, 10));
    const bench::Kind kind = bench::kind_of(argv[1]);
    if (rank == 0) {
      fmt::print("{}\n", bench::measure(kind, options, ask));
    } else {
      bench::do_as_worker(kind, options, [rank](const Job& job) { serve(job, rank - 1); });
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "tandem_compare_mpi, rank {}: {}\n", rank, error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return 0;
}
