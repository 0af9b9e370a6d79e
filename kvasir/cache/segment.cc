#include "kvasir/cache/segment.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "kvasir/cache/coded_segment.h"

namespace kvasir {
namespace {

constexpr int kRebuiltTiles = 4;
// Tiles in one step: of values that are not codes, each of which asks for one tile ahead, and of
// codes that nobody has asked for yet, which is soon over.
constexpr int kDenseTiles = 8;
constexpr int kColdTiles = 4;
// With up to this many rows (decode) the logits of many tiles stay in the first-level cache.
constexpr int kFewRows = 8;

int64_t TileFloats(int head_dim) { return int64_t{kTileTokens} * (head_dim + PaddedDim(head_dim)); }

// The narrowest groups have 16 channels.
int64_t MaxGroups(int head_dim) { return PaddedDim(head_dim) / 16; }

// Floats behind AttendScratch.
int64_t MemoryFloats(int head_dim) {
  constexpr int64_t kRows = AttendScratch::kMaxRows;
  return AttendScratch::kLogitFloats + 2 * kRows * head_dim + kRebuiltTiles * TileFloats(head_dim) +
         2 * StateFloats(kRows, PaddedDim(head_dim)) + kRows * MaxGroups(head_dim);
}

// Bits [begin, end) of a tile, as far as it goes.
uint16_t RunBits(int64_t begin, int64_t end) {
  const auto a = static_cast<int>(std::clamp<int64_t>(begin, 0, kTileTokens));
  const auto b = static_cast<int>(std::clamp<int64_t>(end, 0, kTileTokens));
  return a < b ? static_cast<uint16_t>((1u << b) - (1u << a)) : uint16_t{0};
}

// The last position that a window ending at p does not reach.
int32_t FloorOf(const QueryRows& rows, int32_t p) { return rows.window > 0 ? p - rows.window : -1; }

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

// Queries of one call, rounded when a run of codes first asks for them.
class CallQueries {
 public:
  CallQueries(const QueryRows& rows, AttendScratch& scratch)
      : rows_(rows),
        rounded_(scratch.rounded()),
        forms_(scratch.forms),
        stays_(rows.q == forms_.q || (forms_.rotation != nullptr && rows.q == scratch.rotated_q())),
        group_(rows.q == forms_.rounded ? forms_.group : 0) {}
  const QueryRows& rows() const { return rows_; }
  const RoundedQueries& Rounded(const CodeFormat& format) {
    if (group_ != format.group) {
      ActiveAttendCodeKernels().round_queries(format, rows_.q, rows_.n_row, rows_.head_dim,
                                              rounded_);
      group_ = format.group;
      forms_.rounded = stays_ ? rows_.q : nullptr;
      forms_.group = group_;
    }
    return rounded_;
  }

