// Every kind of segment through the same random operations, beside a plain model: append, seal,
// evict, merge, fork, roll back and change of positions, with and without a selector.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "kvasir/cache/plain_list_testing.h"
#include "kvasir/codecs/codec_testing.h"
#include "kvasir/codecs/reposition.h"
#include "kvasir/kernels/half.h"
#include "kvasir/policy/disposition.h"
#include "kvasir/policy/sealer.h"
#include "kvasir/policy/selectors/selector_testing.h"

namespace kvasir {
namespace {

struct Setting {
  std::shared_ptr<const KvCodec> k, v;  // null = dense
  int head_dim = 64;
  int group = 1;
  TileFormat format = TileFormat::kF16;
  std::string selector = {};  // empty = none
  WrittenArgs selector_args = {};
  uint64_t seed = 0;

  std::string Name() const {
    return (k ? k->name() : "dense") + "/" + (v ? v->name() : "dense") + " head_dim " +
           std::to_string(head_dim) + " group " + std::to_string(group) +
           (format == TileFormat::kF16 ? " f16 " : " f32 ") + selector + " seed " +
           std::to_string(seed);
  }
};

// What has happened to a token's rows and will not happen to them again.
struct Rounding {
  bool k_coded = false, v_coded = false;  // by a codec
  bool turned = false;                    // its key stands at another angle than it is stored at
};

// One list, what it must be, and what is beside it.
struct Branch {
  explicit Branch(SegmentList l) : list(std::move(l)) {}
  SegmentList list;
  PlainList plain;
  std::unique_ptr<Selector> selector;
  std::vector<Rounding> rounding;  // by token
  std::vector<float> state;        // of the disposition
  // Whether the bits are those of a list that was appended to at once.
  bool is_one_shot = true;
};

const Disposition& DispositionOf(const std::string& name) {
  static std::map<std::string, std::shared_ptr<const Part>> made;
  auto& part = made[name];
  if (part == nullptr) {
    const PartInfo* info = FindPart(PartKind::kDisposition, name);
    part = *info->make(*PartArgs::Make(name, info->params, {}));
  }
  return dynamic_cast<const Disposition&>(*part);
}

class ListHarness {
 public:
  explicit ListHarness(const Setting& setting)
      : setting_(setting),
        rng_(setting.seed),
        rope_(RopeOf(setting.head_dim), 1 << 16),
        arena_(ledger_, ByteKind::kKv),
        sealer_(setting.k, setting.v),
        repositioner_(rope_, ledger_) {
    branches_.push_back(std::make_unique<Branch>(NewList()));
    if (!setting.selector.empty()) {
      auto selector = MakeSelector(setting.selector, setting.selector_args,
                                   PairShape(setting.group, setting.head_dim, &arena_));
      EXPECT_TRUE(selector.ok()) << selector.status().ToString();
      branches_[0]->selector = std::move(*selector);
    }
  }

  void Run(int n_step) {
    Append(*branches_[0]);
    for (int step = 0; step < n_step && !testing::Test::HasFailure(); ++step) {
      const size_t n = branches_.size();
      if (n > 3 || (n > 1 && Below(6) == 0)) branches_.erase(branches_.begin() + Below(n));
      Branch& branch = *branches_[Below(branches_.size())];
      SCOPED_TRACE("step " + std::to_string(step) + ": " + Step(branch));
      for (const auto& each : branches_) CheckRows(*each);
      CheckAttention(branch);
      CheckBytes();
    }
    branches_.clear();
    EXPECT_EQ(arena_.used_bytes(), 0);
    EXPECT_EQ(arena_.mapped_bytes(), 0);
    EXPECT_EQ(ledger_.held(), 0) << ledger_.Describe();
  }

 private:
  static RopeSpec RopeOf(int head_dim) {
    RopeSpec spec;
    spec.n_rot = head_dim;
    return spec;
  }
  uint64_t Below(uint64_t n) { return rng_() % n; }
  DenseLayout Layout() const { return {setting_.head_dim, setting_.format, setting_.format}; }
  SegmentList NewList() { return {Layout(), arena_}; }
  float Stored(float x) const {
    return setting_.format == TileFormat::kF16 ? HalfToFloat(FloatToHalf(x)) : x;
  }
  static int32_t NextPos(const Branch& b) {
    return b.plain.tokens.empty() ? 0 : b.plain.tokens.back().pos + 1;
  }

