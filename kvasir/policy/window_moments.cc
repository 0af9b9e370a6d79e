#include "kvasir/policy/window_moments.h"

#include <algorithm>
#include <cmath>

namespace kvasir {

Result<WindowMoments> ComputeWindowMoments(const ScoreContext& context, int kv_head, int window,
                                           AttendScratch& scratch) {
  WindowMoments m;
  m.group = context.shape().group();
  m.n = context.list(kv_head).n_kv();
  m.mean.resize(static_cast<size_t>(m.group * m.n));
  m.variance.resize(m.mean.size());
  const int n_query = std::min(window, context.tap->n_window(context.layer));
  const int64_t n_before = m.n - n_query;
  KVASIR_RETURN_IF_ERROR(context.tap->VisitWindow(
      context.layer, kv_head, n_query, *context.cache, scratch,
      [&](const float* weights, int stride, int, int n_row, int64_t first, int n_token) {
        for (int row = 0; row < n_row * m.group; ++row) {
          const float* p = weights + int64_t{row} * stride;
          const int64_t offset = row % m.group * m.n + first;
          for (int t = 0; t < n_token; ++t) {
            const double x = p[t];
            m.mean[offset + t] += x;
            m.variance[offset + t] += x * x;
            if (first + t < n_before) m.entropy -= x * std::log(x + 1e-10);
          }
        }
      }));
  const double share = n_query > 0 ? 1.0 / n_query : 0.0;
  for (size_t i = 0; i < m.mean.size(); ++i) {
    m.mean[i] *= share;
    m.variance[i] = std::max(0.0, m.variance[i] * share - m.mean[i] * m.mean[i]);
  }
  return m;
}

}  // namespace kvasir
