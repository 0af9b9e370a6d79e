// What dispositions share that mix evicted tokens into kept ones.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "kvasir/policy/disposition.h"

namespace kvasir {

// Tokens of a list as f32 rows. `count`: how many tokens of the prompt an entry stands for, 2^bias.
struct TokenRows {
  int head_dim = 0;
  std::vector<int32_t> pos;
  std::vector<float> k, v;    // (n, head_dim)
  std::vector<double> count;  // (n)

  int64_t n() const { return static_cast<int64_t>(pos.size()); }
  std::span<float> key(int64_t i) { return Row(k, i); }
  std::span<float> value(int64_t i) { return Row(v, i); }

 private:
  std::span<float> Row(std::vector<float>& rows, int64_t i) {
    return {rows.data() + i * head_dim, static_cast<size_t>(head_dim)};
  }
};
Result<TokenRows> ReadTokens(const SegmentList& list, std::span<const int32_t> tokens);

// The kept token whose key points most nearly in the direction of an evicted one's.
struct Nearest {
  int32_t kept = 0;  // index into the kept tokens
  float cosine = 0;
};

// A pass over evicted tokens, a block at a time.
//   first   index of the block's first token in `evicted`
//   rows    the block, to be read
using NearestVisitor =
    std::function<void(int64_t first, TokenRows& rows, std::span<const Nearest> nearest)>;

// Working copies of one head's kept tokens and the search for near ones. The bytes are charged to
// the arena's ledger.
class MergeWork {
 public:
  // Errors: kOutOfMemory.
  //   n_double  per channel of a kept token that the caller adds up in
  static Result<MergeWork> Create(const CutInput& input, int n_double);

  TokenRows& kept() { return kept_; }
  // Calls visit for all evicted tokens, in order. Keys must not have been changed yet.
  Status VisitEvicted(const CutInput& input, const NearestVisitor& visit) const;
  // The kept tokens, dense and growing. Where a count is not 1, its logarithm is the bias.
  Result<ListContents> Finish(const CutInput& input) &&;

 private:
  ByteCharge charge_;
  TokenRows kept_;
  std::vector<float> unit_tiles_;  // unit keys of the kept, tiles of (head_dim, 16)
};

}  // namespace kvasir
