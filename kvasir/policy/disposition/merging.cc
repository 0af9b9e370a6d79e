#include "kvasir/policy/disposition/merging.h"

#include <algorithm>
#include <cmath>

#include "kvasir/kernels/attend.h"
#include "kvasir/policy/token_rows.h"

namespace kvasir {
namespace {

constexpr int64_t kBlock = 64;  // evicted tokens looked up at a time
constexpr int kTilesAtOnce = 16;

// Scales a row to length 1, or leaves a row of zeros: it resembles nothing.
void MakeUnit(std::span<float> row) {
  const float norm = Norm(row.data(), static_cast<int>(row.size()));
  if (!(norm > 0)) return;
  for (float& x : row) x /= norm;
}

}  // namespace

Result<TokenRows> ReadTokens(const SegmentList& list, std::span<const int32_t> tokens) {
  TokenRows rows;
  rows.head_dim = list.tail().layout().head_dim;
  rows.k.resize(tokens.size() * rows.head_dim);
  rows.v.resize(rows.k.size());
  KVASIR_RETURN_IF_ERROR(DecodeTokens(list, tokens, rows.k.data(), rows.v.data()));
  for (int32_t token : tokens) rows.pos.push_back(list.pos(token));
  rows.count.assign(tokens.size(), 1.0);
  const std::vector<float> biases = GatherBias(list, tokens);
  for (size_t i = 0; i < biases.size(); ++i) rows.count[i] = std::exp2(biases[i]);
  return rows;
}

Result<MergeWork> MergeWork::Create(const CutInput& input, int n_double) {
  MergeWork work;
  const int d = input.list->tail().layout().head_dim;
  const auto n = static_cast<int64_t>(input.kept.size());
  KVASIR_ASSIGN_OR_RETURN(
      work.charge_,
      ByteCharge::Take(input.arena->ledger(), ByteKind::kScratch,
                       n * ((3 * d + 4) * static_cast<int64_t>(sizeof(float)) +
                            (n_double * d + 2) * static_cast<int64_t>(sizeof(double)))));
  KVASIR_ASSIGN_OR_RETURN(work.kept_, ReadTokens(*input.list, input.kept));
  const int64_t n_tile = (n + kTileTokens - 1) / kTileTokens;
  work.unit_tiles_.resize(static_cast<size_t>(n_tile * kTileTokens * d));
  std::vector<float> unit(static_cast<size_t>(d));
  for (int64_t i = 0; i < n; ++i) {
    std::ranges::copy(work.kept_.key(i), unit.begin());
    MakeUnit(unit);
    float* column = &work.unit_tiles_[i / kTileTokens * kTileTokens * d + i % kTileTokens];
    for (int j = 0; j < d; ++j) column[j * kTileTokens] = unit[j];
  }
  return work;
}

Status MergeWork::VisitEvicted(const CutInput& input, const NearestVisitor& visit) const {
  const int d = kept_.head_dim;
  const int64_t n_tile = (kept_.n() + kTileTokens - 1) / kTileTokens;
  std::vector<float> cosines(static_cast<size_t>(kBlock * kTilesAtOnce * kTileTokens));
  const auto n_evicted = static_cast<int64_t>(input.evicted.size());
  for (int64_t first = 0; first < n_evicted; first += kBlock) {
    const int64_t n = std::min(kBlock, n_evicted - first);
    KVASIR_ASSIGN_OR_RETURN(TokenRows rows,
                            ReadTokens(*input.list, input.evicted.subspan(first, n)));
    std::vector<float> unit = rows.k;
    for (int64_t i = 0; i < n; ++i) {
      MakeUnit({unit.data() + i * d, static_cast<size_t>(d)});
    }
    std::vector<Nearest> nearest(static_cast<size_t>(n), {0, -2.0f});
    for (int64_t tile = 0; tile < n_tile; tile += kTilesAtOnce) {
      const auto n_now = static_cast<int>(std::min<int64_t>(kTilesAtOnce, n_tile - tile));
      const void* tiles[kTilesAtOnce];
      for (int i = 0; i < n_now; ++i) tiles[i] = &unit_tiles_[(tile + i) * kTileTokens * d];
      const int stride = n_now * kTileTokens;
      ActiveAttendKernels().logits_f32(unit.data(), static_cast<int>(n), d, tiles, n_now,
                                       /*ahead=*/nullptr, cosines.data(), stride);
      const int64_t n_real = std::min<int64_t>(stride, kept_.n() - tile * kTileTokens);
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n_real; ++j) {
          const float cosine = cosines[i * stride + j];
          if (cosine > nearest[i].cosine) {
            nearest[i] = {static_cast<int32_t>(tile * kTileTokens + j), cosine};
          }
        }
      }
    }
    visit(first, rows, nearest);
  }
  return Status::Ok();
}

Result<ListContents> MergeWork::Finish(const CutInput& input) && {
  unit_tiles_ = {};
  std::vector<float> bias;
  if (std::ranges::any_of(kept_.count, [](double c) { return c != 1.0; })) {
    for (double c : kept_.count) bias.push_back(static_cast<float>(std::log2(c)));
  }
  return MakeContents(input.list->tail().layout(), *input.arena, kept_.pos, kept_.k.data(),
                      kept_.v.data(), bias);
}

}  // namespace kvasir
