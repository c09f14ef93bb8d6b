#include <tandem/worker.hpp>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <typeinfo>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <tandem/archive.hpp>
#include <tandem/doorbell.hpp>
#include <tandem/file_mapping.hpp>
#include <tandem/growing_arrays.hpp>
#include <tandem/linger.hpp>
#include <tandem/recall.hpp>
#include <tandem/worker_arrays.hpp>

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

// A sleep of less is short.
constexpr std::chrono::milliseconds kShortSleep{100};

// Of this process, once it is a worker. A body may ask from threads of its own.
std::atomic<bool> stop_wanted{false};

// exit() in a body must not run what the host registered for its own exit: its threads, which
// those handlers may wait for, do not exist here. Handlers run last-registered first, so this one
// comes before all of the host's and after all of the body's.
void leave_without_the_hosts_handlers(int status, void*) {
  std::fflush(stdout);
  _exit(status);
}

// "tandem:reader#2"; "tandem:reader#+" for a spare. Of at most 15 characters, the number is the last to go.
void name_process(const NodeInfo& node, const char* number) {
  constexpr std::size_t kLongest = 15;
  const std::string end = fmt::format("#{}", number);
  const std::string name = ("tandem:" + node.name).substr(0, kLongest - end.size()) + end;
  prctl(PR_SET_NAME, name.c_str());
  if (gettid() == getpid()) return;
  // main may have started its graph in another thread; a process is called as its first one.
  const int file = open("/proc/self/comm", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  [[maybe_unused]] const auto written = write(file, name.data(), name.size());
  close(file);
}

// The way to the host's pump, under a number of this worker's own. A body may close any number, and its next file
// gets the lowest that is free: so this one is high, and is looked at before each use.
class HostBell {
 public:
  explicit HostBell(int inherited) : number_{fcntl(inherited, F_DUPFD_CLOEXEC, kSeldomUsed)} {
    if (number_ >= 0) {
      close(inherited);
    } else {
      number_ = inherited;  // the limit on open files is lower
    }
    fstat(number_, &made_);
  }

  /// False when it is not there any more.
  bool ring() const {
    struct stat now {};
    if (fstat(number_, &now) != 0 || now.st_dev != made_.st_dev || now.st_ino != made_.st_ino) return false;
    return PipeBell::ring(number_);
  }

 private:
  static constexpr int kSeldomUsed = 1000;  // below 1024, the usual limit
  int number_;
  struct stat made_ {};
};

void restrict_memory(const WorkerPlan& plan) {
  // The bodies' children and a stray pointer get as little of the shared memory as possible.
  // Failure of these calls costs protection, not correctness; a spawned worker had all of it read-only already.
  madvise(plan.base, plan.segment_bytes, MADV_DONTFORK);
  mprotect(plan.base, plan.segment_bytes, PROT_READ);
  if (plan.arrays != nullptr) {
    madvise(plan.arrays, plan.arrays_bytes, MADV_DONTFORK);
    mprotect(plan.arrays, plan.arrays_bytes, PROT_READ);
  }
  FileMapping::protect_inherited();
  mprotect(plan.base + plan.channel.reply_offset(), plan.channel.reply_bytes(), PROT_READ | PROT_WRITE);
}

// How long messages take. To look at the clock costs as much as a short one, so that several of these are measured together.
class ServiceClock {
 public:
  /// A message is done. Returns its nanoseconds, or those of each of the last that were measured.
  std::uint64_t lap() noexcept {
    if (++laps_ >= together_) measure();
    return each_;
  }
  /// There is no message.
  void pause() noexcept {
    if (laps_ > 0) measure();
  }
  void go_on() noexcept { begin_ = Clock::now(); }
  /// What a message took last.
  std::chrono::nanoseconds last() const noexcept { return std::chrono::nanoseconds{each_}; }

 private:
  static constexpr std::uint64_t kTogetherNanoseconds = 4'000;
  static constexpr std::uint64_t kMostTogether = 16;

  void measure() noexcept {
    const Clock::time_point now = Clock::now();
    each_ = static_cast<std::uint64_t>((now - begin_).count()) / std::exchange(laps_, 0);
    begin_ = now;
    together_ =
        std::clamp<std::uint64_t>(kTogetherNanoseconds / std::max<std::uint64_t>(each_, 1), 1, kMostTogether);
  }

  Clock::time_point begin_ = Clock::now();
  std::uint64_t laps_ = 0;
  std::uint64_t together_ = 1;
  std::uint64_t each_ = 0;
};

class Worker {
 public:
  Worker(const WorkerPlan& plan, std::uint32_t incarnation)
      : plan_{plan},
        node_{*plan.node},
        incarnation_{incarnation},
        requests_{plan.channel.request_ring(plan.base), plan.channel.capacity},
        replies_{plan.channel.reply_ring(plan.base), plan.channel.capacity},
        head_{plan.channel.head(plan.base)},
        bell_{head_.bell},
        sleeper_{plan.channel.reply_head(plan.base).sleep_word},
        beginner_{plan.channel.reply_head(plan.base).begun, head_.recalled},
        host_{plan.host->sleep_word},
        host_bell_{plan.host_bell},
        context_{node_.name, node_.random_key, -1, &plan.host->stopping} {
    context_.ask_worker_from(wait_number_);
    if (plan.arrays == nullptr) return;
    context_.grant_from(grant_);
    context_.set_arrays(plan.arrays, plan.arrays_bytes);
  }

  void take_number_if_known();
  void limit_memory();
  void wait_for_debugger() const;
  void arrive() {
    reply(ReplyKind::arrived, {}, {});
    ring_host();
  }
  bool start();
  void serve();

 private:
  int wait_number();
  void take_number(int number);
  std::shared_ptr<ArrayBlock> wait_grant(std::size_t bytes, Dtype dtype, const Shape& shape,
                                         const std::shared_ptr<ArrayBlock>& done_with);
  void work(const RequestToken& request);
  bool is_exhausted() const;
  const void* find_input(const RequestToken& request, Arrays& arrays);
  const void* unpack(const RequestToken& request);
  void drop_message();
  void reply(ReplyKind kind, const RequestToken& request, std::string_view text, bool again = false);
  ReplyToken token_of(ReplyKind kind, const RequestToken& request) const;
  std::uint32_t return_grant(const std::shared_ptr<ArrayBlock>& block);
  void protect(ArrayBlock& block);
  void take_grants_back();
  void wait_for_requests();
  void sleep_until_rung(std::uint32_t heard) const;
  void end_with_the_server() const;
  void ring_host();
  void ring_host_bell() const;

  std::byte* block(const NodeInfo& node, std::uint32_t block) const {
    return plan_.base + node.blocks.block_offset(block);
  }
  // Of this worker's own area.
  std::byte* own_block(std::uint32_t block) const {
    return area_ + (block - static_cast<std::uint32_t>(number_) * node_.blocks.count) * node_.blocks.stride;
  }

  const WorkerPlan& plan_;
  const NodeInfo& node_;
  const std::uint32_t incarnation_;
  RequestReader requests_;
  ReplyWriter replies_;
  RequestHead& head_;
  FutexBell<> bell_;
  Linger linger_;
  Sleeper<> sleeper_;
  Beginner<> beginner_;
  Ringer<> host_;
  const HostBell host_bell_;
  const pid_t server_ = getppid();
  const std::thread::id thread_ = std::this_thread::get_id();
  const std::function<int()> wait_number_ = [this] { return wait_number(); };
  const Context::Grant grant_ = [this](std::size_t bytes, Dtype dtype, const Shape& shape,
                                       const std::shared_ptr<ArrayBlock>& done_with) {
    return wait_grant(bytes, dtype, shape, done_with);
  };
  const RequestToken* at_ = nullptr;                         // the request that the body is at; null: none
  std::vector<std::shared_ptr<ArrayBlock>> granted_blocks_;  // for it
  WorkerArrays::Kept kept_;
  std::optional<WorkerArrays> message_arrays_;
  std::shared_ptr<const void> message_;  // unpacked
  int number_ = -1;
  std::byte* area_ = nullptr;  // the blocks of that number
  Context context_;
  std::unique_ptr<Body> body_;
  ServiceClock clock_;
  bool unrung_ = false;  // the host was not rung for the last reply, or need not be
  bool has_worked_ = false;
  std::vector<std::uint64_t> input_extents_;
  std::string memory_text_;  // made while there still is some
};

// The number is the host's to give: at the fork, or to a spare when it takes a dead worker's place. That one
// is gone by then, so nobody else can write the area.
void Worker::take_number(int number) {
  number_ = number;
  context_.set_worker(number);
  area_ = plan_.base + node_.blocks.area_offset(static_cast<std::uint32_t>(number));
  mprotect(area_, node_.blocks.area_bytes(), PROT_READ | PROT_WRITE);
  name_process(node_, fmt::format_int{number}.c_str());
}

void Worker::take_number_if_known() {
  // Acquire only for form: what is published after a number is seen with it, see TAKE(ring).
  const std::int32_t number = head_.number.load(std::memory_order_acquire);
  if (number >= 0) take_number(number);
}

// The body of a spare asks for its number in start(). Woken by the host that has one for it, or ends the run; ended
// with the host or the fork server.
int Worker::wait_number() {
  for (;;) {
    const std::uint32_t heard = bell_.count();
    const std::int32_t number = head_.number.load(std::memory_order_acquire);
    if (number == RequestHead::kNoneEver) _exit(0);
    if (number >= 0) {
      take_number(number);
      return number;
    }
    sleep_until_rung(heard);
  }
}

// Woken by the host when it has looked for memory; ended with the host or the fork server. The host learns of the end of
// this process at any line of this, and takes the memory back with the message.
std::shared_ptr<ArrayBlock> Worker::wait_grant(std::size_t bytes, Dtype dtype, const Shape& shape,
                                               const std::shared_ptr<ArrayBlock>& done_with) {
  if (at_ == nullptr) throw Error("shared arrays are made for messages, not in start()");
  if (std::this_thread::get_id() != thread_)
    throw Error("only the worker's own thread can ask for a shared array");
  ReplyToken token = token_of(ReplyKind::grow, *at_);
  token.wanted_bytes = std::max<std::size_t>(bytes, 1);
  token.wanted_dtype = static_cast<std::uint32_t>(dtype);
  if (done_with) token.returned = return_grant(done_with);
  token.text_bytes = static_cast<std::uint32_t>(shape.rank() * sizeof(std::size_t));
  std::memcpy(plan_.channel.text(plan_.base, replies_.pushed()), shape.begin(), token.text_bytes);
  replies_.push(token);
  replies_.publish();
  unrung_ = true;
  ring_host();
  for (;;) {
    const std::uint32_t heard = bell_.count();
    if (head_.granted_reply.load(std::memory_order_acquire) == replies_.pushed()) break;  // GRANT(head)
    sleep_until_rung(heard);
  }
  const std::uint64_t offset = head_.grant_offset.load(std::memory_order_relaxed);
  const std::uint64_t room = head_.grant_bytes.load(std::memory_order_relaxed);
  if (room == 0) {
    throw MemoryError(
        fmt::format("no room for a shared array of {} ({} in all); drop handles of arrays that are done with, "
                    "or raise arrays",
                    describe_bytes(bytes), describe_bytes(plan_.arrays_bytes)));
  }
  if (room < bytes)
    throw Error("the worker's request for shared memory was overwritten; look for stray writes");
  granted_blocks_.push_back(std::make_shared<ArrayBlock>(plan_.arrays + offset, offset, bytes, room, true));
  granted_blocks_.back()->lend_for_writing();
  return granted_blocks_.back();
}

// Private memory that can be written counts (getrlimit(2), RLIMIT_DATA): what the body allocates, its threads'
// stacks; not what it inherited, and not the shared blocks.
void Worker::limit_memory() {
  if (!node_.config.worker_memory) return;
  memory_text_ =
      fmt::format("std::bad_alloc: it wanted more than worker_memory = {}; raise it, or let the body take less",
                  describe_bytes(*node_.config.worker_memory));
  std::ifstream status{"/proc/self/status"};
  std::string line;
  std::size_t kibibytes = 0;
  while (std::getline(status, line)) {
    if (line.starts_with("VmData:")) kibibytes = std::strtoull(line.c_str() + 7, nullptr, 10);
  }
  rlimit limit{};
  getrlimit(RLIMIT_DATA, &limit);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, kibibytes * 1024 + *node_.config.worker_memory);
  setrlimit(RLIMIT_DATA, &limit);
}

