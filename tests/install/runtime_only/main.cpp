#include <cstdio>

#include <tandem/array.hpp>
#include <tandem/config.hpp>

int main() {
  const auto config = tandem::Config::parse("[node.reader]\nworkers = 4\n");
  const auto pixels = tandem::array<float>("pixels", {2, 3});
  std::printf("%d workers, %zu bytes\n", config.node("reader").workers, pixels.bytes());
  return config.node("reader").workers == 4 && pixels.bytes() == 24 ? 0 : 1;
}
