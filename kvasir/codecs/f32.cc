#include "kvasir/codecs/dense_part.h"

namespace kvasir {

const CodecInfo& f32_codec();
const CodecInfo& f32_codec() {
  static const CodecInfo kInfo = {
      .name = "f32",
      .summary = "32-bit floats: exact",
      .card = "",
      .params = {},
      .make = [](CodecValues) { return MakeDenseCodec("f32", DenseType::kF32); },
  };
  return kInfo;
}

}  // namespace kvasir
