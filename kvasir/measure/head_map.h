// Where the heads of a model look while it reads a text, and whether they find what was there
// before.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kvasir/engine/runtime.h"

namespace kvasir {

struct HeadMapOptions {
  int32_t n_sink = 4;    // first tokens of the text
  int32_t n_local = 64;  // newest tokens, the query itself included
  int32_t n_query = 16;  // of each chunk, its last ones; those that see nothing far are left out
  int32_t probe_period = 256;  // ids of the repeated text of the induction scores
  std::function<void(int64_t done, int64_t total)> progress = {};  // tokens; may be empty
};

// Vectors are by layer, then query head.
struct HeadMap {
  int32_t n_layer = 0, n_head = 0, n_kv_head = 0;
  int32_t n_sink = 0, n_local = 0;
  int64_t n_query = 0;  // queries looked at, in every layer
  // Shares of attention: of the first tokens, of the newest, of all others. They sum to 1; all 0
  // where the text is too short.
  std::vector<float> sink, local, far;
  // Of a text of random ids, repeated: attention to the token after the last occurrence
  // (induction) and to earlier occurrences (echo), HeadTable's scores.
  std::vector<float> induction, echo;
};

// Errors: those of the forward pass and of ProbeHeads.
Result<HeadMap> MeasureHeads(Runtime& runtime, std::span<const TokenId> tokens,
                             const HeadMapOptions& options);

// A line a layer, a letter a head: S, L or F where sinks, the window or what is far get more than
// half of the attention, - where none does; * behind it where induction or echo reach 10%.
std::string HeadMapText(const HeadMap& map);

}  // namespace kvasir
