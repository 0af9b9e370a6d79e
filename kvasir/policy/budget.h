// How many tokens each (layer, kv head) keeps: integers that sum exactly.
#pragma once

#include <span>
#include <vector>

#include "kvasir/policy/head_table.h"
#include "kvasir/policy/scorer.h"

namespace kvasir {

// What a head is for. Budgets and keep rules see scored heads only.
enum class HeadRole : uint8_t {
  kScored,
  kWhole,          // nothing is ever evicted
  kProtectedOnly,  // keeps what protectors name: a streaming head
};

class HeadClassifier : public Part {
 public:
  // Whether Roles reads a table of the model's heads, and the file it is in; empty = made by
  // probing the model.
  virtual bool reads_table() const { return false; }
  virtual std::string table_path() const { return {}; }
  // By layer, then kv head. `table` is of the shape, and null unless reads_table().
  virtual Result<std::vector<HeadRole>> Roles(const CacheShape& shape,
                                              const HeadTable* table) const = 0;
  // What protected-only heads see from the first token on; recent = 0: everything that is held.
  virtual HeadWindow streaming_window() const { return {}; }
};

// One scored (layer, kv head) of a cut.
struct BudgetCell {
  int layer = 0;
  int kv_head = 0;
  int64_t floor = 0;    // protected tokens
  int64_t ceiling = 0;  // tokens held
};

struct BudgetInput {
  const CacheShape* shape = nullptr;
  std::span<const BudgetCell> cells;        // those cut together, layers ascending
  double mean = 0;                          // tokens of a cell, over all cells of the model
  int64_t total = 0;                        // over all cells, protected tokens included
  std::span<const double> layer_statistic;  // by layer, from Observe
};

class BudgetAllocator : public Part {
 public:
  // Tokens of a scored cell, on average over all cells. Shares are of the positions seen, and never
  // less than what is protected.
  virtual Amount amount() const = 0;
  // Query rows that must be kept for Observe; 0 = none.
  virtual int window() const { return 0; }
  // A number about a layer, taken once before its cut, for Weights. `scores` are reduced and
  // shaped.
  virtual Result<double> Observe(const ScoreContext& context, const LayerScores& scores,
                                 AttendScratch& scratch) const;
  // Relative sizes of the cells; Apportion makes budgets of them.
  virtual void Weights(const BudgetInput& input, std::span<double> weights) const = 0;
};

// Integers in proportion to `weights`, at least the floors and at most the ceilings, that sum to
// exactly min(total, sum of ceilings): water-filling, then largest remainder, ties to the lower
// index. Weights are >= 0; where all cells of positive weight are full, the others share the rest.
// Errors: kInvalidArgument when the floors alone pass the total (both numbers).
Result<std::vector<int64_t>> Apportion(std::span<const double> weights, int64_t total,
                                       std::span<const int64_t> floors,
                                       std::span<const int64_t> ceilings);

}  // namespace kvasir
