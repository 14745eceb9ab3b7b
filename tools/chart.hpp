#pragma once

#include <string>
#include <vector>

namespace ganglion::command {

/// A figure at a place of the x axis. A faint one is drawn hollow, and what joins it to others is dashed.
struct chart_point {
  double x = 0;
  double y = 0;
  bool faint = false;
  std::string told;  ///< what a pointer over it shows
};

struct chart_line {
  std::string name;
  std::vector<chart_point> points;
  /// Of the colours of the pictures; lines of the same name in several panels have the same.
  const char* colour = nullptr;
};

/// A dashed line across a panel, with its label: at a value of y, or of x.
struct chart_mark {
  enum { across, upright } direction = across;
  double at = 0;
  std::string label;
};

/// One coordinate system. Both axes begin at 0, but for those whose steps are by factors.
struct chart_panel {
  std::string x_label;
  std::string y_label;
  /// By doubling: there is a tick at each x of a point and nowhere else. Values are above 0.
  bool x_by_factors = false;
  /// Ticks at 1, 2 and 5 times powers of ten. Values are above 0.
  bool y_by_factors = false;
  std::vector<chart_line> lines;
  std::vector<chart_mark> marks;
};

struct chart {
  std::string title;
  std::string subtitle;
  std::string note;                 ///< below the panels
  std::vector<chart_panel> panels;  ///< side by side; at least one
};

/// The picture as an SVG document: for each panel its lines with a circle at each point, its marks, and a legend of the
/// lines above it. Points are joined in the order of x.
std::string chart_svg(const chart& picture);

}  // namespace ganglion::command
