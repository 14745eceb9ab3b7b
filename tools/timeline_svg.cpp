#include "timeline_svg.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace ganglion::command {

namespace {

// -- the look --------------------------------------------------------------------------------------------------------

constexpr double width = 1280, left = 150, right = 40;
constexpr double header = 112, lane_gap = 26, bar_height = 34, wait_height = 5, depth_height = 54, footer = 52;
constexpr std::size_t most_wait_rows = 6;
/// What is shorter is drawn as long as this, so that nothing that happened is invisible.
constexpr double least_width = 1;

constexpr const char* ink = "#1c2733";
constexpr const char* faint_ink = "#66727f";
constexpr const char* grid = "#e8ebef";
constexpr const char* queued_colour = "#f3c969";
constexpr const char* bound_colour = "#e0812f";
constexpr const char* compute_colour = "#3f78c5";
constexpr const char* gather_colour = "#1f9e73";
constexpr const char* failed_colour = "#c93c3c";

constexpr const char* style = R"svg(<style>
  text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; font-size: 12px; }
  .title { font-size: 20px; font-weight: 600; }
  .lane { font-size: 14px; font-weight: 600; }
  .rows { font-size: 11px; fill: #ffffff; text-anchor: middle; }
</style>
<defs>
  <pattern id="padding" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
    <rect width="6" height="6" fill="#d5e3f5"/><rect width="2" height="6" fill="#7fa6dc"/>
  </pattern>
</defs>
)svg";

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      default: result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return result;
}

/// The largest of 1, 2 and 5 times a power of ten that divides the length into at least eight steps.
double tick_step(double length) {
  const auto power = std::pow(10, std::floor(std::log10(length / 8)));
  for (const auto factor : {5.0, 2.0})
    if (length / (factor * power) >= 8) return factor * power;
  return power;
}

// -- the parts -------------------------------------------------------------------------------------------------------

class drawing {
 public:
  explicit drawing(const timeline& picture)
      : picture_(picture), length_(picture.length > 0 ? picture.length : 1), lanes_(picture.lanes.size()) {
    for (const auto& bar : picture.bars)
      if (bar.lane < lanes_.size()) lanes_[bar.lane].bars.push_back(&bar);
    double top = header;
    for (auto& lane : lanes_) {
      lay_out(lane);
      lane.top = top;
      top += lane.wait_space() + bar_height + lane_gap;
    }
    depth_top_ = top + 6;
    bottom_ = depth_top_ + depth_height;
  }

