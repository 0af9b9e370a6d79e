#include "kvasir/policy/selectors/byte_bounds.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <limits>

#include "kvasir/policy/selectors/key_extremes.h"

namespace kvasir {
namespace {

// Multiples of 2^-24 and of larger powers, up to 127 of them, are exact in f16.
constexpr int kMinExponent = -24;
constexpr int kLargest = 127;
// Half a step a channel is what rounding the query may lose, and a little for its own arithmetic.
constexpr float kQueryRounding = 0.5001f;

// The smallest allowed e with |x| <= 127 * 2^e.
int ExponentFor(float x) {
  x = std::min(std::fabs(x), std::numeric_limits<float>::max());
  int power = 0;
  const float fraction = std::frexp(x, &power);  // [0.5, 1)
  const int exponent = power - 7 + (fraction * 128 > kLargest ? 1 : 0);
  return x == 0 ? kMinExponent : std::max(exponent, kMinExponent);
}

// 2^exponent, for the exponents of steps and their negatives. Every token comes by here for every
// channel: calls of the mathematical library would be most of the work.
float PowerOfTwo(int exponent) {
  return std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
}

// Both with |x| <= 127 steps. A product that underflows is still not zero.
int8_t StepsNotBelow(float x, int exponent) {
  const float exact = x * PowerOfTwo(-exponent);
  const int whole = static_cast<int>(exact);
  const int steps = whole + (exact > static_cast<float>(whole) ? 1 : 0);
  return static_cast<int8_t>(x > 0 ? std::max(steps, 1) : steps);
}
int8_t StepsNotAbove(float x, int exponent) {
  return static_cast<int8_t>(-StepsNotBelow(-x, exponent));
}

float Finite(float x) {
  constexpr float kMax = std::numeric_limits<float>::max();
  return std::clamp(x, -kMax, kMax);
}

}  // namespace

ByteBounds::ByteBounds(int head_dim, SlabArena* arena)
    : head_dim_(head_dim), exponent_(arena, ByteKind::kIndex), pages_(arena), supers_(arena) {}

int64_t ByteBounds::bytes() const {
  return exponent_.bytes() + pages_.tiles.bytes() + pages_.size.bytes() + supers_.tiles.bytes() +
         supers_.size.bytes();
}

Status ByteBounds::Resize(int64_t n_kv) {
  for (Level level : {kPage, kSuper}) {
    const int64_t n_tile = (UnitsOf(level, n_kv) + kScorePages - 1) / kScorePages;
    KVASIR_RETURN_IF_ERROR(Of(level).tiles.Resize(n_tile * ScoreTileBytes(n_quad())));
    KVASIR_RETURN_IF_ERROR(Of(level).size.Resize(n_tile * kScorePages));
  }
  return Status::Ok();
}

Status ByteBounds::Append(int64_t n, const float* k, int64_t stride) {
  if (n == 0) return Status::Ok();
  KVASIR_RETURN_IF_ERROR(exponent_.Resize(head_dim_));
  if (n_kv_ == 0) std::fill_n(exponent_.data(), head_dim_, kMinExponent);
  KVASIR_RETURN_IF_ERROR(Resize(n_kv_ + n));
  RaiseSteps(n, k, stride);
  const int64_t first_page = n_kv_ / kPageTokens;
  while (n > 0) {
    const int64_t slot = n_kv_ % kPageTokens;
    const int64_t n_here = std::min(n, kPageTokens - slot);
    FoldPage(n_kv_ / kPageTokens, slot == 0, n_here, k, stride);
    k += n_here * stride;
    n_kv_ += n_here;
    n -= n_here;
  }
  for (int64_t page = first_page; page < n_unit(kPage);) {
    const int64_t super = page / kSuperPages;
    FoldSuper(super, page);
    page = (super + 1) * kSuperPages;
  }
  return Status::Ok();
}

void ByteBounds::RaiseSteps(int64_t n, const float* k, int64_t stride) {
  bool raised = false;
  for (int first = 0; first < head_dim_; first += KeyExtremes::kChannels) {
    const int n_channel = std::min(KeyExtremes::kChannels, head_dim_ - first);
    const KeyExtremes keys(n, k + first, stride, n_channel);
    for (int i = 0; i < n_channel; ++i) {
      const float largest = std::max(keys.high[i], -keys.low[i]);
      if (largest <= kLargest * PowerOfTwo(exponent_[first + i])) continue;
      const int exponent = ExponentFor(largest);
      const int rise = exponent - exponent_[first + i];
      assert(rise > 0);
      exponent_[first + i] = exponent;
      raised = true;
      const int shift = std::min(rise, 7);
      for (Level level : {kPage, kSuper}) {
        for (int64_t unit = 0; unit < n_unit(level); ++unit) {
          int8_t* max = Of(level).tiles.data() + Offset(unit, first + i);
          int8_t* min = max + kMinOffset;
          *max = static_cast<int8_t>(-(-*max >> shift));
          *min = static_cast<int8_t>(*min >> shift);
        }
      }
    }
  }
  if (!raised) return;
  for (Level level : {kPage, kSuper}) {
    for (int64_t first = 0; first < n_unit(level); first += kScorePages) MeasureTile(level, first);
  }
}

void ByteBounds::FoldPage(int64_t page, bool fresh, int64_t n, const float* k, int64_t stride) {
  for (int first = 0; first < head_dim_; first += KeyExtremes::kChannels) {
    const int n_channel = std::min(KeyExtremes::kChannels, head_dim_ - first);
    const KeyExtremes keys(n, k + first, stride, n_channel);
    for (int i = 0; i < n_channel; ++i) {
      const int exponent = exponent_[first + i];
      int8_t* max = pages_.tiles.data() + Offset(page, first + i);
      int8_t* min = max + kMinOffset;
      const int8_t high = StepsNotBelow(Finite(keys.high[i]), exponent);
      const int8_t low = StepsNotAbove(Finite(keys.low[i]), exponent);
      *max = fresh ? high : std::max(*max, high);
      *min = fresh ? low : std::min(*min, low);
    }
  }
  Measure(kPage, page);
}

// Folds the pages of a super-page from `first` on; those before it are folded already.
void ByteBounds::FoldSuper(int64_t super, int64_t first) {
  const int64_t n = std::min(n_unit(kPage), (super + 1) * kSuperPages) - first;
  for (int c = 0; c < head_dim_; ++c) {
    const int8_t* max = pages_.tiles.data() + Offset(first, c);
    const int8_t* min = max + kMinOffset;
    int8_t* to = supers_.tiles.data() + Offset(super, c);
    const bool fresh = first == super * kSuperPages;
    int8_t high = fresh ? max[0] : to[0], low = fresh ? min[0] : to[kMinOffset];
    for (int64_t i = 0; i < n; ++i) {
      high = std::max(high, max[i * 4]);
      low = std::min(low, min[i * 4]);
    }
    to[0] = high;
    to[kMinOffset] = low;
  }
  Measure(kSuper, super);
}

void ByteBounds::Measure(Level level, int64_t unit) {
  int size = 0;
  for (int c = 0; c < head_dim_; ++c) {
    const int8_t* max = Of(level).tiles.data() + Offset(unit, c);
    size += std::max(std::abs(int{max[0]}), std::abs(int{max[kMinOffset]}));
  }
  Of(level).size[unit] = static_cast<uint16_t>(std::min(size, int{UINT16_MAX}));
}

// All units of the tile that begins with unit `first`; those that are not held measure nothing of
// meaning.
void ByteBounds::MeasureTile(Level level, int64_t first) {
  int size[kScorePages] = {};
  for (int quad = 0; quad < n_quad(); ++quad) {
    const int8_t* max = Of(level).tiles.data() + Offset(first, 4 * quad);
    const int8_t* min = max + kMinOffset;
    for (int page = 0; page < kScorePages; ++page) {
      for (int i = 4 * page; i < 4 * page + 4; ++i) {
        size[page] += std::max(std::abs(int{max[i]}), std::abs(int{min[i]}));
      }
    }
  }
  for (int page = 0; page < kScorePages; ++page) {
    Of(level).size[first + page] = static_cast<uint16_t>(std::min(size[page], int{UINT16_MAX}));
  }
}

void ByteBounds::Truncate(int64_t n) {
  assert(n <= n_kv_);
  n_kv_ = n;
  // Shrinking never allocates.
  static_cast<void>(Resize(n).ok());
  if (n % kSuperTokens != 0) FoldSuper(n / kSuperTokens, n / kSuperTokens * kSuperPages);
}

Result<ByteBounds> ByteBounds::Copy() const {
  ByteBounds copy(head_dim_, nullptr);
  copy.n_kv_ = n_kv_;
  KVASIR_ASSIGN_OR_RETURN(copy.exponent_, exponent_.Copy());
  for (Level level : {kPage, kSuper}) {
    KVASIR_ASSIGN_OR_RETURN(copy.Of(level).tiles, Of(level).tiles.Copy());
    KVASIR_ASSIGN_OR_RETURN(copy.Of(level).size, Of(level).size.Copy());
  }
  return copy;
}

void ByteBounds::Prepare(const QueryRows& rows, uint8_t* q, float* steps) const {
  std::fill_n(q, rows.n_row * ScoreQueryBytes(n_quad()), uint8_t{0});
  for (int r = 0; r < rows.n_row; ++r, q += ScoreQueryBytes(n_quad())) {
    const float* row = rows.q + int64_t{r} * head_dim_;
    float max = 0;
    for (int c = 0; c < head_dim_; ++c) {
      max = std::max(max, std::fabs(row[c] * PowerOfTwo(exponent_[c])));
    }
    // Queries beyond all bounds stay zero: their score is what rounding may lose, which then is
    // all.
    steps[r] = 2 * max;
    if (!std::isfinite(max) || !std::isfinite(255 / max)) continue;
    steps[r] = max / 255;
    for (int c = 0; c < head_dim_; ++c) {
      const float folded = row[c] * PowerOfTwo(exponent_[c]) * (255 / max);
      // Adding 2^23 leaves the nearest-even integer in the low bits.
      const float rounded = std::min(std::fabs(folded), 255.0f) + 0x1p23f;
      const uint32_t magnitude = std::bit_cast<uint32_t>(rounded) & 0xff;
      q[c / 4 * 8 + (folded < 0 ? 4 : 0) + c % 4] = static_cast<uint8_t>(magnitude);
    }
  }
}

void ByteBounds::Score(Level level, const uint8_t* q, const float* steps, int n_row,
                       std::span<const int32_t> tiles, float* scores, int64_t stride) const {
  constexpr size_t kRun = 16;
  constexpr int kUnits = kRun * kScorePages;
  const PageScoreKernels& kernels = ActivePageScoreKernels();
  const Units& units = Of(level);
  const int8_t* run[kRun];
  alignas(64) int32_t sums[AttendScratch::kMaxRows * kUnits];
  for (size_t first = 0; first < tiles.size(); first += kRun) {
    const size_t n = std::min(kRun, tiles.size() - first);
    for (size_t i = 0; i < n; ++i) {
      run[i] = units.tiles.data() + tiles[first + i] * ScoreTileBytes(n_quad());
    }
    kernels.score(q, n_row, n_quad(), run, static_cast<int>(n), sums, kUnits);
    for (int r = 0; r < n_row; ++r) {
      for (size_t i = 0; i < n; ++i) {
        const uint16_t* size = units.size.data() + int64_t{tiles[first + i]} * kScorePages;
        const int32_t* sum = sums + r * kUnits + static_cast<int>(i) * kScorePages;
        float* x = scores + r * stride + static_cast<int64_t>(first + i) * kScorePages;
        for (int p = 0; p < kScorePages; ++p) {
          x[p] = steps[r] * (static_cast<float>(sum[p]) + kQueryRounding * size[p]);
        }
      }
    }
  }
}

double ByteBounds::Bound(Level level, int64_t unit, const float* q) const {
  double bound = 0;
  for (int c = 0; c < head_dim_; ++c) {
    const int8_t* max = Of(level).tiles.data() + Offset(unit, c);
    bound += std::ldexp(double{q[c]} * (q[c] >= 0 ? max[0] : max[kMinOffset]), exponent_[c]);
  }
  return bound;
}

std::vector<double> ByteBounds::Magnitudes(const QueryRows& rows) const {
  std::vector<double> magnitudes;
  for (int r = 0; r < rows.n_row; ++r) {
    double sum = 0;
    for (int c = 0; c < head_dim_; ++c) {
      sum += std::ldexp(std::fabs(double{rows.q[int64_t{r} * head_dim_ + c]}) * kLargest,
                        exponent_[c]);
    }
    magnitudes.push_back(sum);
  }
  return magnitudes;
}

}  // namespace kvasir
