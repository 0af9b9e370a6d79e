// What scorers see of attention beyond keys and values. Branch state of one sequence: copied on
// fork, cut together with the lists. No attention matrix is ever made: weights are recomputed from
// stored queries and the norms that attention recorded, tile by tile.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/core/byte_ledger.h"
#include "kvasir/core/thread_team.h"

namespace kvasir {

class Rope;  // model/rope.h

// Receives normalised weights: rows are (query, head of the group), query-major, for the queries
// [first_query, first_query + n_query) and the held tokens [first, first + n_token) of the list.
// Tokens that no row may see are left out.
using QueryWeightSink = std::function<void(const float* weights, int stride, int first_query,
                                           int n_query, int64_t first, int n_token)>;

// Weights that some queries of a layer pay to all tokens of one kv head's list, block by block, the
// oldest queries first. `queries.norms` must be set.
Status VisitQueryWeights(int layer, int kv_head, const LayerQueries& queries,
                         const SequenceCache& cache, AttendScratch& scratch,
                         const QueryWeightSink& sink);

class SignalTap {
 public:
  // `window` query rows a layer (0 = none); `column_sums` whether to accumulate them. Layers for
  // which `watched` is false cost nothing.
  SignalTap(const CacheShape& shape, int window, bool column_sums, std::vector<bool> watched,
            ByteLedger* ledger);
  SignalTap(SignalTap&&) = default;
  SignalTap& operator=(SignalTap&&) = default;

  bool WantsNorms(int layer) const;
  // Of how many of a chunk's newest queries.
  int NormRows() const { return column_sums_ ? INT32_MAX : window_; }
  // After the layer's attention; the cache holds the chunk. Errors: kOutOfMemory.
  Status Observe(int layer, const LayerQueries& queries, const SequenceCache& cache,
                 ThreadTeam& team, AttendWorkspace& workspace);

  // Stored queries of a layer: at most `window`; fewer while the sequence is shorter, or after a
  // rewind.
  int n_window(int layer) const { return windows_[layer].n; }
  // Weights of the newest n <= n_window stored queries. The same bits however the sequence was cut
  // into chunks, as long as nothing was evicted since the queries were seen; afterwards relative to
  // what each saw.
  Status VisitWindow(int layer, int kv_head, int n, const SequenceCache& cache,
                     AttendScratch& scratch, const QueryWeightSink& sink) const;
  // Sums over all queries seen, (n_kv) of the head's list.
  std::span<const float> column_sums(int layer, int kv_head, int head_in_group) const;

  // Keeps the entries of the tokens `kept` (ascending indices of the list) of one kv head, behind
  // `n_settled` tokens that start at zero. Different heads may be cut from different threads.
  void Cut(int layer, int kv_head, std::span<const int32_t> kept, int64_t n_settled);
  // Turns the stored queries of a layer by `by` positions: the keys they are to be compared with
  // were numbered anew. Their norms stay those of what each saw. Errors: kOutOfMemory.
  Status Turn(int layer, const Rope& rope, int32_t by);
  // After cache.Truncate(pos).
  void Truncate(const SequenceCache& cache, int32_t pos);
  // Sums cannot forget queries: no rewind below this is exact.
  int32_t rewind_floor() const { return column_sums_ ? n_pos_ : 0; }
  int64_t bytes() const;
  // Of one watched layer, where n_kv tokens are held over all query heads.
  int64_t LayerBytes(int64_t n_kv) const;
  // Errors: kOutOfMemory.
  Result<SignalTap> Fork() const;

 private:
  struct Window {  // a ring of rows; slot `next` is written next
    int n = 0, next = 0;
    std::vector<float> q;        // (window, n_head, head_dim)
    std::vector<int32_t> pos;    // (window)
    std::vector<RowNorm> norms;  // (window, n_head)
    float scale = 1, softcap = 0;
  };
  Status Charge(int layer, const SequenceCache& cache);
  void KeepWindow(Window* window, const LayerQueries& queries) const;
  Status AddColumns(int layer, const LayerQueries& queries, const SequenceCache& cache,
                    ThreadTeam& team, AttendWorkspace& workspace);

  CacheShape shape_;
  int window_;
  bool column_sums_;
  std::vector<bool> watched_;
  ByteLedger* ledger_;
  std::vector<ByteCharge> charges_;          // by layer
  std::vector<Window> windows_;              // by layer
  std::vector<std::vector<float>> columns_;  // by (layer, query head), (n_kv) each
  int32_t n_pos_ = 0;
};

}  // namespace kvasir
