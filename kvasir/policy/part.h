// The parts that KV recipes are made of. A part is one file in kvasir/policy/<kind>/ that defines
// its PartInfo, and one line in parts.def. Recipe strings, help and tests walk the table.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "kvasir/status.h"

namespace kvasir {

// In the order in which they act.
enum class PartKind : uint8_t {
  kScore,        // how much a held token is worth
  kReduce,       // scores of query heads -> scores of their kv head
  kShape,        // smoothing of scores along the tokens
  kHeads,        // which heads are kept whole, scored, or left with the protected tokens
  kBudget,       // how many tokens each (layer, kv head) keeps
  kProtect,      // tokens that always stay, counted inside the budget
  kKeep,         // which tokens stay, given scores and budgets
  kDisposition,  // what becomes of the others
  kPosition,     // the angle of a kept key
  kSchedule,     // when all this happens
  kCodecK,       // number format of sealed keys
  kCodecV,       // number format of sealed values
  kPrefill,      // what a chunk of the prompt reads of the tokens that are held
  kSelect,       // what a decode step reads of the tokens that are held
  kOverflow,     // where tokens go that do not fit
};
inline constexpr int kPartKinds = 15;
// The word before '=' in recipe strings: "score", "k", "v", ...
std::string_view PartKindName(PartKind kind);

enum class ParamType : uint8_t {
  kInt,
  kReal,
  kFlag,    // written bare: on
  kAmount,  // tokens, "1024", or a share of those held, "25%"; range in tokens
  kText,
};

struct ParamInfo {
  std::string_view name;
  ParamType type = ParamType::kInt;
  std::string_view default_text;  // as written in a recipe; empty = must be given
  double min = 0;
  double max = 0;
  std::string_view help;
};

// What a part must see of the computation; a bit set.
enum Need : uint32_t {
  kNeedNothing = 0,
  kNeedWindowRows = 1 << 0,  // attention weights of the last queries
  kNeedColumnSums = 1 << 1,  // summed attention weights of all queries
  kNeedKeys = 1 << 2,
  kNeedValues = 1 << 3,
  kNeedReplay = 1 << 4,     // a second pass over the prompt
  kNeedAllLayers = 1 << 5,  // scores of every layer before the first cut
  kNeedTokens = 1 << 6,     // the ids of the tokens
  kNeedOutput = 1 << 7,     // the model's output projections
};
std::string NeedNames(uint32_t needs);  // "window rows, keys"; "nothing"

// tokens >= 0: a count; else a share.
struct Amount {
  int64_t tokens = -1;
  double share = 0;
  // Of n held tokens: shares round down, as is customary.
  int64_t Of(int64_t n) const {
    return tokens >= 0 ? tokens : static_cast<int64_t>(static_cast<double>(n) * share);
  }
};

// Arguments as written in a recipe: (name, value), the name "" where there was only a value.
using WrittenArgs = std::vector<std::pair<std::string, std::string>>;

// Values of all parameters of a part, checked.
class PartArgs {
 public:
  // `owner` names the part in messages. A lone value is the name of a flag, or belongs to the next
  // parameter. Errors: kInvalidArgument names the parameter, what was expected and what was found.
  static Result<PartArgs> Make(std::string_view owner, std::span<const ParamInfo> params,
                               const WrittenArgs& written);

  int64_t Int(std::string_view name) const;
  double Real(std::string_view name) const;
  bool Flag(std::string_view name) const { return Real(name) != 0; }
  Amount AmountOf(std::string_view name) const;
  const std::string& Text(std::string_view name) const;
  // The parameters that differ from their defaults, by name, in canonical spelling.
  WrittenArgs Given() const;

 private:
  size_t IndexOf(std::string_view name) const;
  std::span<const ParamInfo> params_;
  std::vector<std::string> text_;  // canonical, in the order of params_
};

// Base of every part's interface (scorer.h, budget.h, keep.h, ...). Immutable; safe to share.
class Part {
 public:
  virtual ~Part() = default;
};

struct PartInfo {
  PartKind kind;
  std::string_view name;
  std::string_view summary;  // one line
  std::string_view card;     // "SnapKV, arXiv:2404.14469"; empty for what everybody knows
  std::span<const ParamInfo> params;
  uint32_t needs = kNeedNothing;
  std::string_view cost;  // "w*T*d multiply-adds a head, once"
  // Errors: kInvalidArgument for values that do not go together.
  Result<std::shared_ptr<const Part>> (*make)(const PartArgs& args) = nullptr;
};

// PartInfo::make of a part T that is constructed from its arguments, or from nothing.
template <typename T>
Result<std::shared_ptr<const Part>> MakePart(const PartArgs& args) {
  if constexpr (std::is_constructible_v<T, const PartArgs&>) {
    return std::shared_ptr<const Part>(std::make_shared<const T>(args));
  } else {
    return std::shared_ptr<const Part>(std::make_shared<const T>());
  }
}

// All parts of parts.def, in its order.
std::span<const PartInfo* const> Parts();
// Null when there is none.
const PartInfo* FindPart(PartKind kind, std::string_view name);
// Names of the parts of a kind, for messages.
std::vector<std::string_view> PartNames(PartKind kind);
// The most similar of `names`, or empty when none comes near.
std::string NearestName(std::string_view name, std::span<const std::string_view> names);

}  // namespace kvasir
