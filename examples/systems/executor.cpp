// What a user of npshmex knows, here: an executor whose arguments and results pass arrays through shared memory.
// executor.expected is the output, for every placement and number of workers.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <tandem/executor.hpp>

double mean(const std::vector<double>& numbers) {  // whatever cereal serialises
  return std::accumulate(numbers.begin(), numbers.end(), 0.0) / static_cast<double>(numbers.size());
}

tandem::SharedArray<double> add_one(tandem::SharedArray<double> numbers) {
  for (double& number : numbers) number += 1;
  return numbers;
}

struct Event {  // a type of the user's with an array in it
  std::string channel;
  tandem::SharedArray<float> samples;
  void serialize(auto& archive) { archive(channel, samples); }
};
Event smoothed(Event event, tandem::Context& context) {
  Event made{event.channel + ", smoothed", tandem::array<float>(context, event.samples.shape())};
  const float* const from = std::as_const(event.samples).data();
  for (std::size_t i = 0; i < made.samples.size(); ++i)
    made.samples[i] = i == 0 ? from[0] : (from[i - 1] + from[i]) / 2;
  return made;
}

int square(int number) {
  if (number == 5) throw std::runtime_error{"five is not squared here"};
  return number * number;
}

int main(int argc, char** argv) {
  tandem::Runtime runtime{argc, argv};
  tandem::Executor executor{runtime, "executor",
                            [](tandem::Context&) { std::srand(1); }};  // in each worker, once

  std::printf("mean: %.1f\n", executor.submit(mean, std::vector<double>{1, 2, 6}).get());

  // An array that stays across jobs and is passed by its handle: nothing is copied, in or out.
  const auto ones = runtime.array<double>({20'000'000}, 1.0);
  auto sums = executor.submit(add_one, ones);  // a future; only a token crosses the process boundary
  std::printf("sum: %.0f\n", sums.get()[0]);
  std::printf("again: %.0f\n", executor.submit(add_one, ones).get()[19'999'999]);

  // Containers of arrays with names, and types with an array in them.
  const std::map<std::string, tandem::SharedArray<double>> named{{"a", runtime.array<double>({3}, 1.0)},
                                                                 {"b", runtime.array<double>({4}, 2.0)}};
  const auto total = [](const std::map<std::string, tandem::SharedArray<double>>& arrays) {
    double all = 0;
    for (const auto& [name, array] : arrays) all += std::accumulate(array.begin(), array.end(), 0.0);
    return all;
  };
  std::printf("total: %.0f\n", executor.submit(total, named).get());
  const Event event = executor.submit(smoothed, Event{"pmt 7", runtime.array<float>({8}, 3.0F)}).get();
  std::printf("%s: %.1f\n", event.channel.c_str(), double(event.samples[7]));

  // An array in a file, which workers map too, and which stays.
  const std::string path = std::filesystem::temp_directory_path() / ("executor-" + std::to_string(getpid()));
  auto filed = runtime.file_array<double>(path, {1000}, tandem::FileMode::create);
  executor.submit(add_one, filed).get();
  filed.slice(0, 100).sync();  // on the disk
  const auto reader = runtime.file_array<const double>(path, {10, 100});
  std::printf("in the file: %.0f\n", reader.matrix().sum());
  std::filesystem::remove(path);

  // map, in order; an error at its place, and the rest goes on.
  auto squares = executor.map(square, std::views::iota(1, 9));
  for (int number = 1; number < 9; ++number) {
    try {
      std::printf("%d ", *squares.next());
    } catch (const tandem::ProducerError& error) { std::printf("(%s) ", error.reason().c_str()); }
  }
  std::printf("\n");
  int sum = 0;
  for (const int one : executor.map(square, std::views::iota(10, 1000), {.ordered = false, .chunk = 50}))
    sum += one;
  std::printf("sum of squares: %d\n", sum);

  executor.shutdown();
}
