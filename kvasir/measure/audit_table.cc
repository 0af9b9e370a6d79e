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

std::vector<std::string> RowOf(const Audit& audit, const RecipeAudit& r) {
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

std::string Heading(const Audit& audit) {
  std::string text = fmt::format("model: {}, {}\n", audit.model.path, audit.model.label);
  text += fmt::format("cpu: {}, {} threads, {}\nbuild: {}, {}, {}\n", audit.machine.cpu,
                      audit.n_thread, audit.machine.isa, audit.machine.commit,
                      audit.machine.compiler, audit.machine.flags);
  if (audit.machine.assertions) text += "warning: assertions are on\n";
  text += fmt::format(
      "text: {} tokens, {} read as a prompt in chunks of {}, {} fed one at a time; {} positions of "
      "the prompt are compared\n",
      audit.n_token, audit.n_prefill, audit.n_ubatch, audit.n_decode, audit.n_judged);
  if (audit.memory_limit > 0) text += fmt::format("limit: {}\n", FormatBytes(audit.memory_limit));
  return text + '\n';
}

}  // namespace

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

std::string AuditTable(const Audit& audit) {
  std::vector<std::vector<std::string>> rows = {
      {"recipe", "KL mean", "p99", "worst", "top-1", "ppl", "KL prompt", "attn err", "KV",
       "B/token", "of exact", "peak", "process", "prefill s", "t/s", "decode s", "t/s"}};
  std::vector<std::string> exact = {"exact (shadow)",
                                    "",
                                    "",
                                    "",
                                    "",
                                    fmt::format("{:.4f}", audit.exact.decode_perplexity),
                                    "",
                                    ""};
  AddCost(audit, audit.exact.cost, &exact);
  rows.push_back(std::move(exact));
  for (const size_t i : TableOrder(audit)) rows.push_back(RowOf(audit, audit.recipes[i]));
  std::string text = Heading(audit) + AlignColumns(rows, 1);
  text +=
      "\nKL: nats against exact, over tokens fed one at a time, \"prompt\" over the prompt; attn "
      "err: "
      "relative L2 of\nwhat attention gives, mean over layers; =: a baseline at the same bytes, or "
      "a "
      "fixed point\n";
  for (const std::string& note : audit.notes) text += "note: " + note + '\n';
  return text;
}

}  // namespace kvasir