void Worker::wait_for_debugger() const {
  if (node_.config.wait_for_debugger != number_) return;
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  std::fprintf(stderr, "node '%s', worker %d waits for a debugger: gdb -p %d\n", node_.name.c_str(), number_,
               getpid());
  const auto is_traced = [] {
    std::ifstream status{"/proc/self/status"};
    std::string word;
    while (status >> word) {
      if (word == "TracerPid:") return status >> word && word != "0";
    }
    return false;
  };
  // Ended with the host or the fork server, and by stop() after `grace`.
  while (!is_traced()) std::this_thread::sleep_for(std::chrono::milliseconds{50});
}

bool Worker::start() {
  const RequestToken none{};
  try {
    body_ = node_.make_body();
    body_->start(context_);
  } catch (...) {
    reply(ReplyKind::start_failed, none, is_exhausted() ? memory_text_ : current_exception_text());
    ring_host();
    return false;
  }
  end_with_the_server();
  reply(ReplyKind::ready, none, {});
  ring_host();
  return true;
}

void Worker::serve() {
  for (;;) {
    RequestToken request;
    if (requests_.take(request) != RequestReader::Take::token) {
      ring_host();
      clock_.pause();
      if (!linger_.wait_for_message([this] { return requests_.ready(); }, clock_.last())) wait_for_requests();
      clock_.go_on();
      continue;
    }
    if (request.kind == RequestKind::stop) return ring_host();
    if (number_ < 0) take_number_if_known();
    const bool mine = beginner_.begin(requests_.head() - 1);
    // Before the body, since nobody knows how long it takes. BEGIN's fence comes after the last reply, so it is RING's too.
    if (std::exchange(unrung_, false) && host_.must_ring_now()) ring_host_bell();
    if (mine) {
      work(request);
    } else {
      reply(ReplyKind::declined, request, {});
    }
  }
}

