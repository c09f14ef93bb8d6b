#include <tandem/worker.hpp>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>

#include <tandem/doorbell.hpp>
#include <tandem/linger.hpp>

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

// Of this process, once it is a worker. A body may ask from threads of its own.
std::atomic<bool> worker_process{false};
std::atomic<bool> stop_wanted{false};

// exit() in a body must not run what the host registered for its own exit: its threads, which
// those handlers may wait for, do not exist here. Handlers run last-registered first, so this one
// comes before all of the host's and after all of the body's.
void leave_without_the_hosts_handlers(int status, void*) {
  std::fflush(stdout);
  _exit(status);
}

class Worker {
 public:
  Worker(const WorkerPlan& plan, std::uint32_t incarnation)
      : plan_{plan},
        node_{*plan.node},
        incarnation_{incarnation},
        requests_{plan.channel.request_ring(plan.base), plan.channel.capacity},
        replies_{plan.channel.reply_ring(plan.base), plan.channel.capacity},
        bell_{plan.channel.bell(plan.base)},
        sleeper_{plan.channel.sleep_word(plan.base)},
        host_{plan.host->sleep_word},
        context_{node_.name, node_.random_key, plan.worker, &plan.host->stopping} {}

  void restrict_memory() const;
  bool start();
  void serve();

 private:
  void work(const RequestToken& request);
  const void* find_input(const RequestToken& request, Arrays& arrays) const;
  void reply(ReplyKind kind, const RequestToken& request, const std::string& text);
  void wait_for_requests();
  void ring_host();

  std::byte* block(const NodeInfo& node, std::uint32_t lease) const {
    return plan_.base + node.blocks_offset + std::size_t{lease} * node.layout.stride();
  }

  const WorkerPlan& plan_;
  const NodeInfo& node_;
  const std::uint32_t incarnation_;
  RequestReader requests_;
  ReplyWriter replies_;
  FutexBell<> bell_;
  Linger linger_;
  Sleeper<> sleeper_;
  Ringer<> host_;
  Context context_;
  std::unique_ptr<Body> body_;
  Clock::time_point now_ = Clock::now();
};

void Worker::restrict_memory() const {
  // The bodies' children and a stray pointer get as little of the shared memory as possible.
  // Failure of these calls costs protection, not correctness.
  madvise(plan_.base, plan_.segment_bytes, MADV_DONTFORK);
  mprotect(plan_.base, plan_.segment_bytes, PROT_READ);
  mprotect(plan_.base + plan_.channel.reply_offset(), plan_.channel.reply_bytes(), PROT_READ | PROT_WRITE);
  mprotect(plan_.base + node_.blocks_offset, node_.blocks_bytes(), PROT_READ | PROT_WRITE);
}

bool Worker::start() {
  const RequestToken none{};
  const pid_t server = getppid();
  try {
    body_ = node_.make_body();
    body_->start(context_);
  } catch (...) {
    reply(ReplyKind::start_failed, none, current_exception_text());
    return false;
  }
  // A start() that changes the user or the group makes the kernel forget with whom this process ends.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != server) _exit(1);
  reply(ReplyKind::ready, none, {});
  return true;
}

void Worker::serve() {
  for (;;) {
    RequestToken request;
    if (requests_.take(request) != RequestReader::Take::token) {
      if (!linger_.wait([this] { return requests_.ready(); })) wait_for_requests();
      now_ = Clock::now();
      continue;
    }
    if (request.kind == RequestKind::stop) return;
    work(request);
  }
}

void Worker::work(const RequestToken& request) {
  context_.begin(request.sequence, request.attempt);
  std::byte* const output = block(node_, request.lease) + node_.layout.output_offset();
  Arrays input_arrays;
  const void* const input = find_input(request, input_arrays);
  try {
    if (node_.output_is_arrays()) {
      Arrays output_arrays{*node_.layout.arrays, output};
      body_->run(input, &output_arrays, context_);
    } else {
      body_->run(input, output, context_);
    }
    reply(ReplyKind::done, request, {});
  } catch (...) { reply(ReplyKind::failed, request, current_exception_text()); }
}

const void* Worker::find_input(const RequestToken& request, Arrays& arrays) const {
  if (request.input_node == kInlineInput) return request.message;
  if (request.input_node == kBlockInput) return block(node_, request.lease);
  const NodeInfo& maker = *(*plan_.nodes)[request.input_node];
  std::byte* const made = block(maker, request.input_lease) + maker.layout.output_offset();
  if (!maker.output_is_arrays()) return made;
  arrays = Arrays{*maker.layout.arrays, made};
  return &arrays;
}

void Worker::reply(ReplyKind kind, const RequestToken& request, const std::string& text) {
  const Clock::time_point end = Clock::now();
  ReplyToken token;
  token.kind = kind;
  token.incarnation = incarnation_;
  token.lease = request.lease;
  token.generation = request.generation;
  token.sequence = request.sequence;
  token.stop = stop_wanted.load(std::memory_order_relaxed) ? 1 : 0;
  token.busy_nanoseconds = static_cast<std::uint64_t>((end - now_).count());
  now_ = end;
  if (!text.empty()) {
    token.text_bytes = static_cast<std::uint32_t>(std::min(text.size(), ChannelLayout::kTextBytes));
    std::memcpy(plan_.channel.text(plan_.base, replies_.pushed()), text.data(), token.text_bytes);
  }
  replies_.push(token);
  replies_.publish();
  ring_host();  // now: nobody knows how long the next body takes
}

void Worker::ring_host() {
  if (!host_.must_ring()) return;
  const std::uint64_t one = 1;
  while (write(plan_.host_bell, &one, sizeof one) < 0) {
    if (errno == EAGAIN) return;   // the counter is full, which is as good as rung
    if (errno != EINTR) _exit(1);  // a body closed it: only the end of this process still reaches the host
  }
}

void Worker::wait_for_requests() {
  // Woken by the host's next request, or ended with the host or the fork server (PR_SET_PDEATHSIG).
  const std::uint32_t heard = bell_.count();
  sleeper_.announce();
  if (!requests_.ready()) bell_.wait(heard);
  sleeper_.awake();
}

void take_a_workers_place(const WorkerPlan& plan) {
  worker_process.store(true, std::memory_order_relaxed);
  const std::string name = "tandem:" + plan.node->name + "#" + std::to_string(plan.worker);
  prctl(PR_SET_NAME, name.c_str());
  // The kernel's memory killer should take a worker before the host.
  const int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file >= 0) {
    [[maybe_unused]] const auto written = write(file, "500", 3);
    close(file);
  }
  on_exit(leave_without_the_hosts_handlers, nullptr);
}

}  // namespace

bool is_worker_process() noexcept { return worker_process.load(std::memory_order_relaxed); }
void ask_host_to_stop() noexcept { stop_wanted.store(true, std::memory_order_relaxed); }

void serve(const WorkerPlan& plan, std::uint32_t incarnation) noexcept {
  take_a_workers_place(plan);
  {
    Worker worker{plan, incarnation};
    worker.restrict_memory();
    if (worker.start()) worker.serve();
  }  // the body's destructor runs here
  std::cout.flush();
  std::fflush(stdout);
  _exit(0);
}

}  // namespace tandem
