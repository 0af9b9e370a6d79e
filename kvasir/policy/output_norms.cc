#include "kvasir/policy/output_norms.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kvasir/kernels/attend.h"

namespace kvasir {
namespace {

constexpr int64_t kTokens = 1024;  // so many that rebuilding rows of weights costs next to nothing
constexpr int kTiles = 16;         // multiplied at once
constexpr int64_t kRows = 32;      // of W_O

// The values of tokens [begin, end) in tiles of (head_dim, 16), as keys are stored.
Status LoadTiles(const SegmentList& list, int64_t begin, int64_t end, std::vector<float>* k,
                 std::vector<float>* v, std::vector<float>* tiles) {
  const int d = list.tail().head_dim();
  KVASIR_RETURN_IF_ERROR(list.Decode(begin, end, k->data(), v->data()));
  std::ranges::fill(*tiles, 0.0f);
  for (int64_t t = 0; t < end - begin; ++t) {
    float* column = &(*tiles)[t / kTileTokens * kTileTokens * d + t % kTileTokens];
    for (int j = 0; j < d; ++j) column[j * kTileTokens] = (*v)[t * d + j];
  }
  return Status::Ok();
}

}  // namespace

int64_t OutputNormsBytes(const PolicyTarget& target) {
  const int64_t d = target.shape.head_dim;
  return static_cast<int64_t>(sizeof(float)) *
         (kTokens * (3 * d + 2) + kRows * (target.shape.n_head * d + d + kTiles * kTileTokens));
}

Status OutputNorms(const PolicyTarget& target, int layer, int kv_head, const SegmentList& list,
                   std::span<float> norms) {
  const int d = target.shape.head_dim, group = target.shape.group();
  const int64_t row_floats = int64_t{target.shape.n_head} * d;
  std::vector<float> k(static_cast<size_t>(kTokens * d)), v(k.size()), tiles(k.size());
  std::vector<float> rows(static_cast<size_t>(kRows * row_floats)), head(kRows * d);
  std::vector<float> products(static_cast<size_t>(kRows * kTiles * kTileTokens));
  std::vector<double> sum(kTokens);
  for (int64_t begin = 0; begin < list.n_kv(); begin += kTokens) {
    const int64_t n = std::min(kTokens, list.n_kv() - begin);
    KVASIR_RETURN_IF_ERROR(LoadTiles(list, begin, begin + n, &k, &v, &tiles));
    std::ranges::fill(sum, 0.0);
    for (int64_t first = 0; first < target.n_embd; first += kRows) {
      const int64_t n_row = std::min(kRows, target.n_embd - first);
      target.output_rows(layer, first, n_row, rows.data());
      for (int g = 0; g < group; ++g) {
        const int64_t at = (int64_t{kv_head} * group + g) * d;
        for (int64_t r = 0; r < n_row; ++r) {
          std::copy_n(&rows[r * row_floats + at], d, &head[r * d]);
        }
        for (int64_t token = 0; token < n; token += kTiles * kTileTokens) {
          const int64_t n_here = std::min<int64_t>(kTiles * kTileTokens, n - token);
          const auto n_tile = static_cast<int>((n_here + kTileTokens - 1) / kTileTokens);
          const void* which[kTiles];
          for (int i = 0; i < n_tile; ++i) which[i] = &tiles[(token + i * kTileTokens) * d];
          const int stride = n_tile * kTileTokens;
          ActiveAttendKernels().logits_f32(head.data(), static_cast<int>(n_row), d, which, n_tile,
                                           /*ahead=*/nullptr, products.data(), stride);
          for (int64_t r = 0; r < n_row; ++r) {
            for (int64_t t = 0; t < n_here; ++t) {
              sum[token + t] += std::abs(products[r * stride + t]);
            }
          }
        }
      }
    }
    for (int64_t t = 0; t < n; ++t) norms[begin + t] = static_cast<float>(sum[t] / group);
  }
  return Status::Ok();
}

}  // namespace kvasir
