// One (layer, kv head) of a cache with a selector beside it, for tests.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kvasir/cache/segment_list.h"
#include "kvasir/policy/selectors/registry.h"

namespace kvasir {

using WrittenArgs = std::vector<std::pair<std::string, std::string>>;

class SelectedPair {
 public:
  struct Step {
    bool all = false;
    std::vector<IndexRange> ranges;  // everything when `all`
    std::vector<float> certificate;  // by row; empty when there is none
    std::vector<double> mass;        // attended share of each row, in f64
    int64_t n_attended() const;
    bool Contains(int64_t token) const;
  };

  SelectedPair(std::string_view name, const WrittenArgs& args, int group, int head_dim,
               TileFormat format = TileFormat::kF16, SlabArena* index_arena = nullptr);

  Status Append(const std::vector<float>& k);
  void Truncate(int64_t n);
  Status Rebuild() { return selector_->Rebuild(0, 0, list_); }
  // One decode step of `group` query rows, already scaled as QueryRows asks.
  Step Select(const std::vector<float>& q, float softcap = 0);

  std::vector<float> RandomKeys(int64_t n, float spread = 1);
  std::vector<float> RandomQueries(float spread = 1) { return RandomKeys(group_, spread); }
  SegmentList& list() { return list_; }
  Selector& selector() { return *selector_; }
  void set_selector(std::unique_ptr<Selector> selector) { selector_ = std::move(selector); }

 private:
  std::vector<double> Mass(const QueryRows& rows, const Step& step);

  int group_, head_dim_;
  ByteLedger ledger_;
  SlabArena arena_;
  SegmentList list_;
  AttendScratch scratch_;
  std::unique_ptr<Selector> selector_;
  std::mt19937 rng_{7};
};

// What is charged for indices, but for what slabs have beside blocks.
int64_t IndexBytes(const SlabArena& arena);

// A shape of one layer and one kv head.
SelectorShape PairShape(int group, int head_dim, SlabArena* arena = nullptr);

}  // namespace kvasir