  std::string document() {
    put(R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}">)" "\n", width,
        bottom_ + footer);
    out_ += style;
    rect(0, 0, width, bottom_ + footer, "#ffffff");
    text(left - 118, 38, picture_.title, ink, "title");
    text(left - 118, 60, picture_.subtitle, faint_ink);
    legend();
    axis();
    for (std::size_t i = 0; i < lanes_.size(); ++i) lane(lanes_[i], picture_.lanes[i]);
    depth();
    out_ += "</svg>\n";
    return std::move(out_);
  }

 private:
  struct lane_layout {
    std::vector<const timeline_bar*> bars;
    std::vector<packed_interval> waits;
    std::size_t wait_rows = 1;
    double top = 0;

    double wait_space() const { return static_cast<double>(wait_rows) * wait_height + 2; }
    double bar_top() const { return top + wait_space(); }
  };

  void lay_out(lane_layout& lane) const {
    std::vector<interval> waits;
    for (const auto* bar : lane.bars) waits.push_back({inside(bar->enqueued), inside(bar->started)});
    lane.waits = packed(waits, most_wait_rows);
    for (const auto& wait : lane.waits) lane.wait_rows = std::max(lane.wait_rows, wait.row + 1);
  }

  void legend() {
    double at = left - 118;
    const auto entry = [&](const char* fill, const char* label) {
      rect(at, 78, 16, 12, fill);
      text(at + 22, 88, label, faint_ink);
      at += 46 + 6.8 * static_cast<double>(std::string_view{label}.size());
    };
    entry(queued_colour, "waiting in the queue");
    entry(bound_colour, "waiting at its core");
    entry(compute_colour, "compute");
    entry("url(#padding)", "compute spent on padding");
    entry(gather_colour, "gather");
    const bool any_failed = std::any_of(picture_.bars.begin(), picture_.bars.end(), [](auto& b) { return b.failed; });
    if (any_failed) entry(failed_colour, "failed");
  }

  void axis() {
    const auto step = tick_step(length_);
    const int digits = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
    for (int i = 0; i * step <= length_ * (1 + 1e-9); ++i) {
      const auto at = x(i * step);
      put(R"(<line x1="{0:.2f}" x2="{0:.2f}" y1="{1:.1f}" y2="{2:.1f}" stroke="{3}"/>)" "\n", at, header - 8, bottom_,
          grid);
      text(at, bottom_ + 18, fmt::format("{:.{}f}", i * step, digits), faint_ink, "", "middle");
    }
    text((left + width - right) / 2, bottom_ + 38, "milliseconds", faint_ink, "", "middle");
  }

  void lane(const lane_layout& lane, const std::string& name) {
    double busy = 0;
    for (const auto* bar : lane.bars) busy += inside(bar->computed) - inside(bar->started);
    const auto middle = lane.bar_top() + bar_height / 2;
    text(left - 14, middle - 2, name, ink, "lane", "end");
    text(left - 14, middle + 14, fmt::format("computes {:.0f} %", 100 * busy / length_), faint_ink, "", "end");
    rect(left, lane.bar_top(), x(length_) - left, bar_height, "#f5f6f8");
    for (std::size_t i = 0; i < lane.bars.size(); ++i) execution(lane, *lane.bars[i], lane.waits[i]);
  }

  void execution(const lane_layout& lane, const timeline_bar& bar, const packed_interval& wait) {
    put("<g><title>{}</title>\n", told(bar));
    // The first row is next to the bars.
    const auto wait_top = lane.bar_top() - 2 - static_cast<double>(wait.row + 1) * wait_height;
    const auto bound = std::max(bar.formed, wait.begin);
    span(wait.begin, bound, wait_top, wait_height - 1.5, queued_colour, 0);
    span(bound, bar.started, wait_top, wait_height - 1.5, bound_colour, 0);

    const auto top = lane.bar_top();
    const auto all = std::max<std::int64_t>(bar.rows + bar.padding_rows, 1);
    const auto padding = bar_height * static_cast<double>(bar.padding_rows) / static_cast<double>(all);
    span(bar.started, bar.computed, top, bar_height - padding, bar.failed ? failed_colour : compute_colour,
         least_width);
    if (padding > 0) span(bar.started, bar.computed, top + bar_height - padding, padding, "url(#padding)", least_width);
    span(bar.computed, bar.gathered, top, bar_height, gather_colour, least_width);
    // A hair of white at its begin keeps it apart from the one before.
    if (inside(bar.started) > 0) span(bar.started, bar.started, top, bar_height, "#ffffff", 0.6);

    const auto label = fmt::format("{}", bar.rows);
    const auto room = x(inside(bar.computed)) - x(inside(bar.started));
    if (room > 10 + 7 * static_cast<double>(label.size()) && bar_height - padding > 13)
      text((x(inside(bar.computed)) + x(inside(bar.started))) / 2, top + (bar_height - padding) / 2 + 4, label,
           "#ffffff", "rows");
    out_ += "</g>\n";
  }

  static std::string told(const timeline_bar& bar) {
    return fmt::format("{} rows{}, waited {:.3f} ms, computed {:.3f} ms, gathered {:.3f} ms{}", bar.rows,
                       bar.padding_rows > 0 ? fmt::format(" and {} of padding", bar.padding_rows) : "",
                       bar.started - bar.enqueued, bar.computed - bar.started, bar.gathered - bar.computed,
                       bar.failed ? ", failed" : "");
  }

  void depth() {
    std::size_t deepest = 1;
    for (const auto& step : picture_.depth) deepest = std::max(deepest, step.waiting);
    const auto y = [&](std::size_t waiting) {
      return bottom_ - (depth_height - 8) * static_cast<double>(waiting) / static_cast<double>(deepest);
    };
    text(left - 14, bottom_ - 22, "waiting", ink, "lane", "end");
    text(left - 14, bottom_ - 6, fmt::format("at most {}", deepest), faint_ink, "", "end");
    auto path = fmt::format("M{:.2f} {:.2f}", left, bottom_);
    for (std::size_t i = 0; i < picture_.depth.size(); ++i) {
      const auto until = i + 1 < picture_.depth.size() ? picture_.depth[i + 1].at : length_;
      const auto level = y(picture_.depth[i].waiting);
      fmt::format_to(std::back_inserter(path), "L{:.2f} {:.2f}L{:.2f} {:.2f}", x(picture_.depth[i].at), level, x(until),
                     level);
    }
    put(R"(<path d="{}L{:.2f} {:.2f}Z" fill="{}" fill-opacity="0.45"/>)" "\n", path, x(length_), bottom_,
        queued_colour);
    put(R"(<line x1="{0:.2f}" x2="{1:.2f}" y1="{2:.2f}" y2="{2:.2f}" stroke="#b9c1ca"/>)" "\n", left, x(length_),
        bottom_);
  }

  // -- marks ---------------------------------------------------------------------------------------------------------

  double inside(double time) const { return std::clamp(time, 0.0, length_); }
  double x(double time) const { return left + (width - left - right) * time / length_; }

  void span(double from, double to, double top, double height, const char* fill, double least) {
    if (to < 0 || from > length_) return;
    const auto begin = x(inside(from));
    const auto wide = std::max(x(inside(to)) - begin, least);
    if (wide > 0) rect(begin, top, wide, height, fill);
  }

  void rect(double at, double top, double wide, double height, const char* fill) {
    put(R"(<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" fill="{}"/>)" "\n", at, top, wide, height, fill);
  }

  void text(double at, double baseline, const std::string& content, const char* fill, const char* style_class = "",
            const char* anchor = "") {
    put(R"(<text x="{:.2f}" y="{:.2f}" fill="{}"{}{}>{}</text>)" "\n", at, baseline, fill,
        *style_class ? fmt::format(R"( class="{}")", style_class) : "",
        *anchor ? fmt::format(R"( text-anchor="{}")", anchor) : "", escaped(content));
  }

  template <class... Values>
  void put(fmt::format_string<Values...> format, Values&&... values) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Values>(values)...);
  }

  const timeline& picture_;
  double length_;
  std::vector<lane_layout> lanes_;
  double depth_top_ = 0;
  double bottom_ = 0;
  std::string out_;
};

}  // namespace

std::string timeline_svg(const timeline& picture) { return drawing{picture}.document(); }

}  // namespace ganglion::command
