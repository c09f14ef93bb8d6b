// A worker that cannot be trusted: it writes random and adversarial bytes over all that a worker can write, at random
// moments. The host lives on, and every other worker's items are right and in order.
//   TANDEM_FUZZ_ROUNDS=1000000   as many acts; some thousand otherwise
//   TANDEM_FUZZ_ACTS=jump,texts  these acts alone; -blocks: all but these; see fuzzer.hpp
// labels: no_tsan
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "support/checked.hpp"
#include "support/fuzzer.hpp"
#include "support/line.hpp"
#include "support/sanitized.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;

constexpr int kFuzzing = 0;  // the worker with this number; the others are honest

// Three kinds of messages and outputs: small ones, which lie close to each other, ones that travel in the blocks, and ones
// that grow.
struct Small {
  using In = Number;
  using Out = Checked;

  static In message(std::uint64_t number) { return {number}; }
  static void work(const In& in, Out& out) { out = checked(in.value); }
  static std::span<std::byte> bytes(Out& out) { return std::as_writable_bytes(std::span{&out, 1}); }
  static bool is_right(const Out& out, std::uint64_t number) { return is_checked(out, number); }
  static std::uint64_t read(const Out& out) { return out.words[0] + out.words[11]; }
  static Line<Out, In> line(const Config& config, auto commander, auto body) {
    return {config, std::move(commander), std::move(body)};
  }
};

struct Large {
  struct In {
    std::uint64_t words[12];
  };
  using Out = Arrays;

  static In message(std::uint64_t number) {
    return {{number, number + 1, number + 2, 0, 0, 0, 0, 0, 0, 0, 0, ~number}};
  }
  static void work(const In& in, Out& out) {
    // Of all of the message, so that a wrong one shows.
    std::uint64_t value = 0;
    for (const std::uint64_t word : in.words) value = value * 31 + word;
    for (std::uint64_t& word : out.span<std::uint64_t>("words")) word = value = value * 3 + 1;
  }
  static std::span<std::byte> bytes(Out& out) {
    return std::as_writable_bytes(out.span<std::uint64_t>("words"));
  }
  static bool is_right(const Out& out, std::uint64_t number) {
    std::uint64_t value = 0;
    for (const std::uint64_t word : message(number).words) value = value * 31 + word;
    for (const std::uint64_t word : out.span<std::uint64_t>("words")) {
      if (word != (value = value * 3 + 1)) return false;
    }
    return true;
  }
  static std::uint64_t read(const Out& out) {
    std::uint64_t sum = 0;
    for (const std::uint64_t word : out.span<std::uint64_t>("words")) sum += word;
    return sum;
  }
  static Line<Out, In> line(const Config& config, auto commander, auto body) {
    return {config, std::move(commander), {array<std::uint64_t>("words", {700})}, std::move(body)};
  }
};

// What its block holds is where it lies, and worth a lie.
struct Grown {
  using In = Number;
  using Out = Arrays;

  static std::size_t rows(std::uint64_t number) { return number % 5 * 200; }
  static In message(std::uint64_t number) { return {number}; }
  static void work(const In& in, Out& out) {
    for (std::size_t row = 0; row < rows(in.value); row += 200) out.grow("words", row + 200);
    std::uint64_t value = in.value;
    for (std::uint64_t& word : out.span<std::uint64_t>("words")) word = value = value * 3 + 1;
  }
  static std::span<std::byte> bytes(Out& out) {
    return std::as_writable_bytes(out.span<std::uint64_t>("words"));
  }
  static bool is_right(const Out& out, std::uint64_t number) {
    std::uint64_t value = number;
    for (const std::uint64_t word : out.span<std::uint64_t>("words")) {
      if (word != (value = value * 3 + 1)) return false;
    }
    return out.shape("words") == Shape{rows(number), 1};
  }
  static std::uint64_t read(const Out& out) { return Large::read(out); }
  static Line<Out, In> line(const Config& config, auto commander, auto body) {
    return {config, std::move(commander), {array<std::uint64_t>("words", {0, 1}).grows()}, std::move(body)};
  }
};

// One of the workers fuzzes once its work is done, the others only look on.
template <class Kind>
struct Suspect {
  FuzzPlan plan;
  FuzzBooks* books;
  std::shared_ptr<Fuzzer> fuzzer = nullptr;

