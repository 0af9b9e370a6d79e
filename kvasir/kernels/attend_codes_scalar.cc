// The definition: plain loops that read like the formulas of attend_codes.h.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kvasir/kernels/attend_codes.h"
#include "kvasir/kernels/half.h"

namespace kvasir {

extern const AttendCodeKernels kAttendCodesScalar;

namespace {

int16_t Level(const std::byte* levels, int j) {
  int16_t n;
  std::memcpy(&n, levels + 2 * j, sizeof(n));
  return n;
}

void RoundGroup(const float* q, int n, std::byte* levels, float* unit, int32_t* sum) {
  float max = 0;
  bool finite = true;
  for (int j = 0; j < n; ++j) {
    max = std::fmax(max, std::fabs(q[j]));
    finite = finite && std::isfinite(q[j]);
  }
  const bool zero = !finite || max < 0x1p-100f;
  *unit = finite ? (zero ? 0.0f : max / kQueryLevels) : std::numeric_limits<float>::quiet_NaN();
  *sum = 0;
  for (int j = 0; j < n; ++j) {
    const float steps = zero ? 0.0f : q[j] * (kQueryLevels / max);
    const auto level = static_cast<int16_t>(std::nearbyint(steps));
    std::memcpy(levels + 2 * j, &level, sizeof(level));
    *sum += level;
  }
}

void RoundQueries(const CodeFormat& format, const float* q, int n_row, int d,
                  const RoundedQueries& rounded) {
  const int n_group = format.n_group(d);
  for (int r = 0; r < n_row; ++r) {
    for (int g = 0; g < n_group; ++g) {
      const int first = r * d + g * format.group;
      RoundGroup(q + first, std::min(format.group, d - g * format.group),
                 rounded.levels + 2 * first, rounded.unit + r * n_group + g,
                 rounded.n_sum + r * n_group + g);
    }
  }
}

int Code(const CodeFormat& format, const uint8_t* strips, int strip, int i) {
  return GetStripCode(strips + strip * StripBytes(format.bits), format.bits, i);
}

float Logit(const CodeFormat& format, const std::byte* levels, const float* unit,
            const int32_t* n_sum, int d, const CodeTile& tile, int t) {
  float x = 0;
  for (int g = 0; g < format.n_group(d); ++g) {
    const int end = std::min(d, (g + 1) * format.group);
    int32_t dot = 0;
    for (int j = g * format.group; j < end; ++j)
      dot += Level(levels, j) * (Code(format, tile.codes, j, t) - format.zero);
    x = std::fma(HalfToFloat(tile.scale[16 * g + t]), static_cast<float>(dot) * unit[g], x);
    if (!format.has_offset) continue;
    x = std::fma(HalfToFloat(tile.offset[16 * g + t]), static_cast<float>(n_sum[g]) * unit[g], x);
  }
  return x;
}

void Logits(const CodeFormat& format, const RoundedQueries& q, int n_row, int d,
            const CodeTile* tiles, int n_tile, const CodeTile*, int, float* x, int x_stride) {
  const int n_group = format.n_group(d);
  for (int r = 0; r < n_row; ++r) {
    for (int t = 0; t < 16 * n_tile; ++t) {
      x[r * x_stride + t] = Logit(format, q.levels + 2 * r * d, q.unit + r * n_group,
                                  q.n_sum + r * n_group, d, tiles[t / 16], t % 16);
    }
  }
}

float TreeSum(const CodeFormat& format, const float* p, const CodeTile& tile, int grid) {
  const auto middle = static_cast<float>(format.middle());
  float sum[16];
  for (int t = 0; t < 16; ++t) {
    sum[t] = p[t] * std::fma(HalfToFloat(tile.scale[grid + t]), middle,
                             HalfToFloat(tile.offset[grid + t]));
  }
  for (int half : {8, 4, 2, 1}) {
    for (int t = 0; t < half; ++t) sum[t] += sum[t + half];
  }
  return sum[0];
}

// What a tile adds to channel c: see attend_codes.h.
float AddTile(const CodeFormat& format, const float* p, const CodeTile& tile, int c, float acc) {
  const int grid = c / format.group * 16;
  float weight[16];
  uint32_t largest = 0;  // its bits; not-a-numbers win
  for (int t = 0; t < 16; ++t) {
    weight[t] = p[t] * HalfToFloat(tile.scale[grid + t]);
    largest = std::max(largest, std::bit_cast<uint32_t>(std::fabs(weight[t])));
  }
  const WeightGrid levels = WeightGridOf(largest);
  int32_t sum = 0;
  for (int t = 0; t < 16 && levels.inverse != 0; ++t) {
    const auto n = static_cast<int32_t>(std::nearbyint(weight[t] * levels.inverse));
    sum += n * (Code(format, tile.codes, c / 16 * 16 + t, c % 16) - format.middle());
  }
  acc = std::fma(levels.unit, static_cast<float>(sum), acc);
  return format.has_offset ? acc + TreeSum(format, p, tile, grid) : acc;
}

void Values(const CodeFormat& format, const float* p, int p_stride, int n_row, int d,
            const CodeTile* tiles, int n_tile, const CodeTile*, int, float* acc) {
  for (int r = 0; r < n_row; ++r) {
    for (int c = 0; c < d; ++c) {
      float& out = acc[r * d + c];
      for (int i = 0; i < n_tile; ++i) {
        out = AddTile(format, p + r * p_stride + 16 * i, tiles[i], c, out);
      }
    }
  }
}

}  // namespace

const AttendCodeKernels kAttendCodesScalar = {
    .round_queries = RoundQueries, .logits = Logits, .values = Values};

}  // namespace kvasir
