// Codes and scale are those of ggml's plain encoder, without its search for a better scale.
#include "kvasir/codecs/group_format.h"

namespace kvasir {

const CodecInfo& iq4_nl_codec();
const CodecInfo& iq4_nl_codec() {
  static const CodecInfo kInfo = {
      .name = "iq4_nl",
      .summary = "4-bit codes of a fixed non-linear table, one scale for 32 channels of a token",
      .card = "ggml iq4_nl",
      .params = kGgmlParams,
      .make =
          [](CodecValues values) {
            return MakeGgmlCodec(iq4_nl_codec(), values, Quantiser(GridRule::kIq4nl, 4),
                                 CodeTable::kIq4nl);
          },
  };
  return kInfo;
}

}  // namespace kvasir
