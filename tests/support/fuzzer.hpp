#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <tandem/context.hpp>

#include "reply_area.hpp"

namespace tandem::test {

/// What a worker that cannot be trusted does in one round. Its life may go on after the first kind; most of the
/// second cost it its life, when the host looks in time.
enum class Act : std::uint8_t {
  texts,          // random bytes over the places for texts
  free_tokens,    // random bytes over places of the ring that hold no reply
  free_words,     // the same of the words that may stand for one
  sleep_word,     // random
  output,         // random bytes over the output of the message that it is at
  blocks,         // random bytes over any of the blocks that it can write
  ring,           // wakes the host for nothing
  ring_full,      // until the host's pipe is full
  early_reply,    // the honest reply, too early; then random bytes over it and the output
  early_failure,  // an error with a text of any length, now and then for want of memory

  wrong_field,   // a reply with one field that is off by one, or of a wrong kind
  wrong_word,    // a word that tells of another request, before a token of random bytes
  half_token,    // a reply of which a part is from the last lap
  replay,        // an old reply once more
  stolen,        // a reply to what another worker was asked
  random_token,  // a reply of random bytes
  ahead,         // replies to all that it was asked, before it has looked at it
  jump,          // of the commit word: by a ring, by more than a ring, backwards, far away
  flicker,       // the same, and back at once
  racing_bytes,  // a reply whose bytes another thread changes while the host reads
  whole_area,    // random bytes over everything but the blocks
  hidden_sleep,  // a sleep word that the host has rung for already: it will not be woken
  at_start,      // any of these before the start is answered
  count
};
inline constexpr std::size_t kActs = static_cast<std::size_t>(Act::count);
inline constexpr Act kFirstDeadlyAct = Act::wrong_field;
const char* name_of(Act act);

/// What workers and host write down while a fuzzer is at work. Make it Shared.
struct FuzzBooks {
  static constexpr std::size_t kMessages = 4096;  // more than can be in flight

  std::atomic<std::uint64_t> rounds{0};
  std::atomic<std::uint64_t> acts[kActs] = {};
  std::atomic<std::uint64_t> lives{0};   // of the worker that fuzzes
  std::atomic<std::uint64_t> starts{0};  // of any worker
  /// How often an honest worker began a message; by sequence number, modulo.
  std::atomic<std::uint32_t> honest[kMessages] = {};
  /// What honest workers are at, for the thief; torn when read at the wrong time, which is welcome.
  RequestToken asked[8];

  std::atomic<std::uint32_t>& honest_of(std::uint64_t sequence) { return honest[sequence % kMessages]; }
};

struct FuzzPlan {
  std::uint64_t seed = 0;
  std::uint32_t in_flight = 0;
  bool threads = false;  // some lives have a thread that goes on between and during messages
  bool at_start = false;
  std::uint64_t allowed = ~std::uint64_t{0};  // a bit for each act
};

/// Acts that are allowed: all, or those of the environment variable TANDEM_FUZZ_ACTS ("texts,jump", or "-blocks"
/// for all but these). To find out which one it is that breaks something.
std::uint64_t allowed_acts();

/// In a worker process: what one that cannot be trusted does.
class Fuzzer {
 public:
  Fuzzer(const FuzzPlan& plan, FuzzBooks& books);

  /// In start(). Only sometimes, so that the worker comes to do messages too.
  void start();
  /// In the body, when the honest work is done. May not return.
  void play(std::span<std::byte> output);
  /// In the body of an honest worker.
  void look_on(int worker, std::uint64_t sequence);

 private:
  using Random = std::mt19937_64;

  bool allows(Act act) const { return (plan_.allowed >> static_cast<unsigned>(act) & 1U) != 0; }
  void act(Act act, Random& random, std::span<std::byte> output);
  void light_act(Random& random, std::span<std::byte> output);
  void deadly_act(Random& random, std::span<std::byte> output);
  void go_on_beside();

  void scribble(std::span<std::byte> over, Random& random);
  void scribble_area(Random& random);
  void send(ReplyToken reply);
  void send_part(Random& random);
  void send_wrong_field(Random& random);
  void send_wrong_word(Random& random);
  void send_ahead(Random& random);
  void send_racing(Random& random);
  std::uint64_t nonsense_commit(Random& random);
  void hide_sleep();
  void ring(std::uint64_t by);

  const FuzzPlan plan_;
  FuzzBooks& books_;
  std::optional<ReplyArea> area_;
  Random random_;
  std::vector<int> bells_;
  bool beside_ = false;
};

}  // namespace tandem::test
