// What scorers see of attention beyond keys and values. Branch state of one sequence: copied on
// fork, cut together with the lists. No attention matrix is ever made: weights are recomputed from
// stored queries and the norms that attention recorded, tile by tile.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/core/byte_ledger.h"
#include "kvasir/core/thread_team.h"

namespace kvasir {

// Receives normalised weights of window queries: rows are (query, head of the group), query-major,
// the oldest of the block first; `first` and `n_token` count held tokens of the list.
using WindowSink = std::function<void(const float* weights, int stride, int first_query,
                                      int n_query, int64_t first, int n_token)>;

class SignalTap {
 public:
  // `window` query rows a layer (0 = none); `column_sums` whether to accumulate them. Layers for
  // which `watched` is false cost nothing.
  SignalTap(const CacheShape& shape, int window, bool column_sums, std::vector<bool> watched,
            ByteLedger* ledger);

  bool WantsNorms(int layer) const;
  // After the layer's attention; the cache holds the chunk. Errors: kOutOfMemory.
  Status Observe(int layer, const LayerQueries& queries, const SequenceCache& cache,
                 ThreadTeam& team, AttendWorkspace& workspace);

  // Window queries of a layer that are stored: at most `window`, fewer while the sequence is
  // shorter, the newest of them last.
  int n_window(int layer) const;
  // Weights of the newest n <= n_window stored queries over all tokens of a kv head's list; the
  // same for every way of cutting the sequence into chunks, as long as nothing was evicted.
  Status VisitWindow(int layer, int kv_head, int n, const SequenceCache& cache,
                     AttendScratch& scratch, const WindowSink& sink) const;
  // Sums over all queries seen, per query head: (group, n_kv) of the head's list.
  std::span<const float> column_sums(int layer, int kv_head, int head_in_group) const;

  // Keeps the entries of the tokens `kept` (ascending indices of the list) of one head.
  void Cut(int layer, int kv_head, std::span<const int32_t> kept);
  // Entries of tokens and queries at positions >= pos go. Column sums cannot forget queries: see
  // rewind_floor().
  void Truncate(const SequenceCache& cache, int32_t pos);
  // The lowest position that a rewind leaves with exact sums.
  int32_t rewind_floor() const { return column_sums_ ? n_pos_ : 0; }
  int64_t bytes() const { return charge_.bytes(); }
  Result<SignalTap> Fork() const;

 private:
  struct Window {
    std::vector<float> q;        // (n, n_head, head_dim), oldest first
    std::vector<int32_t> pos;    // (n)
    std::vector<RowNorm> norms;  // (n, n_head)
    float scale = 1, softcap = 0;
  };
  void KeepWindow(Window* window, const LayerQueries& queries) const;
  Status AddColumns(int layer, const LayerQueries& queries, const SequenceCache& cache,
                    ThreadTeam& team, AttendWorkspace& workspace);
  Status Recharge();

  CacheShape shape_;
  int window_;
  bool column_sums_;
  std::vector<bool> watched_;
  ByteLedger* ledger_;
  ByteCharge charge_;
  std::vector<Window> windows_;              // by layer
  std::vector<std::vector<float>> columns_;  // by (layer, query head), (n_kv) each
  int32_t n_pos_ = 0;
};

}  // namespace kvasir
