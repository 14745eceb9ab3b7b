#include "timeline_svg.hpp"

#include "svg.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace ganglion::command {

namespace {

// -- the look --------------------------------------------------------------------------------------------------------

using look::width;
constexpr double left = 150, right = 40;
constexpr double header = 112, lane_gap = 26, bar_height = 34, wait_height = 5, depth_height = 54, footer = 52;
constexpr std::size_t most_wait_rows = 6;
/// What is shorter is drawn as long as this, so that nothing that happened is invisible.
constexpr double least_width = 1;

constexpr const char* queued_colour = look::yellow;
constexpr const char* bound_colour = look::orange;
constexpr const char* compute_colour = look::blue;
constexpr const char* gather_colour = look::green;
constexpr const char* failed_colour = look::red;

constexpr const char* style = R"svg(  .lane { font-size: 14px; font-weight: 600; }
  .rows { font-size: 11px; fill: #ffffff; text-anchor: middle; }
)svg";

constexpr const char* definitions = R"svg(<defs>
  <pattern id="padding" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
    <rect width="6" height="6" fill="#d5e3f5"/><rect width="2" height="6" fill="#7fa6dc"/>
  </pattern>
</defs>
)svg";

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
    svg_.heading(left - 118, picture_.title, picture_.subtitle);
    legend();
    axis();
    for (std::size_t i = 0; i < lanes_.size(); ++i) lane(lanes_[i], picture_.lanes[i]);
    depth();
    return svg_.finish(bottom_ + footer, style, definitions);
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
      svg_.rect(at, 78, 16, 12, fill);
      svg_.text(at + 22, 88, label, look::faint_ink);
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
    const auto step = tick_step(length_, 8);
    const int digits = decimals_of(step);
    for (int i = 0; i * step <= length_ * (1 + 1e-9); ++i) {
      const auto at = x(i * step);
      svg_.line(at, header - 8, at, bottom_, look::grid);
      svg_.text(at, bottom_ + 18, fmt::format("{:.{}f}", i * step, digits), look::faint_ink, "", "middle");
    }
    svg_.text((left + width - right) / 2, bottom_ + 38, "milliseconds", look::faint_ink, "", "middle");
  }

  void lane(const lane_layout& lane, const std::string& name) {
    double busy = 0;
    for (const auto* bar : lane.bars) busy += inside(bar->computed) - inside(bar->started);
    const auto middle = lane.bar_top() + bar_height / 2;
    svg_.text(left - 14, middle - 2, name, look::ink, "lane", "end");
    svg_.text(left - 14, middle + 14, fmt::format("computes {:.0f} %", 100 * busy / length_), look::faint_ink, "",
              "end");
    svg_.rect(left, lane.bar_top(), x(length_) - left, bar_height, look::ground);
    for (std::size_t i = 0; i < lane.bars.size(); ++i) execution(lane, *lane.bars[i], lane.waits[i]);
  }

  void execution(const lane_layout& lane, const timeline_bar& bar, const packed_interval& wait) {
    svg_.put("<g><title>{}</title>\n", told(bar));
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
      svg_.text((x(inside(bar.computed)) + x(inside(bar.started))) / 2, top + (bar_height - padding) / 2 + 4, label,
                "#ffffff", "rows");
    svg_.put("</g>\n");
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
    svg_.text(left - 14, bottom_ - 22, "waiting", look::ink, "lane", "end");
    svg_.text(left - 14, bottom_ - 6, fmt::format("at most {}", deepest), look::faint_ink, "", "end");
    auto path = fmt::format("M{:.2f} {:.2f}", left, bottom_);
    for (std::size_t i = 0; i < picture_.depth.size(); ++i) {
      const auto until = i + 1 < picture_.depth.size() ? picture_.depth[i + 1].at : length_;
      const auto level = y(picture_.depth[i].waiting);
      fmt::format_to(std::back_inserter(path), "L{:.2f} {:.2f}L{:.2f} {:.2f}", x(picture_.depth[i].at), level, x(until),
                     level);
    }
    svg_.put(R"(<path d="{}L{:.2f} {:.2f}Z" fill="{}" fill-opacity="0.45"/>)"
             "\n",
             path, x(length_), bottom_, queued_colour);
    svg_.line(left, bottom_, x(length_), bottom_, "#b9c1ca");
  }

  // -- marks ---------------------------------------------------------------------------------------------------------

  double inside(double time) const { return std::clamp(time, 0.0, length_); }
  double x(double time) const { return left + (width - left - right) * time / length_; }

  void span(double from, double to, double top, double height, const char* fill, double least) {
    if (to < 0 || from > length_) return;
    const auto begin = x(inside(from));
    const auto wide = std::max(x(inside(to)) - begin, least);
    if (wide > 0) svg_.rect(begin, top, wide, height, fill);
  }

  const timeline& picture_;
  double length_;
  std::vector<lane_layout> lanes_;
  double depth_top_ = 0;
  double bottom_ = 0;
  svg_document svg_;
};

}  // namespace

std::string timeline_svg(const timeline& picture) { return drawing{picture}.document(); }

}  // namespace ganglion::command
