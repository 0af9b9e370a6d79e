#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& q5_0_codec();
const CodecInfo& q5_0_codec() {
  static constexpr CodecParam kParams[] = {kHadamardParam};
  static const CodecInfo kInfo = {
      .name = "q5_0",
      .summary = "5-bit codes, one scale for 32 channels of a token",
      .card = "ggml q5_0",
      .params = kParams,
      .make =
          [](CodecValues values) {
            GroupFormat format = {.quantiser = Quantiser(GridRule::kSigned, 5)};
            format.hadamard = values[0] != 0;
            return MakeGroupCodec({.name = CodecName(q5_0_codec(), values),
                                   .k = format,
                                   .v = format,
                                   .k_tail = {},
                                   .v_tail = {}});
          },
  };
  return kInfo;
}

}  // namespace kvasir
