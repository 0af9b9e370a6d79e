#include "kvasir/measure/plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/args.h"
#include "cli/command.h"
#include "cli/common_args.h"
#include "cli/stage_bar.h"
#include "kvasir/core/byte_ledger.h"
#include "kvasir/measure/text_table.h"

namespace kvasir::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSummary = "tell which KV recipes fit a context and a memory limit";

struct Args {
  ModelArgs model;
  ContextArgs context;
  PlanOptions options;
  std::string check;
  std::string output = "md";
};

ArgTable Table(Args& args) {
  ArgTable table("plan", std::string(kSummary));
  table.Add("plan", {{.names = {"--mem"},
                      .metavar = "BYTES",
                      .help = "limit on weights, KV, indexes and scratch together; 0 = none",
                      .target = ByteSize{&args.options.memory_limit}},
                     {.names = {"--kv"},
                      .metavar = "RECIPE",
                      .help = "recipe to plan; may be repeated; without it, some of every kind",
                      .target = &args.options.recipes},
                     {.names = {"--check"},
                      .metavar = "RECIPE",
                      .help = "also run this recipe over a synthetic prompt of the whole context "
                              "and print the prediction beside the measurement",
                      .target = &args.check},
                     {.names = {"--output"},
                      .metavar = "FORMAT",
                      .help = "md: tables; json: an object",
                      .target = &args.output,
                      .choices = {"md", "json"}}});
  table.Add("model", ModelOptions(args.model));
  table.Add("context", ContextOptions(args.context));
  return table;
}

Json ToJson(const PlanBytes& bytes) {
  return {{"weights", bytes.weights}, {"other", bytes.process}, {"scratch", bytes.scratch},
          {"kv", bytes.kv},           {"slack", bytes.slack},   {"index", bytes.index},
          {"total", bytes.total()}};
}

Json ToJson(const Plan& plan) {
  Json rows = Json::array();
  for (const PlanRow& row : plan.rows) {
    if (!row.refused.empty()) {
      rows.push_back({{"recipe", row.recipe}, {"refused", row.refused}});
      continue;
    }
    rows.push_back({{"recipe", row.recipe},
                    {"fits", row.fits},
                    {"makes_room", row.makes_room},
                    {"peak_bytes", ToJson(row.peak)},
                    {"kv_end_bytes", row.kv_end},
                    {"bytes_per_token", row.bytes_per_token},
                    {"prefill_seconds", row.prefill_seconds},
                    {"decode_tokens_per_second", row.decode_rate},
                    {"reads_less", row.reads_less}});
  }
  return {{"n_token", plan.n_token},
          {"memory_limit", plan.memory_limit},
          {"n_ubatch", plan.n_ubatch},
          {"n_thread", plan.n_thread},
          {"read_bytes_per_second", plan.speed.read_rate},
          {"recipes", std::move(rows)}};
}

Json ToJson(const std::string& recipe, const PlanCheck& check) {
  return {{"recipe", recipe},
          {"peak_bytes", ToJson(check.peak)},
          {"ledger_peak_bytes", check.ledger_peak},
          {"kv_end_bytes", check.kv_end},
          {"prefill_seconds", check.prefill_seconds},
          {"decode_tokens_per_second", check.decode_rate}};
}

void PrintPlan(const Plan& plan) {
  fmt::print("{} tokens{}, {} threads, plain reads {}/s\n\n", plan.n_token,
             plan.memory_limit > 0 ? fmt::format(", limit {}", FormatBytes(plan.memory_limit))
                                   : std::string(),
             plan.n_thread, FormatBytes(static_cast<int64_t>(plan.speed.read_rate)));
  std::vector<std::vector<std::string>> rows = {{"recipe", "fits", "peak", "weights", "other",
                                                 "scratch", "kv", "slack", "index", "kv at end",
                                                 "prefill s", "decode t/s"}};
  std::string refused;
  for (const PlanRow& row : plan.rows) {
    if (!row.refused.empty()) {
      refused += fmt::format("{}: {}\n", row.recipe, row.refused);
      continue;
    }
    const PlanBytes& peak = row.peak;
    rows.push_back({row.recipe,
                    row.makes_room ? "makes room"
                    : row.fits     ? "yes"
                                   : "no",
                    FormatBytes(peak.total()), FormatBytes(peak.weights), FormatBytes(peak.process),
                    FormatBytes(peak.scratch), FormatBytes(peak.kv), FormatBytes(peak.slack),
                    FormatBytes(peak.index), FormatBytes(row.kv_end),
                    ShowNumber(row.prefill_seconds),
                    (row.reads_less ? "> " : "") + ShowNumber(row.decode_rate)});
  }
  fmt::print("{}{}", AlignColumns(rows, 2), refused);
}

