#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "cli/args.h"
#include "cli/command.h"
#include "kvasir/core/byte_ledger.h"
#include "kvasir/model/gguf.h"
#include "kvasir/model/model.h"

namespace kvasir::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Args {
  std::string model;
  bool json = false;
  bool tensors = false;
  bool metadata = false;
};

std::vector<Option> Options(Args& args) {
  return {
      {.names = {"-m", "--model"},
       .metavar = "PATH",
       .help = "GGUF file (the first of a split) or Hugging Face folder",
       .target = &args.model,
       .llama_env = "MODEL"},
      {.names = {"--json"}, .help = "one JSON object on stdout", .target = &args.json},
      {.names = {"--tensors"}, .help = "list every tensor", .target = &args.tensors},
      {.names = {"--metadata"}, .help = "list every key of a GGUF file", .target = &args.metadata},
  };
}

// --- tensors ---

struct TensorRow {
  std::string name;
  TensorType type;
  std::string shape;
  uint64_t bytes;
};

std::vector<TensorRow> RowsOf(const GgufFile& file) {
  std::vector<TensorRow> rows;
  for (const GgufTensor& t : file.tensors()) {
    rows.push_back({Printable(t.name), t.type, t.ShapeText(), t.data.size()});
  }
  return rows;
}

void AddRow(const std::string& name, const Tensor& tensor, std::vector<TensorRow>* rows) {
  if (tensor.empty()) return;
  rows->push_back({name, tensor.type, fmt::format("[{}, {}]", tensor.cols, tensor.rows),
                   static_cast<uint64_t>(tensor.rows) * tensor.row_bytes});
}

// The matrices of a model whose files have no directory of their own here.
std::vector<TensorRow> RowsOf(const Model& model) {
  static constexpr std::pair<const char*, Tensor LayerWeights::*> kMatrices[] = {
      {"wq", &LayerWeights::wq},         {"wk", &LayerWeights::wk},
      {"wv", &LayerWeights::wv},         {"wo", &LayerWeights::wo},
      {"w_gate", &LayerWeights::w_gate}, {"w_up", &LayerWeights::w_up},
      {"w_down", &LayerWeights::w_down}};
  std::vector<TensorRow> rows;
  AddRow("token_embd", model.weights.token_embd, &rows);
  if (model.weights.output.data != model.weights.token_embd.data) {
    AddRow("output", model.weights.output, &rows);
  }
  for (size_t i = 0; i < model.weights.layers.size(); ++i) {
    for (const auto& [name, member] : kMatrices) {
      AddRow(fmt::format("layer {} {}", i, name), model.weights.layers[i].*member, &rows);
    }
  }
  return rows;
}

Json TypesOf(const std::vector<TensorRow>& rows) {
  std::map<TensorType, std::pair<uint64_t, uint64_t>> totals;  // tensors, bytes
  for (const TensorRow& row : rows) {
    ++totals[row.type].first;
    totals[row.type].second += row.bytes;
  }
  Json types = Json::array();
  for (const auto& [type, total] : totals) {
    types.push_back(
        {{"type", InfoOf(type).name}, {"tensors", total.first}, {"bytes", total.second}});
  }
  return types;
}

Json TensorsOf(const std::vector<TensorRow>& rows) {
  Json tensors = Json::array();
  for (const TensorRow& row : rows) {
    tensors.push_back({{"name", row.name},
                       {"type", InfoOf(row.type).name},
                       {"shape", row.shape},
                       {"bytes", row.bytes}});
  }
  return tensors;
}

// --- metadata ---

std::string ValueText(const GgufFile& file, const GgufEntry& entry) {
  const GgufValue& value = entry.value;
  if (value.type == GgufType::kArray) {
    return fmt::format("{} of {}", value.count, GgufTypeName(value.element_type));
  }
  if (auto text = file.GetString(entry.key); text.ok()) return Printable(*text);
  if (auto flag = file.GetBool(entry.key); flag.ok()) return *flag ? "true" : "false";
  if (auto number = file.GetU64(entry.key); number.ok()) return fmt::format("{}", *number);
  if (auto number = file.GetI32(entry.key); number.ok()) return fmt::format("{}", *number);
  if (auto number = file.GetF32(entry.key); number.ok()) return fmt::format("{}", *number);
  return "out of range";
}

Json MetadataOf(const GgufFile& file) {
  Json metadata = Json::array();
  for (const GgufEntry& entry : file.metadata()) {
    metadata.push_back({{"key", Printable(entry.key)},
                        {"type", GgufTypeName(entry.value.type)},
                        {"value", ValueText(file, entry)}});
  }
  return metadata;
}

// --- the model ---

std::string_view ScalingName(const RopeSpec& rope) {
  switch (rope.scaling) {
    case RopeScaling::kNone: return rope.freq_divisors.empty() ? "none" : "divisors";
    case RopeScaling::kLinear: return "linear";
    case RopeScaling::kYarn: return "yarn";
    case RopeScaling::kLlama3: return "llama3";
    case RopeScaling::kLongRope: return "longrope";
  }
  return "";
}