 private:
  const QueryRows& rows_;
  RoundedQueries rounded_;
  QueryForms& forms_;
  const bool stays_;  // for the calls after this one
  int group_;         // of what is in rounded_
};

// x (n_row, 16 * n_tile) = logits of a run.
//   fetch_values  whether its values, which are read next, lie where they can be brought nearer
void Logits(CallQueries& queries, const TileRun& run, int n_tile, bool fetch_values, float* x) {
  const QueryRows& rows = queries.rows();
  const int stride = n_tile * kTileTokens;
  if (run.k_code != nullptr) {
    const int n_ahead = fetch_values && run.v_code != nullptr ? n_tile : 0;
    ActiveAttendCodeKernels().logits(*run.k_code, queries.Rounded(*run.k_code), rows.n_row,
                                     rows.head_dim, run.k_codes, n_tile, run.v_codes, n_ahead, x,
                                     stride);
    return;
  }
  const AttendKernels& kernels = ActiveAttendKernels();
  const auto logits = run.k_format == TileFormat::kF16 ? kernels.logits_f16 : kernels.logits_f32;
  logits(rows.q, rows.n_row, rows.head_dim, run.k, n_tile,
         fetch_values && run.v_code == nullptr ? run.v : nullptr, x, stride);
}

// Adds the values of n_tile tiles from the `first` on, weighted by p.
//   ahead  n_ahead tiles of keys to bring nearer; 0 = none
void AddValues(const TileRun& run, int first, int n_tile, const float* p, int p_stride, int n_row,
               TileRun* ahead, int n_ahead, int d_pad, float* acc) {
  if (run.v_code != nullptr) {
    const bool fetch = n_ahead > 0 && ahead->k_code != nullptr;
    ActiveAttendCodeKernels().values(*run.v_code, p, p_stride, n_row, d_pad, run.v_codes + first,
                                     n_tile, fetch ? ahead->k_codes : nullptr,
                                     fetch ? std::min(n_ahead, kMaxFetch * n_tile) : 0, acc);
    return;
  }
  const AttendKernels& kernels = ActiveAttendKernels();
  const auto values = run.v_format == TileFormat::kF16 ? kernels.values_f16 : kernels.values_f32;
  const bool fetch = n_ahead > 0 && ahead->k_code == nullptr;
  // Each tile asks for one: where there are too few, for one again.
  for (int i = n_ahead; fetch && i < n_tile; ++i) ahead->k[i] = ahead->k[0];
  values(p, p_stride, n_row, run.v + first, n_tile, fetch ? ahead->k : nullptr, d_pad, acc);
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
      AddValues(run, first, n_part, p, n, 1, nullptr, 0, row.d_pad, row.acc);
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
      memory_(static_cast<size_t>(MemoryFloats(head_dim))),
      levels_(size_t{2} * kMaxRows * head_dim),
      level_sums_(static_cast<size_t>(kMaxRows) * MaxGroups(head_dim)),
      visible_(static_cast<size_t>(kMaxRows) * TileRun::kMaxTiles),
      row_pos_(kMaxRows) {
  states_ = v_tiles() + int64_t{kRebuiltTiles} * kTileTokens * PaddedDim(head_dim);
  rotated_q_ = states_ + 2 * StateFloats(kMaxRows, PaddedDim(head_dim));
  units_ = rotated_q_ + int64_t{kMaxRows} * head_dim;
}

int64_t AttendScratch::Bytes(int head_dim) {
  return static_cast<int64_t>(sizeof(float)) * MemoryFloats(head_dim) +
         int64_t{kMaxRows} * (2 * head_dim + 4 * MaxGroups(head_dim));
}

void SumChain::End() {
  auto& sums = scratch_.sums;
  sums.acc = nullptr;
  if (!sums.any) return;
  for (int r = 0; r < states_.n_row; ++r) {
    if (sums.of_row[r] != nullptr)
      sums.of_row[r]->Backward(states_.acc + int64_t{r} * states_.d_pad);
  }
}

// Tiles next to each other, and which of their tokens are asked for.
struct Segment::Piece {
  int64_t first_tile;
  int n_tile;
  int64_t from, to;  // tokens

  int64_t first_token() const { return first_tile * kTileTokens; }
};

// What is still to be read of some ranges.
class Segment::TileCursor {
 public:
  explicit TileCursor(std::span<const IndexRange> ranges) : ranges_(ranges) { Enter(); }

  bool done() const { return ranges_.empty(); }
  int64_t tile() const { return token_ / kTileTokens; }
  // Takes up to n_tile tiles, none from `end_tile` on; does not leave the present range.
  Piece Take(int n_tile, int64_t end_tile) {
    const int64_t first = tile();
    const int64_t last = std::min((ranges_[0].end - 1) / kTileTokens, end_tile - 1);
    const auto n = static_cast<int>(std::min<int64_t>(n_tile, last - first + 1));
    const int64_t from = token_;
    token_ = std::min(ranges_[0].end, (first + n) * kTileTokens);
    const Piece piece = {first, n, from, token_};
    if (token_ == ranges_[0].end) {
      ranges_ = ranges_.subspan(1);
      Enter();
    }
    return piece;
  }

 private:
  void Enter() {
    while (!ranges_.empty() && ranges_[0].begin >= ranges_[0].end) ranges_ = ranges_.subspan(1);
    if (!ranges_.empty()) token_ = ranges_[0].begin;
  }

  std::span<const IndexRange> ranges_;
  int64_t token_ = 0;
};

// A group of tiles, loaded, with its mask.
struct Segment::Step {
  int n_tile = 0;
  int64_t tile[TileRun::kMaxTiles];
  IndexRange tokens;  // from the first to the last that is asked for
  TileRun run;
  bool in_place = false;              // tiles are read where they lie
  const uint16_t* visible = nullptr;  // (n_row, kMaxTiles); null = every row sees every token

  void Clear() {
    n_tile = 0;
    run.k_code = run.v_code = nullptr;
    visible = nullptr;
  }
  bool hidden() const { return n_tile == 0; }
  int stride() const { return n_tile * kTileTokens; }
  const uint16_t* VisibleTo(int row) const {
    return visible == nullptr ? nullptr : visible + row * TileRun::kMaxTiles;
  }
  // The biases of its tokens, side by side in `out`; null where the segment has none.
  const float* Bias(const float* of_segment, float* out) const {
    if (of_segment == nullptr) return nullptr;
    for (int i = 0; i < n_tile; ++i) {
      std::copy_n(of_segment + tile[i] * kTileTokens, kTileTokens, out + i * kTileTokens);
    }
    return out;
  }
};

bool Segment::Hides(const QueryRows& rows, const Piece& piece) const {
  const int32_t low = pos_[piece.from], high = pos_[piece.to - 1];
  return low > rows.pos_max || (high <= FloorOf(rows, rows.pos_min) && low >= rows.sinks);
}

bool Segment::SeesWhole(const QueryRows& rows, const Piece& piece) const {
  return piece.from == piece.first_token() &&
         piece.to == piece.first_token() + piece.n_tile * kTileTokens &&
         pos_[piece.to - 1] <= rows.pos_min && pos_[piece.from] > FloorOf(rows, rows.pos_max);
}

// visible[r * kMaxTiles + i] = tokens of tile i of the piece that row r sees.
void Segment::MarkVisible(const QueryRows& rows, const Piece& piece, uint16_t* visible) const {
  for (int r = 0; r < rows.n_row; ++r) {
    // Positions ascend, so a row sees one run of tokens, and another of sinks before it.
    const int32_t p = rows.pos[r];
    const int64_t seen_from = std::max(piece.from, pos_.CountBelow(FloorOf(rows, p) + 1));
    const int64_t seen_to = std::min(piece.to, pos_.CountBelow(p + 1));
    const int64_t sinks_to = std::min(seen_to, pos_.CountBelow(rows.sinks));
    for (int i = 0; i < piece.n_tile; ++i) {
      const int64_t base = piece.first_token() + i * kTileTokens;
      visible[r * TileRun::kMaxTiles + i] =
          RunBits(seen_from - base, seen_to - base) | RunBits(piece.from - base, sinks_to - base);
    }
  }
}

Status Segment::LoadAttendTiles(std::span<const int64_t> tiles, AttendScratch& scratch,
                                TileRun* run) const {
  TileRun* into = run;
  TileRun more;
  for (size_t at = 0; at < tiles.size();) {
    const int n = RunLength(tiles.subspan(at));
    KVASIR_RETURN_IF_ERROR(LoadTiles(tiles[at], n, scratch, into));
    if (at > 0) {
      std::copy_n(more.k, n, run->k + at);
      std::copy_n(more.v, n, run->v + at);
    }
    into = &more;
    at += static_cast<size_t>(n);
  }
  return Status::Ok();
}

// Prepares the next step; loads nothing if all of it is hidden. Tiles that are read where they lie
// come together from several ranges: one alone keeps neither arithmetic nor memory busy.
//   most  codes in it
Status Segment::NextStep(const QueryRows& rows, int most, AttendScratch& scratch,
                         TileCursor* cursor, Step* step) const {
  const AttendLimit limit = AttendLimitFrom(cursor->tile());
  const int cap = !limit.in_place || rows.n_row > kFewRows ? kRebuiltTiles
                  : limit.codes                            ? most
                                                           : kDenseTiles;
  step->in_place = limit.in_place;
  do {
    const Piece piece = cursor->Take(cap - step->n_tile, limit.end);
    if (Hides(rows, piece)) continue;
    if (step->visible == nullptr && !SeesWhole(rows, piece)) {
      std::fill_n(scratch.visible(), rows.n_row * TileRun::kMaxTiles, uint16_t{0xffff});
      step->visible = scratch.visible();
    }
    if (step->visible != nullptr) MarkVisible(rows, piece, scratch.visible() + step->n_tile);
    if (step->n_tile == 0) step->tokens.begin = piece.from;
    step->tokens.end = piece.to;
    for (int i = 0; i < piece.n_tile; ++i) step->tile[step->n_tile++] = piece.first_tile + i;
  } while (limit.in_place && step->n_tile < cap && !cursor->done() && cursor->tile() < limit.end);
  return step->hidden() ? Status::Ok()
                        : LoadAttendTiles({step->tile, static_cast<size_t>(step->n_tile)}, scratch,
                                          &step->run);
}

// The first of the keys to bring nearer, up to n_tile tiles: how many, 0 if they do not lie in
// memory.
int Segment::KeysOf(std::span<const IndexRange> ranges, int n_tile, AttendScratch& scratch,
                    TileRun* run) const {
  TileCursor cursor(ranges);
  if (cursor.done()) return 0;
  const AttendLimit limit = AttendLimitFrom(cursor.tile());
  if (!limit.in_place) return 0;
  int64_t tiles[TileRun::kMaxTiles];
  int n = 0;
  while (n < n_tile && !cursor.done() && cursor.tile() < limit.end) {
    const Piece piece = cursor.Take(n_tile - n, limit.end);
    for (int i = 0; i < piece.n_tile; ++i) tiles[n++] = piece.first_tile + i;
  }
  return LoadAttendTiles({tiles, static_cast<size_t>(n)}, scratch, run).ok() ? n : 0;
}

// Brings the sums of the rows that see some of `ranges` to the basis of the values; those of rows
// that see nothing keep their bits.
void Segment::TurnSums(const QueryRows& rows, std::span<const IndexRange> ranges,
                       AttendScratch& scratch, const StateView& states) const {
  auto& sums = scratch.sums;
  const ChannelRotation* to = value_rotation();
  if (to == nullptr && !sums.any) return;
  if (!sums.any) std::fill_n(sums.of_row, rows.n_row, nullptr);
  sums.any = true;
  for (int r = 0; r < rows.n_row; ++r) {
    const ChannelRotation*& now = sums.of_row[r];
    if (now == to || (now != nullptr && to != nullptr && now->SameAs(*to))) continue;
    const int32_t p = rows.pos[r];
    const int64_t from = pos_.CountBelow(FloorOf(rows, p) + 1);
    const int64_t seen = pos_.CountBelow(p + 1), sinks = pos_.CountBelow(rows.sinks);
    const auto sees = [&](const IndexRange& range) {
      const int64_t end = std::min(range.end, seen);
      return range.begin < std::min(end, sinks) || std::max(range.begin, from) < end;
    };
    if (!std::ranges::any_of(ranges, sees)) continue;
    float* acc = states.acc + int64_t{r} * states.d_pad;
    if (now != nullptr) now->Backward(acc);
    if (to != nullptr) to->Forward(acc);
    now = to;
  }
}

Status Segment::Attend(const QueryRows& rows, std::span<const IndexRange> ranges, int lane,
                       AttendScratch& scratch, const StateView& states) const {
  assert(rows.n_row <= AttendScratch::kMaxRows && rows.n_row == states.n_row);
  const SumChain chain(states, scratch);
  TurnSums(rows, ranges, scratch, states);
  const AttendKernels& kernels = ActiveAttendKernels();
  CallQueries queries(rows, scratch);
  float bias_of_step[TileRun::kMaxTiles * kTileTokens];
  Step steps[2];
  bool is_ready = false;
  int at = 0;
  const AskedKeys asked = std::exchange(scratch.asked, {});
  const bool is_asked = asked.segment == this && !ranges.empty() && asked.from == ranges[0].begin;
  int most = is_asked ? asked.n_tile : kColdTiles;
  for (TileCursor cursor(ranges); is_ready || !cursor.done();) {
    Step& step = steps[at];
    if (!is_ready) KVASIR_RETURN_IF_ERROR(NextStep(rows, most, scratch, &cursor, &step));
    is_ready = false;
    if (step.hidden()) continue;
    const int stride = step.stride();
    Logits(queries, step.run, step.n_tile, step.in_place, scratch.logits());
    const float* tile_bias = step.Bias(bias(), bias_of_step);
    for (int r = 0; r < rows.n_row; ++r) {
      float* x = scratch.logits() + r * stride;
      if (tile_bias != nullptr || rows.softcap > 0) {
        kernels.shape_row(x, step.n_tile, tile_bias, rows.softcap);
      }
      const uint16_t* visible = step.VisibleTo(r);
      const float max = kernels.max_row(x, step.n_tile, visible);
      if (max > states.exponent[r] + kExponentHeadroom) {
        WeighRaisingRow(step.run, step.n_tile, visible, lane, max, x, states.Rows(r, 1));
      } else {
        kernels.weigh_row(x, step.n_tile, visible, lane, states.exponent[r], states.sum + r * 16);
      }
    }
    // The next step is prepared while this one's values are still to be read, unless its tiles
    // would be rebuilt where this one's lie.
    most = std::min(TileRun::kMaxTiles, kMaxFetch * step.n_tile);
    int n_ahead = 0;
    Step& next = steps[1 - at];
    if (cursor.done()) {
      const NextKeys& after = scratch.next;
      if (after.segment != nullptr && !after.ranges.empty()) {
        next.Clear();
        n_ahead = after.segment->KeysOf(after.ranges, most, scratch, &next.run);
        scratch.asked = {after.segment, after.ranges[0].begin, n_ahead};
      }
    } else if (step.in_place && AttendLimitFrom(cursor.tile()).in_place) {
      next.Clear();
      KVASIR_RETURN_IF_ERROR(NextStep(rows, most, scratch, &cursor, &next));
      n_ahead = next.n_tile;
      is_ready = true;
      at = 1 - at;
    }
    AddValues(step.run, 0, step.n_tile, scratch.logits(), stride, rows.n_row, &next.run, n_ahead,
              states.d_pad, states.acc);
    if (!is_ready) step.Clear();
  }
  return Status::Ok();
}

Status Segment::VisitWeights(const QueryRows& rows, const RowNorm* norms, int64_t begin,
                             int64_t end, AttendScratch& scratch, const WeightSink& sink) const {
  const AttendKernels& kernels = ActiveAttendKernels();
  CallQueries queries(rows, scratch);
  float bias_of_step[TileRun::kMaxTiles * kTileTokens];
  const IndexRange range = {begin, end};
  for (TileCursor cursor({&range, 1}); !cursor.done();) {
    Step step;
    KVASIR_RETURN_IF_ERROR(NextStep(rows, TileRun::kMaxTiles, scratch, &cursor, &step));
    if (step.hidden()) continue;
    Logits(queries, step.run, step.n_tile, false, scratch.logits());
    const float* tile_bias = step.Bias(bias(), bias_of_step);
    for (int r = 0; r < rows.n_row; ++r) {
      float* x = scratch.logits() + r * step.stride();
      if (tile_bias != nullptr || rows.softcap > 0) {
        kernels.shape_row(x, step.n_tile, tile_bias, rows.softcap);
      }
      kernels.normalise_row(x, step.n_tile, step.VisibleTo(r), norms[r].exponent, norms[r].inv_sum);
    }
    sink(scratch.logits() + (step.tokens.begin - step.tile[0] * kTileTokens), step.stride(),
         rows.n_row, step.tokens.begin, static_cast<int>(step.tokens.end - step.tokens.begin));
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
