// Rotary position embedding: RoFormer (arXiv:2104.09864) with linear, YaRN (arXiv:2309.00071),
// llama3 and LongRoPE (arXiv:2402.13753) scaling.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvasir/model/model.h"

namespace kvasir {

// Immutable; safe to share.
class Rope {
 public:
  // `n_ctx` is the context the session may reach: LongRoPE chooses its factors by it.
  Rope(const RopeSpec& spec, int32_t n_ctx);

  int n_rot() const { return static_cast<int>(frequency_.size()) * 2; }
  RopePairing pairing() const { return pairing_; }
  float magnitude() const { return magnitude_; }
  std::span<const double> frequencies() const { return frequency_; }  // radians per position

  // table (n_pos, 2, n_rot/2): cosines, then sines, of each position, times the magnitude.
  void FillTable(std::span<const int32_t> pos, float* table) const;
  // Rotates one head in place by one row of the table.
  void Apply(float* head, const float* table_row) const;

 private:
  RopePairing pairing_;
  std::vector<double> frequency_;
  float magnitude_ = 1.0f;
};

}  // namespace kvasir