  void start() {
    fuzzer = std::make_shared<Fuzzer>(plan, *books);
    fuzzer->start();
  }
  void operator()(const typename Kind::In& in, typename Kind::Out& out, Context& context) {
    if (context.worker() != kFuzzing) {
      fuzzer->look_on(context.worker(), context.sequence());
      busy(20'000);  // so that the other one gets a share
    }
    Kind::work(in, out);
    if (context.worker() == kFuzzing) fuzzer->play(Kind::bytes(out));
  }
};

bool is_one_line(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char letter) {
    const auto byte = static_cast<unsigned char>(letter);
    return byte >= 0x20 && byte != 0x7F;
  });
}

struct Tally {
  std::uint64_t messages = 0;
  std::uint64_t errors = 0;
  std::uint64_t of_fuzzer = 0;
};

class FuzzedHost : public TandemTest {
 protected:
  // One stream, until the worker has done so many acts, or does no more because it gets no message.
  template <class Kind>
  void fuzz(const Config& config, const FuzzPlan& plan, std::uint64_t rounds) {
    using Out = typename Kind::Out;
    Shared<FuzzBooks> books;
    const auto commander = [books = books.get(), rounds, next = std::uint64_t{0}]() mutable {
      const bool over = books->rounds >= rounds || next >= rounds * 4;
      return over ? std::nullopt : std::optional{Kind::message(next++)};
    };
    auto line = Kind::line(config, commander, Suspect<Kind>{plan, books.get()});

    // Some honest items are kept for a while, and must stay as they are.
    std::deque<Item<Out>> kept;
    const auto keep = [&kept](const Item<Out>& item) {
      kept.push_back(item);
      if (kept.size() <= 3) return;
      EXPECT_TRUE(Kind::is_right(*kept.front(), kept.front().sequence()))
          << kept.front().sequence() << " changed";
      kept.pop_front();
    };
    std::uint64_t next = 0;
    std::uint64_t sum = 0;
    for (;; ++next) {
      ASSERT_FALSE(HasFailure());
      try {
        const auto item = line.stream.next_for(60s);
        if (!item) break;
        for (; next < item->sequence(); ++next) {  // a body may skip its message
          ASSERT_EQ(books->honest_of(next), 0U) << next << " is missing, and an honest worker had it too";
        }
        ASSERT_EQ(item->sequence(), next);
        if (item->worker() == kFuzzing) {
          sum += Kind::read(**item);
          ++tally_.of_fuzzer;
        } else {
          ASSERT_TRUE(Kind::is_right(**item, next)) << next << " of worker " << item->worker();
          if (next % 8 == 0) keep(*item);
        }
      } catch (const ProducerError& error) {
        for (; next < error.sequence(); ++next) {
          ASSERT_EQ(books->honest_of(next), 0U) << next << " is missing, and an honest worker had it too";
        }
        ASSERT_EQ(error.sequence(), next);
        ASSERT_EQ(error.worker(), kFuzzing) << error.what();
        ASSERT_EQ(books->honest_of(next), 0U) << "it was with an honest worker too: " << error.what();
        ASSERT_LE(error.reason().size(), kReasonBytes);
        ASSERT_TRUE(is_one_line(error.reason())) << error.reason();
        ++tally_.errors;
      }
      books->honest_of(next) = 0;
    }
    asm volatile("" : "+r"(sum));
    ASSERT_TRUE(line.stream.ended()) << "nothing came for a minute after message " << next;
    ASSERT_GT(books->rounds, 0U) << "it was never given a message";
    tally_.messages += next;
    kept.clear();
    line.runtime.stop();
    ASSERT_EQ(line.runtime.lent_blocks(), 0U);
    ASSERT_EQ(line.runtime.live_messages(), 0U);
    ASSERT_TRUE(line.runtime.arrays().empty());
    rounds_ += books->rounds;
    deaths_ += books->lives - std::min<std::uint64_t>(books->lives, 1);
    if (books->rounds < rounds) ++cut_short_;
    for (std::size_t act = 0; act < kActs; ++act) acts_[act] += books->acts[act];
  }

