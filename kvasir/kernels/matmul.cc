#include "kvasir/kernels/matmul.h"

#include <algorithm>
#include <cassert>

#include "kvasir/core/isa.h"
#include "kvasir/kernels/matmul_kernels.h"

namespace kvasir {
namespace {

const MatMulKernels& Kernels() {
  switch (ActiveIsa()) {
#if defined(__x86_64__)
    case Isa::kAvx512: return kMatMulAvx512;
    case Isa::kAvx2: return kMatMulAvx2;
#endif
    default: return kMatMulScalar;
  }
}

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr int64_t kPanel = 16;  // rows: the widest panel that a variant uses

int64_t Panels(const Tensor& w) { return CeilDiv(w.rows, kPanel); }

// How the outputs, one after the other, are cut into tasks. Rows come in whole panels, tokens in
// whole tiles.
struct Split {
  int64_t n_panel;  // of all outputs
  int64_t panels, tokens;
};

Split ChooseSplit(std::span<const MatMulOutput> outputs, int64_t n_token, int n_thread) {
  constexpr int64_t kTaskBytes = 512 << 10;  // of weights
  constexpr int64_t kTaskTokens = 256;       // a chunk of their activations stays in second cache
  int64_t n_panel = 0, row_bytes = 1;
  for (const MatMulOutput& output : outputs) {
    n_panel += Panels(*output.w);
    row_bytes = std::max(row_bytes, static_cast<int64_t>(output.w->row_bytes));
  }
  const int64_t by_bytes = kTaskBytes / (kPanel * row_bytes);
  const int64_t by_thread = CeilDiv(n_panel, int64_t{4} * n_thread);
  return {n_panel, std::max<int64_t>(1, std::min(by_bytes, by_thread)),
          std::clamp<int64_t>(n_token, 1, kTaskTokens)};
}

}  // namespace

Preparation PreparationOf(TensorType weights) {
  switch (InfoOf(weights).block_elements) {
    case 32: return Preparation::kQ8x32;
    case 256: return Preparation::kQ8x256;
    default: return Preparation::kFloat;
  }
}

size_t TokenBytes(Preparation preparation, int64_t cols) {
  const size_t n = static_cast<size_t>(cols);
  switch (preparation) {
    // The pad keeps tiles from lying a power of two apart, where they evict each other.
    case Preparation::kFloat: return n * sizeof(float) + 1024;
    case Preparation::kQ8x32: return n / 32 * kRecord32;
    case Preparation::kQ8x256: return n / 256 * kRecord256;
  }
  return 0;
}

size_t PreparedBytes(TensorType weights, int64_t n_token, int64_t cols) {
  return static_cast<size_t>(n_token) * TokenBytes(PreparationOf(weights), cols);
}

bool SamePreparation(TensorType a, TensorType b) { return PreparationOf(a) == PreparationOf(b); }

void PrepareActivations(TensorType weights, const float* x, int64_t x_stride, int64_t n_token,
                        int64_t cols, void* out, ThreadTeam& team) {
  assert(cols % static_cast<int64_t>(InfoOf(weights).block_elements) == 0);
  const Preparation preparation = PreparationOf(weights);
  const size_t token_bytes = TokenBytes(preparation, cols);
  const MatMulKernels& kernels = Kernels();
  team.Run(CeilDiv(n_token, kTokenTile), [&](int64_t tile, int) {
    const int64_t t0 = tile * kTokenTile;
    const int nt = static_cast<int>(std::min<int64_t>(kTokenTile, n_token - t0));
    kernels.prepare_tile(preparation, x + t0 * x_stride, x_stride, nt, cols,
                         static_cast<std::byte*>(out) + static_cast<size_t>(t0) * token_bytes);
  });
}

void MatMul(std::span<const MatMulOutput> outputs, const void* prepared, int64_t n_token,
            ThreadTeam& team) {
  const MatMulKernels& kernels = Kernels();
  const Split split = ChooseSplit(outputs, n_token, team.size());
  const int64_t row_tasks = CeilDiv(split.n_panel, split.panels);
  const int64_t token_tasks = CeilDiv(n_token, split.tokens);
  const auto run_task = [&](int64_t task, int) {
    const int64_t token = task / row_tasks * split.tokens;
    int64_t begin = task % row_tasks * split.panels, n = split.panels;
    for (const MatMulOutput& output : outputs) {
      const int64_t n_here = std::min(n, Panels(*output.w) - begin);
      if (n_here > 0) {
        const MatMulCall call{*output.w, static_cast<const std::byte*>(prepared), n_token, output.y,
                              output.y_stride};
        kernels.rows(call, begin * kPanel, std::min((begin + n_here) * kPanel, output.w->rows),
                     token, std::min(token + split.tokens, n_token));
        n -= n_here;
      }
      if (n == 0) return;
      begin = std::max<int64_t>(0, begin - Panels(*output.w));
    }
  };
  // Few tokens are done as soon as their weights have been read.
  token_tasks == 1 ? team.RunInShares(row_tasks, run_task)
                   : team.Run(row_tasks * token_tasks, run_task);
}

}  // namespace kvasir
