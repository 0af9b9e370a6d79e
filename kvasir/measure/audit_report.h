// An audit to read, to compute with, and to look at. docs/audit.md tells what each figure means.
#pragma once

#include <string>
#include <vector>

#include "kvasir/measure/audit.h"

namespace kvasir {

// Rows in the order of a table: recipes that were asked for, each followed by its own baselines,
// then what is the baseline of all. Indices into audit.recipes.
std::vector<size_t> TableOrder(const Audit& audit);

// Aligned text with a line a recipe.
std::string AuditTable(const Audit& audit);

// One JSON object with everything.
std::string AuditJson(const Audit& audit);

}  // namespace kvasir