void Worker::work(const RequestToken& request) {
  context_.begin(request.sequence, request.attempt);
  context_.set_begun(request.kind == RequestKind::work_again);
  at_ = &request;
  std::byte* const output = own_block(request.block) + node_.layout.output_offset();
  Arrays input_arrays;
  try {
    const void* const input = find_input(request, input_arrays);
    run_body(*body_, node_, input, output, context_);
    take_grants_back();
    reply(ReplyKind::done, request, {});
  } catch (...) {
    // Memory that ran out is not by itself the fault of this message, if there were others before it.
    const bool exhausted = is_exhausted();
    take_grants_back();
    reply(ReplyKind::failed, request, exhausted ? memory_text_ : current_exception_text(),
          exhausted && has_worked_);
  }
  at_ = nullptr;
  if (message_) ring_host();  // the user's destructor of a message may take long
  drop_message();
  has_worked_ = true;
}

// Before the reply, after which they may be another's: a thread that the body left behind ends this process if it writes there.
void Worker::take_grants_back() {
  for (const auto& block : granted_blocks_) protect(*block);
  granted_blocks_.clear();
}

void Worker::protect(ArrayBlock& block) {
  block.end();
  if (block.was_writable()) mprotect(plan_.arrays + block.offset(), block.room(), PROT_READ);
}

