#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include <oneapi/tbb/parallel_pipeline.h>
#include <oneapi/tbb/task_arena.h>

#include "../array_pool.hpp"
#include "../consumer.hpp"
#include "../setup.hpp"
#include "peer.hpp"

// oneTBB's parallel_pipeline. Its graphs are beside Tandem's, in tiny.cpp, big.cpp and round_trip.cpp.

namespace bench {
namespace {

namespace tbb = oneapi::tbb;

// As many threads as workers: each carries its message through all three stages, the two serial ones among them.
template <class Product, class Make, class Take>
void pipeline(int workers, std::uint32_t in_flight, std::uint64_t all, const Make& make_one,
              const Take& take_one) {
  Counter counter{all};
  tbb::task_arena arena{workers};
  arena.execute([&] {
    tbb::parallel_pipeline(in_flight,
                           tbb::make_filter<void, Message>(tbb::filter_mode::serial_in_order,
                                                           [&](tbb::flow_control& control) {
                                                             const std::optional<Message> message = counter();
                                                             if (message) return *message;
                                                             control.stop();
                                                             return Message{};
                                                           }) &
                               tbb::make_filter<Message, Product>(tbb::filter_mode::parallel, make_one) &
                               tbb::make_filter<Product, void>(tbb::filter_mode::serial_in_order, take_one));
  });
}

double pipeline_rate(Kind kind, const Options& options) {
  if (kind == Kind::big) {
    BigConsumer consumer{options};
    ArrayPool pool{options.big_in_flight};
    pipeline<std::byte*>(
        options.workers, options.big_in_flight, consumer.all(),
        [&](const Message& message) {
          std::byte* const array = pool.take();
          fill(array, message.number);
          return array;
        },
        [&](std::byte* array) {
          consumer.take(array);
          pool.give_back(array);
        });
    return consumer.rate();
  }
  TinyConsumer consumer{options};
  pipeline<Result>(
      options.workers, options.in_flight, consumer.all(),
      [](const Message& message) {
        Result result;
        make(message, result);
        return result;
      },
      [&](const Result& result) { consumer.take(result); });
  return consumer.rate();
}

}  // namespace

Peer pipeline_peer() {
  return {"oneTBB parallel_pipeline", "tbb_pipeline", {}, {}, pipeline_rate, {Kind::tiny, Kind::big}};
}

}  // namespace bench
