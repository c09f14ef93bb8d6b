#pragma once

#include <unistd.h>

#include <atomic>
#include <cstddef>
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
/// number is a message, eight are a result. There is room for 256 messages.
/// Threads   one.
class PlayedCrew {
 public:
  static constexpr std::uint32_t kWorkers = 2;
  static constexpr std::uint32_t kInFlight = 256;

  PlayedCrew() {
    node_.name = "work";
    node_.config.placement = Placement::process;
    node_.config.workers = kWorkers;
    node_.config.spares = 0;
    node_.message_bytes = sizeof message_;
    node_.layout = BlockLayout::of_struct<std::uint64_t[8]>();
    node_.make_body = [] { return std::make_unique<NoBody>(); };
    std::size_t offset = round_up(sizeof(HostPage), Segment::page_bytes());
    for (std::uint32_t slot = 0; slot < kWorkers; ++slot) {
      channels_.push_back({2 * kInFlight, offset});
      offset += channels_.back().bytes();
    }
    node_.blocks = {offset, node_.layout.stride(), kInFlight, kWorkers};
    segment_ = std::make_unique<Segment>(offset + node_.blocks.bytes());
    if (segment_->back(0, segment_->size()) != 0) std::abort();
    pool_ = std::make_unique<Pool>(node_.name, *segment_, node_.layout, node_.blocks);
    source_.open(keeper_, nullptr, std::make_unique<NoStore>(), kInFlight, 0, 0);

    auto* const page = new (segment_->base()) HostPage;
    page->sleep_word.store(1);  // there is no pump that would look into the inbox
    crew_ = std::make_unique<ProcessCrew>(
        node_, *pool_, keeper_, segment_->base(), *page, channels_, 0,
        [this](std::uint32_t slot, std::uint32_t incarnation) {
          launched_.push_back({slot, incarnation});
        },
        [](auto, auto) {}, [this] { ++nudges_; }, [] {});
    players_.resize(kWorkers);
    crew_->start();
    while (!launched_.empty()) begin(launch());
    crew_->drain();
  }
  ~PlayedCrew() {
    keeper_.items.clear();
    crew_->stop();
  }
  PlayedCrew(const PlayedCrew&) = delete;
  PlayedCrew& operator=(const PlayedCrew&) = delete;

  ProcessCrew& crew() noexcept { return *crew_; }

  /// How often the crew has asked the pump to come.
  int nudges() const noexcept { return nudges_; }

  struct Launched {
    std::uint32_t slot;
    std::uint32_t incarnation;
  };
  /// The launcher's part: what the crew wants started. There must be something.
  Launched launch() {
    const Launched one = launched_.front();
    launched_.erase(launched_.begin());
    return one;
  }
  bool wants_launch() const noexcept { return !launched_.empty(); }
  /// A worker says that it is ready, which the crew has not been told to be there.
  void say_ready(Launched worker) {
    const ChannelLayout& channel = channels_[worker.slot];
    std::byte* const base = segment_->base();
    players_[worker.slot] = {worker.incarnation,
                             {channel.request_ring(base), channel.capacity},
                             {},
                             {channel.reply_ring(base), channel.capacity},
                             reinterpret_cast<std::atomic<std::uint64_t>*>(channel.reply_ring(base))};
    ReplyToken ready;
    ready.kind = ReplyKind::ready;
    ready.incarnation = worker.incarnation;
    players_[worker.slot].replies.push(ready);
    players_[worker.slot].replies.publish();
  }
  void begin(Launched worker) {
    crew_->started({worker.slot, worker.incarnation, getpid(), Descriptor{}});
    say_ready(worker);
    crew_->drain();
  }

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
    for (std::uint32_t slot = 0; slot < kWorkers; ++slot) done += play_one(slot, most, nanoseconds);
    return done;
  }
  std::uint64_t play_one(std::uint32_t slot, std::uint64_t most, std::uint64_t nanoseconds) {
    Player& player = players_[slot];
    std::uint64_t done = 0;
    for (RequestToken request; done < most && player.requests.take(request) == RequestReader::Take::token;
         ++done) {
      player.last = request;
      player.replies.push(DoneWord{{player.incarnation, request.block, request.generation, request.sequence},
                                   nanoseconds});
    }
    player.replies.publish();
    return done;
  }
  /// What a worker did last.
  const RequestToken& last(std::size_t worker) const { return players_[worker].last; }
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
    std::uint32_t incarnation = 0;
    RequestReader requests;
    RequestToken last;
    ReplyWriter replies;
    std::atomic<std::uint64_t>* commit = nullptr;
  };

  NodeInfo node_;
  std::vector<ChannelLayout> channels_;
  std::vector<Launched> launched_;
  int nudges_ = 0;
  Keeper keeper_;
  Source source_{0};
  std::unique_ptr<Segment> segment_;
  std::unique_ptr<Pool> pool_;
  std::uint64_t message_ = 1;
  std::unique_ptr<ProcessCrew> crew_;
  std::vector<Player> players_;
};

}  // namespace tandem::test
