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

constexpr int64_t kPanel = 16;  // rows come in whole panels, the widest that a variant uses

// How one product is cut into tasks: rows in pieces, the last ones smaller, so that no thread waits
// long for the others at the end; tokens in whole tiles.
class Pieces {
 public:
  //   taper  whether the last pieces are smaller
  Pieces(const Tensor& w, int64_t n_token, int n_thread, bool taper)
      : rows_(w.rows), n_token_(n_token) {
    constexpr int64_t kTaskBytes = 512 << 10;  // of weights
    constexpr int64_t kTaskTokens = 256;       // a chunk of their activations stays in second cache
    constexpr int64_t kTaper = 8;
    const int64_t by_bytes = kTaskBytes / (kPanel * static_cast<int64_t>(w.row_bytes));
    const int64_t by_thread = CeilDiv(w.rows, kPanel * 4 * n_thread);
    large_ = std::max<int64_t>(1, std::min(by_bytes, by_thread)) * kPanel;
    small_ = taper ? std::max<int64_t>(1, large_ / (kTaper * kPanel)) * kPanel : large_;
    n_large_ = taper ? std::max<int64_t>(0, rows_ / large_ - n_thread) : CeilDiv(rows_, large_);
    n_piece_ = n_large_ + CeilDiv(std::max<int64_t>(0, rows_ - n_large_ * large_), small_);
    tokens_ = std::clamp<int64_t>(n_token, 1, kTaskTokens);
  }
  int64_t n_task() const { return n_piece_ * CeilDiv(n_token_, tokens_); }

  void Run(const MatMulKernels& kernels, const MatMulCall& call, int64_t task) const {
    const int64_t piece = task % n_piece_, token = task / n_piece_ * tokens_;
    const int64_t row =
        piece < n_large_ ? piece * large_ : n_large_ * large_ + (piece - n_large_) * small_;
    const int64_t end = std::min(row + (piece < n_large_ ? large_ : small_), rows_);
    kernels.rows(call, row, end, token, std::min(token + tokens_, n_token_));
  }

 private:
  int64_t rows_, n_token_;
  int64_t large_, small_;  // rows of a piece
  int64_t n_large_, n_piece_;
  int64_t tokens_;
};

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

void MatMul(const Tensor& w, const void* prepared, int64_t n_token, float* y, int64_t y_stride,
            ThreadTeam& team) {
  const MatMulCall call{w, static_cast<const std::byte*>(prepared), n_token, y, y_stride};
  const MatMulKernels& kernels = Kernels();
  const Pieces pieces(w, n_token, team.size(), true);
  team.Run(pieces.n_task(), [&](int64_t task, int) { pieces.Run(kernels, call, task); });
}

void MatMuls(std::span<const MatMulTarget> targets, const void* prepared, int64_t n_token,
             ThreadTeam& team) {
  const MatMulKernels& kernels = Kernels();
  const auto pieces_of = [&](const MatMulTarget& target) {
    return Pieces(*target.w, n_token, team.size(), &target == &targets.back());
  };
  int64_t n_task = 0;
  for (const MatMulTarget& target : targets) n_task += pieces_of(target).n_task();
  team.Run(n_task, [&](int64_t task, int) {
    for (const MatMulTarget& target : targets) {
      const Pieces pieces = pieces_of(target);
      if (task < pieces.n_task()) {
        const MatMulCall call{*target.w, static_cast<const std::byte*>(prepared), n_token, target.y,
                              target.w->rows};
        return pieces.Run(kernels, call, task);
      }
      task -= pieces.n_task();
    }
  });
}

}  // namespace kvasir
