// What a user of pyarraypool knows, here: one segment with many arrays, which are made in it, passed to workers by a token,
// filled by several of them, returned, and gone with their last handle. arraypool.expected is the output, for every placement
// and number of workers.
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <tandem/executor.hpp>

struct Particle {  // a record, with named fields
  double x;
  std::int64_t id;
};
template <>
struct tandem::RecordFields<Particle> {
  static std::vector<Field> fields() { return {field<&Particle::x>("x"), field<&Particle::id>("id")}; }
};

void show(const char* when, const tandem::Runtime& runtime) {  // what is alive, how large, who holds it
  std::printf("%s:", when);
  for (const tandem::ArrayInfo& array : runtime.arrays())
    std::printf(" [%s%s]", std::string{tandem::name_of(array.dtype)}.c_str(), to_string(array.shape).c_str());
  std::printf("\n");
}

void fill_squares(tandem::SharedArray<double> part, double first) {
  for (double& value : part) {
    value = first * first;
    first += 1;
  }
}

double sum(const tandem::SharedArray<double>& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 0.0);
}

tandem::SharedArray<Particle> make_particles(std::size_t count, tandem::Context& context) {
  auto made = tandem::array<Particle>(context, {count});
  for (std::size_t i = 0; i < count; ++i)
    made[i] = {0.5 * static_cast<double>(i), static_cast<std::int64_t>(i)};
  return made;
}

int main(int argc, char** argv) {
  tandem::Runtime runtime{argc, argv};  // arrays = "64 MiB": a size in bytes, or "1.5G"
  tandem::Executor pool{runtime, "pool"};

  // Made in the pool in the first place, or copied in once.
  auto numbers = runtime.array<double>({1000});
  const std::vector<double> mine{1, 2, 3, 4};
  const auto copied = runtime.array<double>({2, 2}, std::span{mine});
  const auto none = runtime.array<float>({0, 3});                     // without elements
  const auto one = runtime.array<std::uint8_t>({}, std::uint8_t{7});  // without dimensions
  show("made", runtime);

  // Many workers fill disjoint parts of one array; only tokens cross.
  std::vector<tandem::Future<void>> parts;
  for (std::size_t first = 0; first < 1000; first += 100) {
    parts.push_back(pool.submit(fill_squares, numbers.slice(first, first + 100), static_cast<double>(first)));
  }
  for (auto& part : parts) part.get();
  std::printf("squares: %.0f, %.0f, ..., %.0f\n", numbers[0], numbers[1], numbers[999]);
  std::printf("sum: %.0f; of the copied: %.0f\n", pool.submit(sum, numbers).get(),
              pool.submit(sum, copied).get());
  std::printf("none: %zu, one: %d\n", none.size(), one[0]);

  // Workers make arrays and return them; they return what they were given; and parts of it.
  const auto particles = pool.submit(make_particles, std::size_t{5}).get();
  std::printf("particle %d at %.1f\n", int(particles[4].id), particles[4].x);
  const auto same = pool.submit([](tandem::SharedArray<double> given) { return given; }, numbers).get();
  const auto tail =
      pool.submit([](tandem::SharedArray<double> given) { return given.slice(990, 1000); }, numbers).get();
  std::printf("the same memory: %s, its tail: %.0f\n",
              same.data() == std::as_const(numbers).data() ? "yes" : "no", tail[9]);

  // Gone with the last handle: the tail is one.
  numbers = {};
  show("still", runtime);

  // Also when a holder is killed: in a process the call ends with an error, and the array is free again.
  if (runtime.config().node("pool").placement == tandem::Placement::process) {
    auto killed = pool.submit([](tandem::SharedArray<double>) { kill(getpid(), SIGKILL); },
                              runtime.array<double>({5000}));
    try {
      killed.get();
    } catch (const tandem::ProducerError&) {}  // it says which, and that it is not begun again
  }
  show("after a holder was killed", runtime);

  // A pool that is full says so, with numbers.
  try {
    const auto much = runtime.array<double>({100'000'000});
  } catch (const tandem::MemoryError& error) { std::printf("full: %.60s...\n", error.what()); }
}