  // Does one thing at random and says what.
  std::string Step(Branch& b) {
    switch (Below(11)) {
      case 0:
      case 1:
      case 2: return Append(b);
      case 3:
      case 4: return Seal(b);
      case 5: return Evict(b);
      case 6: return Merge(b, Below(2) == 0 ? "vmerge" : "d2o");
      case 7: return Fork(b);
      case 8: return RollBack(b);
      case 9: return Reposition(b);
      default: return SealDense(b);
    }
  }

  std::string Append(Branch& b) {
    const int d = setting_.head_dim;
    const auto n = static_cast<int32_t>(1 + Below(Below(3) == 0 ? 300 : 40));
    const int32_t first = NextPos(b) + static_cast<int32_t>(Below(4) == 0 ? Below(50) : 0);
    std::vector<int32_t> pos(static_cast<size_t>(n));
    std::iota(pos.begin(), pos.end(), first);
    std::vector<float> k, v;
    for (int32_t p : pos) {
      PlainToken token = {p, 0, {}, {}};
      for (int c = 0; c < d; ++c) {
        k.push_back(normal_(rng_));
        v.push_back(normal_(rng_));
        token.k.push_back(Stored(k.back()));
        token.v.push_back(Stored(v.back()));
      }
      b.plain.tokens.push_back(std::move(token));
    }
    const int64_t held = b.list.n_kv();
    EXPECT_TRUE(b.list.Append(pos, k.data(), v.data(), d).ok());
    if (b.selector != nullptr) {
      EXPECT_TRUE(b.selector->OnAppend(0, 0, held, n, k.data(), d).ok());
    }
    b.rounding.resize(b.plain.tokens.size());
    return "append " + std::to_string(n);
  }

  // What sealing changed: tokens that no codec had rounded, within the codec's bound.
  std::string Seal(Branch& b) {
    const std::vector<float> importance = [&] {
      std::vector<float> all(static_cast<size_t>(b.list.n_kv()));
      for (float& x : all) x = normal_(rng_);
      return all;
    }();
    const PlainList before = PlainList::Of(b.list);
    const Result<int64_t> changed = sealer_.Seal({0, 0, &rope_, &arena_, importance, {}}, b.list);
    EXPECT_TRUE(changed.ok()) << changed.status().ToString();
    PlainList now = PlainList::Of(b.list);
    // Tokens before the one that Seal names are read as they were.
    for (int64_t t = 0; changed.ok() && t < std::min(*changed, now.n()); ++t) {
      EXPECT_EQ(now.tokens[t], before.tokens[t]) << "token " << t << " of " << *changed;
    }
    for (const auto& segment : b.list.sealed()) {
      const auto* coded = dynamic_cast<const CodedSegment*>(segment.get());
      if (coded == nullptr) continue;
      if (coded->k()->code_format() != nullptr) tolerance_ = 5e-4;
      if (coded->v()->code_format() != nullptr) tolerance_ = std::max(tolerance_, 1e-4);
    }
    AdoptRounded(setting_.k.get(), KvSide::kKey, now, b);
    AdoptRounded(setting_.v.get(), KvSide::kValue, now, b);
    Rebuild(b);
    return "seal";
  }

  // Of each token, whether a codec holds this side of it.
  static std::vector<bool> CodedTokens(const SegmentList& list, KvSide side) {
    std::vector<bool> coded;
    for (const auto& segment : list.sealed()) {
      const std::string_view format = segment->format();  // "KEYS/VALUES", or that of a dense run
      const size_t slash = format.find('/');
      const std::string_view name =
          side == KvSide::kKey ? format.substr(0, slash) : format.substr(slash + 1);
      coded.resize(coded.size() + static_cast<size_t>(segment->n_kv()),
                   slash != std::string_view::npos && name != "dense");
    }
    coded.resize(static_cast<size_t>(list.n_kv()));
    return coded;
  }