Json RopeOf(const RopeSpec& rope) {
  return {{"pairing", rope.pairing == RopePairing::kAdjacent ? "adjacent" : "halves"},
          {"channels", rope.n_rot},
          {"freq_base", rope.freq_base},
          {"scaling", ScalingName(rope)},
          {"factor", rope.factor},
          {"original_context", rope.original_context}};
}

// Bytes of K and V when the context is full: windows hold no more than their length.
double KvBytesAtFullContext(const ModelSpec& spec, double bits) {
  double tokens = 0;
  for (const int32_t window : spec.window) {
    tokens += window == 0 ? spec.n_ctx_train : std::min(window, spec.n_ctx_train);
  }
  return spec.KvBytesPerToken(bits) * tokens / spec.n_layer;
}

Json KvOf(const ModelSpec& spec) {
  static constexpr std::pair<const char*, TensorType> kTypes[] = {
      {"f16", TensorType::kF16}, {"q8_0", TensorType::kQ8_0}, {"q4_0", TensorType::kQ4_0}};
  Json kv = Json::array();
  for (const auto& [name, type] : kTypes) {
    const TensorTypeInfo& info = InfoOf(type);
    const double bits =
        8.0 * static_cast<double>(info.block_bytes) / static_cast<double>(info.block_elements);
    kv.push_back({{"type", name},
                  {"bytes_per_token", spec.KvBytesPerToken(bits)},
                  {"bytes_at_full_context", KvBytesAtFullContext(spec, bits)}});
  }
  return kv;
}

Json TokenizerOf(const Tokenizer& tokenizer) {
  return {{"type", tokenizer.type_name()}, {"pre", tokenizer.pre_name()},
          {"tokens", tokenizer.n_vocab()}, {"bos", tokenizer.bos()},
          {"eos", tokenizer.eos()},        {"add_bos", tokenizer.add_bos_by_default()}};
}

Json DescribeModel(const Model& model) {
  const ModelSpec& spec = model.spec;
  Json report = {{"architecture", spec.architecture},
                 {"name", spec.name},
                 {"parameters", model.n_parameters},
                 {"weight_bytes", model.weight_bytes},
                 {"n_layer", spec.n_layer},
                 {"n_embd", spec.n_embd},
                 {"n_ff", spec.n_ff},
                 {"n_head", spec.n_head},
                 {"n_kv_head", spec.n_kv_head},
                 {"head_dim", spec.head_dim},
                 {"n_vocab", spec.n_vocab},
                 {"n_ctx_train", spec.n_ctx_train},
                 {"tied_embeddings", model.weights.output.data == model.weights.token_embd.data},
                 {"attn_softcap", spec.attn_softcap},
                 {"final_softcap", spec.final_softcap},
                 {"rope", RopeOf(spec.rope)}};
  if (std::find(spec.uses_local_rope.begin(), spec.uses_local_rope.end(), true) !=
      spec.uses_local_rope.end()) {
    report["rope_local"] = RopeOf(spec.rope_local);
  }
  report["window"] = spec.window;
  report["kv"] = KvOf(spec);
  if (model.tokenizer) report["tokenizer"] = TokenizerOf(*model.tokenizer);
  report["chat_template"] = !model.chat_template.empty();
  return report;
}

// --- text ---

std::string Bytes(const Json& bytes) {
  return FormatBytes(static_cast<int64_t>(bytes.get<double>()));
}

void PrintLine(std::string_view label, const std::string& text) {
  fmt::print("{:<16}{}\n", label, text);
}

void PrintRope(std::string_view label, const Json& rope) {
  std::string scaling = rope["scaling"];
  if (rope["factor"] != 1.0) {
    scaling += fmt::format(" x{}, original context {}", rope["factor"].get<double>(),
                           rope["original_context"].get<int>());
  }
  PrintLine(label, fmt::format("pairs {}, {} channels, base {}, scaling {}",
                               rope["pairing"].get<std::string>(), rope["channels"].get<int>(),
                               rope["freq_base"].get<double>(), scaling));
}

std::string WindowText(const std::vector<int32_t>& window) {
  const auto n_local =
      window.size() - static_cast<size_t>(std::count(window.begin(), window.end(), 0));
  if (n_local == 0) return "none";
  return fmt::format("{} tokens in {} of {} layers",
                     *std::max_element(window.begin(), window.end()), n_local, window.size());
}

