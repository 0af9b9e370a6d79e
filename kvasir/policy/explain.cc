// What a compiled policy says about itself.
#include <fmt/format.h>

#include <algorithm>

#include "kvasir/policy/policy.h"

namespace kvasir {
namespace {

std::string AmountText(const Amount& amount) {
  return amount.tokens >= 0 ? fmt::format("{} tokens", amount.tokens)
                            : fmt::format("{}% of the text", amount.share * 100);
}

std::string CutTimes(const Schedule& schedule) {
  std::string text = schedule.each_chunk()   ? "after every chunk of the prompt"
                     : schedule.each_layer() ? "in the last chunk of the prompt, after each layer"
                                             : "at the end of the prompt";
  if (schedule.decode_every() > 0) {
    text += fmt::format(", then every {} generated tokens", schedule.decode_every());
  }
  return text;
}

std::string SealText(std::string_view side, const KvCodec& codec, KvSide kv_side, int head_dim) {
  const TailRule rule = codec.tail(kv_side);
  std::string text =
      fmt::format("{} are sealed as {} in blocks of {}, {:.3f} bits an element", side, codec.name(),
                  rule.block, codec.bits_per_element(kv_side, head_dim));
  if (rule.keep > 0) text += fmt::format("; the newest {} stay dense", rule.keep);
  if (rule.sinks > 0) text += fmt::format("; the first {} stay dense", rule.sinks);
  if (const int64_t learnt = codec.head_bytes(kv_side, head_dim); learnt > 0) {
    text += fmt::format("; each head learns {} bytes from its first {}", learnt, rule.first);
  }
  return text;
}

}  // namespace

double KvPolicy::bits_per_element(KvSide side) const {
  const auto& codec = side == KvSide::kKey ? codec_k : codec_v;
  if (codec != nullptr) return codec->bits_per_element(side, target_.shape.head_dim);
  return (side == KvSide::kKey ? k_format_ : v_format_) == TileFormat::kF16 ? 16 : 32;
}

double KvPolicy::bytes_per_token() const {
  const CacheShape& shape = target_.shape;
  const double bits = bits_per_element(KvSide::kKey) + bits_per_element(KvSide::kValue);
  return bits / 8 * shape.head_dim * shape.n_kv_head * shape.n_layer;
}

double KvPolicy::index_bytes_per_token() const {
  if ((needs_ & kNeedColumnSums) == 0) return 0;
  const auto& window = target_.shape.window;
  const auto n_watched = std::count(window.begin(), window.end(), 0);
  return static_cast<double>(n_watched) * target_.shape.n_head * sizeof(float);
}

std::vector<std::string> KvPolicy::Explain() const {
  std::vector<std::string> lines;
  const CacheShape& shape = target_.shape;
  const auto add = [&]<typename... T>(fmt::format_string<T...> text, T&&... args) {
    lines.push_back(fmt::format(text, std::forward<T>(args)...));
  };
  const auto n_window = shape.n_layer - std::count(shape.window.begin(), shape.window.end(), 0);
  if (n_window > 0 && (evicts_ || seals())) {
    add("{} of {} layers have a sliding window: they stay dense and hold no more than it", n_window,
        shape.n_layer);
  }
  if (evicts_ && scorer != nullptr) {
    add("signal: {}", NeedNames(needs_));
    add("{}: {}", CutTimes(*schedule), PartText(PartKind::kScore));
    add("{}, {}: one score per kv head and token", PartText(PartKind::kReduce),
        PartText(PartKind::kShape));
    add("{}: {} a scored head on average, {} heads", PartText(PartKind::kBudget),
        AmountText(budget->amount()), std::count(roles_.begin(), roles_.end(), HeadRole::kScored));
  } else if (evicts_) {
    add("{}: {}", CutTimes(*schedule), PartText(PartKind::kHeads));
  }
  if (evicts_) {
    const std::string protect = PartText(PartKind::kProtect);
    add("always kept, inside the budget: {}{}", protect.empty() ? "nothing by name" : protect,
        protected_recent() > 0
            ? fmt::format(", the newest {} that the score cannot judge", protected_recent())
            : "");
    if (keep != nullptr) add("{}", PartText(PartKind::kKeep));
    add("{}, {}", PartText(PartKind::kDisposition), PartText(PartKind::kPosition));
    add("a rewind to before the last cut starts over: what is kept was chosen knowing more");
  }
  const auto dense = [](TileFormat f) { return f == TileFormat::kF16 ? "f16" : "f32"; };
  if (codec_k != nullptr) {
    lines.push_back(SealText("keys", *codec_k, KvSide::kKey, shape.head_dim));
  } else {
    add("keys stay {}", dense(k_format_));
  }
  if (codec_v != nullptr) {
    lines.push_back(SealText("values", *codec_v, KvSide::kValue, shape.head_dim));
  } else {
    add("values stay {}", dense(v_format_));
  }
  if (prefill != nullptr) {
    add("queries of a prompt, in blocks of {}, read what {} chooses of the tokens before them",
        kPrefillBlock, PartText(PartKind::kPrefill));
    const int window = scorer != nullptr ? std::max(scorer->window(), this->budget->window()) : 0;
    if (window > 0) add("the newest {} of every chunk also read all of them, to be scored", window);
  }
  if (selects()) add("decode steps read what {} chooses", PartText(PartKind::kSelect));
  if (makes_room()) add("when the byte limit is reached: {}", PartText(PartKind::kOverflow));
  return lines;
}

}  // namespace kvasir
