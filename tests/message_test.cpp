// Messages that are not their bytes: packed for worker processes, as they are for threads.
// labels: no_tsan
#include <tandem/message.hpp>

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <variant>
#include <vector>

#include <gmock/gmock.h>
#include <xxhash.h>

#include "support/line.hpp"
#include "support/shared.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using testing::HasSubstr;

struct Rows {
  std::uint32_t first = 0, last = 0;
  bool operator==(const Rows&) const = default;
};

// One of each kind, nested.
struct Job {
  std::string path;
  std::vector<double> weights;
  std::map<std::string, std::vector<int>> options;
  std::optional<Rows> rows;  // which is its bytes
  std::variant<int, std::string> mode;
  bool last = false;

  void serialize(auto& archive) { archive(path, weights, options, rows, mode, last); }
  bool operator==(const Job&) const = default;
};

Job job_of(std::uint64_t number) {
  Job job;
  job.path = std::string(number % 700, static_cast<char>('a' + number % 26));  // around what is small
  job.weights.resize(number % 5 == 0 ? number * 10 : number % 3);
  std::iota(job.weights.begin(), job.weights.end(), 0.5 + static_cast<double>(number));
  if (number % 2 == 0) job.options["even"] = {1, 2, static_cast<int>(number)};
  if (number % 3 == 0) job.rows = Rows{static_cast<std::uint32_t>(number), 7};
  if (number % 4 == 0) {
    job.mode = "text " + std::to_string(number);
  } else {
    job.mode = static_cast<int>(number);
  }
  job.last = number % 7 == 0;
  return job;
}

std::uint64_t digest(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

// A commander of as many messages as are wanted, made by a function of their number.
template <class M>
struct Make {
  std::uint64_t last;
  M (*make)(std::uint64_t number);
  std::uint64_t next = 0;
  std::optional<M> operator()() {
    if (next == last) return std::nullopt;
    return make(next++);
  }
};

constexpr std::uint64_t kMessages = 1500;

class Message : public PlacedTest {};
TANDEM_FOR_ALL_PLACES_AND_SPAWNED(Message);

TEST_P(Message, ArrivesWithAllThatItHolds) {
  Line<Number, Job> line{
      placed(GetParam(), {"work"}), Make<Job>{kMessages, job_of},
      [](const Job& in, Context& context) { return Number{in == job_of(context.sequence()) ? 1U : 0U}; }};
  std::uint64_t number = 0;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item.sequence(), number);
    ASSERT_EQ(item->value, 1U) << "message " << number << " came to the body with something else";
    ASSERT_EQ(item.message<Job>(), job_of(number));
    ++number;
  }
  EXPECT_EQ(number, kMessages);
}

TEST_P(Message, MayBeAnyValue) {
  const auto make = [](std::uint64_t number) { return std::to_string(number); };
  Line<Number, std::string> line{placed(GetParam(), {"work"}), Make<std::string>{100, make},
                                 [](const std::string& in) { return Number{digest(in)}; }};
  for (const auto& item : line.stream) ASSERT_EQ(item->value, digest(std::to_string(item.sequence())));
}

TEST_P(Message, MayHoldNothing) {
  using Nothing = std::vector<std::string>;
  const auto make = [](std::uint64_t) { return Nothing{}; };
  Line<Number, Nothing> line{placed(GetParam(), {"work"}), Make<Nothing>{100, make},
                             [](const Nothing& in) { return Number{in.size()}; }};
  for (const auto& item : line.stream) ASSERT_EQ(item->value, 0U);
}