// What the host is told of it; 0: nothing, and it has it back with the message.
std::uint32_t Worker::return_grant(const std::shared_ptr<ArrayBlock>& block) {
  const std::size_t page = block->offset() / Segment::page_bytes();
  if (page >= std::numeric_limits<std::uint32_t>::max()) return 0;
  protect(*block);
  std::erase(granted_blocks_, block);
  return static_cast<std::uint32_t>(page) + 1;
}

// Whether the exception being handled says that worker_memory did not suffice. What derives from std::bad_alloc is
// somebody's own, and has something to say. No memory is needed to find out.
bool Worker::is_exhausted() const {
  if (!node_.config.worker_memory) return false;
  try {
    throw;
  } catch (const std::bad_alloc& error) { return typeid(error) == typeid(std::bad_alloc); } catch (...) {
    return false;
  }
}

const void* Worker::find_input(const RequestToken& request, Arrays& arrays) {
  if (request.input_node == kInlineInput) return request.message;
  if (request.input_node == kBlockInput) return own_block(request.block);
  if (request.input_node == kPackedInput) return unpack(request);
  const NodeInfo& maker = *(*plan_.nodes)[request.input_node];
  std::byte* const made = block(maker, request.input_block) + maker.layout.output_offset();
  BlockPart part;
  std::memcpy(&part, request.message, sizeof part);
  if (!maker.output_is_arrays()) return made + part.offset;
  // Once, as in the host: the input's maker may go on writing there.
  Arrays::copy_extents(*maker.layout.arrays, made, input_extents_);
  bound_grown(*maker.layout.arrays, input_extents_, plan_.arrays_bytes);
  arrays = Arrays{*maker.layout.arrays, made,
                  maker.layout.arrays->has_extents() ? input_extents_.data() : nullptr, plan_.arrays};
  if (part.split != 0) arrays = arrays.row((*plan_.splits)[part.split - 1]->rows_of(maker), part.row);
  return &arrays;
}

