#include "kvasir/codecs/dense_part.h"

namespace kvasir {

const CodecInfo& f16_codec();
const CodecInfo& f16_codec() {
  static const CodecInfo kInfo = {
      .name = "f16",
      .summary = "16-bit floats, 10 mantissa bits; the default",
      .card = "",
      .params = {},
      .make = [](CodecValues) { return MakeDenseCodec("f16", DenseType::kF16); },
  };
  return kInfo;
}

}  // namespace kvasir
