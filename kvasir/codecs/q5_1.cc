#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& q5_1_codec();
const CodecInfo& q5_1_codec() {
  static constexpr CodecParam kParams[] = {kHadamardParam};
  static const CodecInfo kInfo = {
      .name = "q5_1",
      .summary = "5-bit codes, a scale and a minimum for 32 channels of a token",
      .card = "ggml q5_1",
      .params = kParams,
      .make =
          [](CodecValues values) {
            GroupFormat format = {.quantiser = Quantiser(GridRule::kMinMax, 5)};
            format.hadamard = values[0] != 0;
            return MakeGroupCodec({.name = CodecName(q5_1_codec(), values),
                                   .k = format,
                                   .v = format,
                                   .k_tail = {},
                                   .v_tail = {}});
          },
  };
  return kInfo;
}

}  // namespace kvasir
