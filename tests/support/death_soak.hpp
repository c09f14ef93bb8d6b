#pragma once

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "checked.hpp"
#include "line.hpp"
#include "processes.hpp"
#include "tandem_test.hpp"
#include "victims.hpp"

// Streams that run on while their processes are killed at random moments, and a count of all that went wrong.

namespace tandem::test {

/// What came of it. Everything but the first three must be zero.
struct Toll {
  std::uint64_t kills = 0;
  std::uint64_t stops = 0;
  std::uint64_t messages = 0;
  std::uint64_t lost = 0;
  std::uint64_t duplicated = 0;
  std::uint64_t reordered = 0;
  std::uint64_t wrong = 0;
  std::uint64_t hangs = 0;
  std::uint64_t unbalanced = 0;  // books: Runtime::audit()
  std::uint64_t blocks = 0;
  std::uint64_t mappings = 0;
  std::uint64_t descriptors = 0;
  std::uint64_t processes = 0;

  bool clean() const {
    return lost + duplicated + reordered + wrong + hangs + unbalanced + blocks + mappings + descriptors +
               processes ==
           0;
  }
  Toll& operator+=(const Toll& more) {
    kills += more.kills;
    stops += more.stops;
    messages += more.messages;
    lost += more.lost;
    duplicated += more.duplicated;
    reordered += more.reordered;
    wrong += more.wrong;
    hangs += more.hangs;
    unbalanced += more.unbalanced;
    blocks += more.blocks;
    mappings += more.mappings;
    descriptors += more.descriptors;
    processes += more.processes;
    return *this;
  }
};
inline std::ostream& operator<<(std::ostream& out, const Toll& toll) {
  return out << "kills " << toll.kills << ", stops " << toll.stops << ", messages " << toll.messages
             << ", lost " << toll.lost << ", duplicated " << toll.duplicated << ", reordered " << toll.reordered
             << ", wrong " << toll.wrong << ", hangs " << toll.hangs << ", unbalanced books " << toll.unbalanced
             << ", leaked blocks " << toll.blocks << ", mappings " << toll.mappings << ", descriptors "
             << toll.descriptors << ", processes " << toll.processes;
}

/// Kills processes of this program until it has killed as many as it was asked to, in a thread of its own.
class Assassin {
 public:
  Assassin(std::uint64_t seed, std::uint64_t kills, Runtime& runtime)
      : random_{seed}, wanted_{kills}, runtime_{runtime}, thread_{[this] { work(); }} {}
  ~Assassin() { dismiss(); }

  /// The consumer has received one more item: the clock that it works by.
  void received() {
    ++received_;
    received_.notify_all();
  }
  /// Ends its work, wherever it stands.
  void dismiss() {
    dismissed_ = true;
    received_ = kEver;
    received_.notify_all();
    if (thread_.joinable()) thread_.join();
  }
  bool done() const { return done_; }
  std::uint64_t kills() const { return kills_; }
  std::uint64_t stops() const { return stops_; }

 private:
  static constexpr std::uint64_t kEver = std::uint64_t{1} << 63;

  void work() {
    while (kills_ < wanted_ && !dismissed_) {
      wait_a_moment();
      assault();
    }
    done_ = true;
  }

  void wait_a_moment() {
    if (random_() % 4 != 0) {
      const std::uint64_t until = received_ + random_() % 40;
      for (std::uint64_t now = received_; now < until; now = received_) received_.wait(now);
    }
    busy(random_() % 200'000);
  }

  void assault() {
    switch (random_() % 16) {
      case 0: return kill_all(find_victims("tandem:forks"));
      case 1: return kill_all(find_victims("tandem:work#+"));
      case 2: return kill_all(find_victims("tandem:work#"));
      case 3: return kill_all(workers());
      case 4: {  // some
        std::vector<Victim> all = workers();
        while (all.size() > 1 && random_() % 2 == 0) all.pop_back();
        return kill_all(all);
      }
      case 5:  // whoever is there
        return kill_all(one_of(find_victims("tandem:")));
      case 6:
      case 7: return stop_and(SIGKILL, one_of(workers()));
      case 8:
      case 9: return stop_and(SIGCONT, one_of(workers()));
      case 10: return stop_and(random_() % 2 == 0 ? SIGCONT : SIGKILL, find_victims("tandem:forks"));
      case 11: return stop_and(random_() % 2 == 0 ? SIGCONT : SIGKILL, workers());
      default: return kill_all(one_of(workers()));
    }
  }

  std::vector<Victim> workers() {
    std::vector<pid_t> pids = runtime_.worker_pids();
    std::shuffle(pids.begin(), pids.end(), random_);
    return find_victims(pids);
  }
  std::vector<Victim> one_of(std::vector<Victim> all) {
    if (all.size() < 2) return all;
    std::swap(all.front(), all[random_() % all.size()]);
    all.erase(all.begin() + 1, all.end());
    return all;
  }

  void kill_all(const std::vector<Victim>& victims) {
    for (const Victim& victim : victims) kills_ += victim.send(SIGKILL) ? 1 : 0;
  }
  void stop_and(int signal, const std::vector<Victim>& victims) {
    for (const Victim& victim : victims) stops_ += victim.send(SIGSTOP) ? 1 : 0;
    busy(random_() % 1'000'000);
    for (const Victim& victim : victims) {
      if (victim.send(signal) && signal == SIGKILL) ++kills_;
    }
  }

  std::mt19937_64 random_;
  const std::uint64_t wanted_;
  Runtime& runtime_;
  std::atomic<std::uint64_t> received_{0};
  std::atomic<std::uint64_t> kills_{0};
  std::atomic<std::uint64_t> stops_{0};
  std::atomic<bool> dismissed_{false};
  std::atomic<bool> done_{false};
  std::thread thread_;
};

/// Checks that each number comes once, in order, and none is missing.
class Roll {
 public:
  void saw(std::uint64_t number, Toll& toll) {
    if (number >= next_) {
      for (; next_ < number; ++next_) missing_.insert(next_);
      ++next_;
    } else if (missing_.erase(number) == 1) {
      ++toll.reordered;
    } else {
      ++toll.duplicated;
    }
  }
  void end(std::uint64_t all, Toll& toll) const {
    toll.messages += all;
    toll.lost += missing_.size() + (all > next_ ? all - next_ : 0);
  }