TEST_P(Message, GoesToSeveralNodes) {
  Runtime runtime{placed(GetParam(), {"first", "second"})};
  flow::graph graph;
  commander_node<Job> jobs{graph, runtime, "jobs", Make<Job>{kMessages, job_of}};
  producer_node<Job, Number> first{graph, runtime, "first",
                                   [](const Job& in) { return Number{digest(in.path)}; }};
  producer_node<Job, Number> second{graph, runtime, "second",
                                    [](const Job& in) { return Number{in.weights.size()}; }};
  sequencer_node<Number> in_order{graph, runtime};
  sequencer_node<Number> in_order_too{graph, runtime};
  stream_node<Number> digests{graph, runtime};
  stream_node<Number> sizes{graph, runtime};
  flow::make_edge(jobs, first);
  flow::make_edge(jobs, second);
  flow::make_edge(first, in_order);
  flow::make_edge(second, in_order_too);
  flow::make_edge(in_order, digests);
  flow::make_edge(in_order_too, sizes);

  for (std::uint64_t number = 0; number < kMessages; ++number) {
    ASSERT_EQ((*digests.next())->value, digest(job_of(number).path));
    ASSERT_EQ((*sizes.next())->value, job_of(number).weights.size());
  }
}

TEST_P(Message, IsAnErrorItemWhenItsNodeThrows) {
  Line<Number, Job> line{placed(GetParam(), {"work"}), Make<Job>{20, job_of}, [](const Job& in) {
                           if (in.last) throw std::runtime_error("not " + in.path);
                           return Number{1};
                         }};
  const auto all = line.take_all();
  ASSERT_EQ(all.size(), 20U);
  for (const auto& outcome : all) EXPECT_EQ(outcome.value.has_value(), outcome.sequence % 7 != 0);
}

// ---- shared arrays in messages ----------------------------------------------------------------------------------

struct Part {
  std::string name;
  SharedArray<const float> samples;
  void serialize(auto& archive) { archive(name, samples); }
};

