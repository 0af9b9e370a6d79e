// Turning keys back by their positions, and forth again in tiles: formats that store k_raw.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "kvasir/model/rope.h"

namespace kvasir {

// Cosines and sines of all positions below a limit in two small tables, joined by the addition
// theorem: position 256 h + l turns by the angles of 256 h and of l. Rotations have magnitude 1, so
// what Rope's magnitude did to a key stays in the stored key. Immutable.
class RopeTable {
 public:
  RopeTable(const Rope& rope, int32_t n_pos);

  int32_t n_pos() const { return n_pos_; }
  bool Serves(const Rope& rope) const;

  // Undoes the rotation of one row (head_dim) at `pos`.
  void Unrotate(float* row, int32_t pos) const;
  // Rotates the n <= 16 first columns of a tile (head_dim, 16) by their positions.
  void RotateTile(float* tile, std::span<const int32_t> pos) const;

 private:
  static constexpr int kFine = 256;
  // cos and sin of pair `i` for the columns of a tile.
  void FillLanes(int i, std::span<const int32_t> pos, float* cos, float* sin) const;
  void Channels(int i, int* a, int* b) const;

  RopePairing pairing_;
  std::vector<double> frequency_;
  int32_t n_pos_;
  std::vector<float> fine_;    // (pair, 2, 256)
  std::vector<float> coarse_;  // (n_pos / 256, pair, 2)
};

// The tables of a codec, one per kind of layer, grown as positions do. Thread-safe.
class RopeTables {
 public:
  // A table for `rope` that reaches beyond `max_pos`.
  std::shared_ptr<const RopeTable> Get(const Rope& rope, int32_t max_pos) const;

 private:
  mutable std::mutex mutex_;
  mutable std::vector<std::shared_ptr<const RopeTable>> tables_;
};

}  // namespace kvasir
