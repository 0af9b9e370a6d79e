#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& q8_0_codec();
const CodecInfo& q8_0_codec() {
  static const CodecInfo kInfo = {
      .name = "q8_0",
      .summary = "8-bit codes, one scale for 32 channels of a token",
      .card = "ggml q8_0",
      .params = kGgmlParams,
      .make =
          [](CodecValues values) {
            return MakeGgmlCodec(q8_0_codec(), values, Quantiser(GridRule::kSymmetric, 8));
          },
  };
  return kInfo;
}

}  // namespace kvasir
