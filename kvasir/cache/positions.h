// The positions of a segment's tokens, ascending. A run without holes costs nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace kvasir {

class Positions {
 public:
  Positions() = default;
  // `pos` ascending.
  explicit Positions(std::span<const int32_t> pos) {
    for (int32_t p : pos) Append(p);
  }

  int64_t size() const { return n_; }
  int32_t operator[](int64_t i) const {
    return explicit_.empty() ? first_ + static_cast<int32_t>(i) : explicit_[i];
  }
  // `pos` must be above the last.
  void Append(int32_t pos) {
    if (n_ == 0) {
      first_ = pos;
    } else if (explicit_.empty() && pos != first_ + n_) {
      explicit_.resize(n_);
      for (int64_t i = 0; i < n_; ++i) explicit_[i] = first_ + static_cast<int32_t>(i);
    }
    if (!explicit_.empty()) explicit_.push_back(pos);
    ++n_;
  }
  void Truncate(int64_t n) {
    n_ = n;
    if (!explicit_.empty()) explicit_.resize(n);
  }
  // How many leading tokens have a position below `pos`.
  int64_t CountBelow(int32_t pos) const {
    if (explicit_.empty()) return std::clamp<int64_t>(int64_t{pos} - first_, 0, n_);
    return std::lower_bound(explicit_.begin(), explicit_.end(), pos) - explicit_.begin();
  }
  // Positions [begin, end) as a segment of their own.
  Positions Slice(int64_t begin, int64_t end) const {
    Positions slice;
    for (int64_t i = begin; i < end; ++i) slice.Append((*this)[i]);
    return slice;
  }
  void Shift(int32_t delta) {
    first_ += delta;
    for (int32_t& pos : explicit_) pos += delta;
  }
  int64_t bytes() const { return static_cast<int64_t>(explicit_.capacity() * sizeof(int32_t)); }

 private:
  int64_t n_ = 0;
  int32_t first_ = 0;
  std::vector<int32_t> explicit_;  // empty while first_, first_ + 1, ... says it all
};

}  // namespace kvasir
