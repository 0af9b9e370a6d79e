#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "kvasir/core/byte_ledger.h"
#include "kvasir/measure/audit_report.h"
#include "kvasir/measure/text_table.h"

namespace kvasir {
namespace {

constexpr std::string_view kNone = "-";

std::string Rate(int64_t n, double seconds) {
  if (!(seconds > 0)) return std::string(kNone);
  return fmt::format("{:.{}f}", static_cast<double>(n) / seconds, n < 10 * seconds ? 2 : 0);
}

std::string Percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

double MeanError(const std::vector<LayerError>& errors) {
  double sum = 0;
  for (const LayerError& e : errors) sum += e.mean;
  return errors.empty() ? 0 : sum / static_cast<double>(errors.size());
}

// "= streaming:512", and whose baseline it is where its place does not tell.
std::string NameOf(const Audit& audit, const RecipeAudit& r) {
  if (r.baseline_of.empty()) return r.recipe;
  if (r.baseline_of.size() == 1) return "= " + r.recipe;
  const auto n_asked = std::ranges::count_if(
      audit.recipes, [](const RecipeAudit& other) { return other.baseline_of.empty(); });
  std::string of = "all";
  if (static_cast<size_t>(n_asked) != r.baseline_of.size()) {
    of = fmt::format("{}", fmt::join(r.baseline_of, ", "));
  }
  return fmt::format("= {} (of {})", r.recipe, of);
}

std::string ShowScore(double score) {
  return score < 0 ? std::string(kNone) : fmt::format("{:.2f}", score);
}

// In the order they were run.
std::vector<std::string> TaskNames(const std::vector<TaskRunResult>& results) {
  std::vector<std::string> names;
  for (const TaskRunResult& r : results) {
    if (names.empty() || names.back() != r.task) names.push_back(r.task);
  }
  return names;
}

std::string VisibleAndHidden(const std::vector<TaskRunResult>& results, const std::string& task) {
  double visible = -1, hidden = -1;
  for (const TaskRunResult& r : results) {
    if (r.task != task || r.session != SessionMode::kTurns) continue;
    (r.question == QuestionMode::kVisible ? visible : hidden) = r.score;
  }
  return ShowScore(visible) + "/" + ShowScore(hidden);
}

// What every row has: bytes and seconds.
void AddCost(const Audit& audit, const StreamCost& cost, std::vector<std::string>* row) {
  const auto n_token = static_cast<double>(audit.n_token);
  row->push_back(FormatBytes(cost.kv_bytes));
  row->push_back(fmt::format("{:.1f}", static_cast<double>(cost.kv_bytes) / n_token));
  row->push_back(
      Percent(static_cast<double>(cost.kv_bytes) / static_cast<double>(audit.exact.cost.kv_bytes)));
  row->push_back(FormatBytes(cost.peak_bytes));
  row->push_back(cost.process_peak_bytes > 0 ? FormatBytes(cost.process_peak_bytes)
                                             : std::string(kNone));
  row->push_back(fmt::format("{:.2f}", cost.prefill_seconds));
  row->push_back(Rate(audit.n_prefill, cost.prefill_seconds));
  row->push_back(fmt::format("{:.2f}", cost.decode_seconds));
  row->push_back(Rate(audit.n_decode, cost.decode_seconds));
}

}  // namespace

std::vector<std::string> TableHeader() {
  return {"recipe",    "KL mean",   "p99", "worst",    "top-1",    "ppl",
          "KL prompt", "attn err",  "KV",  "B/token",  "of exact", "peak",
          "process",   "prefill s", "t/s", "decode s", "t/s"};
}

std::vector<std::string> TableRow(const Audit& audit, const RecipeAudit& r) {
  const ErrorSummary& d = r.decode_summary;
  std::vector<std::string> row = {NameOf(audit, r),
                                  ShowNumber(d.kl_mean),
                                  ShowNumber(d.kl_p99),
                                  fmt::format("{} @{}", ShowNumber(d.kl_worst), d.worst_pos),
                                  Percent(d.top1),
                                  fmt::format("{:.4f}", d.perplexity),
                                  ShowNumber(r.prefill_summary.kl_mean),
                                  ShowNumber(MeanError(r.stream_error))};
  AddCost(audit, r.cost, &row);
  return row;
}

std::vector<std::string> ExactRow(const Audit& audit) {
  std::vector<std::string> row(TableHeader().size() - 9);
  row[0] = "exact (shadow)";
  row[5] = fmt::format("{:.4f}", audit.exact.decode_perplexity);
  AddCost(audit, audit.exact.cost, &row);
  return row;
}

std::vector<std::string> AuditHeading(const Audit& audit) {
  const Machine& m = audit.machine;
  std::vector<std::string> lines = {
      fmt::format("model: {}, {}", audit.model.path, audit.model.label),
      fmt::format("cpu: {}, {} threads, {}", m.cpu, audit.n_thread, m.isa),
      fmt::format("build: {}, {}, {}", m.commit, m.compiler, m.flags)};
  if (m.assertions) lines.push_back("warning: assertions are on");
  lines.push_back(fmt::format(
      "text: {} tokens, {} read as a prompt in chunks of {}, {} fed one at a time; {} positions of "
      "the prompt are compared",
      audit.n_token, audit.n_prefill, audit.n_ubatch, audit.n_decode, audit.n_judged));
  if (audit.memory_limit > 0) {
    lines.push_back(fmt::format("limit: {}", FormatBytes(audit.memory_limit)));
  }
  return lines;
}

std::vector<size_t> TableOrder(const Audit& audit) {
  std::vector<size_t> order;
  std::vector<bool> listed(audit.recipes.size());
  const auto add = [&](size_t i) {
    if (!listed[i]) order.push_back(i);
    listed[i] = true;
  };
  for (size_t i = 0; i < audit.recipes.size(); ++i) {
    if (!audit.recipes[i].baseline_of.empty()) continue;
    add(i);
    for (size_t j = 0; j < audit.recipes.size(); ++j) {
      const std::vector<std::string>& of = audit.recipes[j].baseline_of;
      if (of.size() == 1 && of.front() == audit.recipes[i].recipe) add(j);
    }
  }
  for (size_t i = 0; i < audit.recipes.size(); ++i) add(i);
  return order;
}

std::vector<std::vector<std::string>> TaskRows(const Audit& audit) {
  std::vector<std::vector<std::string>> rows;
  if (audit.exact.tasks.empty()) return rows;
  std::vector<std::string> header = {"recipe",     "visible",     "hidden", "requests",
                                     "first turn", "later turns", "KV",     "seconds"};
  const std::vector<std::string> tasks = TaskNames(audit.exact.tasks);
  header.insert(header.end(), tasks.begin(), tasks.end());
  rows.push_back(std::move(header));
  const auto add = [&](std::string name, const std::vector<TaskRunResult>& results) {
    const TaskMeans m = MeansOf(results);
    std::vector<std::string> row = {std::move(name)};
    for (const double score : {m.visible, m.hidden, m.requests, m.first_turn, m.later_turns}) {
      row.push_back(ShowScore(score));
    }
    row.push_back(FormatBytes(static_cast<int64_t>(m.kv_bytes)));
    row.push_back(fmt::format("{:.1f}", m.seconds));
    for (const std::string& task : tasks) row.push_back(VisibleAndHidden(results, task));
    rows.push_back(std::move(row));
  };
  add("exact", audit.exact.tasks);
  for (const size_t i : TableOrder(audit)) {
    add(NameOf(audit, audit.recipes[i]), audit.recipes[i].tasks);
  }
  return rows;
}

std::string TasksCaption(const Audit& audit) {
  const TaskRunResult& first = audit.exact.tasks.front();
  return fmt::format(
      "tasks, {} cases each of {} tokens: share of right answers with the question visible and "
      "hidden\nwhile the recipe acts, a task's questions one after the other; requests: each "
      "alone, "
      "hidden;\nby task: visible/hidden",
      first.n_case, first.length);
}

std::string HeadsCaption(const HeadMap& heads) {
  return fmt::format(
      "heads, by what gets most of their attention: S the first {} tokens, L the newest {}, F what "
      "is\nfarther away, - none of them; * finds what was there before",
      heads.n_sink, heads.n_local);
}

std::string AuditTable(const Audit& audit) {
  std::vector<std::vector<std::string>> rows = {TableHeader(), ExactRow(audit)};
  for (const size_t i : TableOrder(audit)) rows.push_back(TableRow(audit, audit.recipes[i]));
  std::string text;
  for (const std::string& line : AuditHeading(audit)) text += line + '\n';
  text += '\n' + AlignColumns(rows, 1);
  text +=
      "\nKL: nats against exact, over tokens fed one at a time, \"prompt\" over the prompt; attn "
      "err: "
      "relative L2 of\nwhat attention gives, mean over layers; =: a baseline at the same bytes, or "
      "a "
      "fixed point\n";
  if (const auto tasks = TaskRows(audit); !tasks.empty()) {
    text += '\n' + TasksCaption(audit) + ":\n" + AlignColumns(tasks, 1);
  }
  if (audit.heads) text += '\n' + HeadsCaption(*audit.heads) + ":\n" + HeadMapText(*audit.heads);
  for (const std::string& note : audit.notes) text += "note: " + note + '\n';
  return text;
}

}  // namespace kvasir
