#include "kvasir/measure/tasks/report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "kvasir/core/byte_ledger.h"

namespace kvasir {

std::string TaskTableHead() {
  return "| recipe | task | question | session | length | cases | score | prefill t/s | decode t/s "
         "| KV at end | KV peak |\n"
         "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|\n";
}

std::string TaskTableRow(std::string_view recipe, const TaskRunResult& result) {
  const auto rate = [](int64_t n, double seconds) {
    return seconds > 0 ? fmt::format("{:.1f}", static_cast<double>(n) / seconds) : std::string("-");
  };
  return fmt::format(
      "| {} | {} | {} | {} | {} | {} | {:.3f} ± {:.3f}{} | {} | {} | {} | {} |\n", recipe,
      result.task, QuestionModeName(result.question), SessionModeName(result.session),
      result.length, result.n_case, result.score, result.standard_error,
      result.n_read_again > 0 ? fmt::format(" ({} read again)", result.n_read_again)
                              : std::string(),
      rate(result.n_prefill, result.prefill_seconds), rate(result.n_decode, result.decode_seconds),
      FormatBytes(result.kv_bytes), FormatBytes(result.kv_bytes_peak));
}

nlohmann::ordered_json ToJson(std::string_view recipe, const TaskRunResult& result) {
  return {{"recipe", recipe},
          {"task", result.task},
          {"question", QuestionModeName(result.question)},
          {"session", SessionModeName(result.session)},
          {"length", result.length},
          {"cases", result.n_case},
          {"score", result.score},
          {"standard_error", result.standard_error},
          {"score_by_turn", result.score_by_turn},
          {"prefill_seconds", result.prefill_seconds},
          {"decode_seconds", result.decode_seconds},
          {"prefill_tokens", result.n_prefill},
          {"decode_tokens", result.n_decode},
          {"kv_bytes", result.kv_bytes},
          {"kv_bytes_peak", result.kv_bytes_peak},
          {"read_again", result.n_read_again},
          {"note", result.note}};
}

}  // namespace kvasir
