#include "kvasir/cache/segment.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace kvasir {
namespace {

constexpr int kRebuiltTiles = 4;
// With up to this many rows (decode) the logits of many tiles stay in the first-level cache.
constexpr int kFewRows = 8;

int64_t TileFloats(int head_dim) { return int64_t{kTileTokens} * (head_dim + PaddedDim(head_dim)); }

// Bits [begin, end) of a tile, as far as it goes.
uint16_t RunBits(int64_t begin, int64_t end) {
  const auto a = static_cast<int>(std::clamp<int64_t>(begin, 0, kTileTokens));
  const auto b = static_cast<int>(std::clamp<int64_t>(end, 0, kTileTokens));
  return a < b ? static_cast<uint16_t>((1u << b) - (1u << a)) : uint16_t{0};
}

// Replaces half-precision tiles by f32 copies in scratch.
void UnpackTiles(int n, int head_dim, AttendScratch& scratch, TileRun* run) {
  const AttendKernels& kernels = ActiveAttendKernels();
  const int64_t k_floats = int64_t{kTileTokens} * head_dim;
  const int64_t v_floats = int64_t{kTileTokens} * PaddedDim(head_dim);
  for (int i = 0; i < n; ++i) {
    if (run->k_format == TileFormat::kF16) {
      float* k = scratch.k_tiles() + i * k_floats;
      kernels.unpack_f16(static_cast<const uint16_t*>(run->k[i]), k, k_floats);
      run->k[i] = k;
    }
    if (run->v_format == TileFormat::kF16) {
      float* v = scratch.v_tiles() + i * v_floats;
      kernels.unpack_f16(static_cast<const uint16_t*>(run->v[i]), v, v_floats);
      run->v[i] = v;
    }
  }
  run->k_format = run->v_format = TileFormat::kF32;
}

auto ValuesOf(const TileRun& run) {
  const AttendKernels& kernels = ActiveAttendKernels();
  return run.v_format == TileFormat::kF16 ? kernels.values_f16 : kernels.values_f32;
}

// One row whose logits do not all fit under its exponent: the tokens before the first that does not
// are gathered, then that token raises the exponent, and so on. Leaves the weights of the last
// stretch in `x`, zeros elsewhere, for the caller to gather with the other rows.
//   max  largest visible logit
void WeighRaisingRow(const TileRun& run, int n_tile, const uint16_t* visible, int lane, float max,
                     float* x, const StateView& row) {
  const AttendKernels& kernels = ActiveAttendKernels();
  const int n = n_tile * kTileTokens;
  float p[TileRun::kMaxTiles * kTileTokens];
  uint16_t stretch[TileRun::kMaxTiles];
  for (int from = 0;;) {
    const float limit = *row.exponent + kExponentHeadroom;
    int next = from;
    const auto fits = [&](int t) {
      return (visible != nullptr && !(visible[t / 16] >> (t % 16) & 1)) || !(x[t] > limit);
    };
    if (max <= limit) next = n;
    while (next < n && fits(next)) ++next;
    for (int i = 0; i < n_tile; ++i) {
      const int a = std::clamp(from - 16 * i, 0, 16), b = std::clamp(next - 16 * i, 0, 16);
      stretch[i] = a < b ? static_cast<uint16_t>((1u << b) - (1u << a)) : uint16_t{0};
      if (visible != nullptr) stretch[i] &= visible[i];
    }
    if (next == n) {
      kernels.weigh_row(x, n_tile, stretch, lane, *row.exponent, row.sum);
      return;
    }
    if (next > from) {
      const int first = from / kTileTokens, n_part = (next - 1) / kTileTokens + 1 - first;
      std::copy_n(x + first * kTileTokens, n_part * kTileTokens, p);
      kernels.weigh_row(p, n_part, stretch + first, lane, *row.exponent, row.sum);
      ValuesOf(run)(p, n, 1, run.v + first, n_part, nullptr, row.d_pad, row.acc);
    }
    const float raised = kExponentStep * std::ceil(x[next] / kExponentStep) - kExponentHeadroom;
    kernels.scale(row.sum, 16, *row.exponent - raised);
    kernels.scale(row.acc, row.d_pad, *row.exponent - raised);
    *row.exponent = raised;
    from = next;
  }
}

}  // namespace

AttendScratch::AttendScratch(int head_dim)
    : head_dim_(head_dim),
      memory_(static_cast<size_t>(Bytes(head_dim) / sizeof(float))),
      visible_(static_cast<size_t>(kMaxRows) * TileRun::kMaxTiles),
      row_pos_(kMaxRows) {
  states_ = v_tiles() + int64_t{kRebuiltTiles} * kTileTokens * PaddedDim(head_dim);
}

