// What the attention heads of a model are for, measured without training data: DuoAttention and
// RazorAttention tell retrieval heads from streaming heads by it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/core/slab_arena.h"
#include "kvasir/sampling.h"

namespace kvasir {

class ForwardPass;  // model/forward.h
struct Model;       // model/model.h

// Identifies weights: 16 hexadecimal digits of the shape, the sizes and a sample of every matrix.
std::string ModelFingerprint(const Model& model);

struct HeadTable {
  std::string fingerprint;  // of the model that was probed
  int32_t n_layer = 0;
  int32_t n_head = 0;
  int32_t n_kv_head = 0;
  // By layer, then query head; all in [0, 1].
  std::vector<float> echo;       // attention that a repeated token pays to its earlier selves
  std::vector<float> induction;  // and to the tokens that followed them
  std::vector<float> area;       // under the cumulative attention of the mean query over mean keys

  bool operator==(const HeadTable&) const = default;
};

// Errors: kCorruption names the byte or the key.
Result<HeadTable> ParseHeadTable(const std::string& text, const std::string& path);
Result<HeadTable> ReadHeadTable(const std::string& path);
Status WriteHeadTable(const HeadTable& table, const std::string& path);
// kInvalidArgument for a table of another model (names both fingerprints) or shape.
Status CheckHeadTable(const HeadTable& table, const CacheShape& shape,
                      std::string_view fingerprint);

struct ProbeOptions {
  int32_t period = 2500;  // random ids; fewer where the context is short
  int32_t n_repeat = 4;
  int32_t area_positions = 500;
  uint64_t seed = 1;
  // Text for the area; empty = the random ids serve.
  std::span<const TokenId> text;
  std::function<bool(TokenId)> is_special;  // ids that are not drawn; may be empty
  TokenId bos = -1;                         // in front of all; negative = none
};
// Runs random ids, repeated, through the model. Errors as ForwardPass::Run; kInvalidArgument where
// the context is too short for two repeats of 8 ids.
Result<HeadTable> ProbeHeads(ForwardPass& forward, SlabArena& arena, const ProbeOptions& options);

// Indices of the highest ceil(share * n) scores, ties to the lower index.
std::vector<int32_t> TopShare(std::span<const float> scores, double share);

}  // namespace kvasir
