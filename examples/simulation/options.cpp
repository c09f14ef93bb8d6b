#include "options.hpp"

#include <cstdlib>

#include <CLI/CLI.hpp>

#include "solver.hpp"

namespace simulation {

Options read_options(int argc, char** argv) {
  Options options;
  CLI::App app{"Gray-Scott patterns, with spectra and pictures made in processes beside the loop",
               "simulation"};
  const CLI::Validator multiple{
      [](std::string& text) { return std::stoi(text) % Solver::kPitch == 0 ? "" : "must be a multiple of 32"; },
      "MULTIPLE OF 32"};
  app.add_option("--cells", options.cells, "along each side")
      ->check(CLI::Range(32, 8192) & multiple)
      ->capture_default_str();
  app.add_option("--steps", options.steps, "of the run, or of each turn of --time")
      ->check(CLI::Range(1, 1'000'000'000))
      ->capture_default_str();
  app.add_option("--every", options.every, "steps from one frame to the next")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--crash-every", options.crash_every, "frames from one crash to the next; 0: none")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  app.add_option("--full", options.full, "what happens to a frame that finds no room")
      ->check(CLI::IsMember({"drop_newest", "drop_oldest", "block"}))
      ->capture_default_str();
  app.add_option("--output", options.output, "folder for the pictures")->capture_default_str();
  app.add_option("--time", options.turns, "measure, with so many turns without and with the analysis")
      ->check(CLI::Range(1, 1'000'000));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) { std::exit(app.exit(error)); }
  return options;
}

}  // namespace simulation
