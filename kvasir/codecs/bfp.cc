// Block floating point, as in K-sort (arXiv:2403.20137): channels of a token share an exponent, and
// are sorted first so that they have use for the same one. The exponent is stored as a scale, so it
// takes 16 bits where the paper counts 8.
#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& bfp_codec();
const CodecInfo& bfp_codec() {
  static constexpr CodecParam kParams[] = {
      {.name = "bits", .default_value = 4, .min = 2, .max = 8, .meaning = "of a mantissa, signed"},
      {.name = "g",
       .default_value = 32,
       .min = 16,
       .max = 256,
       .meaning = "channels that share an exponent; a multiple of 16"},
      kOrderParam,
      kHadamardParam,
  };
  static const CodecInfo kInfo = {
      .name = "bfp",
      .summary = "block floating point: one power of two for a run of channels of a token",
      .card = "arXiv:2403.20137",
      .params = kParams,
      .make =
          [](CodecValues values) {
            const GroupFormat format = {
                .quantiser = Quantiser(GridRule::kPowerOfTwo, static_cast<int>(values[0])),
                .group = static_cast<int>(values[1]),
                .hadamard = values[3] != 0,
                .sort = static_cast<ChannelSort>(values[2])};
            return MakeGroupCodec(
                {.name = CodecName(bfp_codec(), values), .k = format, .v = format});
          },
  };
  return kInfo;
}

}  // namespace kvasir
