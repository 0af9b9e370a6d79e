#include "kvasir/measure/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

#include "kvasir/model/utf8.h"

namespace kvasir {
namespace {

// Told apart by people with the common kinds of colour blindness, on white and on black.
constexpr std::array<std::string_view, 10> kPalette = {"#2a78c8", "#e08214", "#35978f", "#c51b7d",
                                                       "#7a5fb5", "#8c6d31", "#5aae61", "#d6604d",
                                                       "#5b6b7b", "#b8a000"};

constexpr double kWidth = 660, kHeight = 400;  // without the legend
constexpr double kLeft = 84, kRight = 20, kTop = 34, kBottom = 52;
constexpr double kCharWidth = 6.4, kLineHeight = 17;  // of text of 11.5 px

std::string Text(double x, double y, std::string_view anchor, std::string_view text,
                 std::string_view more = "") {
  return fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>)", x, y, anchor,
                     more, EscapeXml(text));
}

std::string Line(double x1, double y1, double x2, double y2, std::string_view more) {
  return fmt::format(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" {}/>)", x1, y1, x2,
                     y2, more);
}

std::string Open(double width, double height, std::string_view title) {
  return fmt::format(
             R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {:.0f} {:.0f}" role="img" )"
             R"(width="100%" font-family="sans-serif" font-size="11.5" fill="currentColor">)",
             width, height) +
         fmt::format("<title>{}</title>", EscapeXml(title));
}

size_t CharactersOf(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
}

// Data to pixels along one axis.
class Scale {
 public:
  Scale(const PlotAxis& axis, std::vector<double> values, double from, double to, int n_tick);
  double operator()(double value) const {
    const double at = (Map(value) - low_) / (high_ - low_);
    return from_ + std::clamp(at, 0.0, 1.0) * (to_ - from_);
  }
  const std::vector<double>& ticks() const { return ticks_; }
  std::string Show(double tick) const {
    return axis_.show ? axis_.show(tick) : fmt::format("{:.6g}", tick);
  }

 private:
  double Map(double value) const {
    if (!axis_.log) return value;
    return value > 0 ? std::log10(value) : -std::numeric_limits<double>::infinity();
  }

  const PlotAxis& axis_;
  double from_, to_;
  double low_ = 0, high_ = 1;
  std::vector<double> ticks_;
};

Scale::Scale(const PlotAxis& axis, std::vector<double> values, double from, double to, int n_tick)
    : axis_(axis), from_(from), to_(to) {
  std::erase_if(values, [&](double v) { return !std::isfinite(v) || (axis.log && v <= 0); });
  if (axis.from_zero && !axis.log) values.push_back(0);
  if (values.empty()) values = {axis.log ? 0.1 : 0.0, 1.0};
  const auto [least, most] = std::ranges::minmax(values);
  low_ = Map(least);
  high_ = Map(most);
  const double pad = high_ > low_ ? 0.04 * (high_ - low_) : (axis.log ? 0.5 : 0.5 + 0.1 * most);
  if (!axis.from_zero || low_ < 0) low_ -= pad;
  high_ += pad;
  if (axis.log) {
    ticks_ = LogTicks(std::pow(10, low_), std::pow(10, high_), n_tick);
  } else {
    ticks_ = LinearTicks(low_ / axis.tick_unit, high_ / axis.tick_unit, n_tick);
    for (double& tick : ticks_) tick *= axis.tick_unit;
  }
  if (axis.whole) std::erase_if(ticks_, [](double t) { return t != std::round(t); });
}

struct Box {
  double x, y, width, height;
  bool Overlaps(const Box& o) const {
    return x < o.x + o.width && o.x < x + width && y < o.y + o.height && o.y < y + height;
  }
};

class Drawing {
 public:
  explicit Drawing(const Plot& plot)
      : plot_(plot),
        x_(plot.x, Values(&PlotSeries::x), kLeft, kWidth - kRight, 7),
        y_(plot.y, Values(&PlotSeries::y), kHeight - kBottom, kTop, 7) {}
  std::string Svg();

