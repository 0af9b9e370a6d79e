// KVQuant, arXiv:2401.18079. Without calibration, ranges and tables are fitted to each block where
// the paper fixes them offline. Keys without RoPE, by channel; values by token; the elements that
// lie furthest out also keep the difference to what their code says, so reading is codes plus a
// sparse sum. The first tokens stay dense, and out of every range.
#include "kvasir/codecs/calibration.h"
#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& kvquant_codec();

Result<std::shared_ptr<const KvCodec>> MakeKvquantCodec(
    std::string name, int bits, double outliers, int sinks,
    std::shared_ptr<const KvCalibration> calibration) {
  constexpr int kBlock = 128;
  GroupFormat format = {.quantiser = Quantiser(GridRule::kRange, bits),
                        .block = kBlock,
                        .table = CodeTable::kFitted,
                        .outliers = outliers,
                        .calibration = std::move(calibration)};
  GroupCodecSpec spec = {.name = std::move(name), .k = format, .v = format};
  spec.k.grouping = Grouping::kPerChannel;
  spec.k.raw = true;
  spec.v.group = 0;
  spec.k_tail = spec.v_tail = {.block = kBlock, .sinks = sinks};
  return MakeGroupCodec(std::move(spec));
}

const CodecInfo& kvquant_codec() {
  static constexpr CodecParam kParams[] = {
      {.name = "bits", .default_value = 3, .min = 2, .max = 4, .meaning = "of keys and values"},
      {.name = "outliers",
       .default_value = 1,
       .min = 0,
       .max = 10,
       .meaning = "percent of elements stored apart"},
      {.name = "sinks",
       .default_value = 1,
       .min = 0,
       .max = 64,
       .meaning = "first tokens that stay dense"},
  };
  static const CodecInfo kInfo = {
      .name = "kvquant",
      .summary =
          "non-uniform codes of keys before RoPE by channel and values by token, outliers apart",
      .card = "arXiv:2401.18079",
      .params = kParams,
      .make =
          [](CodecValues values) {
            return MakeKvquantCodec(CodecName(kvquant_codec(), values), static_cast<int>(values[0]),
                                    values[1] / 100, static_cast<int>(values[2]), nullptr);
          },
  };
  return kInfo;
}

}  // namespace kvasir