// The host wrote it, into memory that only it writes or into the block, before it published the request.
const void* Worker::unpack(const RequestToken& request) {
  PackedPlace packed;
  std::memcpy(&packed, request.message, sizeof packed);
  const std::byte* const bytes =
      packed.place == PackedPlace::kInBlock ? own_block(request.block) : plan_.arrays + packed.place;
  message_arrays_.emplace(plan_.arrays, plan_.arrays_bytes, kept_);
  ArchiveReader reader{{bytes, packed.bytes}, *message_arrays_};
  message_ = node_.packing.unpack(reader);
  message_arrays_->known();
  return message_.get();
}

// Shared arrays that a body has kept of it are refused from now on.
void Worker::drop_message() {
  message_.reset();
  message_arrays_.reset();
}

ReplyToken Worker::token_of(ReplyKind kind, const RequestToken& request) const {
  ReplyToken token;
  token.kind = kind;
  token.incarnation = incarnation_;
  token.block = request.block;
  token.generation = request.generation;
  token.sequence = request.sequence;
  return token;
}

void Worker::reply(ReplyKind kind, const RequestToken& request, std::string_view text, bool again) {
  const std::uint64_t busy = clock_.lap();
  const bool stop = stop_wanted.load(std::memory_order_relaxed);
  if (kind == ReplyKind::done && !context_.skipped() && !stop && busy <= DoneWord::kMostBusy) {
    replies_.push(DoneWord{{incarnation_, request.block, request.generation, request.sequence}, busy});
  } else {
    ReplyToken token = token_of(kind, request);
    token.again = again ? 1 : 0;
    token.skip = context_.skipped() ? 1 : 0;
    token.stop = stop ? 1 : 0;
    token.busy_nanoseconds = busy;
    if (!text.empty()) {
      token.text_bytes = static_cast<std::uint32_t>(std::min(text.size(), ChannelLayout::kTextBytes));
      std::memcpy(plan_.channel.text(plan_.base, replies_.pushed()), text.data(), token.text_bytes);
    }
    replies_.push(token);
  }
  replies_.publish();
  unrung_ = true;
}