 private:
  std::vector<double> Values(std::vector<double> PlotSeries::*member) const {
    std::vector<double> all;
    for (const PlotSeries& s : plot_.series) {
      all.insert(all.end(), (s.*member).begin(), (s.*member).end());
    }
    return all;
  }
  std::string_view ColorOf(size_t i) const {
    const int color = plot_.series[i].color;
    return kPalette[(color >= 0 ? static_cast<size_t>(color) : i) % kPalette.size()];
  }
  void Frame();
  void Series(size_t i);
  void Labels(size_t i);
  void Legend();

  const Plot& plot_;
  Scale x_, y_;
  std::string body_;
  std::vector<Box> taken_;  // by points and labels
  double height_ = kHeight;
};

void Drawing::Frame() {
  constexpr std::string_view kGrid = R"(stroke="currentColor" stroke-opacity="0.15")";
  constexpr std::string_view kEdge = R"(stroke="currentColor" stroke-opacity="0.6")";
  const double right = kWidth - kRight, bottom = kHeight - kBottom;
  for (const double tick : x_.ticks()) {
    body_ += Line(x_(tick), kTop, x_(tick), bottom, kGrid);
    body_ += Text(x_(tick), bottom + 16, "middle", x_.Show(tick));
  }
  for (const double tick : y_.ticks()) {
    body_ += Line(kLeft, y_(tick), right, y_(tick), kGrid);
    body_ += Text(kLeft - 6, y_(tick) + 4, "end", y_.Show(tick));
  }
  body_ += Line(kLeft, bottom, right, bottom, kEdge) + Line(kLeft, kTop, kLeft, bottom, kEdge);
  body_ += Text((kLeft + right) / 2, bottom + 38, "middle", plot_.x.label);
  body_ +=
      Text(0, 0, "middle", plot_.y.label,
           fmt::format(R"-( transform="translate(14 {:.1f}) rotate(-90)")-", (kTop + bottom) / 2));
  body_ += Text(kLeft, 18, "start", plot_.title, R"( font-size="14" font-weight="bold")");
  for (const PlotRule& rule : plot_.rules) {
    body_ += Line(x_(rule.x), kTop, x_(rule.x), bottom,
                  R"(stroke="currentColor" stroke-opacity="0.5" stroke-dasharray="2 4")");
    const bool late = x_(rule.x) > (kLeft + 2 * right) / 3;
    body_ += Text(x_(rule.x) + (late ? -4 : 4), kTop + 10, late ? "end" : "start", rule.label,
                  R"( fill-opacity="0.7")");
  }
  const auto drawn = [](const PlotSeries& s) { return !s.x.empty(); };
  if (std::ranges::none_of(plot_.series, drawn)) {
    body_ += Text((kLeft + right) / 2, (kTop + bottom) / 2, "middle", "nothing to show");
  }
}

void Drawing::Series(size_t i) {
  const PlotSeries& s = plot_.series[i];
  assert(s.x.size() == s.y.size());
  const std::string_view color = ColorOf(i);
  std::string path, points;
  bool pen_down = false;
  for (size_t k = 0; k < s.x.size(); ++k) {
    const bool there = std::isfinite(s.x[k]) && std::isfinite(s.y[k]);
    if (there) {
      const double px = x_(s.x[k]), py = y_(s.y[k]);
      path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", px, py);
      std::string note = s.labels.empty() ? s.name : s.labels[k];
      note = fmt::format("{}: {}, {}", note, x_.Show(s.x[k]), y_.Show(s.y[k]));
      points += fmt::format(
          R"(<circle cx="{:.1f}" cy="{:.1f}" r="4" fill="{}" stroke="{}" stroke-width="1.6">)"
          "<title>{}</title></circle>",
          px, py, s.hollow ? "none" : color, color, EscapeXml(note));
      if (s.mark != Mark::kLine) taken_.push_back({px - 5, py - 5, 10, 10});
    }
    pen_down = there;
  }
  if (s.mark != Mark::kPoints && !path.empty()) {
    body_ += fmt::format(
        R"(<path d="{}" fill="none" stroke="{}" stroke-width="1.7" stroke-linejoin="round"{}/>)",
        path, color, s.hollow ? R"( stroke-dasharray="5 4")" : "");
  }
  if (s.mark != Mark::kLine) body_ += points;
}