 private:
  std::uint64_t next_ = 0;
  std::set<std::uint64_t> missing_;
};

inline bool is_right(const Checked& out, std::uint64_t number) { return is_checked(out, number); }
inline bool is_right(const Arrays& out, std::uint64_t number) { return is_filled(out, number); }

// One stream, until so many are dead.
template <class Out>
Toll soak_line(Line<Out>& line, std::atomic<bool>& over, const std::atomic<std::uint64_t>& emitted,
               std::uint64_t seed, std::uint64_t kills) {
  constexpr std::chrono::seconds kPatience{60};
  Toll toll;
  Roll roll;
  line.runtime.start();
  Assassin assassin{seed, kills, line.runtime};
  for (bool ended = false; !ended;) {
    if (assassin.done()) over = true;
    try {
      if (const auto item = line.stream.next_for(kPatience)) {
        roll.saw(item->sequence(), toll);
        if (!is_right(**item, item->sequence())) ++toll.wrong;
      } else {
        ended = true;
        if (!line.stream.ended()) ++toll.hangs;
      }
    } catch (const ProducerError& error) {
      roll.saw(error.sequence(), toll);
      ++toll.wrong;
      std::fprintf(stderr, "%s\n", error.what());
    }
    assassin.received();
  }
  assassin.dismiss();
  roll.end(emitted, toll);
  toll.kills = assassin.kills();
  toll.stops = assassin.stops();
  line.runtime.stop();
  toll.unbalanced = line.runtime.audit().balanced() ? 0 : 1;
  toll.blocks = line.runtime.lent_blocks() + line.runtime.live_messages();
  return toll;
}

inline std::uint64_t count_descriptors() {
  const std::filesystem::directory_iterator all{"/proc/self/fd"};
  return static_cast<std::uint64_t>(std::distance(begin(all), end(all)));
}
inline std::uint64_t count_mappings() {
  std::ifstream file{"/proc/self/maps"};
  std::uint64_t count = 0;
  for (std::string line; std::getline(file, line);) count += line.find("memfd:tandem") != line.npos ? 1 : 0;
  return count;
}

/// A stream of small structs or of arrays, with as many workers as the seed says, in which so many processes are
/// killed; not many more than a thousand, the number of fork servers that a runtime starts.
/// This process must be a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER), to see what is left of it.
inline Toll soak_run(std::uint64_t seed, std::uint64_t kills) {
  std::mt19937_64 random{seed};
  const std::vector<Process> processes = descendants_of(getpid());
  const std::uint64_t descriptors = count_descriptors();
  const std::uint64_t mappings = count_mappings();
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> emitted{0};
  const auto commander = [&over, &emitted]() -> std::optional<Number> {
    if (over) return std::nullopt;
    return Number{emitted++};
  };
  const Config config =
      placed({"process", 1 + static_cast<int>(random() % 4)}, {"work"},
             {{"node.work.attempts", "100"}, {"in_flight", std::array{"3", "16", "64"}[random() % 3]}});
  Toll toll;
  if (random() % 2 == 0) {
    Line<Checked> line{config, commander, CheckedAfterWork{random() % 3 * 10'000}};
    toll = soak_line(line, over, emitted, random(), kills);
  } else {
    Line<Arrays> line{
        config, commander, {array<std::uint64_t>("words", {500 + random() % 2 * 20'000})}, fill_checked};
    toll = soak_line(line, over, emitted, random(), kills);
  }
  toll.processes = wait_no_descendants_but(processes, 10).size();
  const std::uint64_t open = count_descriptors();
  toll.descriptors = open > descriptors ? open - descriptors : 0;
  toll.mappings = count_mappings() - mappings;
  return toll;
}

/// A host to be killed: holds as many arrays as make up so many bytes of shared memory, and writes a letter to
/// its standard output for each that it takes. Ends by itself only on an error.
inline int stream_large_arrays(std::uint64_t bytes) {
  constexpr std::uint64_t kEach = 32 << 20;
  const std::size_t held = bytes / kEach;
  Line<Arrays> line{placed({"process", 2}, {"work"}, {{"in_flight", std::to_string(held + 4)}}),
                    CountForEver{},
                    {array<std::uint8_t>("bytes", {kEach})},
                    [](const Number& in, Arrays& out) {
                      out.span<std::uint8_t>("bytes")[in.value % kEach] = 1;
                      busy(100'000);
                    }};
  std::deque<Item<Arrays>> items;
  for (const auto& item : line.stream) {
    items.push_back(item);
    if (items.size() > held) items.pop_front();
    if (!item.ok() || write(STDOUT_FILENO, "i", 1) != 1) return 1;
  }
  return 1;
}

}  // namespace tandem::test
