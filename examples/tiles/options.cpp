#include "options.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <tandem/error.hpp>

namespace tiles {
namespace {

// Where Debian's xplanet-images, or an xplanet from source, puts its map of the earth.
constexpr std::array<const char*, 2> kDefaultImages{"/usr/share/xplanet/images/earth.jpg",
                                                    "/usr/local/share/xplanet/images/earth.jpg"};

constexpr const char* kAbout =
    "Cuts random patches from a photograph, normalises them, and measures the stream of batches with workers\n"
    "on threads and in processes. All runs must give the same bytes.";
constexpr const char* kFooter =
    "Settings of Tandem: --tandem.KEY=VALUE, TANDEM_KEY or ./tandem.toml, e.g. --tandem.memory=\"2 GiB\" or\n"
    "--tandem.in_flight=4. The nodes are 'requests', 'reader' and 'normalise'; this program itself sets the\n"
    "placement and the number of workers of the last two.";

// Text of any origin, on one line.
std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char letter) { return letter < 0x20 || letter == 0x7f; }, ' ');
  return text;
}

std::string default_image() {
  for (const char* const path : kDefaultImages) {
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored)) return path;
  }
  throw tandem::Error(
      fmt::format("image '{}': no such file; install Debian's xplanet-images, or name a JPEG "
                  "or PNG with --image",
                  kDefaultImages.front()));
}

[[noreturn]] void refuse_output(const std::string& path, const std::string& reason) {
  throw tandem::Error(fmt::format("output '{}': cannot be written ({}); name another folder with --output",
                                  path, reason));
}

}  // namespace

std::optional<Options> read_options(int argc, char** argv) {
  Options options;
  options.config = tandem::Config::load(argc, argv);  // takes its own arguments away
  std::string seed;
  CLI::App app{kAbout, "tiles"};
  app.footer(kFooter);
  app.add_option("--image", options.image, "JPEG or PNG to cut from; default: earth.jpg of xplanet-images");
  app.add_option("--output", options.output, "folder for the contact sheet")
      ->take_last()  // so that run.sh can give a default of its own
      ->capture_default_str();
  app.add_option("--items", options.batches, "batches of 64 patches in each run")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--workers", options.workers, "workers of each producer, one number for each run")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--seed", seed, "of all random numbers; default: tandem's seed");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      throw tandem::Error(fmt::format("command line: {}; see tiles --help", one_line(error.what())));
    }
    static_cast<void>(app.exit(error));
    return std::nullopt;
  }
  if (!seed.empty()) options.config.set("seed", seed, "argument --seed");
  for (const std::string& workers : options.workers) {
    tandem::Config{}.set("node.reader.workers", workers, "argument --workers");  // all, before the first run
  }
  // A default that leaves room on small machines: 8 batches. The machine's own would be 4 GiB here.
  if (!options.config.memory && !options.config.in_flight) options.config.memory = std::size_t{512} << 20;
  if (options.image.empty()) options.image = default_image();
  return options;
}

void prepare_output(const Options& options) {
  std::error_code error;
  std::filesystem::create_directories(options.output, error);
  if (error && !std::filesystem::is_directory(options.output)) refuse_output(options.output, error.message());
  const std::string sheet = options.sheet();
  const bool existed = std::filesystem::exists(sheet, error);
  const int file = ::open(sheet.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
  if (file < 0) refuse_output(sheet, std::generic_category().message(errno));
  static_cast<void>(::close(file));
  if (!existed) static_cast<void>(::unlink(sheet.c_str()));
}

}  // namespace tiles
