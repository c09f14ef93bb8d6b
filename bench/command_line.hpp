#pragma once

#include <CLI/CLI.hpp>

#include "report.hpp"

namespace bench {

/// Adds the options that both programs have. `options` must outlive `app`.
void add_options(CLI::App& app, Options& options);

/// After parsing: what --quick shortens.
void shorten_if_quick(Options& options);

}  // namespace bench
