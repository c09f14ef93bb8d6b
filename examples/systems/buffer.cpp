// What a user of concurrentbuffer knows, here: a commander that makes messages, producers that turn each of them into
// several arrays, and an iterator over buffers. buffer.expected is the output, for every placement and number of workers.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <utility>
#include <numeric>
#include <optional>
#include <semaphore>
#include <vector>

#include <tandem/tandem.hpp>

using namespace std::chrono_literals;

constexpr std::uint32_t kSamples = 70;  // of an epoch
constexpr std::uint32_t kBatch = 32;    // the last one is shorter
constexpr std::uint32_t kResetEvery = 2;
constexpr std::uint32_t length() { return (kSamples + kBatch - 1) / kBatch; }  // batches of an epoch

struct Message {  // any struct without pointers; there it was a dictionary
  std::uint32_t first, count;
  float rate;
};

struct Updates {  // what the consumer tells the others between epochs
  tandem::Parameter<float> rate;
  tandem::Parameter<float> gain;
  std::counting_semaphore<> told{1};
};

struct Commander {  // keeps its state; one message for each call
  Updates* updates;
  std::vector<std::uint32_t> offsets{};
  std::uint32_t next = 0, drawn = 0;

  void start() { offsets = {0, 1000}; }  // build(): once, before the first message
  bool begin_epoch(std::uint64_t epoch, tandem::Context& context) {
    while (!updates->told.try_acquire_for(10ms)) {  // the consumer has the last word on each epoch
      if (context.stopping()) return false;
    }
    if (epoch % kResetEvery == 0) drawn = 0;
    next = 0;
    return epoch < 4;
  }
  std::optional<Message> operator()() {
    if (next >= kSamples) return std::nullopt;
    const std::uint32_t first = std::exchange(next, next + kBatch);
    const std::uint32_t offset = offsets[drawn++ % offsets.size()];
    return Message{offset + first, std::min(kBatch, kSamples - first), updates->rate.get()};
  }
};

struct Producer {  // one instance for each worker
  tandem::Parameter<float> gain;
  std::vector<float> table{};

  void start(tandem::Context&) {  // build(): once in each worker
    for (int i = 0; i < 100; ++i) table.push_back(0.5F * static_cast<float>(i));
  }
  void operator()(const Message& message, tandem::Arrays& out) {
    out.set_extent("images", message.count);  // the whole batch, but for the last one
    out.set_extent("labels", message.count);
    auto images = out.tensor<float, 3>("images");
    auto labels = out.vector<std::int32_t>("labels");
    for (std::uint32_t i = 0; i < message.count; ++i) {
      labels(i) = static_cast<std::int32_t>(message.first + i);
      images.chip(i, 0).setConstant(gain.get() * message.rate * table[(message.first + i) % table.size()]);
    }
  }
};

double mean(const tandem::Arrays& batch) {
  const auto values = batch.span<float>("images");
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

void print(const tandem::Item<tandem::Arrays>& batch) {
  const auto& message = batch.message<Message>();  // delivered with its data
  const auto labels = batch->vector<std::int32_t>("labels");
  std::printf(
      "epoch %d, batch %d of %d: samples from %u on, rate %.1f; %d images, labels %d to %d, mean %.3f\n",
      int(batch.epoch()), int(batch.index()), int(length()), message.first, message.rate,
      int(batch->shape("images")[0]), labels(0), labels(labels.size() - 1), mean(*batch));
}

int main(int argc, char** argv) {
  tandem::Runtime runtime{argc, argv};  // reads buffer.toml: order, buffers, workers
  oneapi::tbb::flow::graph graph;
  Updates updates{{runtime, 1.0F}, {runtime, 1.0F}};
  tandem::commander_node<Message> commander{graph, runtime, "commander", Commander{&updates}};
  // A buffer: several arrays, each with a shape and a type of its own, and here with fewer samples now and then.
  const std::vector<tandem::ArraySpec> buffer{tandem::array<float>("images", {kBatch, 16, 16}).up_to(),
                                              tandem::array<std::int32_t>("labels", {kBatch}).up_to()};
  tandem::producer_node<Message, tandem::Arrays> producer{graph, runtime, "producer", buffer,
                                                          Producer{updates.gain}};
  tandem::sequencer_node<tandem::Arrays> order{graph, runtime};
  tandem::stream_node<tandem::Arrays> buffers{graph, runtime};
  make_edge(commander, producer);
  make_edge(producer, order);
  make_edge(order, buffers);

  for (int epoch = 0; epoch < 3; ++epoch) {
    for (const auto& batch : buffers) print(batch);          // the next batch frees this one's buffer
    updates.rate.set(1.0F + static_cast<float>(epoch + 1));  // to the commander
    updates.gain.set(epoch == 0 ? 1.0F : 0.5F);              // to all workers
    updates.told.release();
  }

  const auto held = buffers.next();  // a buffer is taken for as long as its handle is held
  const double before = mean(**held);
  const auto next = buffers.next();
  std::printf("epoch %d: held two of %d buffers; the first is %s\n", int(next->epoch()),
              int(runtime.in_flight()), mean(**held) == before ? "as it was" : "another");
  runtime.stop();  // in the middle of the epoch
  runtime.stop();  // harmless
  std::printf("stopped; next: %s; held still: %d arrays\n", buffers.next() ? "a batch" : "nothing",
              int((*held)->size()));
}
