#pragma once

#include <string>

#include "report.hpp"

namespace bench {

/// What a figure is to be, as far as that has been said: "0.9 at least". Empty where it has not. Nothing fails on it.
std::string goal_of(const std::string& figure);

/// All figures with their goals, then all tables, in Markdown. What failed is named in both.
std::string markdown(const Report& report);

/// The first metric of each table, as a picture (SVG).
std::string drawn(const Report& report);

}  // namespace bench
