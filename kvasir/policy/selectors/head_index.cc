#include "kvasir/policy/selectors/head_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

namespace kvasir {
namespace {

// Adds the largest bias of each page that `segment`, beginning at list index `base`, touches.
void FoldBias(const Segment& segment, int64_t base, std::vector<float>* page_bias) {
  const float* bias = segment.bias();
  for (int64_t i = 0; bias != nullptr && i < segment.n_kv(); ++i) {
    float& page = (*page_bias)[static_cast<size_t>((base + i) / kPageTokens)];
    page = std::max(page, bias[i]);
  }
}

// Empty when no key has a bias.
std::vector<float> PageBias(const SegmentList& list) {
  const auto sealed = list.sealed();
  if (std::all_of(sealed.begin(), sealed.end(),
                  [](const auto& segment) { return segment->bias() == nullptr; })) {
    return {};
  }
  std::vector<float> page_bias(static_cast<size_t>((list.n_kv() + kPageTokens - 1) / kPageTokens));
  int64_t base = 0;
  for (const auto& segment : sealed) {
    FoldBias(*segment, base, &page_bias);
    base += segment->n_kv();
  }
  return page_bias;
}

}  // namespace

MassCertificate::MassCertificate(const QueryRows& rows, const StateView& attended, int64_t n_kv,
                                 std::span<const double> magnitude)
    : rows_(rows) {
  // Sums are 16 chains; a weight errs by less than 2^-22.
  const double sum_error = std::ldexp(static_cast<double>(n_kv) / kTileTokens + 64, -24);
  for (int r = 0; r < rows.n_row; ++r) {
    // A chain of d fused steps errs by less than d * 2^-24 of the absolute products, tanh and its
    // scaling by less than 2^-20 of the cap.
    const double dot_error = std::ldexp((rows.head_dim + 2) * magnitude[static_cast<size_t>(r)] +
                                            16.0 * static_cast<double>(rows.softcap),
                                        -24);
    const double logit_error = rows.softcap > 0 ? dot_error * kLog2E : dot_error;
    exponent_.push_back(attended.exponent[r]);
    attended_.push_back(static_cast<double>(TotalWeight(attended.sum + r * 16)) *
                        std::exp2(-logit_error) * std::max(0.0, 1 - sum_error));
    skipped_.push_back(0);
  }
}

void MassCertificate::Skip(int row, int64_t n_token, double dot, double bias) {
  const auto r = static_cast<size_t>(row);
  const double cap = rows_.softcap;
  const double logit = (cap > 0 ? cap * std::tanh(dot / cap) / std::log(2.0) : dot) + bias;
  const double weight = static_cast<double>(n_token) * std::exp2(logit - exponent_[r]);
  skipped_[r] += std::isnan(weight) ? std::numeric_limits<double>::infinity() : weight;
}

std::vector<float> MassCertificate::Shares() const {
  std::vector<float> shares;
  for (size_t r = 0; r < skipped_.size(); ++r) {
    const double share = skipped_[r] == 0 ? 1 : attended_[r] / (attended_[r] + skipped_[r]);
    // Rounded down to f32.
    const float rounded = share > 0 ? static_cast<float>(share) : 0.0f;
    shares.push_back(rounded > share ? std::nextafter(rounded, 0.0f) : rounded);
  }
  return shares;
}

PagedSelector::PagedSelector(const SelectorShape& shape, int reuse,
                             std::vector<std::unique_ptr<HeadIndex>> indices)
    : shape_(shape), reuse_(reuse), pairs_(indices.size()) {
  for (size_t i = 0; i < indices.size(); ++i) pairs_[i].index = std::move(indices[i]);
}

Status PagedSelector::OnAppend(int layer, int kv_head, int64_t first, int64_t n,
                               const float* k_roped, int64_t stride) {
  HeadIndex* index = At(layer, kv_head).index.get();
  if (index == nullptr) return Status::Ok();
  if (first != index->n_kv()) {
    return Status::InvalidArgument(
        fmt::format("selector: layer {} kv head {}: expected token {} next, found {}; a list that "
                    "held tokens before needs Rebuild",
                    layer, kv_head, index->n_kv(), first));
  }
  return index->Append(n, k_roped, stride);
}

void PagedSelector::OnTruncate(int layer, int kv_head, int64_t n) {
  Pair& pair = At(layer, kv_head);
  if (pair.index == nullptr || n >= pair.index->n_kv()) return;
  pair.index->Truncate(n);
  pair.n_left = 0;
}

Status PagedSelector::Rebuild(int layer, int kv_head, const SegmentList& list) {
  Pair& pair = At(layer, kv_head);
  if (pair.index == nullptr) return Status::Ok();
  pair.index->Truncate(0);
  pair.n_left = 0;
  constexpr int64_t kChunk = 16 * kPageTokens;
  ChargedArray<float> rows(shape_.arena, ByteKind::kScratch);
  KVASIR_RETURN_IF_ERROR(rows.Resize(2 * kChunk * shape_.head_dim));
  for (int64_t begin = 0; begin < list.n_kv(); begin += kChunk) {
    const int64_t end = std::min(list.n_kv(), begin + kChunk);
    KVASIR_RETURN_IF_ERROR(
        list.Decode(begin, end, rows.data(), rows.data() + kChunk * shape_.head_dim));
    KVASIR_RETURN_IF_ERROR(pair.index->Append(end - begin, rows.data(), shape_.head_dim));
  }
  return pair.index->SetPageBias(PageBias(list));
}

Result<bool> PagedSelector::Select(int layer, int kv_head, const QueryRows& rows,
                                   const SegmentList& list, std::vector<IndexRange>* ranges) {
  Pair& pair = At(layer, kv_head);
  if (pair.index == nullptr) return false;
  const int64_t n_kv = list.n_kv();
  if (pair.index->n_kv() != n_kv) {
    return Status::InvalidArgument(
        fmt::format("selector: layer {} kv head {}: the list holds {} tokens, the summaries {}",
                    layer, kv_head, n_kv, pair.index->n_kv()));
  }
  if (pair.n_left > 0) {
    --pair.n_left;
    pair.choice.ranges.back().end = n_kv;
  } else {
    std::unique_ptr<SelectScratch> scratch = Lease();
    const Result<bool> chosen = pair.index->Choose(rows, *scratch, &pair.choice);
    Return(std::move(scratch));
    if (!chosen.ok()) return chosen.status();
    pair.all = !*chosen;
    if (pair.all) return false;
    pair.n_left = reuse_ - 1;
  }
  *ranges = pair.choice.ranges;
  return true;
}

std::vector<float> PagedSelector::Certify(int layer, int kv_head, const QueryRows& rows,
                                          const StateView& attended) const {
  const Pair& pair = At(layer, kv_head);
  if (pair.index == nullptr || pair.all) {
    return std::vector<float>(static_cast<size_t>(rows.n_row), 1.0f);
  }
  return pair.index->Certify(pair.choice, rows, attended);
}

int64_t PagedSelector::bytes() const {
  int64_t bytes = 0;
  for (const Pair& pair : pairs_) bytes += pair.index != nullptr ? pair.index->bytes() : 0;
  return bytes;
}

Result<std::unique_ptr<Selector>> PagedSelector::Fork() const {
  std::vector<std::unique_ptr<HeadIndex>> indices(pairs_.size());
  for (size_t i = 0; i < pairs_.size(); ++i) {
    if (pairs_[i].index == nullptr) continue;
    KVASIR_ASSIGN_OR_RETURN(indices[i], pairs_[i].index->Copy());
  }
  auto fork = std::make_unique<PagedSelector>(shape_, reuse_, std::move(indices));
  for (size_t i = 0; i < pairs_.size(); ++i) {
    fork->pairs_[i].choice = pairs_[i].choice;
    fork->pairs_[i].all = pairs_[i].all;
    fork->pairs_[i].n_left = pairs_[i].n_left;
  }
  return std::unique_ptr<Selector>(std::move(fork));
}

std::unique_ptr<SelectScratch> PagedSelector::Lease() {
  std::lock_guard lock(mutex_);
  if (free_.empty()) return std::make_unique<SelectScratch>(shape_.arena);
  std::unique_ptr<SelectScratch> scratch = std::move(free_.back());
  free_.pop_back();
  return scratch;
}

void PagedSelector::Return(std::unique_ptr<SelectScratch> scratch) {
  std::lock_guard lock(mutex_);
  free_.push_back(std::move(scratch));
}

}  // namespace kvasir
