#include "kvasir/policy/selectors/selector_testing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace kvasir {

SelectorShape PairShape(int group, int head_dim, SlabArena* arena) {
  SelectorShape shape;
  shape.n_layer = 1;
  shape.n_head = group;
  shape.n_kv_head = 1;
  shape.head_dim = head_dim;
  shape.arena = arena;
  return shape;
}

int64_t IndexBytes(const SlabArena& arena) {
  return arena.ledger().held(ByteKind::kIndex) - arena.mapped_bytes(ByteKind::kIndex) +
         arena.used_bytes(ByteKind::kIndex);
}

int64_t SelectedPair::Step::n_attended() const {
  int64_t n = 0;
  for (const IndexRange& range : ranges) n += range.end - range.begin;
  return n;
}

bool SelectedPair::Step::Contains(int64_t token) const {
  return std::any_of(ranges.begin(), ranges.end(), [&](const IndexRange& range) {
    return range.begin <= token && token < range.end;
  });
}

SelectedPair::SelectedPair(std::string_view name, const WrittenArgs& args, int group, int head_dim,
                           TileFormat format, SlabArena* index_arena)
    : group_(group),
      head_dim_(head_dim),
      arena_(ledger_, ByteKind::kKv),
      list_({head_dim, format, format}, arena_),
      scratch_(head_dim) {
  auto made = MakeSelector(name, args, PairShape(group, head_dim, index_arena));
  EXPECT_TRUE(made.ok()) << made.status().ToString();
  selector_ = std::move(made).value();
}

Status SelectedPair::Append(const std::vector<float>& k) {
  const int64_t first = list_.n_kv();
  const int64_t n = static_cast<int64_t>(k.size()) / head_dim_;
  std::vector<int32_t> pos(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) pos[static_cast<size_t>(i)] = static_cast<int32_t>(first + i);
  KVASIR_RETURN_IF_ERROR(list_.Append(pos, k.data(), k.data(), head_dim_));
  return selector_->OnAppend(0, 0, first, n, k.data(), head_dim_);
}

void SelectedPair::Truncate(int64_t n) {
  list_.Truncate(static_cast<int32_t>(n));
  selector_->OnTruncate(0, 0, n);
}

std::vector<float> SelectedPair::RandomKeys(int64_t n, float spread) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> k(static_cast<size_t>(n * head_dim_));
  for (float& x : k) x = normal(rng_);
  return k;
}

SelectedPair::Step SelectedPair::Select(const std::vector<float>& q, float softcap) {
  const std::vector<int32_t> pos(static_cast<size_t>(group_), static_cast<int32_t>(list_.n_kv()));
  QueryRows rows;
  rows.q = q.data();
  rows.pos = pos.data();
  rows.n_row = group_;
  rows.head_dim = head_dim_;
  rows.pos_min = rows.pos_max = pos[0];
  rows.softcap = softcap;
  Step step;
  const Result<bool> chosen = selector_->Select(0, 0, rows, list_, &step.ranges);
  EXPECT_TRUE(chosen.ok()) << chosen.status().ToString();
  step.all = !*chosen;
  if (step.all) step.ranges = {{0, list_.n_kv()}};
  const StateView states = scratch_.total_state(group_);
  ResetStates(states);
  for (size_t i = 0; i < step.ranges.size(); ++i) {
    const IndexRange& range = step.ranges[i];
    EXPECT_TRUE(step.all || range.begin < range.end);
    EXPECT_TRUE(i == 0 || range.begin > step.ranges[i - 1].end);
    EXPECT_LE(range.end, list_.n_kv());
    EXPECT_TRUE(list_.AttendRange(rows, range.begin, range.end, scratch_, states).ok());
  }
  step.certificate = selector_->Certify(0, 0, rows, states);
  step.mass = Mass(rows, step);
  return step;
}

std::vector<double> SelectedPair::Mass(const QueryRows& rows, const Step& step) {
  const int64_t n = list_.n_kv();
  std::vector<float> k(static_cast<size_t>(n * head_dim_)), v(k.size());
  EXPECT_TRUE(list_.Decode(0, n, k.data(), v.data()).ok());
  std::vector<double> bias(static_cast<size_t>(n));
  int64_t base = 0;
  for (const auto& segment : list_.sealed()) {
    for (int64_t i = 0; segment->bias() != nullptr && i < segment->n_kv(); ++i) {
      bias[static_cast<size_t>(base + i)] = segment->bias()[i];
    }
    base += segment->n_kv();
  }
  std::vector<double> mass;
  for (int r = 0; r < rows.n_row; ++r) {
    std::vector<double> logits;
    for (int64_t t = 0; t < n; ++t) {
      double x = 0;
      for (int c = 0; c < head_dim_; ++c) {
        x += double{rows.q[r * head_dim_ + c]} * k[static_cast<size_t>(t * head_dim_ + c)];
      }
      if (rows.softcap > 0) x = rows.softcap * std::tanh(x / rows.softcap) / std::log(2.0);
      logits.push_back(x + bias[static_cast<size_t>(t)]);
    }
    const double max = logits.empty() ? 0 : *std::max_element(logits.begin(), logits.end());
    double attended = 0, total = 0;
    for (int64_t t = 0; t < n; ++t) {
      const double weight = std::exp2(logits[static_cast<size_t>(t)] - max);
      total += weight;
      if (step.Contains(t)) attended += weight;
    }
    mass.push_back(total > 0 ? attended / total : 1);
  }
  return mass;
}

}  // namespace kvasir
