#pragma once

#include <dirent.h>
#include <atomic>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <tandem/channel.hpp>

namespace tandem::test {

/// What a worker process can write of the channel to its host, found from inside the worker as a stray
/// pointer would find it: in its own memory map.
class ReplyArea {
 public:
  /// in_flight: of the runtime, which must have one commander.
  explicit ReplyArea(std::uint32_t in_flight) {
    layout_.capacity = std::bit_ceil(std::max<std::uint32_t>(in_flight + 2, 4));
    std::FILE* const maps = std::fopen("/proc/self/maps", "re");
    if (maps == nullptr) std::abort();
    char line[512];
    while (std::fgets(line, sizeof line, maps) != nullptr) {
      if (std::strstr(line, "memfd:tandem ") == nullptr) continue;  // not the shared arrays
      char* rest = nullptr;
      auto* const begin = reinterpret_cast<std::byte*>(std::strtoull(line, &rest, 16));
      if (host_page_ == nullptr) host_page_ = begin;
      auto* const end = reinterpret_cast<std::byte*>(std::strtoull(rest + 1, &rest, 16));
      if (rest[2] != 'w') continue;
      // The first that is writable: read-only memory comes before it, the blocks of the node after it.
      if (area_ == nullptr) area_ = begin;
      writable_.emplace_back(begin, end);
    }
    std::fclose(maps);
    if (area_ == nullptr || area_ == host_page_) std::abort();
    writable_.front() = writable_.front().subspan(bytes());
    if (writable_.front().empty()) writable_.erase(writable_.begin());
  }

  std::byte* area() const { return area_; }
  std::size_t bytes() const { return layout_.reply_bytes(); }
  std::uint32_t capacity() const { return layout_.capacity; }
  /// All else of Tandem's memory that this process can write: blocks.
  const std::vector<std::span<std::byte>>& blocks() const { return writable_; }

  /// The word that says whether this worker sleeps.
  volatile std::uint32_t& sleep_word() const { return *reinterpret_cast<volatile std::uint32_t*>(area_); }
  std::byte* text(std::uint64_t number) const { return layout_.text(base(), number); }

  volatile std::uint64_t& commit() const {
    return *reinterpret_cast<volatile std::uint64_t*>(layout_.reply_ring(base()));
  }
  void show(std::uint64_t committed) const {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    commit() = committed;
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  std::byte* place(std::uint64_t number) const {
    return layout_.reply_ring(base()) + kCacheLine + (number & (layout_.capacity - 1)) * sizeof(ReplyToken);
  }
  std::byte* word(std::uint64_t number) const {
    return layout_.reply_ring(base()) + ring_bytes(layout_.capacity) +
           (number & (layout_.capacity - 1)) * sizeof(DoneWord);
  }
  ReplyToken token(std::uint64_t number) const {
    ReplyToken token;
    std::memcpy(&token, place(number), sizeof token);
    return token;
  }

  /// How many requests the worker was ever given, and one of the last.
  std::uint64_t requested() const {
    return *reinterpret_cast<const volatile std::uint64_t*>(layout_.request_ring(base()));
  }
  RequestToken request(std::uint64_t number) const {
    RequestToken request;
    std::memcpy(&request,
                layout_.request_ring(base()) + kCacheLine + (number & (layout_.capacity - 1)) * sizeof request,
                sizeof request);
    return request;
  }
  /// The request that the worker is at. Place 0 of the replies is about the start.
  RequestToken request() const { return request(commit() - 1); }
  /// Its incarnation, by its last reply: a word or a token. Not while its body asks for shared arrays: those are replies, too.
  std::uint32_t incarnation() const {
    const std::uint64_t last = commit() - 1;
    if (last == 0) return token(0).incarnation;  // the one about the start
    const RequestToken answered = request(last - 1);
    DoneWord said;
    std::memcpy(&said, word(last), sizeof said);
    constexpr std::uint32_t kMost = 100'000;  // far more than a test has
    for (std::uint32_t incarnation = 0; incarnation < kMost; ++incarnation) {
      if (said.tells_of({incarnation, answered.block, answered.generation, answered.sequence}))
        return incarnation;
    }
    return token(last).incarnation;
  }
  /// What the worker would reply now if it were done.
  ReplyToken honest_reply() const {
    const RequestToken request = this->request();
    ReplyToken reply;
    reply.kind = ReplyKind::done;
    reply.incarnation = incarnation();
    reply.block = request.block;
    reply.generation = request.generation;
    reply.sequence = request.sequence;
    return reply;
  }

  /// The word of the host's pump: odd while it sleeps.
  std::uint32_t host_sleep_word() const {
    return reinterpret_cast<const HostPage*>(host_page_)->sleep_word.load(std::memory_order_seq_cst);
  }
  /// The host's bell: a pipe with a high number (see HostBell in worker.cpp). Others are the test runner's.
  static std::vector<int> bells() {
    std::vector<int> bells;
    DIR* const open = opendir("/proc/self/fd");
    while (const dirent* const entry = readdir(open)) {
      char target[64] = {};
      if (readlinkat(dirfd(open), entry->d_name, target, sizeof target - 1) <= 0) continue;
      const int number = std::atoi(entry->d_name);
      if (number >= 1000 && std::strncmp(target, "pipe:[", 6) == 0) bells.push_back(number);
    }
    closedir(open);
    return bells;
  }
  /// Wakes the host through every one of them.
  static void ring_host() {
    const std::uint64_t one = 1;
    for (const int bell : bells()) { [[maybe_unused]] const auto written = write(bell, &one, sizeof one); }
  }
  /// Rings, and returns once the host has looked and gone to sleep again. False when it does not for long.
  bool let_host_look() const {
    for (int looks = 0; looks < 2; ++looks) {
      std::uint32_t before = host_sleep_word();
      ring_host();
      std::uint32_t now = before;
      for (long patience = 0; now == before || (now & 1U) == 0; ++patience) {
        if (patience > 10'000'000) return false;
        usleep(1);
        now = host_sleep_word();
      }
    }
    return true;
  }

 private:
  // As if the channel were the first thing in the segment.
  std::byte* base() const { return area_ - layout_.request_bytes(); }

  ChannelLayout layout_;  // with offset 0
  std::vector<std::span<std::byte>> writable_;
  std::byte* host_page_ = nullptr;
  std::byte* area_ = nullptr;
};

}  // namespace tandem::test