void Drawing::Labels(size_t i) {
  const PlotSeries& s = plot_.series[i];
  for (size_t k = 0; k < s.labels.size(); ++k) {
    if (!std::isfinite(s.x[k]) || !std::isfinite(s.y[k])) continue;
    const double px = x_(s.x[k]), py = y_(s.y[k]);
    const double width = kCharWidth * static_cast<double>(CharactersOf(s.labels[k]));
    const std::array<Box, 6> places = {{{px + 7, py - 7, width, 13},
                                        {px - 7 - width, py - 7, width, 13},
                                        {px - width / 2, py - 21, width, 13},
                                        {px - width / 2, py + 8, width, 13},
                                        {px + 7, py - 19, width, 13},
                                        {px + 7, py + 5, width, 13}}};
    for (const Box& place : places) {
      const bool inside = place.x >= kLeft && place.x + width <= kWidth && place.y >= kTop &&
                          place.y + place.height <= kHeight - kBottom;
      const auto overlaps = [&](const Box& other) { return place.Overlaps(other); };
      if (!inside || std::ranges::any_of(taken_, overlaps)) continue;
      body_ += Text(place.x, place.y + 10, "start", s.labels[k]);
      taken_.push_back(place);
      break;
    }
  }
}

void Drawing::Legend() {
  double x = kLeft, y = kHeight + 4;
  for (size_t i = 0; i < plot_.series.size(); ++i) {
    const PlotSeries& s = plot_.series[i];
    if (s.name.empty()) continue;
    const double width = 34 + kCharWidth * static_cast<double>(CharactersOf(s.name));
    if (x > kLeft && x + width > kWidth - kRight) {
      x = kLeft;
      y += kLineHeight;
    }
    const std::string_view color = ColorOf(i);
    if (s.mark == Mark::kPoints) {
      body_ += fmt::format(
          R"(<circle cx="{:.1f}" cy="{:.1f}" r="4" fill="{}" stroke="{}" stroke-width="1.6"/>)",
          x + 9, y - 4, s.hollow ? "none" : color, color);
    } else {
      body_ += Line(x, y - 4, x + 18, y - 4,
                    fmt::format(R"(stroke="{}" stroke-width="2.4"{})", color,
                                s.hollow ? R"( stroke-dasharray="5 4")" : ""));
    }
    body_ += Text(x + 23, y, "start", s.name);
    x += width;
    height_ = y + 8;
  }
}

std::string Drawing::Svg() {
  Frame();
  for (size_t i = 0; i < plot_.series.size(); ++i) Series(i);
  for (size_t i = 0; i < plot_.series.size(); ++i) Labels(i);
  Legend();
  return Open(kWidth, height_, plot_.title) + body_ + "</svg>";
}

}  // namespace

std::string EscapeXml(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Utf8Unit unit = NextUtf8(text);
    const std::string_view bytes = text.substr(0, unit.length);
    text.remove_prefix(unit.length);
    if (unit.kind != Utf8Kind::kValid) {
      out += kReplacementCharacter;
    } else if (bytes == "&") {
      out += "&amp;";
    } else if (bytes == "<") {
      out += "&lt;";
    } else if (bytes == ">") {
      out += "&gt;";
    } else if (bytes == "\"") {
      out += "&quot;";
    } else if (bytes == "'") {
      out += "&#39;";
    } else if (unit.codepoint < 0x20 && bytes != "\n" && bytes != "\t") {
      out += kReplacementCharacter;
    } else {
      out += bytes;
    }
  }
  return out;
}

