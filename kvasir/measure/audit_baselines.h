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

// Sinks with the newest tokens, and random tokens with sinks and the newest: the recipes of these
// kinds whose bytes at the end of the text come nearest to `head_bytes` in every (layer, kv head).
// They choose by positions alone, so that a head of zeros tells. Random tokens go during decode too
// where `cuts_in_decode`, as in the recipe they stand beside, and where they must to hold so
// little. Errors: those of the recipes.
Result<std::vector<std::string>> SolveBaselines(int head_dim, const ReadingPlan& plan,
                                                double head_bytes, bool cuts_in_decode);

// What one (layer, kv head) holds at the end of the text under a recipe as above.
Result<int64_t> SimulatedHeadBytes(std::string_view recipe, int head_dim, const ReadingPlan& plan);

// Recipes that every other is measured against, whatever it holds.
std::vector<std::string> FixedBaselines();

}  // namespace kvasir
