#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& q4_0_codec();
const CodecInfo& q4_0_codec() {
  static constexpr CodecParam kParams[] = {kHadamardParam};
  static const CodecInfo kInfo = {
      .name = "q4_0",
      .summary = "4-bit codes, one scale for 32 channels of a token",
      .card = "ggml q4_0",
      .params = kParams,
      .make =
          [](CodecValues values) {
            GroupFormat format = {.quantiser = Quantiser(GridRule::kSigned, 4)};
            format.hadamard = values[0] != 0;
            return MakeGroupCodec({.name = CodecName(q4_0_codec(), values),
                                   .k = format,
                                   .v = format,
                                   .k_tail = {},
                                   .v_tail = {}});
          },
  };
  return kInfo;
}

}  // namespace kvasir