// After each reply, before anything that may take long.
void Worker::ring_host() {
  if (std::exchange(unrung_, false) && host_.must_ring()) ring_host_bell();
}

void Worker::ring_host_bell() const {
  if (!host_bell_.ring()) _exit(1);  // a body closed it: only the end of this process still reaches the host
}

void Worker::wait_for_requests() {
  // Woken by the host's next request, or ended with the host or the fork server (PR_SET_PDEATHSIG).
  const std::uint32_t heard = bell_.count();
  sleeper_.announce();
  if (!requests_.ready()) sleep_until_rung(heard);
  sleeper_.awake();
}

// Ended with the server, also where that has to be said to the kernel once more: two calls of the system, which are not made before
// each of the many sleeps that are short.
void Worker::sleep_until_rung(std::uint32_t heard) const {
  bell_.wait_for(heard, kShortSleep);
  if (bell_.count() != heard) return;
  end_with_the_server();  // also after a signal: a body may have left a timer that ends all short sleeps
  bell_.wait(heard);
}

// Before each long sleep: a body that changes the user or the group, or asks for it, makes the kernel forget with whom
// this process ends.
void Worker::end_with_the_server() const {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != server_) _exit(1);
}

void take_a_workers_place(const WorkerPlan& plan) {
  become_worker_process(!plan.arrives, plan.runtime);
  name_process(*plan.node, "+");
  be_the_likelier_victim();
  // The fork server's children may read this one's stack, where only ancestors may otherwise (Yama).
  prctl(PR_SET_PTRACER, static_cast<unsigned long>(getppid()));
  on_exit(leave_without_the_hosts_handlers, nullptr);
}

}  // namespace

void ask_host_to_stop() noexcept { stop_wanted.store(true, std::memory_order_relaxed); }

void reset_signals() noexcept {
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action {};
    if (sigaction(signal, nullptr, &action) != 0) continue;
    const bool ignored = (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_IGN;
    if (ignored && signal != SIGCHLD) continue;
    struct sigaction standard {};
    standard.sa_handler = signal == SIGINT ? SIG_IGN : SIG_DFL;
    sigaction(signal, &standard, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

void be_the_likelier_victim() noexcept {
  const int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  [[maybe_unused]] const auto written = write(file, "500", 3);
  close(file);
}

void refuse_to_serve(std::byte* base, const ChannelLayout& channel, int host_bell, std::uint32_t incarnation,
                     std::string_view text) noexcept {
  ReplyToken token;
  token.kind = ReplyKind::start_failed;
  token.incarnation = incarnation;
  token.text_bytes = static_cast<std::uint32_t>(std::min(text.size(), ChannelLayout::kTextBytes));
  std::memcpy(channel.text(base, 0), text.data(), token.text_bytes);
  ReplyWriter replies{channel.reply_ring(base), channel.capacity};
  replies.push(token);
  replies.publish();
  PipeBell::ring(host_bell);
}

void serve(const WorkerPlan& plan, std::uint32_t incarnation) noexcept {
  if (plan.arrives) reset_signals();
  take_a_workers_place(plan);
  restrict_memory(plan);
  {
    Worker worker{plan, incarnation};
    if (plan.arrives) worker.arrive();
    worker.take_number_if_known();
    worker.limit_memory();
    worker.wait_for_debugger();
    if (worker.start()) worker.serve();
  }  // the body's destructor runs here
  std::cout.flush();
  std::fflush(stdout);
  _exit(0);
}

}  // namespace tandem
