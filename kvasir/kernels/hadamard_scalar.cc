// The definition: butterflies from neighbours outward, then one scaling.
#include <cmath>

#include "kvasir/kernels/hadamard.h"

namespace kvasir {

extern const HadamardKernels kHadamardScalar;

namespace {

// Elements lie `stride` floats apart.
void Transform(float* x, int n, int block, int stride) {
  for (int reach = 1; reach < block; reach *= 2) {
    for (int i = 0; i < n; ++i) {
      if ((i & reach) != 0) continue;
      const float a = x[i * stride], b = x[(i + reach) * stride];
      x[i * stride] = a + b;
      x[(i + reach) * stride] = a - b;
    }
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(block));
  for (int i = 0; i < n; ++i) x[i * stride] *= scale;
}

void Row(float* x, int n, int block) { Transform(x, n, block, 1); }

void Lanes(float* x, int n, int block) {
  for (int lane = 0; lane < 16; ++lane) Transform(x + lane, n, block, 16);
}

}  // namespace

const HadamardKernels kHadamardScalar = {.row = Row, .lanes = Lanes};

}  // namespace kvasir