int64_t AttendScratch::Bytes(int head_dim) {
  return static_cast<int64_t>(sizeof(float)) *
         (kLogitFloats + int64_t{kMaxRows} * head_dim + kRebuiltTiles * TileFloats(head_dim) +
          2 * StateFloats(kMaxRows, PaddedDim(head_dim)));
}

// A group of tiles, loaded, with its mask.
struct Segment::Step {
  int64_t first_token;  // of the first tile
  int n_tile;
  TileRun run;
  bool hidden = false;                // no row sees any token
  const uint16_t* visible = nullptr;  // (n_row, n_tile); null = every row sees every token
};

int Segment::StepTiles(const QueryRows& rows) const {
  return tiles_in_place() && rows.n_row <= kFewRows ? TileRun::kMaxTiles : kRebuiltTiles;
}

// Prepares the step that starts with the tile holding `token`; loads nothing if it is hidden.
Status Segment::NextStep(const QueryRows& rows, int64_t begin, int64_t end, AttendScratch& scratch,
                         int64_t token, Step* step) const {
  const int64_t first_tile = token / kTileTokens;
  const int64_t last_tile = (end - 1) / kTileTokens;
  const int cap = StepTiles(rows);
  const int n_tile = static_cast<int>(std::min<int64_t>(cap, last_tile - first_tile + 1));
  step->first_token = first_tile * kTileTokens;
  step->n_tile = n_tile;
  const int64_t from = std::max(begin, step->first_token);
  const int64_t to = std::min(end, step->first_token + n_tile * kTileTokens);
  const int32_t low = pos_[from], high = pos_[to - 1];
  const auto floor_of = [&](int32_t p) { return rows.window > 0 ? p - rows.window : -1; };
  step->hidden = low > rows.pos_max || (high <= floor_of(rows.pos_min) && low >= rows.sinks);
  if (step->hidden) return Status::Ok();

  const bool whole = from == step->first_token && to == step->first_token + n_tile * kTileTokens;
  if (!whole || high > rows.pos_min || low <= floor_of(rows.pos_max)) {
    uint16_t* visible = scratch.visible();
    for (int r = 0; r < rows.n_row; ++r) {
      // Positions ascend, so a row sees one run of tokens, and another of sinks before it.
      const int32_t p = rows.pos[r];
      const int64_t seen_from = std::max(from, pos_.CountBelow(floor_of(p) + 1));
      const int64_t seen_to = std::min(to, pos_.CountBelow(p + 1));
      const int64_t sinks_to = std::min(seen_to, pos_.CountBelow(rows.sinks));
      for (int i = 0; i < n_tile; ++i) {
        const int64_t base = step->first_token + i * kTileTokens;
        visible[r * n_tile + i] =
            RunBits(seen_from - base, seen_to - base) | RunBits(from - base, sinks_to - base);
      }
    }
    step->visible = visible;
  }
  return LoadAttendTiles(first_tile, n_tile, scratch, &step->run);
}

// Keys to bring nearer during `step`: those of as many tiles after it, which the same thread will
// most likely ask for next, in this call or another; null if none lie in memory.
const void* const* Segment::KeysAfter(const Step& step, AttendScratch& scratch,
                                      TileRun* run) const {
  const int64_t first = step.first_token / kTileTokens + step.n_tile;
  const int64_t n_held = (n_kv() + kTileTokens - 1) / kTileTokens;
  const int64_t n = std::min<int64_t>(step.n_tile, n_held - first);
  if (n <= 0 || !tiles_in_place()) return nullptr;
  if (!LoadTiles(first, static_cast<int>(n), scratch, run).ok()) return nullptr;
  std::fill(run->k + n, run->k + step.n_tile, run->k[0]);
  return run->k;
}

