#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& q4_0_codec();
const CodecInfo& q4_0_codec() {
  static const CodecInfo kInfo = {
      .name = "q4_0",
      .summary = "4-bit codes, one scale for 32 channels of a token",
      .card = "ggml q4_0",
      .params = kGgmlParams,
      .make =
          [](CodecValues values) {
            return MakeGgmlCodec(q4_0_codec(), values, Quantiser(GridRule::kSigned, 4));
          },
  };
  return kInfo;
}

}  // namespace kvasir
