#include <malloc.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <zmq.hpp>

#include "../array_pool.hpp"
#include "../fill.hpp"
#include "peer.hpp"
#include "workers.hpp"

// ZeroMQ: a PAIR of sockets for each worker over ipc, without limits of its own. Arrays are given to a worker's socket as
// they are (zero-copy), and made in warm ones; the host looks at them in the message that came.

namespace bench {
namespace {

std::string endpoint(pid_t host, int worker) {
  return fmt::format("ipc://@tandem_bench_{}_{}", host, worker);  // abstract: no file is left
}

zmq::socket_t pair(zmq::context_t& context) {
  zmq::socket_t socket{context, zmq::socket_type::pair};
  socket.set(zmq::sockopt::sndhwm, 0);
  socket.set(zmq::sockopt::rcvhwm, 0);
  return socket;
}

// Or each array that comes would be mapped and touched anew.
void keep_memory() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

void give_back(void* array, void* pool) {
  static_cast<ArrayPool*>(pool)->give_back(static_cast<std::byte*>(array));
}

void serve(const Job& job, pid_t host, int worker) {
  const bool big = job.bytes == kBigBytes;
  // One more than are under way: the last to be sent may come back after the next request.
  ArrayPool pool{big ? static_cast<std::uint32_t>(job.ahead() + 1) : 0};
  std::vector<std::byte> small(big ? 0 : job.bytes);
  zmq::context_t context;
  zmq::socket_t socket = pair(context);
  socket.connect(endpoint(host, worker));
  for (std::uint64_t left = job.share(worker); left > 0; --left) {
    std::uint64_t number = 0;
    (void)socket.recv(zmq::buffer(&number, sizeof number));
    if (big) {
      std::byte* const array = pool.take();
      job.make(number, array);
      socket.send(zmq::message_t{array, job.bytes, give_back, &pool}, zmq::send_flags::none);
    } else {
      job.make(number, small.data());
      socket.send(zmq::buffer(small), zmq::send_flags::none);
    }
  }
  (void)socket.recv(zmq::buffer(small));  // until the host ends, and this process with it
}

void do_job(const Job& job) {
  keep_memory();
  const pid_t host = getpid();
  fork_workers(job.workers, [&](int worker) { serve(job, host, worker); });
  zmq::context_t context;
  std::vector<zmq::socket_t> sockets;
  for (int worker = 0; worker < job.workers; ++worker) {
    sockets.push_back(pair(context));
    sockets.back().bind(endpoint(host, worker));
  }
  zmq::message_t result;
  pass_in_turn(
      job,
      [&](int worker, std::uint64_t number) {
        sockets[static_cast<std::size_t>(worker)].send(zmq::buffer(&number, sizeof number),
                                                       zmq::send_flags::none);
      },
      [&](int worker) {
        (void)sockets[static_cast<std::size_t>(worker)].recv(result);
        if (result.size() != job.bytes) throw std::runtime_error("ZeroMQ brought a result of another size");
        job.take(static_cast<const std::byte*>(result.data()));
      });
  for (zmq::socket_t& socket : sockets) socket.set(zmq::sockopt::linger, 0);
}

}  // namespace

Peer zeromq_peer() {
  const auto [major, minor, patch] = zmq::version();
  return by_processes("ZeroMQ, ipc", "zeromq", fmt::format("libzmq {}.{}.{}", major, minor, patch), do_job);
}

}  // namespace bench
