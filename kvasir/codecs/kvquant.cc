// KVQuant, arXiv:2401.18079, without calibration: ranges and tables are fitted to each block where
// the paper fixes them offline. Keys without RoPE, by channel; values by token; the elements that
// lie furthest out also keep the difference to what their code says, so reading is codes plus a
// sparse sum. The first tokens stay dense, and out of every range.
#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& kvquant_codec();

namespace {

Result<std::shared_ptr<const KvCodec>> Make(CodecValues values) {
  constexpr int kBlock = 128;
  GroupFormat format = {.quantiser = Quantiser(GridRule::kRange, static_cast<int>(values[0])),
                        .block = kBlock,
                        .table = CodeTable::kFitted,
                        .outliers = values[1] / 100};
  GroupCodecSpec spec = {.name = CodecName(kvquant_codec(), values),
                         .k = format,
                         .v = format,
                         .k_tail = {},
                         .v_tail = {}};
  spec.k.grouping = Grouping::kPerChannel;
  spec.k.raw = true;
  spec.v.group = 0;
  spec.k_tail = spec.v_tail = {.block = kBlock, .sinks = static_cast<int>(values[2])};
  return MakeGroupCodec(std::move(spec));
}

}  // namespace

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
      .make = Make,
  };
  return kInfo;
}

}  // namespace kvasir
