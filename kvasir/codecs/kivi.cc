// KIVI, arXiv:2402.02750. Keys: a scale and a minimum for `g` tokens of each channel, so outlier
// channels keep their own range. Values: the same for `g` channels of each token.
#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& kivi_codec();

namespace {

Result<std::shared_ptr<const KvCodec>> Make(CodecValues values) {
  const auto value = [&](int i) { return static_cast<int>(values[i]); };
  const int bits = value(0), g = value(1), tail = value(2);
  const int k_bits = value(3) == 0 ? bits : value(3);
  const int v_bits = value(4) == 0 ? bits : value(4);
  GroupCodecSpec spec = {.name = CodecName(kivi_codec(), values)};
  spec.k = {.quantiser = Quantiser(GridRule::kMinMax, k_bits),
            .grouping = Grouping::kPerChannel,
            .block = g};
  spec.v = {.quantiser = Quantiser(GridRule::kMinMax, v_bits), .group = g};
  spec.k_tail = {.block = tail};
  spec.v_tail = {.keep = tail};
  return MakeGroupCodec(std::move(spec));
}

}  // namespace

const CodecInfo& kivi_codec() {
  static constexpr CodecParam kParams[] = {
      {.name = "bits", .default_value = 2, .min = 1, .max = 8, .meaning = "of keys and values"},
      {.name = "g",
       .default_value = 32,
       .min = 16,
       .max = 128,
       .meaning = "tokens (keys) or channels (values) that share a scale; a multiple of 16"},
      {.name = "tail",
       .default_value = 128,
       .min = 16,
       .max = 4096,
       .meaning = "newest tokens kept dense; a multiple of g"},
      {.name = "k", .max = 8, .meaning = "bits of keys; 0 = bits"},
      {.name = "v", .max = 8, .meaning = "bits of values; 0 = bits"},
  };
  static const CodecInfo kInfo = {
      .name = "kivi",
      .summary = "keys by channel, values by token, asymmetric groups",
      .card = "arXiv:2402.02750",
      .params = kParams,
      .make = Make,
  };
  return kInfo;
}

}  // namespace kvasir
