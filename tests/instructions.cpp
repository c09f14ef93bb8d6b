// One message's way through the host, in one thread and without a clock, so that its instructions can be counted: see instructions.sh.
//   tandem_instructions PATH   process: commander's credit, crew of worker processes, item, and back; the workers are played here
//                              graph: feeder, sequencer, stream
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <tandem/channel.hpp>
#include <tandem/core.hpp>
#include <tandem/tandem.hpp>

namespace tandem {

constexpr std::uint64_t kBatch = 32;  // messages that come at once
constexpr std::uint64_t kBatches = 1000;

// What is between these two is counted (callgrind's --toggle-collect).
[[gnu::noinline]] void counted(const std::function<void()>& part) { part(); }

struct Keeper : SourceListener, Outlet, MessageStore {
  std::vector<Handle> items;
  void message_left(Source&, std::uint64_t) noexcept override {}
  void source_drained(Source&) noexcept override {}
  void credit_free(Source&) noexcept override {}
  void emit(std::span<Handle> made) noexcept override {
    for (Handle& item : made) items.push_back(std::move(item));
  }
  void destroy(std::uint32_t) noexcept override {}
};

struct OnesStore final : MessageStore {
  std::uint64_t message = 1;
  void destroy(std::uint32_t) noexcept override {}
};

struct NoBody final : Body {
  void start(Context&) override {}
  void run(const void* in, void* out, Context&) override { std::memcpy(out, in, sizeof(std::uint64_t)); }
};

// What a crew stands on.
struct Bench {
  NodeInfo node;
  Keeper keeper;
  Source source{0};
  ChannelLayout channels[2];
  std::unique_ptr<Segment> segment;
  std::unique_ptr<Pool> pool;
  std::uint64_t message = 1;

  explicit Bench(Placement placement) {
    node.name = "work";
    node.config.placement = placement;
    node.config.workers = 2;
    node.config.spares = 0;
    node.message_bytes = sizeof message;
    node.layout = BlockLayout::of_struct<std::uint64_t[8]>();
    node.make_body = [] { return std::make_unique<NoBody>(); };
    std::size_t offset = round_up(sizeof(HostPage), Segment::page_bytes());
    for (ChannelLayout& channel : channels) {
      channel = {128, offset};
      offset += channel.bytes();
    }
    node.blocks = {offset, node.layout.stride(), 2 * kBatch, placement == Placement::process ? 2U : 1U};
    segment = std::make_unique<Segment>(offset + node.blocks.bytes());
    if (segment->back(0, segment->size()) != 0) std::exit(1);
    pool = std::make_unique<Pool>(node.name, *segment, node.layout, node.blocks);
    source.open(keeper, nullptr, std::make_unique<OnesStore>(), 2 * kBatch, 0, 0);
  }

  void submit_batch(Crew& crew) {
    const Run run;
    for (std::uint64_t i = 0; i < kBatch; ++i) {
      Lease* const lease = source.try_acquire();
      lease->payload = &message;
      Handle one{lease, Part::graph};
      crew.submit({&one, 1});
    }
  }
  void drop_batch() {
    if (keeper.items.size() != kBatch) {
      std::fprintf(stderr, "%zu items came, and %d were sent\n", keeper.items.size(), static_cast<int>(kBatch));
      std::exit(1);
    }
    for (Handle& item : keeper.items) item.leave_graph();
    keeper.items.clear();
  }
};

void process() {
  Bench bench{Placement::process};
  auto* const page = new (bench.segment->base()) HostPage;
  page->sleep_word.store(1);  // there is no pump that would look into the inbox
  std::vector<std::uint32_t> launched;
  ProcessCrew crew{bench.node,
                   *bench.pool,
                   bench.keeper,
                   bench.segment->base(),
                   *page,
                   {bench.channels[0], bench.channels[1]},
                   0,
                   [&](std::uint32_t slot, std::uint32_t) { launched.push_back(slot); },
                   [](auto, auto) {},
                   [] {},
                   [] {}};
  crew.start();
  struct Player {
    RequestReader requests;
    ReplyWriter replies;
  };
  std::vector<Player> players;
  for (const std::uint32_t slot : launched) {
    const ChannelLayout& channel = bench.channels[slot];
    std::byte* const base = bench.segment->base();
    players.push_back({{channel.request_ring(base), channel.capacity},
                       {channel.reply_ring(base), channel.capacity}});
    crew.started({slot, 1, getpid(), Descriptor{}});
    ReplyToken ready;
    ready.kind = ReplyKind::ready;
    ready.incarnation = 1;
    players.back().replies.push(ready);
    players.back().replies.publish();
  }
  crew.drain();
  const auto play = [&] {
    bool any = false;
    for (Player& player : players) {
      RequestToken request;
      while (player.requests.take(request) == RequestReader::Take::token) {
        ReplyToken reply;
        reply.kind = ReplyKind::done;
        reply.incarnation = 1;
        reply.block = request.block;
        reply.generation = request.generation;
        reply.sequence = request.sequence;
        reply.busy_nanoseconds = 1000;
        player.replies.push(reply);
        any = true;
      }
      player.replies.publish();
    }
    return any;
  };
  for (std::uint64_t batch = 0; batch < kBatches; ++batch) {
    counted([&] { bench.submit_batch(crew); });
    while (play()) counted([&] { crew.drain(); });
    counted([&] { bench.drop_batch(); });
  }
  crew.stop();
}

void graph() {
  Runtime runtime{Config::parse("[tandem]\nin_flight = 64")};
  oneapi::tbb::flow::graph graph;
  feeder_node<std::uint64_t> steps{graph, runtime, "steps"};
  sequencer_node<std::uint64_t> order{graph, runtime};
  stream_node<std::uint64_t> stream{graph, runtime};
  make_edge(steps, order);
  make_edge(order, stream);
  runtime.start();
  for (std::uint64_t batch = 0; batch < kBatches; ++batch) {
    counted([&] {
      for (std::uint64_t i = 0; i < kBatch; ++i) {
        auto step = steps.loan();
        *step = i;
        steps.push(std::move(step));
      }
      for (std::uint64_t i = 0; i < kBatch; ++i) {
        const auto item = stream.next();
        if (!item || **item != i) std::exit(1);
      }
    });
  }
}

}  // namespace tandem

int main(int argc, char** argv) {
  const std::string_view path = argc == 2 ? argv[1] : "";
  if (path == "process") {
    tandem::process();
  } else if (path == "graph") {
    tandem::graph();
  } else {
    std::fprintf(stderr, "usage: tandem_instructions process | graph\n");
    return 2;
  }
  return 0;
}
