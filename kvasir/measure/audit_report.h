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

// One page that needs nothing beside itself: plots and the table.
std::string AuditHtml(const Audit& audit);

// The cells of a line of the table, "" where there is nothing to say; the header has as many.
std::vector<std::string> TableHeader();
std::vector<std::string> TableRow(const Audit& audit, const RecipeAudit& recipe);
std::vector<std::string> ExactRow(const Audit& audit);
// Lines about tasks; empty where none were run.
std::vector<std::vector<std::string>> TaskRows(const Audit& audit);
std::string TasksCaption(const Audit& audit);
// What was measured, on what and with what, a line each.
std::vector<std::string> AuditHeading(const Audit& audit);
// What the letters of HeadMapText mean.
std::string HeadsCaption(const HeadMap& heads);

}  // namespace kvasir
