// A segment list as a plain program would keep it: what harnesses compare with.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kvasir/cache/segment_list.h"

namespace kvasir {

struct PlainToken {
  int32_t pos = 0;
  double bias = 0;          // base 2, added to the logit
  std::vector<float> k, v;  // (head_dim)

  bool operator==(const PlainToken&) const = default;
};

// One attention row, and what it may see.
struct PlainQuery {
  std::vector<float> q;  // (head_dim), RoPE applied, not scaled
  int32_t pos = 0;
  int32_t window = 0, sinks = 0;
  float scale = 1.0f, softcap = 0.0f;

  bool Sees(int32_t p) const { return p <= pos && (window == 0 || p > pos - window || p < sinks); }
};

class PlainList {
 public:
  // What a list gives back; a list that does not decode fails the test.
  static PlainList Of(const SegmentList& list);

  std::vector<PlainToken> tokens;

  int64_t n() const { return static_cast<int64_t>(tokens.size()); }
  std::vector<int32_t> positions() const;
  void Truncate(int32_t pos);
  void Keep(std::span<const int32_t> indices);

  // Softmax weights of the tokens for which `reads` (null = all) holds, by the definition in f64;
  // all 0 where the row sees nothing.
  std::vector<double> Weights(const PlainQuery& query,
                              const std::function<bool(int64_t)>& reads = {}) const;
  std::vector<double> Attend(const PlainQuery& query,
                             const std::function<bool(int64_t)>& reads = {}) const;
};

// Rows of one token at one position, as segments take them. Views borrow from this object.
class PlainRows {
 public:
  explicit PlainRows(const std::vector<PlainQuery>& queries);
  const QueryRows& rows() const { return rows_; }

 private:
  std::vector<float> q_;
  std::vector<int32_t> pos_;
  QueryRows rows_;
};

// (n_row, head_dim) by the engine, over the whole list or over ranges of indices.
std::vector<float> AttendList(const SegmentList& list, const PlainRows& rows);

}  // namespace kvasir
