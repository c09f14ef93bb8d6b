#include <tandem/parallelism.hpp>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/info.h>

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
      control_ = std::make_unique<global_control>(global_control::max_allowed_parallelism,
                                                  static_cast<std::size_t>(own + extra_));
    }
  }

 private:
  std::mutex mutex_;
  int extra_ = 0;
  std::unique_ptr<oneapi::tbb::global_control> control_;
};

Limit& limit() {
  static Limit* const one = new Limit;  // never destroyed: graphs may live in static objects
  return *one;
}

}  // namespace

ExtraThreads::ExtraThreads(int count) : count_{count} { limit().change(count_); }
ExtraThreads::~ExtraThreads() { limit().change(-count_); }

}  // namespace tandem
