#include "kvasir/cache/plain_list_testing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvasir {

PlainList PlainList::Of(const SegmentList& list) {
  const int d = list.tail().layout().head_dim;
  std::vector<float> k(static_cast<size_t>(list.n_kv()) * d), v(k.size());
  const Status status = list.Decode(0, list.n_kv(), k.data(), v.data());
  EXPECT_TRUE(status.ok()) << status.ToString();
  PlainList plain;
  const auto add = [&](const Segment& segment) {
    for (int64_t i = 0; i < segment.n_kv(); ++i) {
      const auto row = static_cast<int64_t>(plain.tokens.size()) * d;
      plain.tokens.push_back({segment.pos()[i],
                              segment.bias() == nullptr ? 0.0 : segment.bias()[i],
                              {k.begin() + row, k.begin() + row + d},
                              {v.begin() + row, v.begin() + row + d}});
    }
  };
  for (const auto& segment : list.sealed()) add(*segment);
  add(list.tail());
  return plain;
}

std::vector<int32_t> PlainList::positions() const {
  std::vector<int32_t> pos;
  for (const PlainToken& token : tokens) pos.push_back(token.pos);
  return pos;
}

void PlainList::Truncate(int32_t pos) {
  while (!tokens.empty() && tokens.back().pos >= pos) tokens.pop_back();
}

void PlainList::Keep(std::span<const int32_t> indices) {
  std::vector<PlainToken> kept;
  for (int32_t i : indices) kept.push_back(std::move(tokens[static_cast<size_t>(i)]));
  tokens = std::move(kept);
}

std::vector<double> PlainList::Weights(const PlainQuery& query,
                                       const std::function<bool(int64_t)>& reads) const {
  constexpr double kNothing = -std::numeric_limits<double>::infinity();
  std::vector<double> weights(tokens.size(), kNothing);
  double max = kNothing, sum = 0;
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (!query.Sees(tokens[t].pos) || (reads && !reads(static_cast<int64_t>(t)))) continue;
    double dot = 0;
    for (size_t c = 0; c < query.q.size(); ++c) dot += double{query.q[c]} * tokens[t].k[c];
    double logit = dot * query.scale;
    if (query.softcap > 0) logit = query.softcap * std::tanh(logit / query.softcap);
    weights[t] = logit + tokens[t].bias * std::log(2.0);
    max = std::max(max, weights[t]);
  }
  for (double& w : weights) sum += w = std::isinf(w) ? 0 : std::exp(w - max);
  for (double& w : weights) w = sum > 0 ? w / sum : 0;
  return weights;
}

std::vector<double> PlainList::Attend(const PlainQuery& query,
                                      const std::function<bool(int64_t)>& reads) const {
  const std::vector<double> weights = Weights(query, reads);
  std::vector<double> out(query.q.size());
  for (size_t t = 0; t < tokens.size(); ++t) {
    for (size_t c = 0; c < out.size(); ++c) out[c] += weights[t] * tokens[t].v[c];
  }
  return out;
}

PlainRows::PlainRows(const std::vector<PlainQuery>& queries) {
  const PlainQuery& first = queries.front();
  const float scale = first.softcap > 0 ? first.scale : first.scale * kLog2E;
  for (const PlainQuery& query : queries) {
    for (float x : query.q) q_.push_back(x * scale);
    pos_.push_back(query.pos);
  }
  rows_.q = q_.data();
  rows_.pos = pos_.data();
  rows_.n_row = static_cast<int>(queries.size());
  rows_.head_dim = static_cast<int>(first.q.size());
  rows_.pos_min = *std::min_element(pos_.begin(), pos_.end());
  rows_.pos_max = *std::max_element(pos_.begin(), pos_.end());
  rows_.window = first.window;
  rows_.sinks = first.sinks;
  rows_.softcap = first.softcap;
}

std::vector<float> AttendList(const SegmentList& list, const PlainRows& rows) {
  const int d = rows.rows().head_dim, n = rows.rows().n_row;
  AttendScratch scratch(d);
  const StateView states = scratch.total_state(n);
  ResetStates(states);
  const Status status = list.Attend(rows.rows(), scratch, states);
  EXPECT_TRUE(status.ok()) << status.ToString();
  std::vector<float> out(static_cast<size_t>(n) * d);
  FinishStates(states, d, out.data(), d);
  return out;
}

}  // namespace kvasir
