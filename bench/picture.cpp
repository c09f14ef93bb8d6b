#include "picture.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

#include "report.hpp"

namespace bench {
namespace {

// In pixels.
constexpr double kWidth = 960, kLeft = 250, kRight = 750, kStep = 24, kBar = 14, kHead = 62, kFoot = 30;

std::string escaped(std::string_view text) {
  std::string safe;
  for (const char letter : text) {
    switch (letter) {
      case '&': safe += "&amp;"; break;
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      default: safe += letter;
    }
  }
  return safe;
}

std::string text(double x, double y, std::string_view anchor, std::string_view words,
                 std::string_view style = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, style,
                     escaped(words));
}

std::string line(double x1, double y1, double x2, double y2, std::string_view style) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2,
                     style);
}

// Whole decades, with all values between them.
class Axis {
 public:
  explicit Axis(const std::vector<Bar>& bars) {
    double least = HUGE_VAL;
    double most = 0;
    for (const Bar& bar : bars) {
      for (const double value : bar.values) {
        least = std::min(least, value);
        most = std::max(most, value);
      }
    }
    first_ = static_cast<int>(std::floor(std::log10(least) - 0.1));  // the shortest bar can be seen
    last_ = static_cast<int>(std::ceil(std::log10(most)));
  }
  int first() const noexcept { return first_; }
  int last() const noexcept { return last_; }
  double at(double value) const {
    return kLeft + (std::log10(value) - first_) / std::max(last_ - first_, 1) * (kRight - kLeft);
  }

 private:
  int first_ = 0, last_ = 1;
};

std::string draw_bar(const Bar& bar, const Axis& axis, double top) {
  const auto [least, most] = std::minmax_element(bar.values.begin(), bar.values.end());
  const double end = axis.at(median(bar.values));
  const double from = axis.at(*least);
  const double to = axis.at(*most);
  const double middle = top + kBar / 2;
  // White around the line, so that it can be seen on a dark bar too.
  const std::string_view around = "stroke=\"#fff\" stroke-width=\"4\"";
  const std::string_view across = "stroke=\"#000\" stroke-width=\"1.5\"";
  return text(kLeft - 8, top + 11, "end", bar.name, bar.ours ? " font-weight=\"bold\"" : "") +
         fmt::format(
             "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\" "
             "stroke=\"#444\"/>\n",
             kLeft, top, end - kLeft, kBar, bar.ours ? "#888" : "#ddd") +
         line(from, middle, to, middle, around) + line(from, middle, to, middle, across) +
         line(from, middle - 4, from, middle + 4, across) + line(to, middle - 4, to, middle + 4, across) +
         text(kRight + 12, top + 11, "start", bar.remark);
}

std::string draw(const Panel& panel, double top) {
  const Axis axis{panel.bars};
  const double bottom = top + kHead + kStep * static_cast<double>(panel.bars.size());
  std::string drawn = text(12, top + 22, "start", panel.title, " font-size=\"15\" font-weight=\"bold\"") +
                      text(12, top + 42, "start", panel.scale, " fill=\"#333\"");
  for (int decade = axis.first(); decade <= axis.last(); ++decade) {
    const double x = axis.at(std::pow(10, decade));
    drawn += line(x, top + kHead - 8, x, bottom, "stroke=\"#bbb\"") +
             text(x, bottom + 14, "middle", fmt::format("{:g}", std::pow(10, decade)), " fill=\"#333\"");
  }
  double y = top + kHead;
  for (const Bar& bar : panel.bars) {
    drawn += draw_bar(bar, axis, y);
    y += kStep;
  }
  return drawn;
}

}  // namespace

std::string picture(const std::vector<Panel>& panels) {
  std::string drawn;
  double top = 0;
  for (const Panel& panel : panels) {
    if (panel.bars.empty()) continue;
    drawn += draw(panel, top);
    top += kHead + kStep * static_cast<double>(panel.bars.size()) + kFoot;
  }
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" "
      "fill=\"#fff\"/>\n{2}</svg>\n",
      kWidth, top + 8, drawn);
}

}  // namespace bench
