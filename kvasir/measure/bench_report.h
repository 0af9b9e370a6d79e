// Bench results as text: a table to read, or records to compute with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kvasir/measure/bench.h"
#include "kvasir/measure/machine.h"
#include "kvasir/model/model.h"

namespace kvasir {

enum class ReportFormat { kMarkdown, kCsv, kJson };

// The model as rows name it.
struct BenchedModel {
  std::string path;
  std::string label;  // "llama 1.0B q8_0": architecture, parameters, the type of most weights
  uint64_t bytes = 0;
  uint64_t n_parameters = 0;
};
BenchedModel DescribeBenchedModel(const Model& model);

// Begin, rows, end, concatenated, are one document: a table, CSV with a header line, or a JSON
// array of objects. The fields of CSV and JSON carry llama-bench's names where the meaning is the
// same.
class BenchReport {
 public:
  BenchReport(ReportFormat format, Machine machine)
      : format_(format), machine_(std::move(machine)) {}

  std::string Begin() const;
  std::string Row(const BenchedModel& model, const BenchResult& result);
  std::string End() const;

 private:
  ReportFormat format_;
  Machine machine_;
  int64_t n_row_ = 0;
};

}  // namespace kvasir
