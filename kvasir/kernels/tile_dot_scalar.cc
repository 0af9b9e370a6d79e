#include <cmath>
#include <cstdint>

#include "kvasir/kernels/half.h"
#include "kvasir/kernels/tile_dot.h"

namespace kvasir {
namespace {

float ToFloat(float x) { return x; }
float ToFloat(uint16_t x) { return HalfToFloat(x); }

template <typename T>
void Dot(const float* rows, int n_row, int d, const void* const* tiles, int n_tile, float* out,
         int stride) {
  for (int r = 0; r < n_row; ++r) {
    for (int i = 0; i < n_tile; ++i) {
      const T* tile = static_cast<const T*>(tiles[i]);
      float lane[16] = {};
      for (int j = 0; j < d; ++j) {
        for (int t = 0; t < 16; ++t) {
          lane[t] =
              std::fma(rows[(int64_t{r} * d + j) * 16 + t], ToFloat(tile[j * 16 + t]), lane[t]);
        }
      }
      for (int h = 0; h < 2; ++h) {
        float* x = lane + 8 * h;
        for (int step = 4; step > 0; step /= 2) {
          for (int t = 0; t < step; ++t) x[t] += x[t + step];
        }
        out[r * stride + 2 * i + h] = x[0];
      }
    }
  }
}

}  // namespace

extern const TileDotKernels kTileDotScalar;
const TileDotKernels kTileDotScalar = {.dot_f32 = Dot<float>, .dot_f16 = Dot<uint16_t>};

}  // namespace kvasir
