#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "kvasir/codecs/calibration.h"
#include "kvasir/codecs/code_table.h"
#include "kvasir/codecs/group_part.h"
#include "kvasir/kernels/half.h"

namespace kvasir {
namespace {

// The elements of one group within a block: first, first + step, ...
struct Group {
  int grid;  // index of its scale
  int first, n, step;
};

// What is known of a head before its values are seen.
struct Prior {
  const KvCalibration::Head* ranges = nullptr;  // of keys
  std::span<const float> table;
};

Result<Prior> FindPrior(const GroupFormat& format, const CodecInput& input) {
  Prior prior;
  if (format.calibration == nullptr) return prior;
  const auto& layers = format.calibration->layers;
  const auto layer = static_cast<size_t>(input.layer), head = static_cast<size_t>(input.kv_head);
  if (layer >= layers.size() || head >= layers[layer].heads.size()) {
    return Status::InvalidArgument(
        fmt::format("the calibration has no layer {}, kv head {}", input.layer, input.kv_head));
  }
  const bool keys = input.side == KvSide::kKey;
  const KvCalibration::Head& ranges = layers[layer].heads[head];
  prior.table = keys ? layers[layer].k_table : layers[layer].v_table;
  if (keys) prior.ranges = &ranges;
  const auto d = static_cast<size_t>(input.head_dim), n_code = size_t{1} << format.quantiser.bits();
  if (ranges.k_low.size() != d || ranges.k_high.size() != d ||
      (!prior.table.empty() && prior.table.size() != n_code)) {
    return Status::InvalidArgument(
        fmt::format("the calibration of layer {}, kv head {} is not for head_dim {} and {} codes",
                    input.layer, input.kv_head, d, n_code));
  }
  return prior;
}

// One block on its way into memory.
class BlockEncoder {
 public:
  //   rows  (n_token, head_dim), as they are to be stored
  BlockEncoder(const GroupFormat& format, const TileOrder& order, const BlockLayout& layout,
               const Prior& prior, std::span<const float> rows, std::byte* block)
      : format_(format), order_(order), layout_(layout), prior_(prior), rows_(rows), block_(block) {
    ListGroups();
  }

  void Encode() {
    // Known ranges say which elements lie out; else the ranges are of what does not.
    if (prior_.ranges != nullptr) FitGrids();
    if (layout_.n_outlier > 0) PickOutliers();
    if (prior_.ranges == nullptr) FitGrids();
    MakeTable();
    const int n_slot = (n_token() + layout_.slots - 1) / layout_.slots * layout_.slots;
    codes_.resize(static_cast<size_t>(n_slot) * order_.head_dim);
    for (size_t i = 0; i < groups_.size(); ++i) StoreGroup(groups_[i], grids_[i]);
    Pack();
  }

 private:
  int n_token() const { return static_cast<int>(rows_.size()) / order_.head_dim; }
  uint16_t* words(int64_t at) { return reinterpret_cast<uint16_t*>(block_ + at); }

  bool IsOutlier(int element) const { return !is_outlier_.empty() && is_outlier_[element]; }

  // The values of a group, one after the other, into run_.
  void Gather(const Group& group) {
    run_.resize(group.n);
    for (int i = 0; i < group.n; ++i) run_[i] = rows_[group.first + i * group.step];
  }

  void ListGroups() {
    const int d = order_.head_dim;
    if (format_.grouping == Grouping::kPerChannel) {
      for (int c = 0; c < d; ++c) groups_.push_back({c, c, n_token(), d});
      return;
    }
    const int run = format_.GroupChannels(d);
    for (int t = 0; t < n_token(); ++t) {
      const int first_grid = t / kTileTokens * layout_.tile_grids + t % kTileTokens;
      for (int c = 0; c < d; c += run) {
        groups_.push_back(
            {first_grid + c / run * layout_.slots, t * d + c, std::min(run, d - c), 1});
      }
    }
  }