  void AdoptRounded(const KvCodec* codec, KvSide side, PlainList& now, Branch& b) {
    if (now.n() != b.plain.n()) return;
    const std::vector<bool> coded_now = CodedTokens(b.list, side);
    double error = 0, total = 0;
    for (size_t t = 0; t < now.tokens.size(); ++t) {
      const auto row = [&](PlainToken& token) -> std::vector<float>& {
        return side == KvSide::kKey ? token.k : token.v;
      };
      std::vector<float>&got = row(now.tokens[t]), &was = row(b.plain.tokens[t]);
      Rounding& rounding = b.rounding[t];
      bool& coded = side == KvSide::kKey ? rounding.k_coded : rounding.v_coded;
      if (got != was) {
        EXPECT_FALSE(coded) << "token " << t << " is rounded a second time";
        double off = 0, length = 0;
        for (size_t c = 0; c < got.size(); ++c) {
          off += std::pow(double{got[c]} - was[c], 2);
          length += std::pow(double{was[c]}, 2);
        }
        if (coded_now[t]) {
          error += off;
          total += length;
        } else {
          // Keys that turn are stored at their own angles where only their values are coded.
          EXPECT_TRUE(side == KvSide::kKey && rounding.turned) << "token " << t << " changed";
          EXPECT_TRUE(CodedTokens(b.list, KvSide::kValue)[t]) << "token " << t << " changed";
          EXPECT_TRUE(off <= 1e-6 * length) << "token " << t;
          rounding.turned = false;
        }
        was = got;
        b.is_one_shot = false;
      }
      coded = coded || coded_now[t];
    }
    const double bound = codec == nullptr ? 0 : Bound(*codec, side);
    EXPECT_TRUE(std::sqrt(error) <= bound * std::sqrt(total)) << std::sqrt(error / total);
  }

  // Of the relative error of a block of normal rows. Formats that spread their bits unevenly are
  // judged by the fewest.
  static double Bound(const KvCodec& codec, KvSide side) {
    if (codec.reads_importance()) return 0.75;
    return std::clamp(12 * std::exp2(-codec.bits_per_element(side, 128)), 4e-3, 1.6);
  }

  std::string SealDense(Branch& b) {
    const int64_t n = b.list.tail().n_kv();
    if (n > 0) b.list.SealTail(Below(2) == 0 ? n : n / kTileTokens * kTileTokens);
    return "seal as it is";
  }

  // A random cut. False where there is nothing to cut.
  bool Cut(Branch& b, const Disposition& disposition, std::vector<int32_t>* kept) {
    const auto n = static_cast<int32_t>(b.list.n_kv());
    std::vector<int32_t> evicted;
    const uint64_t odds = 2 + Below(6);
    for (int32_t i = 0; i < n; ++i) (Below(odds) == 0 ? evicted : *kept).push_back(i);
    if (evicted.empty() || kept->empty()) return false;
    CutInput input;
    input.list = &b.list;
    input.kept = *kept;
    input.evicted = evicted;
    input.arena = &arena_;
    input.rope = &rope_;
    auto contents = disposition.Cut(input, &b.state);
    EXPECT_TRUE(contents.ok()) << contents.status().ToString();
    b.list.Replace(std::move(contents->sealed), std::move(contents->tail));
    return true;
  }

  std::string Evict(Branch& b) {
    std::vector<int32_t> kept;
    if (!Cut(b, DispositionOf("drop"), &kept)) return "nothing to evict";
    b.plain.Keep(kept);
    for (size_t i = 0; i < kept.size(); ++i) b.rounding[i] = b.rounding[kept[i]];
    b.rounding.resize(kept.size());
    // What a format cannot gather is rebuilt densely, and is rounded to the tail's format.
    PlainList now = PlainList::Of(b.list);
    for (size_t t = 0; t < now.tokens.size() && now.n() == b.plain.n(); ++t) {
      PlainToken &got = now.tokens[t], &was = b.plain.tokens[t];
      EXPECT_EQ(got.pos, was.pos);
      EXPECT_EQ(got.bias, was.bias) << "token " << t;
      if (got.k == was.k && got.v == was.v) continue;
      const Rounding& r = b.rounding[t];
      EXPECT_TRUE(r.k_coded || r.v_coded || r.turned) << "token " << t << " was dense and changed";
      double off = 0, length = 0;
      for (size_t c = 0; c < got.k.size(); ++c) {
        EXPECT_TRUE(got.v[c] == was.v[c] || got.v[c] == Stored(was.v[c])) << "token " << t;
        // A key that stands at another angle is rounded at the one it is stored at.
        if (!r.turned) {
          EXPECT_TRUE(got.k[c] == was.k[c] || got.k[c] == Stored(was.k[c])) << "token " << t;
        }
        off += std::pow(double{got.k[c]} - was.k[c], 2);
        length += std::pow(double{was.k[c]}, 2);
      }
      EXPECT_TRUE(off <= 1e-6 * length) << "token " << t;
    }
    AdoptDense(now, b);
    Rebuild(b);
    return "evict to " + std::to_string(kept.size());
  }

