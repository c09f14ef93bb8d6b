#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <iceoryx_hoofs/log/logmanager.hpp>
#include <iceoryx_hoofs/posix_wrapper/posix_access_rights.hpp>
#include <iceoryx_hoofs/posix_wrapper/signal_watcher.hpp>
#include <iceoryx_posh/iceoryx_posh_config.hpp>
#include <iceoryx_posh/internal/roudi/roudi.hpp>
#include <iceoryx_posh/popo/untyped_publisher.hpp>
#include <iceoryx_posh/popo/untyped_subscriber.hpp>
#include <iceoryx_posh/roudi/iceoryx_roudi_components.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>
#include <iceoryx_versions.hpp>

#include "../fill.hpp"
#include "peer.hpp"
#include "workers.hpp"

// iceoryx: two topics for each worker; results are made where they are taken, without a copy. Both sides poll, and yield
// the processor in between, as in iceoryx's own benchmark (iceperf): its wait sets cost more.

namespace bench {
namespace {

constexpr std::uint64_t kMemory = std::uint64_t{512} << 20;  // what RouDi takes of /dev/shm, at most

iox::RouDiConfig_t memory_for(const Job& job) {
  iox::mepoo::MePooConfig pools;
  pools.addMemPool({128, 4096});
  if (job.bytes == kBigBytes) {
    // 64 bytes more than an array, so that it can be aligned.
    pools.addMemPool({static_cast<std::uint32_t>(kBigBytes + 64),
                      static_cast<std::uint32_t>(2 * job.in_flight)});
  }
  const auto group = iox::posix::PosixGroup::getGroupOfCurrentProcess().getName();
  iox::RouDiConfig_t config;
  config.m_sharedMemorySegments.push_back({group, group, pools});
  return config;
}

std::string name_of_worker(int worker) { return fmt::format("tandem_bench_{}", worker); }
constexpr const char* kHost = "tandem_bench_host";

// RouDi in a process of its own, which takes its names in shared memory with it when it is told to end, by this object or by the
// end of this process.
class Broker {
 public:
  explicit Broker(const Job& job) : workers_{job.workers} {
    std::fflush(nullptr);
    const pid_t host = getpid();
    process_ = fork();
    if (process_ < 0) throw std::runtime_error(fmt::format("cannot fork: {}", std::strerror(errno)));
    if (process_ > 0) return;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != host) _exit(1);
    dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);  // it tells what it reserves
    {
      iox::roudi::IceOryxRouDiComponents components{memory_for(job)};
      iox::roudi::RouDi roudi{
          components.rouDiMemoryManager, components.portManager, {iox::roudi::MonitoringMode::OFF, false}};
      iox::posix::waitForTerminationRequest();
    }
    _exit(0);
  }
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;
  ~Broker() {
    kill(process_, SIGTERM);
    waitpid(process_, nullptr, 0);
    remove_channels();
  }

 private:
  // iceoryx removes a process's sockets when it ends through exit(); these do not.
  void remove_channels() const {
    std::vector<std::string> names{kHost};
    for (int worker = 0; worker < workers_; ++worker) names.push_back(name_of_worker(worker));
    for (const std::string& name : names) {
      for (const char* const kind : {"", ".lock"}) unlink(fmt::format("/tmp/{}{}", name, kind).c_str());
    }
  }

  const int workers_;
  pid_t process_;
};

// One end of one worker's two topics.
class End {
 public:
  End(int worker, const char* writes, const char* reads)
      : publisher_{topic(worker, writes), publisher_options()},
        subscriber_{topic(worker, reads), subscriber_options()} {
    while (!publisher_.hasSubscribers() ||
           subscriber_.getSubscriptionState() != iox::SubscribeState::SUBSCRIBED) {
      sched_yield();  // what is published earlier is lost
    }
  }

