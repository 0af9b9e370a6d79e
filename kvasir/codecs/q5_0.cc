#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& q5_0_codec();
const CodecInfo& q5_0_codec() {
  static const CodecInfo kInfo = {
      .name = "q5_0",
      .summary = "5-bit codes, one scale for 32 channels of a token",
      .card = "ggml q5_0",
      .params = kGgmlParams,
      .make =
          [](CodecValues values) {
            return MakeGgmlCodec(q5_0_codec(), values, Quantiser(GridRule::kSigned, 5));
          },
  };
  return kInfo;
}

}  // namespace kvasir
