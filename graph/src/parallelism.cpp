#include <tandem/parallelism.hpp>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/info.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>

namespace tandem {
namespace {

// oneTBB obeys the smallest limit that is set anywhere, so there must be one for the whole process.
class Limit {
 public:
  void change(int by) {
    const std::lock_guard lock{mutex_};
    extra_ += by;
    control_.reset();
    if (extra_ > 0) {
      using oneapi::tbb::global_control;
      const int own = oneapi::tbb::info::default_concurrency();
      const auto wanted = static_cast<std::size_t>(own + extra_);
      control_ = std::make_unique<global_control>(global_control::max_allowed_parallelism, wanted);
      wanted_.store(wanted, std::memory_order_relaxed);
    }
  }
  bool is_granted() const noexcept {
    using oneapi::tbb::global_control;
    return global_control::active_value(global_control::max_allowed_parallelism) >=
           wanted_.load(std::memory_order_relaxed);
  }

 private:
  std::mutex mutex_;
  int extra_ = 0;
  std::atomic<std::size_t> wanted_{0};  // a hint for who looks while it changes
  std::unique_ptr<oneapi::tbb::global_control> control_;
};

Limit& limit() {
  static Limit* const one = new Limit;  // never destroyed: graphs may live in static objects
  return *one;
}

}  // namespace

ExtraThreads::ExtraThreads(int count) : count_{count} { limit().change(count_); }
bool ExtraThreads::are_granted() noexcept { return limit().is_granted(); }
ExtraThreads::~ExtraThreads() { limit().change(-count_); }

}  // namespace tandem
