// Turning keys by angles of RoPE: formats that store k_raw, and keys that change positions.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvasir/core/byte_ledger.h"
#include "kvasir/model/rope.h"

namespace kvasir {

// Cosines and sines of all distances below a limit in two small tables, joined by the addition
// theorem: position 256 h + l turns by the angles of 256 h and of l. Rotations have magnitude 1, so
// what Rope's magnitude did to a key stays in the stored key. Immutable.
class RopeTable {
 public:
  // The bytes are charged to `ledger`, which must outlive the table. Errors: kOutOfMemory.
  static Result<std::shared_ptr<const RopeTable>> Make(const Rope& rope, int32_t n_pos,
                                                       ByteLedger& ledger);

  // Of the table that GetRopeTable makes first: for `n_pair` frequencies, beyond `max_pos`.
  static int64_t Bytes(int64_t n_pair, int32_t max_pos);

  int32_t n_pos() const { return n_pos_; }
  bool Serves(const Rope& rope, const ByteLedger& ledger) const;

  // Turns one row (head_dim) by the angles of `by` positions, |by| < n_pos().
  void Turn(float* row, int32_t by) const;
  // Turns the n <= 16 first columns of a tile (head_dim, 16), each by positions of its own.
  void TurnTile(float* tile, std::span<const int32_t> by) const;

 private:
  static constexpr int kFine = 256;
  static int64_t BytesOf(int64_t n_pair, int64_t n_pos);
  RopeTable(const Rope& rope, int32_t n_pos, ByteLedger& ledger, ByteCharge charge);
  // cos and sin of pair `i` for the columns of a tile.
  void FillLanes(int i, std::span<const int32_t> by, float* cos, float* sin) const;
  void Channels(int i, int* a, int* b) const;

  RopePairing pairing_;
  std::vector<double> frequency_;
  int32_t n_pos_;
  const ByteLedger* ledger_;
  ByteCharge charge_;
  std::vector<float> fine_;    // (pair, 2, 256)
  std::vector<float> coarse_;  // (n_pos / 256, pair, 2)
};

// A table for `rope` that reaches beyond `max_pos` >= 0. Tables are shared by all who ask with
// equal frequencies and the same ledger, grow as positions do, and live as long as somebody holds
// them. Thread-safe. Errors: kOutOfMemory.
Result<std::shared_ptr<const RopeTable>> GetRopeTable(const Rope& rope, int32_t max_pos,
                                                      ByteLedger& ledger);

}  // namespace kvasir
