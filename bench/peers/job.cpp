#include "job.hpp"

#include <cstring>
#include <functional>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "../consumer.hpp"
#include "../fill.hpp"

namespace bench {
namespace {

void make_tiny(std::uint64_t number, std::byte* to) {
  Result result;
  make({number}, result);
  std::memcpy(to, &result, sizeof result);
}

template <class Some>
void take_tiny(Some& consumer, const std::byte* from) {
  Result result;
  std::memcpy(&result, from, sizeof result);
  consumer.take(result);
}

Job job_of(Kind kind, const Options& options, std::uint64_t all, std::function<void(const std::byte*)> take) {
  switch (kind) {
    case Kind::tiny:
      return {options.workers, all, options.in_flight, sizeof(Result), make_tiny, std::move(take)};
    case Kind::big:
      return {options.workers,
              all,
              options.big_in_flight,
              kBigBytes,
              [](std::uint64_t number, std::byte* to) { fill(to, number); },
              std::move(take)};
    case Kind::round_trip: break;
  }
  return {1, all, 1, sizeof(Result), make_tiny, std::move(take)};
}

}  // namespace

std::string_view name_of(Kind kind) {
  return kind == Kind::tiny ? "tiny" : kind == Kind::big ? "big" : "round_trip";
}

Kind kind_of(std::string_view name) {
  for (const Kind kind : kKinds) {
    if (name_of(kind) == name) return kind;
  }
  throw std::runtime_error(fmt::format("'{}' is no job; there are tiny, big, round_trip", name));
}

double measure(Kind kind, const Options& options, const DoJob& do_job) {
  if (kind == Kind::big) {
    BigConsumer consumer{options};
    do_job(job_of(kind, options, consumer.all(), [&](const std::byte* from) { consumer.take(from); }));
    return consumer.rate();
  }
  if (kind == Kind::round_trip) {
    TripConsumer consumer{options};
    do_job(job_of(kind, options, consumer.all(), [&](const std::byte* from) { take_tiny(consumer, from); }));
    return consumer.trip();
  }
  TinyConsumer consumer{options};
  do_job(job_of(kind, options, consumer.all(), [&](const std::byte* from) { take_tiny(consumer, from); }));
  return consumer.rate();
}

void do_as_worker(Kind kind, const Options& options, const DoJob& do_job) {
  switch (kind) {
    case Kind::tiny: return do_job(job_of(kind, options, TinyConsumer{options}.all(), {}));
    case Kind::big: return do_job(job_of(kind, options, BigConsumer{options}.all(), {}));
    case Kind::round_trip: return do_job(job_of(kind, options, TripConsumer{options}.all(), {}));
  }
}

}  // namespace bench
