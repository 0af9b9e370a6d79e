// The selectors by name: what recipe strings such as quest:64 and quest(pages=64,group=max) build.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvasir/cache/selector.h"
#include "kvasir/core/slab_arena.h"
#include "kvasir/status.h"

namespace kvasir {

struct SelectorShape;
class SelectorValues;

struct SelectorParam {
  std::string_view name;
  std::string_view fallback;      // value when not given; "" is a text like any other
  double min = 0, max = 0;        // of numbers, which are whole; 0, 0 = text
  std::string_view choices = {};  // of text, "sum|max|head"; empty = anything
  std::string_view help;

  bool is_number() const { return max > min; }
};

struct SelectorInfo {
  std::string_view name;
  std::string_view summary;  // one line
  std::string_view card;     // "Quest, arXiv:2406.10774"
  std::span<const SelectorParam> params;
  Result<std::unique_ptr<Selector>> (*make)(const SelectorValues& values,
                                            const SelectorShape& shape) = nullptr;
};

// What a selector must know of the cache it serves.
struct SelectorShape {
  int n_layer = 0;
  int n_head = 0;
  int n_kv_head = 0;
  int head_dim = 0;
  std::vector<int32_t> window;  // per layer, or empty; layers with a window are read as they are
  SlabArena* arena = nullptr;   // has the summaries, as kIndex, and working memory, as kScratch;
                                // must outlive the selector. Null = not accounted
};

// As written: an empty name is the next parameter in the order of SelectorInfo::params.
using SelectorArgs = std::span<const std::pair<std::string, std::string>>;

// All selectors of selectors.def, in its order.
std::span<const SelectorInfo* const> Selectors();
const SelectorInfo* FindSelector(std::string_view name);  // null when there is none

// Errors: kInvalidArgument names the selector or parameter, what was expected and what was found.
Result<std::unique_ptr<Selector>> MakeSelector(std::string_view name, SelectorArgs args,
                                               const SelectorShape& shape);
// Checks the name and the parameters only; what depends on the model is left to MakeSelector.
Status CheckSelector(std::string_view name, SelectorArgs args);

}  // namespace kvasir
