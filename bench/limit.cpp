#include "limit.hpp"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

namespace bench {

double limit_rate(int workers, std::uint64_t count,
                  const std::function<std::function<void(std::uint64_t number)>()>& prepare) {
  const std::uint64_t each = std::max<std::uint64_t>(count / static_cast<std::uint64_t>(workers), 1);
  std::barrier begin{static_cast<std::ptrdiff_t>(workers) + 1};
  std::vector<std::thread> threads;
  for (int worker = 0; worker < workers; ++worker) {
    threads.emplace_back([&begin, &prepare, each] {
      const std::function<void(std::uint64_t)> work = prepare();
      for (std::uint64_t number = 0; number < 10; ++number) work(number);
      begin.arrive_and_wait();
      for (std::uint64_t number = 0; number < each; ++number) work(number);
    });
  }
  begin.arrive_and_wait();
  const auto start = std::chrono::steady_clock::now();
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  return static_cast<double>(each) * workers / time.count();
}

}  // namespace bench
