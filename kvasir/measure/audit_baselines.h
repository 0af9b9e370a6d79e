// Trivial recipes that hold as many bytes as a clever one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/status.h"

namespace kvasir {

// A text as RunTeacherForced reads it.
struct ReadingPlan {
  int64_t n_prefill = 0, n_decode = 0;
  int32_t n_ubatch = 512;
};

// Recipes in which {} stands for a number of tokens: sinks with the newest tokens, and random
// tokens. `cuts_in_decode`: random ones go during decode too, as in the recipe they stand beside.
std::vector<std::string_view> EqualBytesBaselines(bool cuts_in_decode);

// The recipe whose bytes at the end of the text come nearest to `head_bytes` in every
// (layer, kv head). `pattern` is one of the above: it chooses by positions alone, so that a head of
// zeros tells. Where it cannot hold so little, the result is the least it can.
// Errors: those of the recipe.
Result<std::string> SolveBaseline(std::string_view pattern, int head_dim, const ReadingPlan& plan,
                                  double head_bytes);

// What one (layer, kv head) holds at the end of the text under a recipe as above.
Result<int64_t> SimulatedHeadBytes(std::string_view recipe, int head_dim, const ReadingPlan& plan);

// Recipes that every other is measured against, whatever it holds.
std::vector<std::string> FixedBaselines();

}  // namespace kvasir
