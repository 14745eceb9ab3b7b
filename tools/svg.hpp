#pragma once

#include <fmt/format.h>

#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace ganglion::command {

/// What all pictures look like.
namespace look {

constexpr double width = 1280;
constexpr const char* ink = "#1c2733";
constexpr const char* faint_ink = "#66727f";
constexpr const char* grid = "#e8ebef";
constexpr const char* ground = "#f5f6f8";
constexpr const char* blue = "#3f78c5";
constexpr const char* orange = "#e0812f";
constexpr const char* yellow = "#f3c969";
constexpr const char* green = "#1f9e73";
constexpr const char* red = "#c93c3c";

}  // namespace look

/// An SVG document that is written mark by mark. It needs no other file: text is in the fonts of the system.
class svg_document {
 public:
  void rect(double at, double top, double wide, double height, const char* fill);
  /// `style_class` and `anchor` are left out where they are empty.
  void text(double at, double baseline, std::string_view content, const char* fill, const char* style_class = "",
            const char* anchor = "");
  /// `more` are further attributes.
  void line(double x1, double y1, double x2, double y2, const char* stroke, std::string_view more = "");
  /// Title and subtitle in the place that they have in every picture.
  void heading(double at, std::string_view title, std::string_view subtitle);

  /// Any other mark; texts in it are to be `escaped`.
  template <class... Values>
  void put(fmt::format_string<Values...> format, Values&&... values) {
    fmt::format_to(std::back_inserter(body_), format, std::forward<Values>(values)...);
  }

  /// The whole document, on white. `more_style` are further rules, `definitions` what the marks refer to.
  std::string finish(double height, std::string_view more_style = "", std::string_view definitions = "") const;

 private:
  std::string body_;
};

/// Text as it may stand inside of an element or an attribute.
std::string escaped(std::string_view text);

/// The largest of 1, 2 and 5 times a power of ten that divides the length into at least so many steps.
double tick_step(double length, int least_steps);

/// The number of decimals that multiples of `step` need.
int decimals_of(double step);

}  // namespace ganglion::command