  // Takes over rows that became dense again: the next seal may round them once more.
  void AdoptDense(PlainList& now, Branch& b) {
    b.plain = std::move(now);
    auto next = b.rounding.begin();
    for (const auto& segment : b.list.sealed()) {
      const auto* turned = dynamic_cast<const TurnedSegment*>(segment.get());
      const Segment* stored = turned == nullptr ? segment.get() : turned->stored().get();
      const auto end = next + segment->n_kv();
      if (dynamic_cast<const DenseSegment*>(stored) != nullptr) {
        std::fill(next, end, Rounding{false, false, turned != nullptr});
      }
      next = end;
    }
    std::fill(next, b.rounding.end(), Rounding());
  }

  // Merges move mass, they do not make it: counts are conserved or lost with what is dropped, keys
  // stay, and values stay between the least and the largest of their channel.
  std::string Merge(Branch& b, const std::string& name) {
    const double count = Counts(b.plain);
    const auto range = Ranges(b.plain);
    std::vector<int32_t> kept;
    b.state.clear();
    if (!Cut(b, DispositionOf(name), &kept)) return "nothing to merge";
    has_hidden_bytes_ = true;  // of biases
    b.plain.Keep(kept);
    PlainList now = PlainList::Of(b.list);
    const double slack = 1e-3 * count + 1e-6;
    EXPECT_LE(Counts(now), count + slack);
    EXPECT_GE(Counts(now), Counts(b.plain) - slack);
    for (size_t t = 0; t < now.tokens.size() && now.n() == b.plain.n(); ++t) {
      for (int c = 0; c < setting_.head_dim; ++c) {
        EXPECT_EQ(now.tokens[t].k[c], Stored(b.plain.tokens[t].k[c])) << "token " << t;
        EXPECT_GE(now.tokens[t].v[c], range[c].first - 1e-3 * std::abs(range[c].first));
        EXPECT_LE(now.tokens[t].v[c], range[c].second + 1e-3 * std::abs(range[c].second));
      }
    }
    EXPECT_EQ(now.positions(), b.plain.positions());
    b.rounding.resize(now.tokens.size());
    AdoptDense(now, b);
    Rebuild(b);
    return name + " to " + std::to_string(kept.size());
  }

  static double Counts(const PlainList& plain) {
    double sum = 0;
    for (const PlainToken& token : plain.tokens) sum += std::exp2(token.bias);
    return sum;
  }
  std::vector<std::pair<float, float>> Ranges(const PlainList& plain) const {
    std::vector<std::pair<float, float>> range(setting_.head_dim, {1e30f, -1e30f});
    for (const PlainToken& token : plain.tokens) {
      for (int c = 0; c < setting_.head_dim; ++c) {
        range[c] = {std::min(range[c].first, token.v[c]), std::max(range[c].second, token.v[c])};
      }
    }
    return range;
  }

  // A fork shares what is sealed and copies the tail, in bytes too.
  std::string Fork(Branch& b) {
    const int64_t before = arena_.used_bytes();
    auto list = b.list.Fork();
    EXPECT_TRUE(list.ok()) << list.status().ToString();
    auto fork = std::make_unique<Branch>(std::move(*list));
    const int64_t tiles = (b.list.tail().n_kv() + kTileTokens - 1) / kTileTokens;
    EXPECT_EQ(arena_.used_bytes() - before, tiles * Layout().tile_bytes());
    EXPECT_TRUE(std::ranges::equal(fork->list.sealed(), b.list.sealed()));
    fork->plain = b.plain;
    fork->rounding = b.rounding;
    fork->state = b.state;
    fork->is_one_shot = b.is_one_shot;
    if (b.selector != nullptr) fork->selector = *b.selector->Fork();
    branches_.push_back(std::move(fork));
    has_hidden_bytes_ = has_hidden_bytes_ || setting_.k != nullptr || setting_.v != nullptr;
    return "fork";
  }