  void fuzz_all(std::uint64_t rounds, std::uint64_t each) {
    std::mt19937_64 random = random_generator();
    const auto begin = std::chrono::steady_clock::now();
    for (std::uint64_t run = 1; rounds_ < rounds; ++run) {
      const int honest = 1 + static_cast<int>(random() % 3);
      FuzzPlan plan;
      plan.seed = random();
      plan.in_flight = std::array{7U, 15U, 40U}[random() % 3];
      plan.threads = random() % 2 == 0;
      const char* const attempts = std::array{"1", "2", "3", "20"}[random() % 4];
      plan.at_start = *attempts != '1';  // a worker whose starts all fail is left out
      plan.allowed = allowed_acts();
      const Config config = placed({"process", 1 + honest}, {"work"},
                                   {{"in_flight", std::to_string(plan.in_flight)},
                                    {"node.work.attempts", attempts},
                                    {"node.work.deadline", "2 s"}});
      SCOPED_TRACE("run " + std::to_string(run) + ", " + std::to_string(honest) +
                   " honest workers, in_flight " + std::to_string(plan.in_flight) + ", attempts " + attempts +
                   (plan.threads ? ", threads" : ""));
      switch (random() % 3) {
        case 0: fuzz<Small>(config, plan, each); break;
        case 1: fuzz<Large>(config, plan, each); break;
        default:
          // Who says that it is done and goes on writing can spoil what lies there next: "Arrays that grow" in runtime/README.md.
          for (const Act early : {Act::early_reply, Act::early_failure})
            plan.allowed &= ~(std::uint64_t{1} << static_cast<unsigned>(early));
          fuzz<Grown>(config, plan, each);
      }
      if (HasFatalFailure()) return;
      if (run % 20 == 0) tell(run, begin);
    }
    tell(0, begin);
    EXPECT_GT(deaths_, 0U);
    EXPECT_GT(tally_.of_fuzzer, 0U);
  }

 private:
  void tell(std::uint64_t run, std::chrono::steady_clock::time_point begin) {
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    std::cout << time.count() << " s: " << rounds_ << " rounds, " << deaths_ << " deaths of the worker, "
              << tally_.messages << " messages, " << tally_.of_fuzzer << " of them made by the fuzzing worker, "
              << tally_.errors << " errors; " << cut_short_ << " runs were cut short" << std::endl;
    if (run != 0) return;
    for (std::size_t act = 0; act < kActs; ++act)
      std::cout << "  " << name_of(static_cast<Act>(act)) << ' ' << acts_[act] << '\n';
  }

  Tally tally_;
  std::uint64_t rounds_ = 0;
  std::uint64_t deaths_ = 0;
  std::uint64_t cut_short_ = 0;  // runs
  std::uint64_t acts_[kActs] = {};
};

TEST_F(FuzzedHost, LivesOnAndMixesUpNothing) {
  const char* const wanted = std::getenv("TANDEM_FUZZ_ROUNDS");
  if (wanted != nullptr) {
    fuzz_all(std::strtoull(wanted, nullptr, 10), 20'000);
  } else {
    fuzz_all(kSanitized ? 6'000 : 24'000, kSanitized ? 1'500 : 3'000);
  }
}

// With an eventfd for a bell, it would take the rings of the others, and the host would sleep on over their replies.
TEST_F(FuzzedHost, GoesOnThoughAWorkerReadsFromItsBell) {
  constexpr std::uint64_t kAll = 5000;
  struct Thief {
    bool begun = false;
    Number operator()(const Number& in, Context& context) {
      if (context.worker() == kFuzzing && !std::exchange(begun, true)) {
        std::thread{[bells = ReplyArea::bells()] {
          for (;;) {
            std::uint64_t rings = 0;
            for (const int bell : bells) [[maybe_unused]]
              const auto got = read(bell, &rings, sizeof rings);
          }
        }}.detach();
      }
      busy(2000);
      return in;
    }
  };
  for (int run = 0; run < 5; ++run) {
    Line<Number> line{placed({"process", 2}, {"work"}), CountTo{kAll}, Thief{}};
    std::uint64_t next = 0;
    while (const auto item = line.stream.next_for(10s)) ASSERT_EQ(item->sequence(), next++);
    ASSERT_EQ(next, kAll) << "run " << run;
  }
}

}  // namespace
}  // namespace tandem::test
