// What KVQuant learns of a model offline (arXiv:2401.18079): key thresholds and code tables.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kvasir/codecs/codec.h"

namespace kvasir {

struct KvCalibration {
  struct Head {
    std::vector<float> k_low, k_high;  // (head_dim) of k_raw: beyond them lie outliers
  };
  struct Layer {
    std::vector<Head> heads;              // (n_kv_head)
    std::vector<float> k_table, v_table;  // (2^bits) ascending in [-1, 1]; empty = fitted per block
  };
  std::vector<Layer> layers;
};

// Thresholds that leave the share `outside` of each channel's values out, half at each end.
//   k_raw  (n, head_dim) of one head, n > 0
KvCalibration::Head CalibrateKeys(std::span<const float> k_raw, int head_dim, double outside);

// The (2^bits) values for keys whose channels are scaled so that the thresholds of `head` are
// -1 and 1; for the layer's other heads `k_raw` may go on.
std::vector<float> CalibrateKeyTable(std::span<const float> k_raw, const KvCalibration::Head& head,
                                     int bits);

// KVQuant with ranges and tables from `calibration`, which every layer and head that is encoded
// must be in; null fits them to each block. Blocks hold what decoding needs, so sizes are the same
// and parts outlive the calibration.
Result<std::shared_ptr<const KvCodec>> MakeKvquantCodec(
    std::string name, int bits, double outliers, int sinks,
    std::shared_ptr<const KvCalibration> calibration);

}  // namespace kvasir
