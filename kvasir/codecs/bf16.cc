#include "kvasir/codecs/dense_part.h"

namespace kvasir {

const CodecInfo& bf16_codec();
const CodecInfo& bf16_codec() {
  static const CodecInfo kInfo = {
      .name = "bf16",
      .summary = "16-bit floats with the range of f32 and 7 mantissa bits",
      .card = "",
      .params = {},
      .make = [](CodecValues) { return MakeDenseCodec("bf16", DenseType::kBf16); },
  };
  return kInfo;
}

}  // namespace kvasir
