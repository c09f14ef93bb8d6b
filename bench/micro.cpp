#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include <tandem/doorbell.hpp>
#include <tandem/item.hpp>
#include <tandem/reorder.hpp>
#include <tandem/ring.hpp>

// The price of single steps, to say where the time of a message goes.

namespace {

struct Token {
  std::uint64_t words[8];
};
using Writer = tandem::RingWriter<Token>;
using Reader = tandem::RingReader<Token>;
constexpr std::uint32_t kCapacity = 512;

// Zeroed, and aligned to a cache line, as a ring in the segment is.
struct alignas(tandem::kCacheLine) RingMemory {
  std::byte bytes[tandem::ring_bytes(kCapacity)] = {};
};

void ring_push_publish_take(benchmark::State& state) {
  RingMemory memory;
  Writer writer{memory.bytes, kCapacity};
  Reader reader{memory.bytes, kCapacity};
  Token token{};
  for (auto _ : state) {
    writer.push(token);
    writer.publish();
    benchmark::DoNotOptimize(reader.take(token));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(ring_push_publish_take);

// Spins, but gives way now and then: without it, a machine with more runnable threads than processors would
// be measured by its time slices.
void pause(std::uint32_t& misses) {
  if (++misses % 4096 == 0) std::this_thread::yield();
}

// Tokens one way and back, `Arg` for each publish(); both sides spin. Needs two idle processors to mean much.
void ring_round_trip_two_threads(benchmark::State& state) {
  RingMemory requests, replies;
  const auto run = static_cast<std::uint64_t>(state.range(0));
  Writer ask{requests.bytes, kCapacity};
  Writer answer{replies.bytes, kCapacity};  // made here: the other side may look before the thread runs
  std::atomic<bool> stop{false};
  std::thread echo{[&] {
    Reader asked{requests.bytes, kCapacity};
    Token token{};
    std::uint32_t misses = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      while (asked.take(token) == Reader::Take::token) answer.push(token);
      if (!answer.publish()) pause(misses);
    }
  }};
  Reader answered{replies.bytes, kCapacity};
  Token token{};
  std::uint32_t misses = 0;
  for (auto _ : state) {
    for (std::uint64_t i = 0; i < run; ++i) ask.push(token);
    ask.publish();
    for (std::uint64_t i = 0; i < run;) {
      if (answered.take(token) == Reader::Take::token) {
        ++i;
      } else {
        pause(misses);
      }
    }
  }
  stop.store(true, std::memory_order_relaxed);
  echo.join();
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(ring_round_trip_two_threads)->Arg(1)->Arg(16)->Arg(256)->UseRealTime();

void must_ring_awake(benchmark::State& state) {
  std::atomic<std::uint32_t> word{0};
  tandem::Ringer<> ringer{word};
  for (auto _ : state) benchmark::DoNotOptimize(ringer.must_ring());
}
BENCHMARK(must_ring_awake);

void futex_bell_nobody_sleeps(benchmark::State& state) {
  std::atomic<std::uint32_t> count{0};
  const tandem::FutexBell<> bell{count};
  for (auto _ : state) bell.ring();
}
BENCHMARK(futex_bell_nobody_sleeps);

void pipe_bell_ring_and_clear(benchmark::State& state) {
  const tandem::PipeBell bell;
  for (auto _ : state) {
    tandem::PipeBell::ring(bell.rung_at());
    bell.clear();
  }
}
BENCHMARK(pipe_bell_ring_and_clear);

// Two sleeping threads wake each other in turn: half of it is what one wake-up costs.
void futex_bell_round_trip(benchmark::State& state) {
  std::atomic<std::uint32_t> there{0}, back{0};
  const tandem::FutexBell<> ask{there}, answer{back};
  std::atomic<bool> stop{false};
  std::thread echo{[&] {
    for (std::uint32_t heard = 0;; ++heard) {
      while (ask.count() == heard) ask.wait(heard);
      if (stop.load()) return;
      answer.ring();
    }
  }};
  for (auto _ : state) {
    const std::uint32_t heard = answer.count();
    ask.ring();
    while (answer.count() == heard) answer.wait(heard);
  }
  stop.store(true);
  ask.ring();
  echo.join();
}
BENCHMARK(futex_bell_round_trip)->UseRealTime();

// An Item is a count in its lease; nobody owns this lease, so the count must never fall to zero here.
void item_copy_and_drop(benchmark::State& state) {
  tandem::Lease lease;
  lease.root = &lease;
  lease.open();
  tandem::Item<std::uint64_t> item{tandem::Handle{&lease, tandem::Part::graph}};
  for (auto _ : state) {
    tandem::Item<std::uint64_t> copy{item};
    benchmark::DoNotOptimize(copy);
  }
  item.handle().release();
}
BENCHMARK(item_copy_and_drop);

// Two workers' results in turn, each `Arg` behind the other.
void reorder_put_and_take(benchmark::State& state) {
  tandem::Reorder<std::uint64_t> order;
  const auto run = static_cast<std::uint64_t>(state.range(0));
  std::vector<std::uint64_t> due;
  std::uint64_t base = 0;
  for (auto _ : state) {
    for (std::uint64_t i = 0; i < run; ++i) order.put(base + run + i, base + run + i);
    for (std::uint64_t i = 0; i < run; ++i) order.put(base + i, base + i);
    order.take_due(due);
    benchmark::DoNotOptimize(due.data());
    due.clear();
    base += 2 * run;
  }
  state.SetItemsProcessed(state.iterations() * state.range(0) * 2);
}
BENCHMARK(reorder_put_and_take)->Arg(1)->Arg(16)->Arg(256);

}  // namespace

BENCHMARK_MAIN();
