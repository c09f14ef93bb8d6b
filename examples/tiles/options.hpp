#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <tandem/config.hpp>

namespace tiles {

/// What the command line asks for, checked.
struct Options {
  std::string image;
  std::string output = "tiles-output";  // a folder
  std::uint64_t batches = 200;          // of one run
  std::vector<std::string> workers{"1", "2", "4"};
  tandem::Config config;

  std::string sheet() const { return output + "/contact-sheet.png"; }
};

/// Reads tandem.toml, the environment and the command line.
/// Returns   nothing when the user asked for help, which is then printed.
/// Errors    throws tandem::Error, in one line.
std::optional<Options> read_options(int argc, char** argv);

/// Makes the output folder, and makes sure that the sheet can be written before any work is done for it.
/// Errors    throws tandem::Error.
void prepare_output(const Options& options);

}  // namespace tiles
