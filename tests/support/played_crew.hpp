#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <tandem/channel.hpp>
#include <tandem/process_crew.hpp>
#include <tandem/run.hpp>
#include <tandem/source.hpp>

namespace tandem::test {

/// A crew of worker processes with all that it stands on, and without a process: whoever has it plays the workers, and the pump. One
/// number is a message, eight are a result. There is room for 64 messages.
/// Threads   one.
class PlayedCrew {
 public:
  static constexpr std::uint32_t kWorkers = 2;
  static constexpr std::uint32_t kInFlight = 64;

  PlayedCrew() {
    node_.name = "work";
    node_.config.placement = Placement::process;
    node_.config.workers = kWorkers;
    node_.config.spares = 0;
    node_.message_bytes = sizeof message_;
    node_.layout = BlockLayout::of_struct<std::uint64_t[8]>();
    node_.make_body = [] { return std::make_unique<NoBody>(); };
    std::vector<ChannelLayout> channels;
    std::size_t offset = round_up(sizeof(HostPage), Segment::page_bytes());
    for (std::uint32_t slot = 0; slot < kWorkers; ++slot) {
      channels.push_back({128, offset});
      offset += channels.back().bytes();
    }
    node_.blocks = {offset, node_.layout.stride(), kInFlight, kWorkers};
    segment_ = std::make_unique<Segment>(offset + node_.blocks.bytes());
    if (segment_->back(0, segment_->size()) != 0) std::abort();
    pool_ = std::make_unique<Pool>(node_.name, *segment_, node_.layout, node_.blocks);
    source_.open(keeper_, nullptr, std::make_unique<NoStore>(), kInFlight, 0, 0);

    auto* const page = new (segment_->base()) HostPage;
    page->sleep_word.store(1);  // there is no pump that would look into the inbox
    std::vector<std::uint32_t> launched;
    crew_ = std::make_unique<ProcessCrew>(
        node_, *pool_, keeper_, segment_->base(), *page, channels, 0,
        [&](std::uint32_t slot, std::uint32_t) { launched.push_back(slot); }, [](auto, auto) {}, [] {}, [] {});
    crew_->start();
    for (const std::uint32_t slot : launched) {
      const ChannelLayout& channel = channels[slot];
      std::byte* const base = segment_->base();
      players_.push_back({{channel.request_ring(base), channel.capacity},
                          {channel.reply_ring(base), channel.capacity},
                          reinterpret_cast<std::atomic<std::uint64_t>*>(channel.reply_ring(base))});
      crew_->started({slot, 1, getpid(), Descriptor{}});
      ReplyToken ready;
      ready.kind = ReplyKind::ready;
      ready.incarnation = 1;
      players_.back().replies.push(ready);
      players_.back().replies.publish();
    }
    crew_->drain();
  }
  ~PlayedCrew() {
    keeper_.items.clear();
    crew_->stop();
  }
  PlayedCrew(const PlayedCrew&) = delete;
  PlayedCrew& operator=(const PlayedCrew&) = delete;

  ProcessCrew& crew() noexcept { return *crew_; }

  /// The commander's part, for so many messages.
  void submit(std::uint64_t count) {
    const Run run;
    for (std::uint64_t i = 0; i < count; ++i) {
      Lease* const lease = source_.try_acquire();
      lease->payload = &message_;
      Handle one{lease, Part::graph};
      crew_->submit({&one, 1});
    }
  }

  /// The workers' part: each does so many of the messages that it has by now, and says that each took so long. Returns how many that were.
  std::uint64_t play(std::uint64_t most, std::uint64_t nanoseconds) {
    std::uint64_t done = 0;
    for (Player& player : players_) {
      RequestToken request;
      for (std::uint64_t i = 0; i < most && player.requests.take(request) == RequestReader::Take::token; ++i) {
        ReplyToken reply;
        reply.kind = ReplyKind::done;
        reply.incarnation = 1;
        reply.block = request.block;
        reply.generation = request.generation;
        reply.sequence = request.sequence;
        reply.busy_nanoseconds = nanoseconds;
        player.replies.push(reply);
        ++done;
      }
      player.replies.publish();
    }
    return done;
  }
  /// How many replies a worker says to have written.
  std::atomic<std::uint64_t>& commit_word(std::size_t worker) { return *players_[worker].commit; }

  /// The consumer's part: what the crew has handed on. Returns how many items that were.
  std::uint64_t drop() {
    const std::uint64_t count = keeper_.items.size();
    for (Handle& item : keeper_.items) item.leave_graph();
    keeper_.items.clear();
    return count;
  }

 private:
  struct Keeper final : SourceListener, Outlet {
    std::vector<Handle> items;
    void message_left(Source&, std::uint64_t) noexcept override {}
    void source_drained(Source&) noexcept override {}
    void credit_free(Source&) noexcept override {}
    void emit(std::span<Handle> made) noexcept override {
      for (Handle& item : made) items.push_back(std::move(item));
    }
  };
  struct NoBody final : Body {
    void start(Context&) override {}
    void run(const void* in, void* out, Context&) override { std::memcpy(out, in, sizeof(std::uint64_t)); }
  };
  struct Player {
    RequestReader requests;
    ReplyWriter replies;
    std::atomic<std::uint64_t>* commit;
  };

  NodeInfo node_;
  Keeper keeper_;
  Source source_{0};
  std::unique_ptr<Segment> segment_;
  std::unique_ptr<Pool> pool_;
  std::uint64_t message_ = 1;
  std::unique_ptr<ProcessCrew> crew_;
  std::vector<Player> players_;
};

}  // namespace tandem::test
