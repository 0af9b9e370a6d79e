#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kvasir/core/byte_ledger.h"
#include "kvasir/measure/audit_report.h"
#include "kvasir/measure/svg_plot.h"
#include "kvasir/measure/text_table.h"

namespace kvasir {
namespace {

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark}
body{font:16px/1.45 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:0 .8rem 3rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;font-size:.82rem;white-space:nowrap}
th,td{padding:.25rem .55rem;text-align:right;border-bottom:1px solid #8884}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:Canvas}
tr.baseline td{opacity:.75}
svg{display:block;height:auto;margin:.6rem 0}
.plot svg{min-width:34rem}
p,li{max-width:44rem}
.small{font-size:.82rem;opacity:.8}
.maps{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:.8rem}
)";

std::string Percent(double share) { return fmt::format("{:.3g} %", 100 * share); }
std::string Bytes(double bytes) { return FormatBytes(static_cast<int64_t>(bytes)); }

double ShareOf(const Audit& audit, const StreamCost& cost) {
  return static_cast<double>(cost.kv_bytes) / static_cast<double>(audit.exact.cost.kv_bytes);
}

std::vector<const RecipeAudit*> Asked(const Audit& audit) {
  std::vector<const RecipeAudit*> asked;
  for (const RecipeAudit& r : audit.recipes) {
    if (r.baseline_of.empty()) asked.push_back(&r);
  }
  return asked;
}

Plot QualityAgainstBytes(const Audit& audit) {
  Plot plot;
  plot.title = "Quality against bytes";
  plot.x = {.label = "KV bytes at the end, share of exact", .log = true, .show = Percent};
  plot.y = {.label = "mean KL, nats", .log = true};
  PlotSeries asked = {.name = "recipes", .mark = Mark::kPoints, .color = 0};
  PlotSeries baselines = {.name = "baselines", .mark = Mark::kPoints, .hollow = true, .color = 8};
  PlotSeries front = {.name = "best at its bytes", .color = 1};
  std::vector<double> x, y;
  for (const RecipeAudit& r : audit.recipes) {
    PlotSeries& series = r.baseline_of.empty() ? asked : baselines;
    x.push_back(ShareOf(audit, r.cost));
    y.push_back(r.decode_summary.kl_mean);
    series.x.push_back(x.back());
    series.y.push_back(y.back());
    series.labels.push_back(r.recipe);
  }
  for (const size_t i : ParetoFront(x, y)) {
    front.x.push_back(x[i]);
    front.y.push_back(y[i]);
  }
  plot.series = {std::move(front), std::move(asked), std::move(baselines)};
  return plot;
}

// Means of at most this many stretches of positions.
constexpr size_t kStretches = 48;

void AddMeans(const PositionErrors& errors, PlotSeries* series) {
  const size_t n = errors.pos.size(), n_part = std::min(n, kStretches);
  for (size_t i = 0; i < n_part; ++i) {
    const size_t begin = i * n / n_part, end = (i + 1) * n / n_part;
    double x = 0, y = 0;
    for (size_t k = begin; k < end; ++k) {
      x += errors.pos[k];
      y += errors.kl[k];
    }
    series->x.push_back(x / static_cast<double>(end - begin));
    series->y.push_back(y / static_cast<double>(end - begin));
  }
}

Plot ErrorByPosition(const Audit& audit, bool prompt) {
  Plot plot;
  plot.title = prompt ? "Error by position of the prompt" : "Error by position, fed one at a time";
  plot.x = {.label = "position", .whole = true};
  plot.y = {.label = "KL, nats", .log = true};
  int color = 0;
  for (const RecipeAudit* r : Asked(audit)) {
    PlotSeries series = {.name = r->recipe, .color = color++};
    AddMeans(prompt ? r->prefill : r->decode, &series);
    plot.series.push_back(std::move(series));
  }
  return plot;
}

Plot ErrorByLayer(const Audit& audit) {
  Plot plot;
  plot.title = "Error of attention by layer";
  plot.x = {.label = "layer", .whole = true};
  plot.y = {.label = "relative L2 error, mean", .log = true};
  const auto add = [&](std::string name, const std::vector<LayerError>& errors, bool isolated,
                       int color) {
    if (errors.empty()) return;
    PlotSeries series = {
        .name = std::move(name), .mark = Mark::kLineAndPoints, .hollow = isolated, .color = color};
    for (size_t layer = 0; layer < errors.size(); ++layer) {
      series.x.push_back(static_cast<double>(layer));
      series.y.push_back(errors[layer].mean);
    }
    plot.series.push_back(std::move(series));
  };
  int color = 0;
  for (const RecipeAudit* r : Asked(audit)) {
    add(r->recipe, r->stream_error, false, color);
    add("", r->isolated_error, true, color++);
  }
  return plot;
}

Plot MemoryOverTime(const Audit& audit) {
  Plot plot;
  plot.title = "Memory over time";
  plot.x = {.label = "tokens read", .whole = true};
  plot.y = {.label = "KV bytes", .from_zero = true, .show = Bytes};
  while (plot.y.tick_unit * 1024 < static_cast<double>(audit.exact.cost.kv_bytes)) {
    plot.y.tick_unit *= 1024;
  }
  plot.rules = {{static_cast<double>(audit.n_prefill), "prompt ends"}};
  const auto add = [&](const std::string& name, const StreamCost& cost, int color) {
    PlotSeries series = {.name = name, .color = color};
    const size_t n = cost.memory.size(), every = n / 400 + 1;
    for (size_t i = 0; i < n; ++i) {
      if (i % every != 0 && i + 1 < n) continue;
      series.x.push_back(static_cast<double>(cost.memory[i].n_token));
      series.y.push_back(static_cast<double>(cost.memory[i].payload));
    }
    plot.series.push_back(std::move(series));
  };
  constexpr int kGrey = 8;
  add("exact", audit.exact.cost, kGrey);
  int color = 0;
  for (const RecipeAudit* r : Asked(audit)) add(r->recipe, r->cost, color++);
  return plot;
}

std::string Cells(const std::vector<std::string>& row, std::string_view tag) {
  std::string html;
  for (const std::string& cell : row) {
    html += fmt::format("<{}>{}</{}>", tag, EscapeXml(cell), tag);
  }
  return html;
}

std::string Table(const Audit& audit) {
  std::string html = "<div class=\"scroll\"><table><thead><tr>" + Cells(TableHeader(), "th") +
                     "</tr></thead><tbody>\n<tr>" + Cells(ExactRow(audit), "td") + "</tr>\n";
  for (const size_t i : TableOrder(audit)) {
    const RecipeAudit& r = audit.recipes[i];
    html += r.baseline_of.empty() ? "<tr>" : "<tr class=\"baseline\">";
    html += Cells(TableRow(audit, r), "td") + "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string TaskTable(const std::vector<std::vector<std::string>>& rows) {
  std::string html = "<div class=\"scroll\"><table><thead><tr>" + Cells(rows.front(), "th") +
                     "</tr></thead><tbody>\n";
  for (size_t i = 1; i < rows.size(); ++i) html += "<tr>" + Cells(rows[i], "td") + "</tr>\n";
  return html + "</tbody></table></div>\n";
}

// Scrolls sideways where the screen is narrow.
std::string Framed(const Plot& plot) {
  return "<div class=\"scroll plot\">" + PlotSvg(plot) + "</div>\n";
}

std::string Heads(const HeadMap& heads) {
  std::string html = "<div class=\"maps\">";
  const auto add = [&](std::string title, const std::vector<float>& values) {
    html += "<div>" +
            HeatMapSvg({.title = std::move(title),
                        .row_label = "layer",
                        .column_label = "head",
                        .n_row = heads.n_layer,
                        .n_column = heads.n_head,
                        .values = {values.begin(), values.end()}}) +
            "</div>\n";
  };
  add(fmt::format("first {} tokens", heads.n_sink), heads.sink);
  add(fmt::format("newest {} tokens", heads.n_local), heads.local);
  add("farther away", heads.far);
  add("induction", heads.induction);
  add("echo", heads.echo);
  return html + "</div>\n";
}

std::string Paragraph(std::string_view text) {
  return fmt::format("<p class=\"small\">{}</p>\n", text);
}

}  // namespace

std::string AuditHtml(const Audit& audit) {
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<title>Audit of KV recipes</title><style>";
  html += kStyle;
  html += "</style></head><body>\n<h1>Audit of KV recipes</h1>\n<p class=\"small\">";
  for (const std::string& line : AuditHeading(audit)) html += EscapeXml(line) + "<br>";
  html += "</p>\n<h2>Recipes</h2>\n" + Table(audit);
  html += Paragraph(
      "KL is the divergence of the next-token distribution from the exact cache's, in nats, over "
      "tokens fed one at a time; \"KL prompt\" the same over positions of the prompt. attn err is "
      "the relative L2 error of what attention gives, averaged over layers. Rows that begin with = "
      "are baselines: sinks and the newest tokens, or random tokens, at the bytes of the row "
      "above, "
      "and rotated q8_0 and q4_0 as fixed points.");
  if (const auto tasks = TaskRows(audit); !tasks.empty()) {
    html += "<h2>Tasks</h2>\n" + TaskTable(tasks) + Paragraph(TasksCaption(audit));
  }
  html += "<h2>Quality and bytes</h2>\n" + Framed(QualityAgainstBytes(audit));
  html +=
      Paragraph("Lower and further left is better. Rows without error stand at the lower edge.");
  html += "<h2>Where the errors are</h2>\n" + Framed(ErrorByPosition(audit, /*prompt=*/false));
  html += Framed(ErrorByPosition(audit, /*prompt=*/true)) + Framed(ErrorByLayer(audit));
  html += Paragraph(
      "By position: means over stretches. By layer: full lines are the recipe's own stream, with "
      "the errors of all layers and steps before in it; dashed lines put the exact queries to the "
      "recipe's cache.");
  html += "<h2>Memory</h2>\n" + Framed(MemoryOverTime(audit));
  if (audit.heads) {
    html += "<h2>Heads</h2>\n" + Heads(*audit.heads);
    html += Paragraph(
        "Shares of attention by layer (down) and head (across), over the last queries of each "
        "chunk "
        "of the prompt. Induction and echo: attention to what followed an earlier occurrence of "
        "the "
        "token, and to that occurrence, in random text that repeats. Darker is more.");
  }
  if (!audit.notes.empty()) {
    html += "<h2>Notes</h2>\n<ul>";
    for (const std::string& note : audit.notes) html += "<li>" + EscapeXml(note) + "</li>";
    html += "</ul>\n";
  }
  return html + "</body></html>\n";
}

}  // namespace kvasir
