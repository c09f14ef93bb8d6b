#include "fuzzer.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <sstream>

namespace tandem::test {
namespace {

constexpr const char* kNames[] = {"texts",        "free_tokens",  "free_words", "sleep_word",  "output",
                                  "blocks",       "ring",         "ring_full",  "early_reply", "early_failure",
                                  "wrong_field",  "wrong_word",   "half_token", "replay",      "stolen",
                                  "random_token", "ahead",        "jump",       "flicker",     "racing_bytes",
                                  "whole_area",   "hidden_sleep", "at_start"};
static_assert(std::size(kNames) == kActs);

// A body may ask for the end of the run (ReplyToken::stop), and the host obeys: no nonsense, and the end of any
// fuzzing. So that word becomes anything but 1.
constexpr std::size_t kStopPlace = offsetof(ReplyToken, stop);
static_assert(kStopPlace == 36 && sizeof(ReplyToken) == kCacheLine);

void pass_time(std::uint64_t steps) {
  for (std::uint64_t step = 0; step < steps; ++step) asm volatile("");
}

}  // namespace

const char* name_of(Act act) { return kNames[static_cast<std::size_t>(act)]; }

std::uint64_t allowed_acts() {
  const char* const wanted = std::getenv("TANDEM_FUZZ_ACTS");
  if (wanted == nullptr) return ~std::uint64_t{0};
  std::string text = wanted;
  const bool without = text.starts_with('-');
  std::istringstream words{without ? text.substr(1) : text};
  std::uint64_t named = 0;
  for (std::string word; std::getline(words, word, ',');) {
    const auto* const found = std::find(std::begin(kNames), std::end(kNames), word);
    if (found == std::end(kNames)) {
      std::fprintf(stderr, "TANDEM_FUZZ_ACTS: no act is named '%s'\n", word.c_str());
      std::exit(2);
    }
    named |= std::uint64_t{1} << (found - std::begin(kNames));
  }
  return without ? ~named : named;
}

Fuzzer::Fuzzer(const FuzzPlan& plan, FuzzBooks& books)
    : plan_{plan}, books_{books}, random_{plan.seed + static_cast<std::uint64_t>(getpid())} {
  bells_ = ReplyArea::bells();
}

void Fuzzer::start() {
  if (!plan_.at_start || !allows(Act::at_start) || books_.starts++ % 5 != 4) return;
  area_.emplace(plan_.in_flight);
  ++books_.rounds;
  ++books_.acts[static_cast<std::size_t>(Act::at_start)];
  switch (random_() % 3) {
    case 0: area_->show(nonsense_commit(random_)); break;
    case 1: scribble_area(random_); break;
    default: {  // an answer to a request that it has not had, and only then that it is ready
      ReplyToken reply;
      reply.kind = ReplyKind::done;
      reply.incarnation = static_cast<std::uint32_t>(random_() % 4);
      send(reply);
    }
  }
  ring(1);
  pass_time(random_() % 100'000);
  area_.reset();
}

void Fuzzer::look_on(int worker, std::uint64_t sequence) {
  ++books_.honest_of(sequence);
  if (!area_) area_.emplace(plan_.in_flight);
  const RequestToken request = area_->request();
  RequestToken& place = books_.asked[static_cast<std::size_t>(worker) % std::size(books_.asked)];
  std::memcpy(&place, &request, sizeof place);
}

void Fuzzer::play(std::span<std::byte> output) {
  if (!area_) {
    area_.emplace(plan_.in_flight);
    ++books_.lives;
    if (plan_.threads && random_() % 4 == 0) go_on_beside();
  }
  for (std::uint64_t times = random_() % 16; times > 0; --times) light_act(random_, output);
  if (random_() % 4 != 0) return;
  deadly_act(random_, output);
  switch (random_() % 4) {
    case 0: return;  // as if nothing had been
    case 1: kill(getpid(), SIGKILL); return;
    case 2: ring(1); return;
    default:
      ring(1);
      pass_time(200'000);  // until the host has seen it; not for ever, since it may find nothing amiss
  }
}

// Goes on for as long as this process lives: beside the worker's own thread, at its messages and between them.
void Fuzzer::go_on_beside() {
  if (std::exchange(beside_, true)) return;
  std::thread{[this, random = Random{random_()}]() mutable {
    for (;;) {
      pass_time(random() % 50'000);
      for (std::uint64_t times = random() % 16; times > 0; --times) light_act(random, {});
      if (random() % 64 == 0) deadly_act(random, {});
      // The last word: whoever sleeps shall look as if it did, or nobody wakes it.
      area_->sleep_word() = static_cast<std::uint32_t>(random()) | 1U;
      ring(1);
    }
  }}.detach();
}

void Fuzzer::light_act(Random& random, std::span<std::byte> output) {
  const auto number = random() % 256;
  if (number == 0) return act(Act::early_failure, random, output);
  if (number < 4) return act(Act::early_reply, random, output);
  if (number < 8) return act(Act::ring, random, output);
  if (number == 8) return act(Act::ring_full, random, output);
  static constexpr Act kUsual[] = {Act::texts,      Act::free_tokens, Act::free_words,
                                   Act::sleep_word, Act::output,      Act::blocks};
  act(kUsual[random() % std::size(kUsual)], random, output);
}

void Fuzzer::deadly_act(Random& random, std::span<std::byte> output) {
  if (random() % 4096 == 0) return act(Act::hidden_sleep, random, output);  // it takes the whole deadline
  constexpr auto kFirst = static_cast<std::uint64_t>(kFirstDeadlyAct);
  constexpr auto kBeyond = static_cast<std::uint64_t>(Act::hidden_sleep);
  act(Act{static_cast<std::uint8_t>(kFirst + random() % (kBeyond - kFirst))}, random, output);
}

void Fuzzer::act(Act act, Random& random, std::span<std::byte> output) {
  if (!allows(act)) return;
  ++books_.rounds;
  ++books_.acts[static_cast<std::size_t>(act)];
  const ReplyArea& area = *area_;
  switch (act) {
    case Act::texts: {
      const auto most = area.capacity() * ChannelLayout::kTextBytes;
      const auto from = random() % most;
      return scribble({area.text(0) + from, std::min<std::size_t>(random() % 1024, most - from)}, random);
    }
    case Act::free_tokens: {
      // The replies that the host has not read yet are before the commit word, fewer than there are messages.
      const std::uint64_t next = area.commit();
      const std::uint64_t place = next + random() % (area.capacity() - plan_.in_flight);
      return scribble({area.place(place), sizeof(ReplyToken)}, random);
    }
    case Act::free_words: {
      const std::uint64_t place = area.commit() + random() % (area.capacity() - plan_.in_flight);
      return scribble({area.word(place), sizeof(DoneWord)}, random);
    }
    case Act::sleep_word: area.sleep_word() = static_cast<std::uint32_t>(random()); return;
    case Act::output: return scribble(output, random);
    case Act::blocks: {
      if (area.blocks().empty()) return;
      const std::span<std::byte> range = area.blocks()[random() % area.blocks().size()];
      const auto from = random() % range.size();
      return scribble(range.subspan(from, std::min<std::size_t>(random() % 512, range.size() - from)), random);
    }
    case Act::ring: return ring(1);
    case Act::ring_full: return ring(70'000);  // more than the pipe holds, if nobody reads
    case Act::early_reply: {
      const std::uint64_t next = area.commit();
      send(area.honest_reply());
      ring(1);
      scribble({area.place(next), sizeof(ReplyToken)}, random);
      return scribble(output, random);
    }
    case Act::early_failure: {
      ReplyToken reply = area.honest_reply();
      reply.kind = ReplyKind::failed;
      reply.text_bytes = static_cast<std::uint32_t>(random() % 2 == 0 ? random() : random() % 1024);
      reply.busy_nanoseconds = random() >> random() % 64;
      reply.again = random() % 4 == 0 ? 1 : 0;  // costs it its life: it is to be tried in a fresh process
      return send(reply);
    }
    case Act::wrong_field: return send_wrong_field(random);
    case Act::wrong_word: return send_wrong_word(random);
    case Act::half_token: return send_part(random);
    case Act::replay: {
      const std::uint64_t old = area.commit() - 1 - random() % area.capacity();
      std::memcpy(area.word(area.commit()), area.word(old), sizeof(DoneWord));
      return send(area.token(old));
    }
    case Act::stolen: {
      const RequestToken& request = books_.asked[random() % std::size(books_.asked)];
      ReplyToken reply = area.honest_reply();
      reply.block = request.block;
      reply.generation = request.generation;
      reply.sequence = request.sequence;
      if (random() % 2 == 0) return send(reply);
      const DoneWord word{{reply.incarnation, reply.block, reply.generation, reply.sequence}, 1};
      const std::uint64_t next = area.commit();
      std::memcpy(area.word(next), &word, sizeof word);
      return area.show(next + 1);
    }
    case Act::random_token: {
      ReplyToken reply;
      scribble(std::as_writable_bytes(std::span{&reply, 1}), random);
      return send(reply);
    }
    case Act::ahead: return send_ahead(random);
    case Act::jump: return area.show(nonsense_commit(random));
    case Act::flicker: {
      const std::uint64_t honest = area.commit();
      area.show(nonsense_commit(random));
      pass_time(random() % 1000);
      return area.show(honest);
    }
    case Act::racing_bytes: return send_racing(random);
    case Act::whole_area: return scribble_area(random);
    case Act::hidden_sleep: return hide_sleep();
    default: std::abort();
  }
}

// Byte by byte: the host may read in the middle.
void Fuzzer::scribble(std::span<std::byte> over, Random& random) {
  for (std::byte& byte : over) {
    auto value = static_cast<std::byte>(random());
    if (reinterpret_cast<std::uintptr_t>(&byte) % kCacheLine == kStopPlace) value |= std::byte{2};
    *const_cast<volatile std::byte*>(&byte) = value;
  }
}

void Fuzzer::scribble_area(Random& random) { scribble({area_->area(), area_->bytes()}, random); }

void Fuzzer::send(ReplyToken reply) {
  if (reply.stop == 1) reply.stop = 3;
  const std::uint64_t next = area_->commit();
  std::memcpy(area_->place(next), &reply, sizeof reply);
  area_->show(next + 1);
}

void Fuzzer::send_part(Random& random) {
  const ReplyToken reply = area_->honest_reply();
  const std::uint64_t next = area_->commit();
  std::memcpy(area_->place(next), &reply, random() % sizeof reply);
  area_->show(next + 1);
}

void Fuzzer::send_wrong_field(Random& random) {
  ReplyToken reply = area_->honest_reply();
  const auto off = static_cast<std::uint32_t>(random() % 2 == 0 ? 1 : -1);
  switch (random() % 5) {
    case 0:
      reply.kind = std::array{ReplyKind{0}, ReplyKind::ready, ReplyKind::start_failed, ReplyKind::grow,
                              ReplyKind{7}}[random() % 5];
      break;
    case 1: reply.incarnation += off; break;
    case 2: reply.block += off; break;
    case 3: reply.generation += off; break;
    default: reply.sequence += std::uint64_t{off} - (off > 1 ? std::uint64_t{1} << 32 : 0);
  }
  send(reply);
}

void Fuzzer::send_wrong_word(Random& random) {
  const RequestToken request = area_->request();
  RequestNames names{area_->incarnation(), request.block, request.generation, request.sequence};
  const auto off = static_cast<std::uint32_t>(1 + random() % std::numeric_limits<std::uint32_t>::max());
  switch (random() % 4) {
    case 0: names.incarnation += off; break;
    case 1: names.block += off; break;
    case 2: names.generation += off; break;
    default: names.sequence += off;
  }
  const DoneWord word{names, random() & DoneWord::kMostBusy};
  const std::uint64_t next = area_->commit();
  scribble({area_->place(next), sizeof(ReplyToken)}, random);
  std::memcpy(area_->word(next), &word, sizeof word);
  area_->show(next + 1);
}

void Fuzzer::send_ahead(Random& random) {
  ReplyToken reply = area_->honest_reply();
  const std::uint64_t first = area_->commit() - 1;
  const std::uint64_t beyond = std::min(area_->requested(), first + area_->capacity());
  for (std::uint64_t number = first; number < beyond; ++number) {
    const RequestToken request = area_->request(number);
    reply.kind = random() % 4 == 0 ? ReplyKind::failed : ReplyKind::done;
    reply.text_bytes = static_cast<std::uint32_t>(random() % 1024);
    reply.block = request.block;
    reply.generation = request.generation;
    reply.sequence = request.sequence;
    if (reply.kind == ReplyKind::failed || random() % 2 == 0) {
      send(reply);
    } else {
      const DoneWord word{{reply.incarnation, reply.block, reply.generation, reply.sequence}, random()};
      const std::uint64_t next = area_->commit();
      std::memcpy(area_->word(next), &word, sizeof word);
      area_->show(next + 1);
    }
  }
}

void Fuzzer::send_racing(Random& random) {
  const std::uint64_t next = area_->commit();
  std::atomic<bool> over{false};
  std::thread other{[this, next, &over, mine = Random{random()}]() mutable {
    while (!over) {
      const std::size_t at = mine() % sizeof(ReplyToken);
      scribble({area_->place(next) + at, 1}, mine);
      scribble({area_->word(next) + at % sizeof(DoneWord), 1}, mine);
    }
  }};
  for (int times = 0; times < 4; ++times) {
    const ReplyToken reply = area_->honest_reply();
    std::memcpy(area_->place(next), &reply, sizeof reply);
    if (times == 0) area_->show(next + 1);
    ring(1);
    pass_time(1000);
  }
  over = true;
  other.join();
}

std::uint64_t Fuzzer::nonsense_commit(Random& random) {
  const std::uint64_t honest = area_->commit();
  const std::uint64_t ring = area_->capacity();
  const std::uint64_t some[] = {honest + 1,
                                honest + ring - 1,
                                honest + ring,
                                honest + ring + 1,
                                honest + 2 * ring,
                                honest - 1,
                                honest - ring,
                                0,
                                std::uint64_t{1} << 63,
                                std::numeric_limits<std::uint64_t>::max(),
                                honest << 32,
                                random()};
  return some[random() % std::size(some)];
}

// Sleeps, as far as the host can tell, under the number that the worker will give its next sleep.
void Fuzzer::hide_sleep() {
  area_->sleep_word() = area_->sleep_word() | 1U;
  static_cast<void>(area_->let_host_look());
}

void Fuzzer::ring(std::uint64_t by) {
  for (const int bell : bells_) {
    for (std::uint64_t rung = 0; rung < by && write(bell, "", 1) == 1; ++rung) {}
  }
}

}  // namespace tandem::test