void PrintModel(const Json& r) {
  const auto number = [&](const char* key) { return r[key].get<int64_t>(); };
  const double bits = 8.0 * static_cast<double>(number("weight_bytes")) /
                      static_cast<double>(std::max<int64_t>(1, number("parameters")));
  PrintLine("name", r["name"]);
  PrintLine("architecture", r["architecture"]);
  PrintLine("parameters", fmt::format("{:.1f} M, {:.2f} bits each",
                                      static_cast<double>(number("parameters")) / 1e6, bits));
  PrintLine("layers", fmt::format("{} of width {}, feed-forward {}", number("n_layer"),
                                  number("n_embd"), number("n_ff")));
  PrintLine("heads", fmt::format("{} for queries, {} for keys and values, {} channels each",
                                 number("n_head"), number("n_kv_head"), number("head_dim")));
  PrintLine("vocabulary", fmt::format("{} rows{}", number("n_vocab"),
                                      r["tied_embeddings"] ? ", embeddings tied" : ""));
  PrintLine("context", fmt::format("{} tokens", number("n_ctx_train")));
  PrintRope("rope", r["rope"]);
  if (r.contains("rope_local")) PrintRope("rope, local", r["rope_local"]);
  PrintLine("window", WindowText(r["window"]));
  if (r["attn_softcap"] != 0.0 || r["final_softcap"] != 0.0) {
    PrintLine("soft-caps", fmt::format("attention {}, logits {}", r["attn_softcap"].get<float>(),
                                       r["final_softcap"].get<float>()));
  }
  if (r.contains("tokenizer")) {
    const Json& t = r["tokenizer"];
    PrintLine("tokenizer",
              fmt::format("{}, pre '{}', {} tokens, bos {}{}, eos {}", t["type"].get<std::string>(),
                          t["pre"].get<std::string>(), t["tokens"].get<int>(), t["bos"].get<int>(),
                          t["add_bos"] ? " (added)" : "", t["eos"].get<int>()));
  }
  PrintLine("chat template", r["chat_template"] ? "yes" : "no");
  for (const Json& kv : r["kv"]) {
    PrintLine(fmt::format("kv at {}", kv["type"].get<std::string>()),
              fmt::format("{} a token, {} at full context", Bytes(kv["bytes_per_token"]),
                          Bytes(kv["bytes_at_full_context"])));
  }
}

void PrintReport(const Json& r) {
  PrintLine("path", r["path"]);
  if (r.contains("file_kind")) {
    PrintLine("file", fmt::format("{}, {} in {} part{}", r["file_kind"].get<std::string>(),
                                  Bytes(r["file_bytes"]), r["parts"].get<int>(),
                                  r["parts"] == 1 ? "" : "s"));
  }
  if (r.contains("architecture")) PrintModel(r);
  fmt::print("\n{:<8}{:>9}{:>14}\n", "type", "tensors", "bytes");
  for (const Json& t : r["types"]) {
    fmt::print("{:<8}{:>9}{:>14}\n", t["type"].get<std::string>(), t["tensors"].get<uint64_t>(),
               Bytes(t["bytes"]));
  }
  if (r.contains("metadata")) fmt::print("\n");
  for (const Json& m : r.value("metadata", Json::array())) {
    fmt::print("{:<48} {:<8} {}\n", m["key"].get<std::string>(), m["type"].get<std::string>(),
               m["value"].get<std::string>());
  }
  if (r.contains("tensors")) fmt::print("\n");
  for (const Json& t : r.value("tensors", Json::array())) {
    fmt::print("{:<40} {:<6} {:<20} {:>12}\n", t["name"].get<std::string>(),
               t["type"].get<std::string>(), t["shape"].get<std::string>(), Bytes(t["bytes"]));
  }
}

Status Run(std::span<const std::string> words) {
  Args args;
  ArgTable table("inspect", "shows what a model file holds");
  table.Add("Model", Options(args));
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  if (args.model.empty()) return Status::InvalidArgument("inspect: -m is missing");

  Json report = {{"path", args.model}};
  std::vector<TensorRow> rows;
  std::optional<GgufFile> file;
  if (!std::filesystem::is_directory(args.model)) {
    KVASIR_ASSIGN_OR_RETURN(file, GgufFile::Open(args.model));
    report["file_kind"] = fmt::format("gguf v{}", file->version());
    report["file_bytes"] = file->file_bytes();
    report["parts"] = file->files().size();
    rows = RowsOf(*file);
  }
  // A file that cannot be run is shown as far as it goes; the reason comes last.
  const auto model = LoadModel(args.model, {});
  if (!file && !model.ok()) return model.status();
  if (model.ok()) report.update(DescribeModel(**model));
  if (!file) rows = RowsOf(**model);
  report["types"] = TypesOf(rows);
  if (file && (args.metadata || !model.ok())) report["metadata"] = MetadataOf(*file);
  if (args.tensors) report["tensors"] = TensorsOf(rows);
  if (args.json) {
    fmt::print("{}\n", report.dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    PrintReport(report);
  }
  return model.status();
}

}  // namespace

const Command& inspect_command() {
  static constexpr Command command = {"inspect", "show what a model file holds", Run};
  return command;
}

}  // namespace kvasir::cli