  std::string RollBack(Branch& b) {
    if (b.plain.n() < 2) return "nothing to roll back";
    const int32_t pos = b.plain.tokens[1 + Below(b.plain.n() - 1)].pos;
    b.list.Truncate(pos);
    b.plain.Truncate(pos);
    b.rounding.resize(b.plain.tokens.size());
    if (b.selector != nullptr) b.selector->OnTruncate(0, 0, b.list.n_kv());
    has_hidden_bytes_ = true;
    return "roll back to " + std::to_string(pos);
  }

  // Closes the holes between tokens, or moves all of them on.
  std::string Reposition(Branch& b) {
    if (b.plain.n() == 0) return "nothing to re-position";
    if (b.list.tail().n_kv() > 0) b.list.SealTail(b.list.tail().n_kv());
    const bool closes = Below(2) == 0;
    const auto by = static_cast<int32_t>(Below(100));
    std::vector<std::shared_ptr<const Segment>> sealed;
    int32_t next = 0;
    for (const auto& segment : b.list.sealed()) {
      std::vector<int32_t> pos(static_cast<size_t>(segment->n_kv()));
      std::iota(pos.begin(), pos.end(), next);
      next += static_cast<int32_t>(pos.size());
      auto moved = closes ? repositioner_.Renumber(segment, pos) : repositioner_.Shift(segment, by);
      EXPECT_TRUE(moved.ok()) << moved.status().ToString();
      sealed.push_back(*moved);
    }
    b.list.ReplaceSealed(std::move(sealed));
    for (size_t t = 0; t < b.plain.tokens.size(); ++t) {
      PlainToken& token = b.plain.tokens[t];
      const int32_t pos = closes ? static_cast<int32_t>(t) : token.pos + by;
      Turn(token.k, pos - token.pos);
      b.rounding[t].turned = b.rounding[t].turned || pos != token.pos;
      token.pos = pos;
    }
    const PlainList now = PlainList::Of(b.list);
    for (size_t t = 0; t < now.tokens.size(); ++t) {
      double off = 0, length = 0;
      for (int c = 0; c < setting_.head_dim; ++c) {
        off += std::pow(double{now.tokens[t].k[c]} - b.plain.tokens[t].k[c], 2);
        length += std::pow(double{b.plain.tokens[t].k[c]}, 2);
      }
      EXPECT_TRUE(std::sqrt(off) <= 2e-6 * std::sqrt(length)) << "token " << t;
      b.plain.tokens[t].k = now.tokens[t].k;
    }
    b.is_one_shot = false;
    has_hidden_bytes_ = true;
    Rebuild(b);
    return closes ? "close the holes" : "shift by " + std::to_string(by);
  }

  // RoPE's definition: halves are paired, angle pos * 10000^(-2i / head_dim).
  static void Turn(std::vector<float>& k, int32_t by) {
    const size_t half = k.size() / 2;
    for (size_t i = 0; i < half; ++i) {
      const double angle = by * std::pow(10000.0, -2.0 * double(i) / double(k.size()));
      const double a = k[i], b = k[i + half];
      k[i] = static_cast<float>(a * std::cos(angle) - b * std::sin(angle));
      k[i + half] = static_cast<float>(a * std::sin(angle) + b * std::cos(angle));
    }
  }

  void Rebuild(Branch& b) {
    if (b.selector == nullptr) return;
    const Status status = b.selector->Rebuild(0, 0, b.list);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }

  // --- what must hold after every step ---

  void CheckRows(const Branch& b) {
    const PlainList now = PlainList::Of(b.list);
    ASSERT_EQ(b.list.n_kv(), b.plain.n());
    EXPECT_EQ(b.list.AllPositions(), b.plain.positions());
    EXPECT_TRUE(now.tokens == b.plain.tokens) << "rows or biases differ from the plain model";
  }

  std::vector<PlainQuery> Queries(const Branch& b) {
    std::vector<PlainQuery> queries(static_cast<size_t>(setting_.group));
    const int32_t last = NextPos(b);
    PlainQuery one;
    one.pos = Below(3) == 0 ? static_cast<int32_t>(Below(last + 1)) : last;
    one.window = Below(3) == 0 ? static_cast<int32_t>(1 + Below(200)) : 0;
    one.sinks = one.window > 0 ? static_cast<int32_t>(Below(20)) : 0;
    one.softcap = Below(5) == 0 ? 5.0f : 0.0f;
    one.scale = 1.0f / std::sqrt(static_cast<float>(setting_.head_dim));
    for (PlainQuery& query : queries) {
      query = one;
      for (int c = 0; c < setting_.head_dim; ++c) query.q.push_back(2 * normal_(rng_));
    }
    return queries;
  }

