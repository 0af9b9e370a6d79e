#include "kvasir/model/safetensors_header.h"

#include <fmt/format.h>

#include <exception>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "kvasir/model/gguf.h"

namespace kvasir {
namespace {

constexpr size_t kMaxDims = 8;
constexpr int kMaxDepth = 16;  // inside __metadata__; tensors use three levels

// Receives the header value by value. Levels: 1 the header, 2 one tensor, 3 an array in it.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(std::string_view path) : path_(path) {}

  Status TakeStatus() { return std::move(status_); }
  std::vector<SafetensorsClaim> TakeClaims() { return std::move(claims_); }

  bool null() override { return Scalar("null"); }
  bool boolean(bool value) override { return Scalar(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override {
    return Scalar(std::to_string(value).c_str());
  }
  bool number_float(number_float_t, const string_t& text) override { return Scalar(text.c_str()); }
  bool binary(binary_t&) override { return Scalar("binary"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (in_metadata_) return true;
    if (depth_ != 3) return Unexpected(std::to_string(value));
    if (numbers_.size() == kMaxDims) {
      return Fail(fmt::format("{}: expected at most {} numbers", Where(), kMaxDims));
    }
    numbers_.push_back(value);
    return true;
  }

  bool string(string_t& value) override {
    if (in_metadata_) return true;
    if (depth_ != 2 || field_ != "dtype") return Unexpected('"' + Printable(value) + '"');
    claims_.back().dtype = std::move(value);
    return true;
  }

  bool start_object(size_t) override {
    if (!Enter()) return false;
    if (in_metadata_ || depth_ <= 2) return true;
    return Unexpected("an object");
  }

  bool key(string_t& name) override {
    if (depth_ == 1) return StartTensor(name);
    if (in_metadata_) return true;
    if (name != "dtype" && name != "shape" && name != "data_offsets") {
      return Fail(fmt::format("tensor {}: unknown field \"{}\"", TensorName(), Printable(name)));
    }
    field_ = name;
    if (!fields_.insert(name).second) return Fail(fmt::format("{}: given twice", Where()));
    return true;
  }

  bool end_object() override {
    --depth_;
    if (depth_ == 1 && std::exchange(in_metadata_, false)) return true;
    if (depth_ == 1) return FinishTensor();
    return true;
  }

  bool start_array(size_t) override {
    if (!Enter()) return false;
    if (in_metadata_) return true;
    if (depth_ != 3 || field_ == "dtype") return Unexpected("an array");
    numbers_.clear();
    return true;
  }

  bool end_array() override {
    --depth_;
    if (in_metadata_) return true;
    SafetensorsClaim& claim = claims_.back();
    if (field_ == "shape") {
      claim.shape = numbers_;
      return true;
    }
    if (numbers_.size() != 2) {
      return Fail(fmt::format("{}: expected 2 numbers, found {}", Where(), numbers_.size()));
    }
    claim.begin = numbers_[0];
    claim.end = numbers_[1];
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Fail(fmt::format("not valid JSON at byte {} of the header", position));
  }

 private:
  bool Fail(std::string what) {
    if (status_.ok()) status_ = Status::Corruption(fmt::format("{}: {}", path_, what));
    return false;
  }

  bool Enter() {
    if (++depth_ <= kMaxDepth) return true;
    return Fail(fmt::format("header nested deeper than {} levels", kMaxDepth));
  }

  bool Scalar(const char* found) { return in_metadata_ || Unexpected(found); }

  bool Unexpected(const std::string& found) {
    const char* expected = depth_ == 0         ? "an object"
                           : depth_ == 1       ? "an object with dtype, shape and data_offsets"
                           : depth_ == 3       ? "an unsigned integer"
                           : field_ == "dtype" ? "a string"
                                               : "an array of unsigned integers";
    return Fail(fmt::format("{}: expected {}, found {}", Where(), expected, found));
  }

  std::string TensorName() const { return Printable(claims_.back().name); }

  std::string Where() const {
    if (claims_.empty()) return "header";
    if (depth_ < 2 || field_.empty()) return "tensor " + TensorName();
    return fmt::format("tensor {}: {}", TensorName(), field_);
  }

  bool StartTensor(const std::string& name) {
    if (!names_.insert(name).second) {
      return Fail(fmt::format("tensor {}: listed twice in the header", Printable(name)));
    }
    in_metadata_ = name == "__metadata__";
    fields_.clear();
    field_.clear();
    if (!in_metadata_) claims_.emplace_back().name = name;
    return true;
  }

  bool FinishTensor() {
    for (const char* field : {"dtype", "shape", "data_offsets"}) {
      if (fields_.count(field) == 0) {
        return Fail(fmt::format("tensor {}: no {} in the header", TensorName(), field));
      }
    }
    return true;
  }

  std::string_view path_;
  Status status_;
  std::vector<SafetensorsClaim> claims_;
  std::set<std::string> names_;
  std::set<std::string> fields_;  // seen of the tensor being read
  std::string field_;             // whose value comes next
  std::vector<uint64_t> numbers_;
  int depth_ = 0;
  bool in_metadata_ = false;
};

}  // namespace

Result<std::vector<SafetensorsClaim>> ParseSafetensorsHeader(std::string_view text,
                                                             std::string_view path) {
  HeaderReader reader(path);
  try {
    nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  } catch (const std::exception& error) {
    return Status::Corruption(fmt::format("{}: header: {}", path, error.what()));
  }
  KVASIR_RETURN_IF_ERROR(reader.TakeStatus());
  return reader.TakeClaims();
}

}  // namespace kvasir