  // How far each element lies out in its group: in half ranges where they are known, else in
  // standard deviations.
  std::vector<float> Excess() const {
    std::vector<float> excess(rows_.size());
    for (size_t g = 0; g < groups_.size(); ++g) {
      const Group& group = groups_[g];
      double sum = 0, squares = 0;
      for (int i = 0; i < group.n; ++i) {
        const double x = rows_[group.first + i * group.step];
        sum += x;
        squares += x * x;
      }
      double middle = sum / group.n;
      double unit = std::sqrt(std::max(squares / group.n - middle * middle, 1e-30));
      if (prior_.ranges != nullptr) {
        middle = grids_[g].o;
        unit = std::max(double{grids_[g].s}, 1e-30);
      }
      for (int i = 0; i < group.n; ++i) {
        const int e = group.first + i * group.step;
        excess[e] = static_cast<float>(std::fabs(rows_[e] - middle) / unit);
      }
    }
    return excess;
  }

  void PickOutliers() {
    const std::vector<float> excess = Excess();
    std::vector<int> order(rows_.size());
    std::iota(order.begin(), order.end(), 0);
    const auto n = std::min<size_t>(layout_.n_outlier, order.size());
    std::nth_element(order.begin(), order.begin() + n - 1, order.end(), [&](int a, int b) {
      return excess[a] != excess[b] ? excess[a] > excess[b] : a < b;
    });
    outliers_.assign(order.begin(), order.begin() + n);
    std::ranges::sort(outliers_);
    is_outlier_.resize(rows_.size());
    for (int e : outliers_) is_outlier_[e] = true;
    // Places that a short block leaves over: nothing is added to its last element.
    std::fill_n(words(layout_.outlier), layout_.n_outlier, uint16_t{0xffff});
  }

  // Ranges leave outliers out.
  void FitGrids() {
    for (const Group& group : groups_) {
      if (prior_.ranges != nullptr) {
        run_ = {FiniteHalfRange(prior_.ranges->k_low[group.grid]),
                FiniteHalfRange(prior_.ranges->k_high[group.grid])};
      } else if (is_outlier_.empty()) {
        Gather(group);
      } else {
        run_.clear();
        for (int i = 0; i < group.n; ++i) {
          const int e = group.first + i * group.step;
          if (!is_outlier_[e]) run_.push_back(rows_[e]);
        }
      }
      grids_.push_back(format_.quantiser.Fit(run_));
    }
  }

  std::vector<float> FitBlockTable() const {
    std::vector<float> scaled;
    for (size_t g = 0; g < groups_.size(); ++g) {
      for (int i = 0; i < groups_[g].n; ++i) {
        const int e = groups_[g].first + i * groups_[g].step;
        if (!IsOutlier(e)) scaled.push_back((rows_[e] - grids_[g].o) * grids_[g].inverse);
      }
    }
    return FitTable(scaled, format_.quantiser.bits());
  }

  void MakeTable() {
    if (format_.table == CodeTable::kNone) return;
    if (format_.table == CodeTable::kFitted) {
      const std::vector<float> fitted =
          prior_.table.empty() ? FitBlockTable() : std::vector<float>();
      std::ranges::transform(prior_.table.empty() ? std::span<const float>(fitted) : prior_.table,
                             words(layout_.table), FloatToHalf);
    }
    LoadTable(format_, layout_, block_, table_);
  }

  void StoreGroup(const Group& group, const Grid& grid) {
    const Quantiser& quantiser = format_.quantiser;
    if (quantiser.stores_scale()) words(layout_.scale)[group.grid] = grid.scale;
    if (quantiser.stores_offset()) words(layout_.offset)[group.grid] = grid.offset;
    Gather(group);
    run_codes_.resize(run_.size());
    quantiser.Encode(run_, grid, table_, run_codes_.data());
    for (int i = 0; i < group.n; ++i) {
      const int e = group.first + i * group.step;
      codes_[e] = run_codes_[i];
      if (IsOutlier(e)) StoreOutlier(e, run_codes_[i], grid);
    }
  }