  void CheckAttention(Branch& b) {
    std::vector<PlainQuery> queries = Queries(b);
    const PlainRows rows(queries);
    const std::vector<float> out = AttendList(b.list, rows);
    ExpectPlain(out, queries, b.plain, {});
    if (b.is_one_shot) {
      SegmentList fresh = OneShot(b.plain);
      EXPECT_EQ(AttendList(fresh, rows), out) << "bits differ from those of a list made at once";
    }
    if (b.selector == nullptr) return;
    for (PlainQuery& query : queries) {
      query.pos = NextPos(b);
      query.window = query.sinks = 0;
    }
    CheckSelected(b, queries);
  }

  void ExpectPlain(const std::vector<float>& out, const std::vector<PlainQuery>& queries,
                   const PlainList& plain, const std::function<bool(int64_t)>& reads) {
    const int d = setting_.head_dim;
    for (size_t r = 0; r < queries.size(); ++r) {
      const std::vector<double> expected = plain.Attend(queries[r], reads);
      double scale = 1;
      for (double x : expected) scale = std::max(scale, std::abs(x));
      for (int c = 0; c < d; ++c) {
        ASSERT_TRUE(std::abs(out[r * d + c] - expected[c]) <= tolerance_ * scale)
            << "row " << r << " channel " << c << ": " << out[r * d + c] << " for " << expected[c];
      }
    }
  }

  SegmentList OneShot(const PlainList& plain) {
    Tail tail(Layout(), arena_);
    bool has_bias = false;
    std::vector<float> bias;
    for (const PlainToken& token : plain.tokens) {
      bias.push_back(static_cast<float>(token.bias));
      has_bias = has_bias || token.bias != 0;
    }
    for (size_t t = 0; t < plain.tokens.size(); ++t) {
      const PlainToken& token = plain.tokens[t];
      EXPECT_TRUE(tail.Append({&token.pos, 1}, token.k.data(), token.v.data(), setting_.head_dim,
                              has_bias ? std::span(&bias[t], 1) : std::span<const float>())
                      .ok());
    }
    SegmentList list = NewList();
    list.Replace({}, std::move(tail));
    return list;
  }

  void CheckSelected(Branch& b, const std::vector<PlainQuery>& queries) {
    const PlainRows rows(queries);
    std::vector<IndexRange> ranges;
    const Result<bool> chosen = b.selector->Select(0, 0, rows.rows(), b.list, &ranges);
    ASSERT_TRUE(chosen.ok()) << chosen.status().ToString();
    if (!*chosen) return;
    AttendScratch scratch(setting_.head_dim);
    const StateView states = scratch.total_state(setting_.group);
    ResetStates(states);
    std::vector<bool> read(b.plain.tokens.size());
    int64_t last = 0;
    for (const IndexRange& range : ranges) {
      ASSERT_TRUE(range.begin >= last && range.begin < range.end && range.end <= b.plain.n());
      last = range.end;
      std::fill(read.begin() + range.begin, read.begin() + range.end, true);
    }
    ASSERT_TRUE(b.list.AttendRanges(rows.rows(), ranges, scratch, states).ok());
    const auto reads = [&](int64_t t) { return read[t]; };
    std::vector<float> out(queries.size() * setting_.head_dim);
    FinishStates(states, setting_.head_dim, out.data(), setting_.head_dim);
    ExpectPlain(out, queries, b.plain, reads);
    const std::vector<float> certificate = b.selector->Certify(0, 0, rows.rows(), states);
    for (size_t r = 0; r < certificate.size(); ++r) {
      const std::vector<double> weights = b.plain.Weights(queries[r]);
      double mass = 0;
      for (size_t t = 0; t < weights.size(); ++t) mass += read[t] ? weights[t] : 0;
      EXPECT_LE(certificate[r], mass + 1e-6) << "row " << r;
    }
  }

