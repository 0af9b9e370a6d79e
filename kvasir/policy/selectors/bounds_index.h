// The head index of Quest and LServe: f16 page bounds, a fixed budget of units of one or more
// pages, the newest unit always.
#pragma once

#include <memory>

#include "kvasir/policy/selectors/head_index.h"
#include "kvasir/policy/selectors/page_bounds.h"
#include "kvasir/policy/selectors/page_choice.h"

namespace kvasir {

struct BoundsChoice {
  int unit_pages = 1;   // pages chosen and read together; the best of them speaks for all
  int64_t n_unit = 64;  // how many units are read; by GroupRule::kHead, for every query head
  GroupRule group = GroupRule::kSum;
};

std::unique_ptr<HeadIndex> MakeBoundsIndex(const BoundsChoice& rule, const SelectorShape& shape);

}  // namespace kvasir
