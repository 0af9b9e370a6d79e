// The parts of the group formats, each at choice: what studies vary.
#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& group_codec();

namespace {

Result<std::shared_ptr<const KvCodec>> Make(CodecValues values) {
  const bool by_channel = values[2] != 0;
  const int g = static_cast<int>(values[1]);
  GroupFormat format = {
      .quantiser = Quantiser(values[3] != 0 ? GridRule::kIntegerZero : GridRule::kMinMax,
                             static_cast<int>(values[0]), static_cast<float>(values[7])),
      .grouping = by_channel ? Grouping::kPerChannel : Grouping::kPerToken,
      .group = by_channel ? 0 : g,
      .block = by_channel ? g : kTileTokens,
      .hadamard = values[4] != 0,
      .sort = static_cast<ChannelSort>(values[6]),
      .raw = values[5] != 0};
  const TailRule tail = {.block = format.block};
  return MakeGroupCodec({.name = CodecName(group_codec(), values),
                         .k = format,
                         .v = format,
                         .k_tail = tail,
                         .v_tail = tail});
}

}  // namespace

const CodecInfo& group_codec() {
  static constexpr CodecParam kParams[] = {
      {.name = "bits", .default_value = 4, .min = 1, .max = 8, .meaning = "of keys and values"},
      {.name = "g",
       .default_value = 32,
       .min = 16,
       .max = 256,
       .meaning = "values that share a scale and an offset; a multiple of 16"},
      {.name = "channel", .max = 1, .meaning = "groups run along the tokens of a channel"},
      {.name = "zero", .max = 1, .meaning = "the offset is a whole number of steps from 0"},
      kHadamardParam,
      {.name = "raw", .max = 1, .meaning = "keys are stored without RoPE"},
      kOrderParam,
      {.name = "clip",
       .default_value = 1,
       .min = 0.1,
       .max = 1,
       .meaning = "what the range of a group is multiplied by"},
  };
  static const CodecInfo kInfo = {
      .name = "group",
      .summary =
          "integer codes in groups: width, group, axis, offset, rotation, RoPE, order and clip at "
          "choice",
      .card = "the quantisers that KIVI, QuaRot, RotateKV and SKVQ are made of",
      .params = kParams,
      .make = Make,
  };
  return kInfo;
}

}  // namespace kvasir
