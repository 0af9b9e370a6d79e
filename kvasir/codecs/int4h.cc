// Rotate, then plain per-token integers: the cache of QuaRot (arXiv:2404.00456), which SAW-INT4
// (arXiv:2604.19157) found to be the 4-bit format that survives paging. Nothing to calibrate, no
// tail, any token may be evicted.
#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& int4h_codec();
const CodecInfo& int4h_codec() {
  static constexpr CodecParam kParams[] = {
      {.name = "bits", .default_value = 4, .min = 2, .max = 8, .meaning = "of keys and values"},
      {.name = "g",
       .default_value = 0,
       .min = 0,
       .max = 256,
       .meaning = "channels that share a scale and a minimum, a multiple of 16; 0 = the head"},
  };
  static const CodecInfo kInfo = {
      .name = "int4h",
      .summary = "block Hadamard rotation, then 4-bit codes with one range a token",
      .card = "arXiv:2404.00456, arXiv:2604.19157",
      .params = kParams,
      .make =
          [](CodecValues values) {
            const GroupFormat format = {
                .quantiser = Quantiser(GridRule::kMinMax, static_cast<int>(values[0])),
                .group = static_cast<int>(values[1]),
                .hadamard = true};
            return MakeGroupCodec(
                {.name = CodecName(int4h_codec(), values), .k = format, .v = format});
          },
  };
  return kInfo;
}

}  // namespace kvasir