void PrintCheck(const PlanRow& row, const PlanCheck& check) {
  const auto bytes = [](std::string_view name, int64_t planned, int64_t measured) {
    return std::vector<std::string>{std::string(name), FormatBytes(planned), FormatBytes(measured)};
  };
  std::vector<std::vector<std::string>> rows = {
      {row.recipe, "planned", "measured"},
      bytes("weights", row.peak.weights, check.peak.weights),
      bytes("other", row.peak.process, check.peak.process),
      bytes("scratch", row.peak.scratch, check.peak.scratch),
      bytes("kv", row.peak.kv, check.peak.kv),
      bytes("slack, at most", row.peak.slack, check.peak.slack),
      bytes("index", row.peak.index, check.peak.index),
      bytes("peak", row.peak.total(), check.ledger_peak),
      bytes("kv at end", row.kv_end, check.kv_end),
      {"prefill s", ShowNumber(row.prefill_seconds), ShowNumber(check.prefill_seconds)},
      {"decode t/s", ShowNumber(row.decode_rate), ShowNumber(check.decode_rate)}};
  fmt::print("\n{}", AlignColumns(rows, 1));
}

// The recipe to check is planned like the others.
void AddCheck(const std::string& recipe, PlanOptions* options) {
  if (recipe.empty()) return;
  std::vector<std::string>& recipes = options->recipes;
  if (recipes.empty()) recipes.assign(PlannedRecipes().begin(), PlannedRecipes().end());
  if (std::find(recipes.begin(), recipes.end(), recipe) == recipes.end()) recipes.push_back(recipe);
}

Status Run(std::span<const std::string> words) {
  Args args;
  ArgTable table = Table(args);
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  if (args.model.model.empty()) return Status::InvalidArgument("plan: -m is missing");
  KVASIR_ASSIGN_OR_RETURN(const auto model, LoadWithBar(args.model.model));
  PlanOptions& options = args.options;
  options.n_token = args.context.n_ctx > 0 ? args.context.n_ctx : model->spec.n_ctx_train;
  options.n_ubatch = args.context.n_ubatch;
  AddCheck(args.check, &options);
  ThreadTeam team(std::max(args.model.n_thread, 0));
  StageBar bar;
  options.progress = [&](std::string_view stage, int64_t done, int64_t total) {
    bar.Update(stage, done, total);
  };
  KVASIR_ASSIGN_OR_RETURN(const Plan plan, MakePlan(model, options, team));
  Json report = ToJson(plan);
  bar.Clear();
  if (args.output == "md") PrintPlan(plan);
  if (!args.check.empty()) {
    KVASIR_ASSIGN_OR_RETURN(const PlanCheck check, CheckPlan(model, args.check, options, team));
    bar.Clear();
    report["check"] = ToJson(args.check, check);
    const auto row = std::find_if(plan.rows.begin(), plan.rows.end(),
                                  [&](const PlanRow& r) { return r.recipe == args.check; });
    if (args.output == "md" && row != plan.rows.end()) PrintCheck(*row, check);
  }
  if (args.output == "json") fmt::print("{}\n", report.dump(2));
  return Status::Ok();
}

}  // namespace

const Command& plan_command() {
  static constexpr Command command = {"plan", kSummary, Run};
  return command;
}

}  // namespace kvasir::cli