std::vector<double> LinearTicks(double low, double high, int most) {
  if (!(low < high) || !std::isfinite(high - low)) return {low};
  const double rough = (high - low) / std::max(1, most);
  const double unit = std::pow(10, std::floor(std::log10(rough)));
  // The first step of 1, 2, 5, 10, ... units that gives few enough; going back gives two at least.
  std::vector<double> ticks;
  for (const double step : {10.0, 5.0, 2.0, 1.0, 0.5}) {
    std::vector<double> finer;
    for (double k = std::ceil(low / (step * unit)); k * step * unit <= high; ++k) {
      finer.push_back(k * step * unit + 0.0);  // no -0
    }
    if (finer.size() > static_cast<size_t>(most) && ticks.size() >= 2) break;
    ticks = std::move(finer);
  }
  return ticks;
}

std::vector<double> LogTicks(double low, double high, int most) {
  const auto first = static_cast<int>(std::floor(std::log10(low)));
  const auto last = static_cast<int>(std::ceil(std::log10(high)));
  std::vector<double> ticks;
  const auto collect = [&](std::initializer_list<double> digits, int every) {
    std::vector<double> finer;
    for (int decade = first; decade <= last; ++decade) {
      if ((decade % every + every) % every != 0) continue;
      for (const double digit : digits) {
        const double tick = digit * std::pow(10, decade);
        if (tick >= low && tick <= high) finer.push_back(tick);
      }
    }
    if (ticks.size() < 2 || finer.size() <= static_cast<size_t>(most)) ticks = std::move(finer);
  };
  for (int every = 8; every >= 1; every /= 2) collect({1}, every);
  collect({1, 2, 5}, 1);
  return ticks.size() >= 2 ? ticks : LinearTicks(low, high, most);
}

std::string PlotSvg(const Plot& plot) { return Drawing(plot).Svg(); }

std::string HeatMapSvg(const HeatMap& map) {
  assert(map.values.size() == static_cast<size_t>(map.n_row) * static_cast<size_t>(map.n_column));
  constexpr double kSide = 22, kMargin = 34;
  const double width = std::max(kMargin + kSide * map.n_column + 8, 220.0);
  const double height = 30 + kSide * map.n_row + 30;
  std::string svg = Open(width, height, map.title);
  svg += Text(4, 16, "start", map.title, R"( font-weight="bold")");
  for (int r = 0; r < map.n_row; ++r) {
    const double y = 26 + kSide * r;
    svg += Text(kMargin - 5, y + kSide / 2 + 4, "end", std::to_string(r));
    for (int c = 0; c < map.n_column; ++c) {
      const double value = map.values[static_cast<size_t>(r) * map.n_column + c];
      const double share = std::isfinite(value) ? std::clamp(value, 0.0, 1.0) : 0;
      svg += fmt::format(
          R"(<rect x="{:.1f}" y="{:.1f}" width="{:.0f}" height="{:.0f}" fill="#2a78c8" )"
          R"(fill-opacity="{:.2f}" stroke="currentColor" stroke-opacity="0.2"><title>{} {}, {} {}: )"
          "{:.3f}</title></rect>",
          kMargin + kSide * c, y, kSide - 1, kSide - 1, 0.04 + 0.96 * share,
          EscapeXml(map.row_label), r, EscapeXml(map.column_label), c, value);
    }
  }
  for (int c = 0; c < map.n_column; ++c) {
    svg += Text(kMargin + kSide * (c + 0.5), 26 + kSide * map.n_row + 12, "middle",
                std::to_string(c), R"( font-size="9")");
  }
  return svg + "</svg>";
}

std::vector<size_t> ParetoFront(const std::vector<double>& x, const std::vector<double>& y) {
  assert(x.size() == y.size());
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::erase_if(order, [&](size_t i) { return !std::isfinite(x[i]) || !std::isfinite(y[i]); });
  std::ranges::sort(
      order, [&](size_t a, size_t b) { return x[a] < x[b] || (x[a] == x[b] && y[a] < y[b]); });
  std::vector<size_t> front;
  for (const size_t i : order) {
    if (front.empty() || y[i] < y[front.back()]) front.push_back(i);
  }
  return front;
}

}  // namespace kvasir
