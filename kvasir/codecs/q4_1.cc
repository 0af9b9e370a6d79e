#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& q4_1_codec();
const CodecInfo& q4_1_codec() {
  static constexpr CodecParam kParams[] = {kHadamardParam};
  static const CodecInfo kInfo = {
      .name = "q4_1",
      .summary = "4-bit codes, a scale and a minimum for 32 channels of a token",
      .card = "ggml q4_1",
      .params = kParams,
      .make =
          [](CodecValues values) {
            GroupFormat format = {.quantiser = Quantiser(GridRule::kMinMax, 4)};
            format.hadamard = values[0] != 0;
            return MakeGroupCodec({.name = CodecName(q4_1_codec(), values),
                                   .k = format,
                                   .v = format,
                                   .k_tail = {},
                                   .v_tail = {}});
          },
  };
  return kInfo;
}

}  // namespace kvasir
