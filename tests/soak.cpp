// tandem_soak: kills processes of Tandem's at random moments, for as long as it is told, and counts what went wrong.
// Status 0 only if nothing did. Its short versions are death_soak_test and kill_test.
#include <fcntl.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/spdlog.h>

#include "support/death_soak.hpp"
#include "support/host_death.hpp"

namespace tandem::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint64_t kHeldBytes = 256 << 20;
constexpr const char* kHostArgument = "--be-host";

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

bool soak_streams(std::mt19937_64& random, std::uint64_t kills, std::uint64_t each) {
  const Clock::time_point begin = Clock::now();
  auto told = begin;
  Toll all;
  for (std::uint64_t runs = 1; all.kills < kills; ++runs) {
    const std::uint64_t seed = random();
    const Toll toll = soak_run(seed, std::min(each, kills - all.kills));
    if (!toll.clean()) std::cout << "stream of seed " << seed << ": " << toll << std::endl;
    all += toll;
    if (seconds_since(told) < 10 || all.kills >= kills) continue;
    told = Clock::now();
    std::cout << fmt::format("{:.0f} s, {} streams: ", seconds_since(begin), runs) << all << std::endl;
  }
  std::cout << fmt::format("{:.0f} s: ", seconds_since(begin)) << all << std::endl;
  return all.clean();
}

pid_t start_host(int standard_output) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, standard_output, STDOUT_FILENO);
  char program[] = "/proc/self/exe";
  std::string argument = kHostArgument;
  char* const arguments[] = {program, argument.data(), nullptr};
  pid_t pid = -1;
  posix_spawn(&pid, program, &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

std::string median_and_most(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  return fmt::format("median {:.1f} ms, most {:.1f} ms", times[times.size() / 2], times.back());
}

bool kill_hosts(std::mt19937_64& random, std::uint64_t hosts) {
  std::vector<double> processes;
  std::vector<double> memory;
  bool clean = true;
  for (std::uint64_t host = 0; host < hosts; ++host) {
    const HostDeath death = kill_host(
        start_host, 16 + random() % 32, [&random] { busy(random() % 1'000'000); }, kHeldBytes);
    if (!death.failure.empty()) std::cout << "host " << host << ": " << death.failure << std::endl;
    clean = clean && death.failure.empty();
    processes.push_back(death.processes_gone.count());
    memory.push_back(death.memory_gone.count());
  }
  if (hosts == 0) return true;
  std::cout << fmt::format(
                   "{} hosts killed, {} MiB of arrays each: all processes gone after {}; memory free after {}",
                   hosts, kHeldBytes >> 20, median_and_most(processes), median_and_most(memory))
            << std::endl;
  return clean;
}

int soak(int argc, char** argv) {
  std::uint64_t kills = 10'000;
  std::uint64_t each = 250;
  std::uint64_t hosts = 100;
  std::uint64_t seed = std::random_device{}();
  CLI::App app{"Kills Tandem's processes at random moments and counts what went wrong"};
  app.add_option("--kills", kills, "processes to kill, in streams that run on")->capture_default_str();
  app.add_option("--each", each, "of them, in each stream")
      ->capture_default_str()
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{900}));  // a runtime starts 1000 fork servers at most
  app.add_option("--hosts", hosts, "whole hosts to kill afterwards")->capture_default_str();
  app.add_option("--seed", seed, "of all that is random");
  CLI11_PARSE(app, argc, argv);

  std::cout << "--seed " << seed << std::endl;
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // what loses its parent comes to us
  std::mt19937_64 random{seed};
  const bool streams = soak_streams(random, kills, each);
  const bool memory = kill_hosts(random, hosts);
  return streams && memory ? 0 : 1;
}

}  // namespace
}  // namespace tandem::test

int main(int argc, char** argv) {
  // A line for each death would be all that one sees.
  spdlog::register_logger(std::make_shared<spdlog::logger>("tandem",
                                                           std::make_shared<spdlog::sinks::null_sink_mt>()));
  if (argc == 2 && std::string{argv[1]} == tandem::test::kHostArgument) {
    return tandem::test::stream_large_arrays(tandem::test::kHeldBytes);
  }
  return tandem::test::soak(argc, argv);
}
