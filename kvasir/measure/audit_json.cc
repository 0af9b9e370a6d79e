#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "kvasir/measure/audit_report.h"
#include "kvasir/measure/tasks/report.h"

namespace kvasir {
namespace {

using Json = nlohmann::ordered_json;

Json CostOf(const Audit& audit, const StreamCost& cost) {
  const auto rate = [](int64_t n, double seconds) {
    return seconds > 0 ? Json(static_cast<double>(n) / seconds) : Json(nullptr);
  };
  Json memory = {
      {"n_token", Json::array()}, {"kv_bytes", Json::array()}, {"ledger_bytes", Json::array()}};
  for (const MemorySample& sample : cost.memory) {
    memory["n_token"].push_back(sample.n_token);
    memory["kv_bytes"].push_back(sample.payload);
    memory["ledger_bytes"].push_back(sample.ledger);
  }
  const auto kv_bytes = static_cast<double>(cost.kv_bytes);
  return {{"kv_bytes", cost.kv_bytes},
          {"kv_bytes_per_token", kv_bytes / static_cast<double>(audit.n_token)},
          {"kv_share_of_exact", kv_bytes / static_cast<double>(audit.exact.cost.kv_bytes)},
          {"tokens_held", cost.tokens_held},
          {"peak_bytes", cost.peak_bytes},
          {"process_peak_bytes",
           cost.process_peak_bytes > 0 ? Json(cost.process_peak_bytes) : Json(nullptr)},
          {"prefill_seconds", cost.prefill_seconds},
          {"prefill_tokens_per_second", rate(audit.n_prefill, cost.prefill_seconds)},
          {"decode_seconds", cost.decode_seconds},
          {"decode_tokens_per_second", rate(audit.n_decode, cost.decode_seconds)},
          {"memory", std::move(memory)}};
}

Json ErrorsOf(const PositionErrors& errors, const ErrorSummary& summary) {
  Json top1 = Json::array();
  for (const uint8_t agrees : errors.agrees) top1.push_back(agrees != 0);
  return {
      {"kl_mean", summary.kl_mean},
      {"kl_p50", summary.kl_p50},
      {"kl_p99", summary.kl_p99},
      {"kl_worst", summary.kl_worst},
      {"kl_worst_position", summary.worst_pos},
      {"top1_agreement", summary.top1},
      {"perplexity", summary.perplexity},
      {"exact_perplexity", summary.reference_perplexity},
      {"by_position", {{"position", errors.pos}, {"kl", errors.kl}, {"top1", std::move(top1)}}}};
}

// By layer; null where the figure cannot be had.
Json LayersOf(const std::vector<LayerError>& errors) {
  if (errors.empty()) return nullptr;
  Json mean = Json::array(), worst = Json::array();
  for (const LayerError& e : errors) {
    mean.push_back(e.mean);
    worst.push_back(e.worst);
  }
  return {{"mean", std::move(mean)}, {"worst", std::move(worst)}};
}

Json TasksOf(const std::string& recipe, const std::vector<TaskRunResult>& results) {
  Json tasks = Json::array();
  for (const TaskRunResult& result : results) tasks.push_back(ToJson(recipe, result));
  return tasks;
}

Json RecipeOf(const Audit& audit, const RecipeAudit& r) {
  return {
      {"recipe", r.recipe},
      {"parts", r.parts},
      {"baseline_of", r.baseline_of},
      {"decode", ErrorsOf(r.decode, r.decode_summary)},
      {"prompt", ErrorsOf(r.prefill, r.prefill_summary)},
      {"attention_error",
       {{"own_stream", LayersOf(r.stream_error)}, {"exact_queries", LayersOf(r.isolated_error)}}},
      {"prompt_read_share",
       r.prefill_reads.held > 0 ? Json(r.prefill_reads.share()) : Json(nullptr)},
      {"cost", CostOf(audit, r.cost)},
      {"tasks", TasksOf(r.recipe, r.tasks)}};
}

Json HeadsOf(const HeadMap& heads) {
  return {
      {"n_layer", heads.n_layer},     {"n_head", heads.n_head},   {"n_kv_head", heads.n_kv_head},
      {"n_sink", heads.n_sink},       {"n_local", heads.n_local}, {"n_query", heads.n_query},
      {"sink", heads.sink},           {"local", heads.local},     {"far", heads.far},
      {"induction", heads.induction}, {"echo", heads.echo}};
}

}  // namespace

std::string AuditJson(const Audit& audit) {
  const Machine& m = audit.machine;
  Json recipes = Json::array();
  for (const RecipeAudit& r : audit.recipes) recipes.push_back(RecipeOf(audit, r));
  const Json document = {
      {"format", "kvasir-audit-1"},
      {"machine",
       {{"cpu", m.cpu},
        {"n_cpu", m.n_cpu},
        {"isa", m.isa},
        {"compiler", m.compiler},
        {"flags", m.flags},
        {"commit", m.commit},
        {"assertions", m.assertions}}},
      {"model",
       {{"path", audit.model.path},
        {"type", audit.model.label},
        {"bytes", audit.model.bytes},
        {"parameters", audit.model.n_parameters}}},
      {"n_thread", audit.n_thread},
      {"n_ubatch", audit.n_ubatch},
      {"memory_limit", audit.memory_limit > 0 ? Json(audit.memory_limit) : Json(nullptr)},
      {"text",
       {{"n_token", audit.n_token},
        {"n_prompt", audit.n_prefill},
        {"n_decode", audit.n_decode},
        {"n_prompt_compared", audit.n_judged},
        {"tokens", audit.tokens}}},
      {"exact",
       {{"decode_perplexity", audit.exact.decode_perplexity},
        {"prompt_perplexity", audit.exact.prefill_perplexity},
        {"cost", CostOf(audit, audit.exact.cost)},
        {"tasks", TasksOf("exact", audit.exact.tasks)}}},
      {"recipes", std::move(recipes)},
      {"heads", audit.heads ? HeadsOf(*audit.heads) : Json(nullptr)},
      {"notes", audit.notes}};
  return document.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace kvasir
