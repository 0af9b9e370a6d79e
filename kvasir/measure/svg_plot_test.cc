#include "kvasir/measure/svg_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <regex>
#include <string>
#include <vector>

namespace kvasir {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

size_t Count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

// Every tag is closed, in order, and nothing but tags holds '<'.
void ExpectWellFormed(const std::string& svg) {
  std::vector<std::string> open;
  const std::regex tag(R"(<(/?)([a-z]+)([^<>]*?)(/?)>)");
  size_t n_tag = 0;
  for (std::sregex_iterator it(svg.begin(), svg.end(), tag), end; it != end; ++it, ++n_tag) {
    const std::smatch& m = *it;
    if (m[1].length() > 0) {
      ASSERT_FALSE(open.empty()) << m.str();
      ASSERT_EQ(open.back(), m[2].str());
      open.pop_back();
    } else if (m[4].length() == 0) {
      open.push_back(m[2].str());
    }
    EXPECT_EQ(Count(m[3].str(), "\"") % 2, 0u) << m.str();
  }
  EXPECT_TRUE(open.empty());
  EXPECT_EQ(n_tag, Count(svg, "<"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

std::vector<std::pair<double, double>> Circles(const std::string& svg) {
  std::vector<std::pair<double, double>> at;
  const std::regex circle(R"re(<circle cx="([-0-9.]+)" cy="([-0-9.]+)" r="4"[^>]*><title>)re");
  for (std::sregex_iterator it(svg.begin(), svg.end(), circle), end; it != end; ++it) {
    at.emplace_back(std::stod((*it)[1]), std::stod((*it)[2]));
  }
  return at;
}

TEST(EscapeXml, LeavesNoMarkupAndNoBytesThatAreNoText) {
  EXPECT_EQ(EscapeXml("<script>\"a\" & 'b'</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;");
  EXPECT_EQ(EscapeXml("\x01\xff é"), "\xEF\xBF\xBD\xEF\xBF\xBD é");
}

TEST(LinearTicks, AreRoundNumbersInside) {
  EXPECT_THAT(LinearTicks(0, 10, 6), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(LinearTicks(-1, 1, 5), ElementsAre(-1, -0.5, 0, 0.5, 1));
  EXPECT_THAT(LinearTicks(3, 3, 5), ElementsAre(3));
  for (const auto& [low, high] :
       {std::pair{0.13, 0.131}, {1e9, 7e9}, {-5e-4, 3.0}, {98.0, 102.0}}) {
    for (int most = 3; most < 10; ++most) {
      const std::vector<double> ticks = LinearTicks(low, high, most);
      EXPECT_GE(ticks.size(), 2u) << low << " " << high << " " << most;
      EXPECT_LE(ticks.size(), static_cast<size_t>(most));
      EXPECT_GE(ticks.front(), low - 1e-9 * std::abs(low));
      EXPECT_LE(ticks.back(), high);
      EXPECT_TRUE(std::is_sorted(ticks.begin(), ticks.end()));
    }
  }
}

TEST(LogTicks, ArePowersOfTenWithTwosAndFivesWhereTheyFit) {
  const auto near = [](double v) { return testing::DoubleNear(v, v * 1e-12); };
  EXPECT_THAT(LogTicks(0.5, 2000, 7), ElementsAre(near(1), near(10), near(100), near(1000)));
  EXPECT_THAT(LogTicks(1, 10, 7), ElementsAre(near(1), near(2), near(5), near(10)));
  EXPECT_GE(LogTicks(3.1, 3.4, 7).size(), 2u);
  EXPECT_LE(LogTicks(1e-18, 1e6, 7).size(), 7u);
  EXPECT_GE(LogTicks(1e-18, 1e6, 7).size(), 2u);
}

TEST(PlotSvg, PutsPointsWhereTheyBelong) {
  Plot plot;
  plot.title = "a < b";
  plot.series = {{.name = "one", .mark = Mark::kPoints, .x = {0, 5, 10}, .y = {1, 3, 2}}};
  const std::string svg = PlotSvg(plot);
  ExpectWellFormed(svg);
  EXPECT_THAT(svg, HasSubstr("a &lt; b"));
  const auto at = Circles(svg);
  ASSERT_EQ(at.size(), 3u);
  EXPECT_NEAR(at[1].first - at[0].first, at[2].first - at[1].first, 0.11);
  EXPECT_LT(at[0].first, at[1].first);
  EXPECT_GT(at[0].second, at[2].second);  // up is smaller
  EXPECT_NEAR(at[0].second - at[2].second, at[2].second - at[1].second, 0.11);
}

TEST(PlotSvg, SpacesALogAxisByRatiosAndPutsZeroAtItsEdge) {
  Plot plot;
  plot.y.log = true;
  plot.series = {{.mark = Mark::kPoints, .x = {0, 1, 2, 3}, .y = {1e-4, 1e-2, 1, 0}}};
  const auto at = Circles(PlotSvg(plot));
  ASSERT_EQ(at.size(), 4u);
  EXPECT_NEAR(at[0].second - at[1].second, at[1].second - at[2].second, 0.11);
  for (int i = 0; i < 3; ++i) EXPECT_GT(at[3].second, at[i].second);
}

TEST(PlotSvg, LeavesOutWhatIsNotFiniteAndBreaksTheLineThere) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Plot plot;
  plot.series = {{.mark = Mark::kLineAndPoints, .x = {0, 1, 2, 3, 4}, .y = {1, 2, nan, 1, 2}}};
  const std::string svg = PlotSvg(plot);
  ExpectWellFormed(svg);
  EXPECT_EQ(Circles(svg).size(), 4u);
  const std::string path = svg.substr(svg.find("<path"));
  EXPECT_EQ(Count(path.substr(0, path.find("fill")), "M"), 2u);
}

TEST(PlotSvg, SurvivesNothingAndSingleValues) {
  for (const bool log : {false, true}) {
    Plot plot;
    plot.x.log = plot.y.log = log;
    ExpectWellFormed(PlotSvg(plot));
    EXPECT_THAT(PlotSvg(plot), HasSubstr("nothing to show"));
    plot.series = {{.name = "one", .mark = Mark::kPoints, .x = {2}, .y = {0}, .labels = {"<x>"}}};
    ExpectWellFormed(PlotSvg(plot));
    plot.series[0].y = {-3};
    ExpectWellFormed(PlotSvg(plot));
  }
}

TEST(PlotSvg, LabelsDoNotCoverEachOther) {
  Plot plot;
  PlotSeries series = {.mark = Mark::kPoints};
  for (int i = 0; i < 12; ++i) {
    series.x.push_back(i % 3);
    series.y.push_back(i / 3 * 0.01);
    series.labels.push_back("label number " + std::to_string(i));
  }
  plot.series = {series};
  const std::string svg = PlotSvg(plot);
  ExpectWellFormed(svg);
  std::vector<std::array<double, 2>> at;
  const std::regex label(
      R"re(<text x="([0-9.]+)" y="([0-9.]+)" text-anchor="start">label number)re");
  for (std::sregex_iterator it(svg.begin(), svg.end(), label), end; it != end; ++it) {
    at.push_back({std::stod((*it)[1]), std::stod((*it)[2])});
  }
  ASSERT_GE(at.size(), 3u);
  for (size_t i = 0; i < at.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      EXPECT_TRUE(std::abs(at[i][0] - at[j][0]) > 80 || std::abs(at[i][1] - at[j][1]) > 11);
    }
  }
}

TEST(HeatMapSvg, HasASquareForEveryValueDarkerForMore) {
  const HeatMap map = {.title = "heads",
                       .row_label = "layer",
                       .column_label = "head",
                       .n_row = 2,
                       .n_column = 3,
                       .values = {0, 0.5, 1, 2, -1, 0.25}};
  const std::string svg = HeatMapSvg(map);
  ExpectWellFormed(svg);
  EXPECT_EQ(Count(svg, "<rect"), 6u);
  EXPECT_THAT(svg, HasSubstr("layer 0, head 1: 0.500"));
  std::vector<double> opacity;
  const std::regex fill(R"re(fill-opacity="([0-9.]+)")re");
  for (std::sregex_iterator it(svg.begin(), svg.end(), fill), end; it != end; ++it) {
    opacity.push_back(std::stod((*it)[1]));
  }
  EXPECT_THAT(opacity, ElementsAre(0.04, 0.52, 1, 1, 0.04, 0.28));
}

TEST(ParetoFront, KeepsWhatNothingBeatsInBoth) {
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_THAT(ParetoFront({3, 1, 2, 2, 4, 5}, {1, 5, 4, 3, 2, inf}), ElementsAre(1, 3, 0));
  EXPECT_THAT(ParetoFront({1, 1}, {2, 2}), ElementsAre(0));
  EXPECT_TRUE(ParetoFront({}, {}).empty());
}

}  // namespace
}  // namespace kvasir