  void Pack() {
    auto* strips = reinterpret_cast<uint8_t*>(block_ + layout_.codes);
    const int tile_codes = layout_.slots * order_.head_dim;
    for (int64_t tile = 0; tile * tile_codes < static_cast<int64_t>(codes_.size()); ++tile) {
      PackTile(layout_, order_, format_.quantiser.bits(), &codes_[tile * tile_codes],
               strips + tile * layout_.tile_strips * layout_.strip_bytes);
    }
  }

  // Reading adds the difference to what the code says.
  void StoreOutlier(int element, uint8_t code, const Grid& grid) {
    const auto at = std::ranges::lower_bound(outliers_, element) - outliers_.begin();
    uint16_t* index = words(layout_.outlier);
    index[at] = static_cast<uint16_t>(element);
    const float difference = rows_[element] - format_.quantiser.Value(code, grid, table_);
    index[layout_.n_outlier + at] = FloatToHalf(FiniteHalfRange(difference));
  }

  const GroupFormat& format_;
  const TileOrder& order_;
  const BlockLayout& layout_;
  const Prior& prior_;
  std::span<const float> rows_;
  std::byte* block_;
  std::vector<Group> groups_;
  std::vector<Grid> grids_;
  std::vector<int> outliers_;
  std::vector<bool> is_outlier_;
  std::vector<float> run_;
  std::vector<uint8_t> run_codes_, codes_;  // codes_ (slots, head_dim)
  float table_[kStripCodes] = {};
};

}  // namespace

Result<std::shared_ptr<const CodedPart>> EncodeGroups(const GroupFormat& format,
                                                      const CodecInput& input) {
  KVASIR_ASSIGN_OR_RETURN(const Prior prior, FindPrior(format, input));
  const TileOrder order = {input.side, input.head_dim};
  const auto n = static_cast<int64_t>(input.pos.size());
  std::shared_ptr<const RopeTable> rope;
  Positions pos;
  if (format.raw && input.side == KvSide::kKey) {
    if (input.rope == nullptr) return Status::InvalidArgument("keys without RoPE need its angles");
    KVASIR_ASSIGN_OR_RETURN(rope,
                            GetRopeTable(*input.rope, input.pos.back(), input.arena->ledger()));
    pos = Positions(input.pos);
  }
  ChannelBasis basis(input.head_dim, format.hadamard, format.random_signs);
  std::vector<float> rows;
  // Tokens [first, last) in the basis.
  const auto load = [&](int64_t first, int64_t last) {
    rows.assign(input.rows + first * input.head_dim, input.rows + last * input.head_dim);
    std::ranges::transform(rows, rows.begin(), FiniteHalfRange);
    for (int64_t t = first; t < last; ++t) {
      float* row = rows.data() + (t - first) * input.head_dim;
      if (rope != nullptr) rope->Turn(row, -input.pos[t]);
      basis.Forward(row);
    }
    std::ranges::transform(rows, rows.begin(), FiniteHalfRange);
  };
  bool finds_order = false;
  if (format.sorts(input.head_dim)) {
    const int group = format.GroupChannels(input.head_dim);
    auto known = std::dynamic_pointer_cast<const ChannelOrder>(input.traits);
    finds_order = known == nullptr || !known->Serves(format.sort, input.head_dim, group);
    if (finds_order) {
      load(0, std::min<int64_t>(n, kOrderTokens));
      KVASIR_ASSIGN_OR_RETURN(known, ChannelOrder::Find(format.sort, rows, input.head_dim, group,
                                                        input.arena->ledger()));
    }
    basis.set_order(std::move(known));
  }
  auto part = std::make_shared<GroupPart>(format, order, input.arena, basis, finds_order, rope,
                                          std::move(pos));
  KVASIR_RETURN_IF_ERROR(part->Grow(n));
  for (int64_t b = 0; b < part->n_block(); ++b) {
    const int64_t first = b * format.block, last = std::min<int64_t>(n, first + format.block);
    load(first, last);
    BlockEncoder(format, order, part->layout(b), prior, rows, part->block(b)).Encode();
  }
  return std::shared_ptr<const CodedPart>(std::move(part));
}

}  // namespace kvasir
