// Codes round half to even by the rounded scale, a little closer than ggml's encoder.
#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& q4_1_codec();
const CodecInfo& q4_1_codec() {
  static const CodecInfo kInfo = {
      .name = "q4_1",
      .summary = "4-bit codes, a scale and a minimum for 32 channels of a token",
      .card = "ggml q4_1",
      .params = kGgmlParams,
      .make =
          [](CodecValues values) {
            return MakeGgmlCodec(q4_1_codec(), values, Quantiser(GridRule::kMinMax, 4));
          },
  };
  return kInfo;
}

}  // namespace kvasir
