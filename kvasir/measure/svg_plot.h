// Plots as SVG text, to be put into a page as they are: no scripts, no fonts, no files. They scale
// with the page's width and take its text colour, so that dark pages work.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace kvasir {

// Text that may stand between tags or in an attribute: & < > " ' escaped, bytes that are no UTF-8
// and control characters replaced.
std::string EscapeXml(std::string_view text);

// At most `most` round numbers, ascending, inside [low, high]; at least two where low < high.
// Logarithmic: powers of ten, with 2 and 5 between them where those are few.
std::vector<double> LinearTicks(double low, double high, int most);
std::vector<double> LogTicks(double low, double high, int most);

enum class Mark { kLine, kLineAndPoints, kPoints };

struct PlotSeries {
  std::string name = {};  // in the legend; empty = not listed
  Mark mark = Mark::kLine;
  std::vector<double> x = {}, y = {};    // equal lengths; points that are not finite are left out
  std::vector<std::string> labels = {};  // beside each point, where there is room; may be empty
  bool hollow = false;                   // points drawn as rings, lines dashed
  int color = -1;                        // index into the palette; -1 = the series' own index
};

struct PlotAxis {
  std::string label = {};
  // Values that are not positive stand at the lower edge.
  bool log = false;
  bool from_zero = false;                        // linear only: the axis starts at 0 at the latest
  bool whole = false;                            // ticks at whole numbers only
  double tick_unit = 1;                          // linear only: ticks are round numbers of it
  std::function<std::string(double)> show = {};  // of a tick; empty = a short decimal
};

struct PlotRule {  // a vertical line
  double x = 0;
  std::string label = {};
};

struct Plot {
  std::string title = {};
  PlotAxis x = {}, y = {};
  std::vector<PlotSeries> series = {};
  std::vector<PlotRule> rules = {};
};
// Nothing to draw gives an empty frame that says so.
std::string PlotSvg(const Plot& plot);

struct HeatMap {
  std::string title = {};
  std::string row_label = {}, column_label = {};
  int n_row = 0, n_column = 0;
  std::vector<double> values = {};  // (n_row, n_column) in [0, 1]; others are clamped
};
// Squares from pale to dark, each with its value as a tooltip.
std::string HeatMapSvg(const HeatMap& map);

// Indices of the points than which no other is smaller or equal in both, by ascending x; of equal
// points the first. Points that are not finite are left out.
std::vector<size_t> ParetoFront(const std::vector<double>& x, const std::vector<double>& y);

}  // namespace kvasir