  // What is mapped is what is charged, and what is used is what segments say they hold.
  void CheckBytes() {
    EXPECT_EQ(ledger_.held(ByteKind::kKv), arena_.mapped_bytes());
    EXPECT_LE(arena_.used_bytes(), arena_.mapped_bytes());
    std::set<const Segment*> segments;
    for (const auto& b : branches_) {
      for (const auto& segment : b->list.sealed()) segments.insert(segment.get());
      segments.insert(&b->list.tail());
    }
    int64_t bytes = 0, beside = 0;  // in all, and of it outside the arena
    for (const Segment* segment : segments) {
      bytes += segment->bytes();
      beside += segment->pos().bytes();
      // Formats of k_raw keep positions of their own, and some an order of the channels.
      if (setting_.k != nullptr || setting_.v != nullptr) beside += 8 * segment->n_kv();
      for (const auto& [codec, side] :
           {std::pair{setting_.k, KvSide::kKey}, {setting_.v, KvSide::kValue}}) {
        if (codec != nullptr) beside += codec->head_bytes(side, setting_.head_dim);
      }
    }
    EXPECT_LE(arena_.used_bytes(), bytes);
    if (!has_hidden_bytes_) {
      EXPECT_LE(bytes - beside, arena_.used_bytes());
    }
  }

  Setting setting_;
  std::mt19937_64 rng_;
  std::normal_distribution<float> normal_;
  Rope rope_;
  ByteLedger ledger_;
  SlabArena arena_;
  Sealer sealer_;
  Repositioner repositioner_;
  std::vector<std::unique_ptr<Branch>> branches_;
  // What segments of branches share in parts is told more than once, and biases lie elsewhere.
  bool has_hidden_bytes_ = false;
  double tolerance_ = 3e-5;  // attention on codes rounds queries and weights
};

void RunSetting(const Setting& setting, int n_step = 40) {
  SCOPED_TRACE(setting.Name());
  ListHarness(setting).Run(n_step);
}

constexpr int kHeadDims[] = {16, 32, 64, 80, 128, 256};
constexpr int kGroups[] = {1, 2, 4, 8};

TEST(ListHarness, EveryCodecGoesThroughEveryOperation) {
  uint64_t seed = 1;
  for (const auto& codec : TestedCodecs()) {
    for (int round = 0; round < 2 && !HasFailure(); ++round, ++seed) {
      Setting setting = {codec, codec, kHeadDims[seed % 6], kGroups[seed % 4]};
      setting.format = seed % 3 == 0 ? TileFormat::kF32 : TileFormat::kF16;
      setting.seed = seed;
      RunSetting(setting);
    }
  }
}

TEST(ListHarness, AnyPairOfCodecsGoesThroughEveryOperation) {
  auto codecs = TestedCodecs();
  codecs.push_back(nullptr);
  for (uint64_t seed = 1000; seed < 1030 && !HasFailure(); ++seed) {
    std::mt19937_64 rng(seed);
    Setting setting = {codecs[rng() % codecs.size()], codecs[rng() % codecs.size()],
                       kHeadDims[rng() % 6], kGroups[rng() % 4]};
    setting.seed = seed;
    RunSetting(setting);
  }
}

TEST(ListHarness, DenseListsKeepTheBitsOfOneShot) {
  for (uint64_t seed = 2000; seed < 2024 && !HasFailure(); ++seed) {
    Setting setting = {nullptr, nullptr, kHeadDims[seed % 6], kGroups[seed % 4]};
    setting.format = seed % 2 == 0 ? TileFormat::kF32 : TileFormat::kF16;
    setting.seed = seed;
    RunSetting(setting, 60);
  }
}

TEST(ListHarness, EverySelectorStaysInStep) {
  const auto codecs = {std::shared_ptr<const KvCodec>(), MustMakeCodec("q8_0"),
                       MustMakeCodec("kivi")};
  uint64_t seed = 3000;
  for (const SelectorInfo* info : Selectors()) {
    for (const auto& codec : codecs) {
      for (int round = 0; round < 3 && !HasFailure(); ++round, ++seed) {
        Setting setting = {codec, codec, kHeadDims[seed % 5], kGroups[seed % 4]};
        setting.selector = info->name;
        setting.seed = seed;
        RunSetting(setting);
      }
    }
  }
}

}  // namespace
}  // namespace kvasir
