#pragma once

#include <string>

namespace simulation {

/// What the command line asks for, checked.
struct Options {
  int cells = 512;  // along each side
  int steps = 2000;
  int every = 10;         // steps from one frame to the next
  int crash_every = 100;  // frames; 0: none
  int turns = 0;          // of a measurement; 0: none is wanted
  std::string full = "drop_newest";
  std::string output = "simulation-output";  // a folder
};

/// Ends the program when the user asked for help, or for what cannot be.
Options read_options(int argc, char** argv);

}  // namespace simulation