TEST_P(Message, NamesSharedArraysWhichAreReadWhereTheyAre) {
  Runtime runtime{placed(GetParam(), {"work"})};
  flow::graph graph;
  SharedArray<float> all;
  if (!runtime.is_worker()) {
    all = runtime.array<float>(Shape{1000, 100});
    std::iota(all.begin(), all.end(), 0.0F);
  }
  const auto part_of = [all, next = std::size_t{0}]() mutable -> std::optional<Part> {
    if (next == 1000) return std::nullopt;
    const std::size_t row = next++;
    return Part{"row " + std::to_string(row), all.slice(row, row + 1)};
  };
  commander_node<Part> parts{graph, runtime, "parts", part_of};
  producer_node<Part, Number> work{graph, runtime, "work", [](const Part& in) {
                                     return Number{static_cast<std::uint64_t>(in.samples[99])};
                                   }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(parts, work);
  flow::make_edge(work, order);
  flow::make_edge(order, stream);

  for (const auto& item : stream) {
    ASSERT_EQ(item->value, item.sequence() * 100 + 99);
    ASSERT_EQ(item.message<Part>().samples[0], static_cast<float>(item.sequence() * 100));
  }
  runtime.stop();
  ASSERT_EQ(runtime.arrays().size(), 1U);
  EXPECT_TRUE(runtime.arrays()[0].holders.empty());
}

class ProcessMessage : public PlacedTest {};
TANDEM_FOR_PROCESSES(ProcessMessage);

TEST_P(ProcessMessage, HoldsItsSharedArraysUntilAWorkerIsDoneWithThem) {
  Runtime runtime{placed(GetParam(), {"work"})};
  flow::graph graph;
  Shared<std::atomic<int>> begun{0};
  Shared<std::atomic<int>> may_end{0};
  const auto part_of = [&runtime, next = 0]() mutable -> std::optional<Part> {
    if (next++ == 1) return std::nullopt;
    return Part{"the only handle", runtime.array<float>(Shape{10}, 4.0F)};
  };
  commander_node<Part> parts{graph, runtime, "parts", part_of};
  producer_node<Part, Number> work{graph, runtime, "work", [&](const Part& in) {
                                     ++*begun;
                                     while (*may_end == 0) usleep(100);
                                     return Number{static_cast<std::uint64_t>(in.samples[9])};
                                   }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(parts, work);
  flow::make_edge(work, stream);
  runtime.start();
  while (*begun == 0) usleep(100);
  const auto alive = runtime.arrays();
  ASSERT_EQ(alive.size(), 1U);
  EXPECT_THAT(alive[0].holders, testing::ElementsAre("node 'work', message 0"));
  *may_end = 1;
  EXPECT_EQ((*stream.next())->value, 4U);
  EXPECT_FALSE(stream.next());
  runtime.stop();
  EXPECT_TRUE(runtime.arrays().empty());
}

TEST_P(ProcessMessage, RefusesItsSharedArraysAfterwards) {
  static std::optional<SharedArray<const float>> kept;
  Runtime runtime{placed({"process", 1}, {"work"})};
  flow::graph graph;
  auto samples = runtime.array<float>(Shape{10}, 4.0F);
  const auto part_of = [samples, next = 0]() mutable -> std::optional<Part> {
    if (next == 2) return std::nullopt;
    return next++ == 0 ? Part{"kept", samples} : Part{"empty", {}};
  };
  commander_node<Part> parts{graph, runtime, "parts", part_of};
  producer_node<Part, Number> work{graph, runtime, "work", [](const Part& in) {
                                     if (in.samples) kept = in.samples;
                                     return Number{static_cast<std::uint64_t>((*kept)[0])};
                                   }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(parts, work);
  flow::make_edge(work, stream);
  EXPECT_EQ((*stream.next())->value, 4U);
  EXPECT_THAT(thrown_text<ProducerError>([&] { stream.next(); }),
              HasSubstr("after the call that it was lent for"));
}

// ---- room -------------------------------------------------------------------------------------------------------

std::string large(std::uint64_t number) { return std::string(3'000'000, static_cast<char>('a' + number % 26)); }

const Settings kTenMebibytes = {{"arrays", "10 MiB"}};  // three of the large ones

TEST_P(ProcessMessage, WaitsForRoomWhenItIsLarge) {
  Line<Number, std::string> line{placed(GetParam(), {"work"}, kTenMebibytes), Make<std::string>{60, large},
                                 [](const std::string& in) { return Number{digest(in)}; }};
  std::uint64_t number = 0;
  for (const auto& item : line.stream) ASSERT_EQ(item->value, digest(large(number++)));
  EXPECT_EQ(number, 60U);
  line.runtime.stop();
  EXPECT_TRUE(line.runtime.arrays().empty());
}

TEST_P(ProcessMessage, ThatWaitsForRoomLetsThoseGoFirstThatHaveTheirs) {
  // The second waits for room that the first and the third have; the fourth may not take it first.
  const auto make = [](std::uint64_t number) {
    constexpr std::size_t kSizes[] = {6'000'000, 8'000'000, 3'000'000, 3'000'000};
    return std::string(kSizes[number % 4], 'x');
  };
  Line<Number, std::string> line{placed(GetParam(), {"work"}, kTenMebibytes), Make<std::string>{24, make},
                                 [](const std::string& in, Context& context) {
                                   if (context.sequence() == 0) usleep(20'000);
                                   return Number{in.size()};
                                 }};
  const auto all = line.take_all();
  ASSERT_EQ(all.size(), 24U);
  for (const auto& outcome : all) {
    ASSERT_TRUE(outcome.value) << outcome.failure->reason;
    EXPECT_EQ(outcome.value->value, make(outcome.sequence).size());
  }
}

TEST_P(ProcessMessage, WithAnArrayOfAnotherRuntimeIsAnErrorItem) {
  Runtime other{config_of({})};
  const auto foreign = other.array<float>(Shape{10}, 1.0F);
  Runtime runtime{placed(GetParam(), {"work"})};
  flow::graph graph;
  commander_node<Part> parts{graph, runtime, "parts", [foreign, next = 0]() mutable -> std::optional<Part> {
                               if (next++ == 1) return std::nullopt;
                               return Part{"not ours", foreign};
                             }};
  producer_node<Part, Number> work{graph, runtime, "work", [](const Part&) { return Number{1}; }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(parts, work);
  flow::make_edge(work, stream);
  EXPECT_THAT(thrown_text<ProducerError>([&] { stream.next(); }), HasSubstr("of another Runtime"));
}

struct Named {
  SharedArray<int> numbers;
  void serialize(auto& archive) { archive(numbers); }
};

TEST_P(ProcessMessage, DoesNotLetItsArraysBeWritten) {
  Runtime runtime{placed(GetParam(), {"work"})};
  flow::graph graph;
  const auto numbers = runtime.array<int>(Shape{10}, 7);
  commander_node<Named> names{graph, runtime, "names", [numbers, next = 0]() mutable -> std::optional<Named> {
                                if (next++ == 1) return std::nullopt;
                                return Named{numbers};
                              }};
  producer_node<Named, Number> work{graph, runtime, "work", [](const Named& in) {
                                      auto copy = in.numbers;
                                      copy[0] = 1;
                                      return Number{1};
                                    }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(names, work);
  flow::make_edge(work, stream);
  EXPECT_THAT(thrown_text<ProducerError>([&] { stream.next(); }), HasSubstr("lent for reading"));
  EXPECT_EQ(numbers[0], 7);
}

TEST_P(ProcessMessage, ThatIsLargerThanTheStoreIsAnError) {
  const auto make = [](std::uint64_t number) { return std::string(number == 3 ? 20'000'000 : 1000, 'x'); };
  Line<Number, std::string> line{placed(GetParam(), {"work"}, kTenMebibytes), Make<std::string>{10, make},
                                 [](const std::string& in) { return Number{in.size()}; }};
  const auto all = line.take_all();
  ASSERT_EQ(all.size(), 10U);
  for (const auto& outcome : all) ASSERT_EQ(outcome.value.has_value(), outcome.sequence != 3);
  EXPECT_THAT(all[3].failure->reason, HasSubstr("raise arrays"));
  EXPECT_THAT(all[3].failure->reason, HasSubstr("20000008 bytes (19.07 MiB)"));
}

TEST_P(ProcessMessage, DoesNotWaitForEverForRoomThatTheUserHas) {
  Line<Number, std::string> line{
      placed(GetParam(), {"work"}, {{"arrays", "10 MiB"}, {"hold_timeout", "200 ms"}}),
      Make<std::string>{3, large}, [](const std::string& in) { return Number{in.size()}; }};
  auto kept = line.runtime.array<std::uint8_t>(Shape{9'000'000});
  const std::string text = thrown_text<ProducerError>([&] { line.stream.next(); });
  EXPECT_THAT(text, HasSubstr("drop handles"));
  kept = {};
  const auto rest = line.take_all();
  ASSERT_EQ(rest.size(), 2U);
  EXPECT_TRUE(rest.back().value);
}

TEST_P(ProcessMessage, WaitsForRoomThatTheUserGivesBack) {
  Line<Number, std::string> line{placed(GetParam(), {"work"}, kTenMebibytes), Make<std::string>{3, large},
                                 [](const std::string& in) { return Number{in.size()}; }};
  auto kept = line.runtime.array<std::uint8_t>(Shape{9'000'000});
  line.runtime.start();
  std::thread gives_back{[&] {
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    kept = {};
  }};
  EXPECT_EQ(line.take_all().size(), 3U);
  gives_back.join();
}

TEST_P(ProcessMessage, ThatWaitsForRoomDoesNotHoldUpTheEnd) {
  Line<Number, std::string> line{placed(GetParam(), {"work"}, kTenMebibytes), Make<std::string>{100, large},
                                 [](const std::string& in) { return Number{in.size()}; }};
  const auto kept = line.runtime.array<std::uint8_t>(Shape{9'000'000});
  line.runtime.start();
  std::this_thread::sleep_for(std::chrono::milliseconds{20});
  line.runtime.stop();
  EXPECT_EQ(line.runtime.live_messages(), 0U);
  EXPECT_EQ(line.runtime.arrays().size(), 1U);
}

// ---- what goes wrong --------------------------------------------------------------------------------------------

struct Moody {
  std::uint64_t number = 0;
  bool throws_when_packed = false, throws_when_unpacked = false;

  std::string text;  // so that it is not its bytes

  template <class Archive>
  void save(Archive& archive) const {
    if (throws_when_packed) throw std::runtime_error("not today");
    archive(number, throws_when_unpacked);
  }
  template <class Archive>
  void load(Archive& archive) {
    archive(number, throws_when_unpacked);
    if (throws_when_unpacked) throw std::runtime_error("not here");
  }
};

TEST_P(ProcessMessage, ThatCannotBePackedIsAnErrorItem) {
  const auto make = [next = std::uint64_t{0}]() mutable -> std::optional<Moody> {
    if (next == 30) return std::nullopt;
    Moody moody;
    moody.number = next++;
    moody.throws_when_packed = moody.number == 10;
    moody.throws_when_unpacked = moody.number == 20;
    return moody;
  };
  Runtime runtime{placed(GetParam(), {"work"})};
  flow::graph graph;
  commander_node<Moody> numbers{graph, runtime, "numbers", make};
  producer_node<Moody, Number> work{graph, runtime, "work", [](const Moody& in) { return Number{in.number}; }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, work);
  flow::make_edge(work, order);
  flow::make_edge(order, stream);
  for (std::uint64_t number = 0; number < 30; ++number) {
    if (number == 10) {
      EXPECT_THAT(thrown_text<ProducerError>([&] { stream.next(); }),
                  testing::AllOf(HasSubstr("node 'work'"), HasSubstr("cannot be packed"),
                                 HasSubstr("not today")));
    } else if (number == 20) {
      EXPECT_THAT(thrown_text<ProducerError>([&] { stream.next(); }), HasSubstr("not here"));
    } else {
      ASSERT_EQ((*stream.next())->value, number);
    }
  }
  EXPECT_FALSE(stream.next());
}

TEST_P(ProcessMessage, IsTheSameWhenItIsGivenOutAgain) {
  Shared<std::atomic<int>> deaths{0};
  const auto body = [&](const std::string& in, Context& context) {
    if (context.attempt() == 1 && context.sequence() % 20 < 2) {
      ++*deaths;
      kill(getpid(), SIGKILL);
    }
    return Number{digest(in)};
  };
  const auto make = [](std::uint64_t number) {
    return std::string(number % 2 == 0 ? 100 : 100'000, static_cast<char>('a' + number % 26));
  };
  Line<Number, std::string> line{placed(GetParam(), {"work"}), Make<std::string>{200, make}, body};
  std::uint64_t number = 0;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item->value, digest(make(number)));
    ++number;
  }
  EXPECT_EQ(number, 200U);
  EXPECT_EQ(*deaths, 20);
  line.runtime.stop();
  EXPECT_TRUE(line.runtime.arrays().empty());
}

TEST_P(ProcessMessage, WithoutWorkersIsAnError) {
  struct Refuses {
    void start() { throw std::runtime_error("no"); }
    Number operator()(const std::string&) { return {0}; }
  };
  Line<Number, std::string> line{placed(GetParam(), {"work"}), Make<std::string>{20, large}, Refuses{}};
  const auto all = line.take_all();
  ASSERT_EQ(all.size(), 20U);
  for (const auto& outcome : all) EXPECT_FALSE(outcome.value);
}

}  // namespace
}  // namespace tandem::test