Status Segment::Attend(const QueryRows& rows, int64_t begin, int64_t end, int lane,
                       AttendScratch& scratch, const StateView& states) const {
  assert(rows.n_row <= AttendScratch::kMaxRows && rows.n_row == states.n_row);
  const AttendKernels& kernels = ActiveAttendKernels();
  for (int64_t token = begin; token < end;) {
    Step step;
    KVASIR_RETURN_IF_ERROR(NextStep(rows, begin, end, scratch, token, &step));
    token = step.first_token + step.n_tile * kTileTokens;
    if (step.hidden) continue;
    const int stride = step.n_tile * kTileTokens;
    const auto logits =
        step.run.k_format == TileFormat::kF16 ? kernels.logits_f16 : kernels.logits_f32;
    logits(rows.q, rows.n_row, head_dim_, step.run.k, step.n_tile,
           tiles_in_place() ? step.run.v : nullptr, scratch.logits(), stride);
    // The lane of the first tile's first token, which may lie before `begin`.
    const int tile_lane = static_cast<int>((lane + step.first_token - begin) & (kTileTokens - 1));
    const float* tile_bias = bias() == nullptr ? nullptr : bias() + step.first_token;
    for (int r = 0; r < rows.n_row; ++r) {
      float* x = scratch.logits() + r * stride;
      if (tile_bias != nullptr || rows.softcap > 0) {
        kernels.shape_row(x, step.n_tile, tile_bias, rows.softcap);
      }
      const uint16_t* visible = step.visible == nullptr ? nullptr : step.visible + r * step.n_tile;
      const float max = kernels.max_row(x, step.n_tile, visible);
      if (max > states.exponent[r] + kExponentHeadroom) {
        WeighRaisingRow(step.run, step.n_tile, visible, tile_lane, max, x, states.Rows(r, 1));
      } else {
        kernels.weigh_row(x, step.n_tile, visible, tile_lane, states.exponent[r],
                          states.sum + r * 16);
      }
    }
    TileRun ahead;
    ValuesOf(step.run)(scratch.logits(), stride, rows.n_row, step.run.v, step.n_tile,
                       KeysAfter(step, scratch, &ahead), states.d_pad, states.acc);
  }
  return Status::Ok();
}

Status Segment::VisitWeights(const QueryRows& rows, const RowNorm* norms, int64_t begin,
                             int64_t end, AttendScratch& scratch, const WeightSink& sink) const {
  const AttendKernels& kernels = ActiveAttendKernels();
  for (int64_t token = begin; token < end;) {
    Step step;
    KVASIR_RETURN_IF_ERROR(NextStep(rows, begin, end, scratch, token, &step));
    token = step.first_token + step.n_tile * kTileTokens;
    if (step.hidden) continue;
    const int stride = step.n_tile * kTileTokens;
    const auto logits =
        step.run.k_format == TileFormat::kF16 ? kernels.logits_f16 : kernels.logits_f32;
    logits(rows.q, rows.n_row, head_dim_, step.run.k, step.n_tile, nullptr, scratch.logits(),
           stride);
    const float* tile_bias = bias() == nullptr ? nullptr : bias() + step.first_token;
    for (int r = 0; r < rows.n_row; ++r) {
      float* x = scratch.logits() + r * stride;
      if (tile_bias != nullptr || rows.softcap > 0) {
        kernels.shape_row(x, step.n_tile, tile_bias, rows.softcap);
      }
      kernels.normalise_row(x, step.n_tile,
                            step.visible == nullptr ? nullptr : step.visible + r * step.n_tile,
                            norms[r].exponent, norms[r].inv_sum);
    }
    const int64_t from = std::max(begin, step.first_token);
    const int64_t to = std::min(end, token);
    sink(scratch.logits() + (from - step.first_token), stride, rows.n_row, from,
         static_cast<int>(to - from));
  }
  return Status::Ok();
}

Status Segment::Decode(int64_t begin, int64_t end, float* k, float* v) const {
  AttendScratch scratch(head_dim_);
  const int d_pad = PaddedDim(head_dim_);
  for (int64_t first = begin / kTileTokens * kTileTokens; first < end;
       first += kRebuiltTiles * kTileTokens) {
    const int64_t last = std::min(end, first + kRebuiltTiles * kTileTokens);
    const int n_tile = static_cast<int>((last - first + kTileTokens - 1) / kTileTokens);
    TileRun run;
    KVASIR_RETURN_IF_ERROR(LoadTiles(first / kTileTokens, n_tile, scratch, &run));
    UnpackTiles(n_tile, head_dim_, scratch, &run);
    for (int64_t t = std::max(first, begin); t < last; ++t) {
      const auto* k_tile = static_cast<const float*>(run.k[(t - first) / kTileTokens]);
      const auto* v_tile = static_cast<const float*>(run.v[(t - first) / kTileTokens]);
      const int64_t slot = t % kTileTokens;
      for (int j = 0; j < head_dim_; ++j) {
        k[(t - begin) * head_dim_ + j] = k_tile[j * kTileTokens + slot];
        v[(t - begin) * head_dim_ + j] = v_tile[slot * d_pad + j];
      }
    }
  }
  return Status::Ok();
}

}  // namespace kvasir
