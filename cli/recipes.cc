#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/args.h"
#include "cli/command.h"
#include "kvasir/codecs/registry.h"
#include "kvasir/core/byte_ledger.h"
#include "kvasir/model/forward.h"
#include "kvasir/policy/borrowed_parts.h"
#include "kvasir/policy/policy.h"

namespace kvasir::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Args {
  std::vector<std::string> words;
  std::string model;
  std::string shape = "llama-3.1-8b";
  bool json = false;
};

// --- shapes of well-known models, for explanations without a file ---

struct NamedShape {
  const char* name;
  int n_layer, n_head, n_kv_head, head_dim;
};
constexpr NamedShape kShapes[] = {
    {"llama-3.2-1b", 16, 32, 8, 64},   {"llama-3.1-8b", 32, 32, 8, 128},
    {"llama-3.1-70b", 80, 64, 8, 128}, {"mistral-7b", 32, 32, 8, 128},
    {"qwen3-8b", 36, 32, 8, 128},      {"smollm2-1.7b", 24, 32, 32, 64},
};

std::vector<std::string> ShapeNames() {
  std::vector<std::string> names;
  for (const NamedShape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

Result<PolicyTarget> TargetOf(const Args& args) {
  PolicyTarget target;
  target.is_special = [](TokenId) { return false; };
  target.has_turns = true;
  target.output_rows = [](int, int64_t, int64_t, float*) {};  // nothing is run
  if (!args.model.empty()) {
    KVASIR_ASSIGN_OR_RETURN(const auto model, LoadModel(args.model, {}));
    target.shape = CacheShapeOf(model->spec);
    return target;
  }
  const auto* shape = std::find_if(std::begin(kShapes), std::end(kShapes),
                                   [&](const NamedShape& s) { return s.name == args.shape; });
  target.shape = {shape->n_layer, shape->n_head, shape->n_kv_head, shape->head_dim,
                  std::vector<int32_t>(static_cast<size_t>(shape->n_layer), 0)};
  return target;
}

// --- the table ---

Json ParamsOf(std::span<const ParamInfo> params) {
  Json list = Json::array();
  for (const ParamInfo& p : params) {
    list.push_back({{"name", p.name},
                    {"default", p.default_text},
                    {"min", p.min},
                    {"max", p.max},
                    {"help", p.help}});
  }
  return list;
}

Json AllRecipes() {
  Json list = Json::array();
  for (const PresetInfo* preset : Presets()) {
    Json entry = {{"name", preset->name},
                  {"summary", preset->summary},
                  {"card", preset->card},
                  {"params", ParamsOf(preset->params)}};
    if (const auto recipe = Recipe::Parse(preset->name); recipe.ok()) {
      entry["parts"] = recipe->ToString();
    }
    list.push_back(std::move(entry));
  }
  return list;
}

Json AllParts() {
  Json list = Json::array();
  for (const PartInfo* part : Parts()) {
    list.push_back({{"kind", PartKindName(part->kind)},
                    {"name", part->name},
                    {"summary", part->summary},
                    {"card", part->card},
                    {"needs", NeedNames(part->needs)},
                    {"cost", part->cost},
                    {"params", ParamsOf(part->params)}});
  }
  for (const CodecEntry& entry : Codecs()) {
    Json params = Json::array();
    for (const CodecParam& p : entry.info->params) {
      if (!p.choices.empty()) {
        params.push_back({{"name", p.name},
                          {"default", p.choices[static_cast<size_t>(p.default_value)]},
                          {"choices", p.choices},
                          {"help", p.meaning}});
        continue;
      }
      params.push_back({{"name", p.name},
                        {"default", p.default_value},
                        {"min", p.min},
                        {"max", p.max},
                        {"help", p.meaning}});
    }
    list.push_back({{"kind", "codec"},
                    {"name", entry.info->name},
                    {"summary", entry.info->summary},
                    {"card", entry.info->card},
                    {"needs", "nothing"},
                    {"cost", ""},
                    {"params", std::move(params)}});
  }
  for (const SelectorInfo* info : Selectors()) {
    Json params = Json::array();
    for (const SelectorParam& p : info->params) {
      params.push_back({{"name", p.name},
                        {"default", p.fallback},
                        {"min", p.min},
                        {"max", p.max},
                        {"help", p.help}});
    }
    list.push_back({{"kind", "select"},
                    {"name", info->name},
                    {"summary", info->summary},
                    {"card", info->card},
                    {"needs", "keys"},
                    {"cost", ""},
                    {"params", std::move(params)}});
  }
  return list;
}

std::string ParamText(const Json& params) {
  std::string text;
  for (const Json& p : params) {
    const Json& value = p["default"];
    text += fmt::format("{}{}", text.empty() ? "" : ",", p["name"].get<std::string>());
    if (value.is_number()) text += fmt::format("={}", value.get<double>());
    if (value.is_string() && value != "") text += fmt::format("={}", value.get<std::string>());
  }
  return text.empty() ? text : fmt::format("({})", text);
}

void PrintTable() {
  fmt::print("Recipes, to be combined with codecs and selectors by '+':\n\n");
  for (const Json& r : AllRecipes()) {
    fmt::print("  {:<46} {}\n", r["name"].get<std::string>() + ParamText(r["params"]),
               r["summary"].get<std::string>());
    if (r["card"] != "") fmt::print("  {:<46} {}\n", "", r["card"].get<std::string>());
  }
  std::string kind;
  for (const Json& p : AllParts()) {
    if (p["kind"] != kind) fmt::print("\n{}=\n", kind = p["kind"].get<std::string>());
    fmt::print("  {:<46} {}\n", p["name"].get<std::string>() + ParamText(p["params"]),
               p["summary"].get<std::string>());
    std::string more = p["card"].get<std::string>();
    if (p["needs"] != "nothing") {
      more += fmt::format("{}needs {}", more.empty() ? "" : "; ", p["needs"].get<std::string>());
    }
    if (p["cost"] != "" && p["cost"] != "none") {
      more += fmt::format("{}costs {}", more.empty() ? "" : "; ", p["cost"].get<std::string>());
    }
    if (!more.empty()) fmt::print("  {:<46} {}\n", "", more);
  }
}

// --- explain ---

Status Explain(const Args& args, const std::string& text) {
  KVASIR_ASSIGN_OR_RETURN(const Recipe recipe, Recipe::Parse(text));
  KVASIR_ASSIGN_OR_RETURN(const PolicyTarget target, TargetOf(args));
  KVASIR_ASSIGN_OR_RETURN(const auto policy, KvPolicy::Compile(recipe, target));
  const double bytes = policy->bytes_per_token(), index = policy->index_bytes_per_token();
  if (args.json) {
    Json report = recipe.ToJson();
    report["steps"] = policy->Explain();
    report["bits_per_key_element"] = policy->bits_per_element(KvSide::kKey);
    report["bits_per_value_element"] = policy->bits_per_element(KvSide::kValue);
    report["bytes_per_token"] = bytes;
    report["index_bytes_per_token"] = index;
    fmt::print("{}\n", report.dump(2));
    return Status::Ok();
  }
  const CacheShape& shape = target.shape;
  fmt::print("{}\n\n", recipe.ToString());
  for (const std::string& line : policy->Explain()) fmt::print("- {}\n", line);
  fmt::print("\n{}: {} layers, {} heads, {} kv heads of {} channels\n",
             args.model.empty() ? args.shape : args.model, shape.n_layer, shape.n_head,
             shape.n_kv_head, shape.head_dim);
  const double f16 = 4.0 * shape.head_dim * shape.n_kv_head * shape.n_layer;
  fmt::print("a kept token takes {} once sealed ({:.3f} + {:.3f} bits an element), f16 takes {}\n",
             FormatBytes(static_cast<int64_t>(bytes + 0.5)), policy->bits_per_element(KvSide::kKey),
             policy->bits_per_element(KvSide::kValue), FormatBytes(static_cast<int64_t>(f16)));
  if (index > 0) {
    fmt::print("and {} of scores\n", FormatBytes(static_cast<int64_t>(index + 0.5)));
  }
  return Status::Ok();
}

Status Run(std::span<const std::string> words) {
  Args args;
  ArgTable table("recipes", "lists the parts that KV recipes are made of, or explains a recipe");
  table.Add("Recipes", {{.names = {"-m", "--model"},
                         .metavar = "PATH",
                         .help = "model to explain a recipe for",
                         .target = &args.model,
                         .llama_env = "MODEL"},
                        {.names = {"--shape"},
                         .metavar = "NAME",
                         .help = "explain for a model of this shape instead",
                         .target = &args.shape,
                         .choices = ShapeNames()},
                        {.names = {"--json"}, .help = "JSON on stdout", .target = &args.json}});
  table.SetPositionals({.metavar = "explain RECIPE",
                        .help = "what happens when, and bytes per token",
                        .target = &args.words,
                        .max = 16});
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  if (args.words.empty()) {
    if (!args.json) {
      PrintTable();
    } else {
      fmt::print("{}\n", Json({{"recipes", AllRecipes()}, {"parts", AllParts()}}).dump(2));
    }
    return Status::Ok();
  }
  if (args.words.front() != "explain" || args.words.size() < 2) {
    return Status::InvalidArgument(
        fmt::format("recipes: expected nothing or explain RECIPE, found '{}'", args.words.front()));
  }
  std::string text;
  for (size_t i = 1; i < args.words.size(); ++i) text += (i > 1 ? " " : "") + args.words[i];
  return Explain(args, text);
}

}  // namespace

const Command& recipes_command() {
  static constexpr Command command = {"recipes",
                                      "list the parts of KV recipes, or explain a recipe", Run};
  return command;
}

}  // namespace kvasir::cli
