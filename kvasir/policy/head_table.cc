#include "kvasir/policy/head_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kvasir/model/json_fields.h"
#include "kvasir/model/json_file.h"
#include "kvasir/model/model.h"

namespace kvasir {
namespace {

constexpr char kFormat[] = "kvasir-heads-1";
constexpr int32_t kMaxHeads = 1 << 20;

// FNV-1a, 64 bits.
class Hash {
 public:
  void Add(const void* data, size_t n) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    for (size_t i = 0; i < n; ++i) state_ = (state_ ^ bytes[i]) * 0x100000001b3u;
  }
  void Add(int64_t x) { Add(&x, sizeof x); }
  void Add(const Tensor& tensor) {
    constexpr size_t kSample = 1024;
    Add(tensor.rows);
    Add(tensor.cols);
    Add(static_cast<int64_t>(tensor.type));
    const size_t bytes = static_cast<size_t>(tensor.rows) * tensor.row_bytes;
    if (bytes == 0) return;
    const size_t n = std::min(kSample, bytes);
    Add(tensor.data, n);
    Add(tensor.data + bytes / 2, std::min(n, bytes - bytes / 2));
  }
  uint64_t state() const { return state_; }

 private:
  uint64_t state_ = 0xcbf29ce484222325u;
};

Result<std::vector<float>> ReadScores(const nlohmann::ordered_json& json, const char* key, size_t n,
                                      const std::string& path) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array() || found->size() != n) {
    return Status::Corruption(fmt::format("{}: {}: expected {} numbers", path, key, n));
  }
  std::vector<float> scores;
  for (const auto& value : *found) {
    if (!value.is_number() || !(value.get<double>() >= 0 && value.get<double>() <= 1)) {
      return Status::Corruption(fmt::format("{}: {}[{}]: expected a number from 0 to 1, found {}",
                                            path, key, scores.size(), value.dump()));
    }
    scores.push_back(value.get<float>());
  }
  return scores;
}

}  // namespace

std::string ModelFingerprint(const Model& model) {
  const ModelSpec& s = model.spec;
  Hash hash;
  hash.Add(s.architecture.data(), s.architecture.size());
  for (int64_t x : {s.n_layer, s.n_embd, s.n_head, s.n_kv_head, s.head_dim, s.n_ff, s.n_vocab}) {
    hash.Add(x);
  }
  hash.Add(model.weights.token_embd);
  hash.Add(model.weights.output);
  for (const LayerWeights& layer : model.weights.layers) {
    for (const Tensor* tensor :
         {&layer.wq, &layer.wk, &layer.wv, &layer.wo, &layer.w_gate, &layer.w_up, &layer.w_down}) {
      hash.Add(*tensor);
    }
  }
  return fmt::format("{:016x}", hash.state());
}

Result<HeadTable> ParseHeadTable(const std::string& text, const std::string& path) {
  KVASIR_ASSIGN_OR_RETURN(const nlohmann::ordered_json json, ParseJsonObject(text, path));
  const JsonFields fields(json, path + ": ");
  KVASIR_ASSIGN_OR_RETURN(const std::string format, fields.String("format"));
  if (format != kFormat) {
    return Status::Corruption(
        fmt::format("{}: format: expected {}, found {}", path, kFormat, format));
  }
  HeadTable table;
  KVASIR_ASSIGN_OR_RETURN(table.fingerprint, fields.String("fingerprint"));
  KVASIR_ASSIGN_OR_RETURN(table.n_layer, fields.Int("n_layer", 1, 1024));
  KVASIR_ASSIGN_OR_RETURN(table.n_head, fields.Int("n_head", 1, kMaxHeads / table.n_layer));
  KVASIR_ASSIGN_OR_RETURN(table.n_kv_head, fields.Int("n_kv_head", 1, table.n_head));
  if (table.n_head % table.n_kv_head != 0) {
    return Status::Corruption(fmt::format("{}: n_kv_head {} does not divide n_head {}", path,
                                          table.n_kv_head, table.n_head));
  }
  const size_t n = static_cast<size_t>(table.n_layer) * table.n_head;
  KVASIR_ASSIGN_OR_RETURN(table.echo, ReadScores(json, "echo", n, path));
  KVASIR_ASSIGN_OR_RETURN(table.induction, ReadScores(json, "induction", n, path));
  KVASIR_ASSIGN_OR_RETURN(table.area, ReadScores(json, "area", n, path));
  return table;
}

Result<HeadTable> ReadHeadTable(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return Status::NotFound(fmt::format("{}: cannot be opened", path));
  constexpr std::streamoff kMaxBytes = 64 << 20;
  const std::streamoff bytes = file.tellg();
  if (bytes < 0 || bytes > kMaxBytes) {
    return Status::Corruption(
        fmt::format("{}: {} bytes, a head table has at most {}", path, bytes, kMaxBytes));
  }
  std::string text(static_cast<size_t>(bytes), '\0');
  file.seekg(0);
  if (!file.read(text.data(), bytes)) {
    return Status::IoError(fmt::format("{}: cannot be read", path));
  }
  return ParseHeadTable(text, path);
}

Status WriteHeadTable(const HeadTable& table, const std::string& path) {
  nlohmann::ordered_json json;
  json["format"] = kFormat;
  json["fingerprint"] = table.fingerprint;
  json["n_layer"] = table.n_layer;
  json["n_head"] = table.n_head;
  json["n_kv_head"] = table.n_kv_head;
  json["echo"] = table.echo;
  json["induction"] = table.induction;
  json["area"] = table.area;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << json.dump() << '\n';
  file.flush();
  if (!file) return Status::IoError(fmt::format("{}: cannot be written", path));
  return Status::Ok();
}

Status CheckHeadTable(const HeadTable& table, const CacheShape& shape,
                      std::string_view fingerprint) {
  if (table.fingerprint != fingerprint) {
    return Status::InvalidArgument(
        fmt::format("head table: made for the model {}, this one is {}; probe it again",
                    table.fingerprint, fingerprint));
  }
  if (table.n_layer != shape.n_layer || table.n_head != shape.n_head ||
      table.n_kv_head != shape.n_kv_head) {
    return Status::InvalidArgument(fmt::format(
        "head table: {} layers of {} heads ({} kv), the model has {} of {} ({} kv)", table.n_layer,
        table.n_head, table.n_kv_head, shape.n_layer, shape.n_head, shape.n_kv_head));
  }
  return Status::Ok();
}

std::vector<int32_t> TopShare(std::span<const float> scores, double share) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  const double n = std::ceil(share * static_cast<double>(scores.size()) - 1e-9);
  order.resize(std::min(order.size(), static_cast<size_t>(std::max(0.0, n))));
  return order;
}

}  // namespace kvasir
