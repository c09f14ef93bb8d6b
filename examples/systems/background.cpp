// What a user of ELEKTRONN knows, here: SharedMem, BackgroundProc (lasting workers that repeat one target) and SharedQ (a queue
// of calls with different targets). background.expected is the output, for every placement and number of workers.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <tandem/executor.hpp>

using namespace std::chrono_literals;

using Batch = std::map<std::string, tandem::SharedArray<float>>;  // several outputs, each with its own shape

struct Volume {  // a large read-only object: workers that are processes share its pages without a copy
  std::vector<float> voxels = std::vector<float>(1'000'000, 0.25F);
  Batch sample(int size, tandem::Context& context) const {
    const auto n = static_cast<std::size_t>(size);
    Batch batch{{"cube", tandem::array<float>(context, {n, n, n})},
                {"label", tandem::array<float>(context, {n})}};
    const std::size_t corner = context.random()() % (voxels.size() - n * n * n);  // each call its own numbers
    for (std::size_t i = 0; i < n * n * n; ++i) batch["cube"].data()[i] = voxels[corner + i];
    for (float& value : batch["label"]) value = static_cast<float>(context.random()() % 10);
    return batch;
  }
};
const Volume volume;  // loaded before the workers start

tandem::SharedArray<double> ramp(std::size_t count, tandem::Context& context) {
  auto made = tandem::array<double>(context, {count});
  for (std::size_t i = 0; i < count; ++i) made[i] = static_cast<double>(i);
  return made;
}
tandem::SharedArray<double> halves(const tandem::SharedArray<double>& given, tandem::Context& context) {
  auto made = tandem::array<double>(context, given.shape());
  made.vector() = given.vector() / 2;
  return made;
}
tandem::SharedArray<double> refuses() { throw std::runtime_error{"there is no such file"}; }

int main(int argc, char** argv) {
  tandem::Runtime runtime{argc, argv};
  tandem::Executor background{runtime, "background"};
  const auto target = [](int size, tandem::Context& context) { return volume.sample(size, context); };

  // One trial call tells the outputs' dtypes and shapes.
  for (const tandem::ArraySpec& spec : background.trial(target, 4))
    std::printf("%s: %s %s\n", spec.name.c_str(), std::string{name_of(spec.dtype)}.c_str(),
                to_string(spec.shape).c_str());

  // BackgroundProc: the target is repeated with constant arguments; get() the next result, with a time-out.
  {
    auto results = background.repeat(target, 4);
    double labels = 0;
    for (int step = 0; step < 100; ++step) {
      auto batch = results.next_for(60s);
      if (!batch) return 1;
      labels += (*batch)["label"][0];
    }
    std::printf("100 batches, a label of %.2f in the mean\n", labels / 100);
  }  // what is still under way is dropped: a reset

  // SharedQ: first in, first out, with a target, shapes and arguments of its own for each.
  const auto numbers = runtime.array<double>({1000}, 3.0);
  std::deque<tandem::Future<tandem::SharedArray<double>>> queue;
  queue.push_back(background.submit(ramp, std::size_t{5}));
  queue.push_back(background.submit(halves, numbers));
  queue.push_back(background.submit(refuses));
  queue.push_back(background.submit(ramp, std::size_t{7}));
  for (; !queue.empty(); queue.pop_front()) {
    try {
      const auto result = queue.front().get();  // no copy: the worker wrote it here
      std::printf("%zu numbers, the last is %.1f\n", result.size(), result[result.size() - 1]);
    } catch (const tandem::ProducerError& error) {  // there: zeros, or a hang
      std::printf("error: %s\n", error.reason().c_str());
    }
  }
  background.shutdown();
  std::printf("arrays that are left: %zu\n", runtime.arrays().size());
}  // without shutdown() the program ends just as well
