#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "../program.hpp"
#include "peer.hpp"

// The peers that are programs of their own: mpi_program.cpp and the Python files beside it. Each is given a job, does
// and checks it, and prints its figure.

namespace bench {
namespace {

// What the pipe carries decides, and each message costs Python about twenty times what it costs the others.
constexpr std::uint64_t kFewerMessages = 20;
constexpr std::uint64_t kFewerArrays = 4;
constexpr std::uint64_t kFewerTrips = 4;

// Debian's, which has Debian's packages, where there is one.
std::string python() { return access("/usr/bin/python3", X_OK) == 0 ? "/usr/bin/python3" : "python3"; }

std::string timed(Kind kind, const Options& options, bool fewer) {
  const auto least_of = [fewer](std::uint64_t all, std::uint64_t parts) {
    return std::to_string(std::max<std::uint64_t>(fewer ? all / parts : all, 1));
  };
  switch (kind) {
    case Kind::tiny: return least_of(options.messages, kFewerMessages);
    case Kind::big: return least_of(options.arrays, kFewerArrays);
    case Kind::round_trip: break;
  }
  return least_of(options.trips, kFewerTrips);
}

std::string in_flight(Kind kind, const Options& options) {
  return std::to_string(kind == Kind::tiny ? options.in_flight : kind == Kind::big ? options.big_in_flight : 1);
}

Peer python_peer(std::string name, std::string key, std::string version, const char* file,
                 std::vector<Kind> kinds) {
  return {std::move(name),
          std::move(key),
          std::move(version),
          {},
          [file](Kind kind, const Options& options) {
            return number_from({python(), "-B", fmt::format("{}/{}", TANDEM_BENCH_PEERS, file),
                                std::string{name_of(kind)}, std::to_string(options.workers),
                                timed(kind, options, true), in_flight(kind, options)});
          },
          std::move(kinds)};
}

}  // namespace

#if !TANDEM_BENCH_MPI
Peer mpi_peer() {
  return left_out("MPI", "mpi", "it was not found when this was built (Debian: libopenmpi-dev, openmpi-bin)");
}
#else
Peer mpi_peer() {
  const auto version = line_from({TANDEM_BENCH_MPI_PROGRAM, "--version"});
  if (!version || !line_from({TANDEM_BENCH_MPIRUN, "--version"})) {
    return left_out("MPI", "mpi", "mpirun cannot be run (Debian: openmpi-bin)");
  }
  const auto run = [](Kind kind, const Options& options) {
    // For Open MPI: containers are root, and have fewer processors than it wants ranks.
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    setenv("OMPI_MCA_rmaps_base_oversubscribe", "1", 1);
    setenv("OMPI_MCA_hwloc_base_binding_policy", "none", 1);
    const int ranks = kind == Kind::round_trip ? 2 : options.workers + 1;
    return number_from({TANDEM_BENCH_MPIRUN, "-n", std::to_string(ranks), TANDEM_BENCH_MPI_PROGRAM,
                        std::string{name_of(kind)}, timed(kind, options, false), in_flight(kind, options)});
  };
  return {"MPI", "mpi", *version, {}, run, {std::begin(kKinds), std::end(kKinds)}};
}
#endif

std::vector<Peer> python_peers() {
  const std::vector<Kind> all{std::begin(kKinds), std::end(kKinds)};
  std::vector<Peer> peers;
  const auto version = line_from({python(), "--version"});
  const auto add = [&](const char* name, const char* key, const char* file) {
    peers.push_back(version ? python_peer(name, key, *version, file, all)
                            : left_out(name, key, "python3 cannot be run (Debian: python3)"));
  };
  add("Python concurrent.futures", "python_pool", "python_pool.py");
  add("Python multiprocessing.Queue", "python_queue", "python_queue.py");
  add("Python tokens over RawArrays", "python_tokens", "python_tokens.py");
  const auto torch = line_from({python(), "-c", "import numpy, torch; print(torch.__version__)"});
  peers.push_back(
      torch ? python_peer("PyTorch DataLoader", "torch_loader", "PyTorch " + *torch, "torch_loader.py",
                          {Kind::big})
            : left_out("PyTorch DataLoader", "torch_loader",
                       "python3 cannot import torch and numpy; 'bench/run.sh --with-torch' installs them"));
  return peers;
}

}  // namespace bench
