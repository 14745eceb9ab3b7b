#include "svg.hpp"

#include <algorithm>
#include <cmath>

namespace ganglion::command {

namespace {

constexpr std::string_view style =
    R"svg(  text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; font-size: 12px; }
  .title { font-size: 20px; font-weight: 600; }
)svg";

}  // namespace

void svg_document::rect(double at, double top, double wide, double height, const char* fill) {
  put(R"(<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" fill="{}"/>)"
      "\n",
      at, top, wide, height, fill);
}

void svg_document::text(double at, double baseline, std::string_view content, const char* fill, const char* style_class,
                        const char* anchor) {
  put(R"(<text x="{:.2f}" y="{:.2f}" fill="{}"{}{}>{}</text>)"
      "\n",
      at, baseline, fill, *style_class ? fmt::format(R"( class="{}")", style_class) : "",
      *anchor ? fmt::format(R"( text-anchor="{}")", anchor) : "", escaped(content));
}

void svg_document::line(double x1, double y1, double x2, double y2, const char* stroke, std::string_view more) {
  put(R"(<line x1="{:.2f}" y1="{:.2f}" x2="{:.2f}" y2="{:.2f}" stroke="{}"{}{}/>)"
      "\n",
      x1, y1, x2, y2, stroke, more.empty() ? "" : " ", more);
}

void svg_document::heading(double at, std::string_view title, std::string_view subtitle) {
  text(at, 38, title, look::ink, "title");
  text(at, 60, subtitle, look::faint_ink);
}

std::string svg_document::finish(double height, std::string_view more_style, std::string_view definitions) const {
  return fmt::format(R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}">)"
                     "\n<style>\n{2}{3}</style>\n{4}"
                     R"(<rect x="0.00" y="0.00" width="{0:.2f}" height="{1:.2f}" fill="#ffffff"/>)"
                     "\n{5}</svg>\n",
                     look::width, height, style, more_style, definitions, body_);
}

std::string escaped(std::string_view text) {
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

double tick_step(double length, int least_steps) {
  const auto power = std::pow(10, std::floor(std::log10(length / least_steps)));
  for (const auto factor : {5.0, 2.0})
    if (length / (factor * power) >= least_steps) return factor * power;
  return power;
}

int decimals_of(double step) { return std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9))); }

}  // namespace ganglion::command
