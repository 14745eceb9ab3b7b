#include "chart.hpp"
#include "chart_axis.hpp"
#include "svg.hpp"

#include <algorithm>
#include <iterator>
#include <set>
#include <string_view>

namespace ganglion::command {

namespace {

constexpr double left_edge = 32, left = 84, right = 36, between = 84;
constexpr double top = 132, plot_height = 380, footer = 60, note_height = 20;
constexpr const char* palette[] = {look::blue, look::orange, look::green, look::red, look::yellow};

/// The text in lines that are not wider than the picture.
std::vector<std::string> wrapped(std::string text) {
  constexpr std::size_t most = 175;
  std::vector<std::string> lines;
  for (auto at = text.npos; text.size() > most && (at = text.rfind(' ', most)) != text.npos; text.erase(0, at + 1))
    lines.push_back(text.substr(0, at));
  if (!text.empty()) lines.push_back(text);
  return lines;
}

chart_axis x_axis(const chart_panel& panel) {
  std::set<double> values;
  for (const auto& line : panel.lines)
    for (const auto& point : line.points) values.insert(point.x);
  for (const auto& mark : panel.marks)
    if (mark.direction == chart_mark::upright) values.insert(mark.at);
  if (!panel.x_by_factors || values.empty()) return chart_axis::from_zero(values.empty() ? 1 : *values.rbegin());
  return chart_axis::by_factors(*values.begin(), *values.rbegin(), {values.begin(), values.end()});
}

chart_axis y_axis(const chart_panel& panel) {
  std::set<double> values;
  for (const auto& line : panel.lines)
    for (const auto& point : line.points)
      if (point.y > 0) values.insert(point.y);
  for (const auto& mark : panel.marks)
    if (mark.direction == chart_mark::across) values.insert(mark.at);
  if (!panel.y_by_factors || values.empty()) return chart_axis::from_zero(values.empty() ? 1 : *values.rbegin());
  return chart_axis::by_factors(*values.begin(), *values.rbegin());
}

/// One panel in its place.
class panel_drawing {
 public:
  panel_drawing(svg_document& svg, const chart_panel& panel, double from, double to)
      : svg_(svg), panel_(panel), from_(from), to_(to), x_(x_axis(panel)), y_(y_axis(panel)) {}

  void draw() {
    svg_.rect(from_, top, to_ - from_, plot_height, look::ground);
    axes();
    for (const auto& mark : panel_.marks) draw(mark);
    double legend_at = from_;
    std::size_t number = 0;
    for (const auto& line : panel_.lines) {
      const auto* colour = line.colour ? line.colour : palette[number++ % std::size(palette)];
      svg_.rect(legend_at, top - 28, 16, 12, colour);
      svg_.text(legend_at + 22, top - 18, line.name, look::faint_ink);
      legend_at += 46 + 6.8 * static_cast<double>(line.name.size());
      draw(line, colour);
    }
  }

 private:
  double x(double value) const { return from_ + (to_ - from_) * x_.share(value); }
  double y(double value) const { return top + plot_height * (1 - y_.share(value)); }

  void axes() {
    for (const auto& tick : y_.ticks()) {
      svg_.line(from_, y(tick.value), to_, y(tick.value), look::grid);
      svg_.text(from_ - 8, y(tick.value) + 4, tick.label, look::faint_ink, "", "end");
    }
    for (const auto& tick : x_.ticks()) {
      svg_.line(x(tick.value), top, x(tick.value), top + plot_height, look::grid);
      svg_.text(x(tick.value), top + plot_height + 18, tick.label, look::faint_ink, "", "middle");
    }
    svg_.text(from_, top - 40, panel_.y_label, look::ink, "axis");
    svg_.text((from_ + to_) / 2, top + plot_height + 40, panel_.x_label, look::ink, "axis", "middle");
  }

  void draw(const chart_mark& mark) {
    constexpr const char* dashes = R"(stroke-width="1.5" stroke-dasharray="6 4")";
    if (mark.direction == chart_mark::across) {
      svg_.line(from_, y(mark.at), to_, y(mark.at), look::red, dashes);
      svg_.text(from_ + 8, y(mark.at) - 6, mark.label, look::red, "mark");
      return;
    }
    svg_.line(x(mark.at), top, x(mark.at), top + plot_height, look::green, dashes);
    // On the side where there is room.
    const bool room_left = x(mark.at) > (from_ + to_) / 2;
    svg_.text(x(mark.at) + (room_left ? -8 : 8), top + 18, mark.label, look::green, "mark", room_left ? "end" : "");
  }

  void draw(const chart_line& line, const char* colour) {
    auto points = line.points;
    std::stable_sort(points.begin(), points.end(), [](const auto& a, const auto& b) { return a.x < b.x; });
    for (std::size_t i = 1; i < points.size(); ++i) {
      const bool faint = points[i - 1].faint || points[i].faint;
      svg_.line(x(points[i - 1].x), y(points[i - 1].y), x(points[i].x), y(points[i].y), colour,
                faint ? R"(stroke-width="1.5" stroke-dasharray="2 4")" : R"(stroke-width="2.5")");
    }
    for (const auto& point : points)
      svg_.put(R"(<circle cx="{:.2f}" cy="{:.2f}" r="4.5" fill="{}" stroke="{}" stroke-width="2">)"
               "<title>{}</title></circle>\n",
               x(point.x), y(point.y), point.faint ? "#ffffff" : colour, colour, escaped(point.told));
  }

  svg_document& svg_;
  const chart_panel& panel_;
  double from_;
  double to_;
  chart_axis x_;
  chart_axis y_;
};

}  // namespace

std::string chart_svg(const chart& picture) {
  svg_document svg;
  svg.heading(left_edge, picture.title, picture.subtitle);
  const auto count = static_cast<double>(picture.panels.size());
  const auto wide = (look::width - left - right - between * (count - 1)) / count;
  double from = left;
  for (const auto& panel : picture.panels) {
    panel_drawing{svg, panel, from, from + wide}.draw();
    from += wide + between;
  }
  auto bottom = top + plot_height + footer;
  for (const auto& line : wrapped(picture.note)) {
    svg.text(left_edge, bottom + 4, line, look::faint_ink);
    bottom += note_height;
  }
  return svg.finish(bottom, "  .axis { font-size: 13px; font-weight: 600; }\n  .mark { font-weight: 600; }\n");
}

}  // namespace ganglion::command
