#pragma once

namespace tandem {

/// Whether the calling thread is a worker's: in a forked one any is; in a spawned one that which serves, while main's
/// other threads do what they do in the host, and what they ask of the Runtime is left to the host's.
bool is_worker_process() noexcept;
/// For the runtime: from now on it is, and so are all other threads of a forked one. Once, before any body runs. runtime: which
/// one it serves.
void become_worker_process(bool forked, const void* runtime) noexcept;
/// In a worker process: whether it serves this runtime. What others there are is none of its business.
bool serves(const void* runtime) noexcept;

/// Whether the calling thread runs a body of a producer or a function of an Executor, in either placement: what a worker
/// process cannot do, such code must not do on a thread either.
bool is_in_body() noexcept;
/// While it lives, the calling thread of the host runs one.
class InBody {
 public:
  InBody() noexcept;
  ~InBody();
  InBody(const InBody&) = delete;
  InBody& operator=(const InBody&) = delete;

 private:
  const bool before_;
};

}  // namespace tandem
