// Which tokens stay: Protector and KeepRule.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "kvasir/policy/part.h"
#include "kvasir/sampling.h"

namespace kvasir {

struct ProtectInput {
  std::span<const int32_t> pos;     // of the held tokens
  int32_t n_pos = 0;                // positions seen
  std::span<const TokenId> tokens;  // by position; empty unless kNeedTokens
  const std::function<bool(TokenId)>* is_special = nullptr;
};

class Protector : public Part {
 public:
  // Sets flags[i] where token i must stay.
  virtual void Mark(const ProtectInput& input, std::span<uint8_t> flags) const = 0;
  // Tokens it marks at most; -1 = depends on the text.
  virtual int64_t max_tokens() const = 0;
  // Whether these are the newest tokens, which other parts may name too.
  virtual bool is_recent() const { return false; }
};

// One (layer, kv head).
struct KeepCell {
  std::span<const float> score;           // (n) larger = keep
  std::span<const uint8_t> is_protected;  // (n)
  int64_t budget = 0;                     // protected tokens included; between their number and n
  // (n) sum of the magnitudes of what the value adds to the hidden state through the output
  // projection, mean over the query heads of the group; empty unless kNeedOutput.
  std::span<const float> output = {};
};

enum class KeepScope : uint8_t { kHead, kLayer, kModel };

class KeepRule : public Part {
 public:
  // How many cells are decided together: Select is called with the cells of one head, of one layer
  // or of the whole cut.
  virtual KeepScope scope() const { return KeepScope::kHead; }
  // Whether heads of a layer that have equal scores and budgets always keep the same tokens.
  virtual bool even_heads() const { return true; }
  // Whether scores are multiplied by something, and not only compared.
  virtual bool weighs_scores() const { return false; }
  // Whether the number kept is the sum of the budgets; a threshold decides for itself.
  virtual bool fills_budget() const { return true; }
  // Ascending indices of kept tokens per cell; all protected ones are among them. Equal scores: the
  // lower index first. NaN counts as -inf.
  virtual std::vector<std::vector<int32_t>> Select(std::span<const KeepCell> cells) const = 0;
};

// A token that rules compare.
struct RankedToken {
  float score;
  int32_t index;  // in its cell
  int32_t cell;
};
// Better first: higher score, then lower index, then lower cell. NaN is worst.
bool RanksBefore(const RankedToken& a, const RankedToken& b);

// The protected tokens and the best others that the budget has room for, ascending.
std::vector<int32_t> KeepBest(const KeepCell& cell);
// Appends the tokens of the cell that are not in `kept` (ascending).
void AppendOthers(const KeepCell& cell, std::span<const int32_t> kept, int32_t cell_index,
                  std::vector<RankedToken>* out);

}  // namespace kvasir