  template <class Write>
  void send(std::size_t bytes, const Write& write) {
    auto loan = publisher_.loan(static_cast<std::uint32_t>(bytes), 64);
    if (loan.has_error()) throw std::runtime_error("iceoryx lends no chunk");
    write(static_cast<std::byte*>(loan.value()));
    publisher_.publish(loan.value());
  }

  template <class Read>
  void receive(const Read& read) {
    for (;;) {
      auto taken = subscriber_.take();
      if (!taken.has_error()) {
        read(static_cast<const std::byte*>(taken.value()));
        subscriber_.release(taken.value());
        return;
      }
      if (taken.get_error() != iox::popo::ChunkReceiveResult::NO_CHUNK_AVAILABLE) {
        throw std::runtime_error("iceoryx gives no chunk");
      }
      sched_yield();
    }
  }

 private:
  static iox::capro::ServiceDescription topic(int worker, const char* what) {
    const std::string instance = fmt::format("worker{}", worker);
    return {"tandem_bench", iox::capro::IdString_t{iox::cxx::TruncateToCapacity, instance},
            iox::capro::IdString_t{iox::cxx::TruncateToCapacity, what}};
  }
  static iox::popo::PublisherOptions publisher_options() {
    iox::popo::PublisherOptions options;
    options.subscriberTooSlowPolicy = iox::popo::ConsumerTooSlowPolicy::WAIT_FOR_CONSUMER;
    return options;
  }
  static iox::popo::SubscriberOptions subscriber_options() {
    iox::popo::SubscriberOptions options;
    options.queueFullPolicy = iox::popo::QueueFullPolicy::BLOCK_PRODUCER;
    return options;
  }

  iox::popo::UntypedPublisher publisher_;
  iox::popo::UntypedSubscriber subscriber_;
};

void name_this(const std::string& name) {
  iox::runtime::PoshRuntime::initRuntime(iox::RuntimeName_t{iox::cxx::TruncateToCapacity, name});
}

void serve(const Job& job, int worker) {
  name_this(name_of_worker(worker));
  End end{worker, "result", "request"};
  for (std::uint64_t left = job.share(worker); left > 0; --left) {
    std::uint64_t number = 0;
    end.receive([&](const std::byte* from) { std::memcpy(&number, from, sizeof number); });
    end.send(job.bytes, [&](std::byte* to) { job.make(number, to); });
  }
}

void do_job(const Job& whole) {
  Job job = whole;
  job.in_flight = std::min<std::uint64_t>(job.in_flight, iox::popo::SubscriberChunkQueueData_t::MAX_CAPACITY *
                                                             static_cast<std::uint64_t>(job.workers));
  iox::log::LogManager::GetLogManager().SetDefaultLogLevel(iox::log::LogLevel::kError,
                                                           iox::log::LogLevelOutput::kHideLogLevel);
  const Broker broker{job};
  fork_workers(job.workers, [&](int worker) { serve(job, worker); });
  name_this(kHost);
  std::vector<std::unique_ptr<End>> ends;
  for (int worker = 0; worker < job.workers; ++worker) {
    ends.push_back(std::make_unique<End>(worker, "request", "result"));
  }
  pass_in_turn(
      job,
      [&](int worker, std::uint64_t number) {
        ends[static_cast<std::size_t>(worker)]->send(sizeof number, [&](std::byte* to) {
          std::memcpy(to, &number, sizeof number);
        });
      },
      [&](int worker) { ends[static_cast<std::size_t>(worker)]->receive(job.take); });
}

}  // namespace

Peer iceoryx_peer() {
  struct statvfs shared {};
  if (statvfs("/dev/shm", &shared) != 0 || shared.f_bavail * shared.f_bsize < kMemory) {
    return left_out("iceoryx", "iceoryx", "it needs 512 MiB of /dev/shm, and there is less");
  }
  return by_processes("iceoryx", "iceoryx", fmt::format("iceoryx {}", ICEORYX_LATEST_RELEASE_VERSION), do_job);
}

}  // namespace bench
