// Outcome of a fallible call: a code and one line of text. The library never throws past its
// public API, never prints and never exits; callers decide what to do with a Status.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace kvasir {

enum class StatusCode {
  kOk = 0,
  kInvalidArgument,  // a flag, request, recipe or file that asks for something impossible
  kNotFound,         // a file, tensor, key or name that is not there
  kCorruption,       // bytes that contradict themselves: bad magic, short file, bad checksum
  kUnsupported,      // valid, but this build does not do it; the message names what
  kOutOfMemory,      // the byte ledger or the system refused
  kUnavailable,      // bytes are on a slower tier, or an engine is still loading
  kCancelled,        // the caller asked to stop
  kIoError,          // the operating system refused a read or a write
};

// The spelling used in messages and JSON, for example "invalid_argument".
std::string_view StatusCodeName(StatusCode code);

// Cheap to move; the ok status allocates nothing. Thread-compatible.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return {}; }
  static Status InvalidArgument(std::string m) {
    return {StatusCode::kInvalidArgument, std::move(m)};
  }
  static Status NotFound(std::string m) { return {StatusCode::kNotFound, std::move(m)}; }
  static Status Corruption(std::string m) { return {StatusCode::kCorruption, std::move(m)}; }
  static Status Unsupported(std::string m) { return {StatusCode::kUnsupported, std::move(m)}; }
  static Status OutOfMemory(std::string m) { return {StatusCode::kOutOfMemory, std::move(m)}; }
  static Status Unavailable(std::string m) { return {StatusCode::kUnavailable, std::move(m)}; }
  static Status Cancelled(std::string m) { return {StatusCode::kCancelled, std::move(m)}; }
  static Status IoError(std::string m) { return {StatusCode::kIoError, std::move(m)}; }

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }
  // "corruption: model.gguf: ..."; "ok" when ok.
  std::string ToString() const;
  // The same status with "context: " in front of the message; ok stays ok.
  Status WithContext(std::string_view context) &&;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

// A value, or the Status that explains why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) {  // NOLINT: implicit by design
    assert(!status_.ok());
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const& { return status_; }
  Status status() && { return std::move(status_); }
  T& value() & {
    assert(ok());
    return *value_;
  }
  const T& value() const& {
    assert(ok());
    return *value_;
  }
  T&& value() && {
    assert(ok());
    return std::move(*value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace kvasir

#define KVASIR_CONCAT_INNER(a, b) a##b
#define KVASIR_CONCAT(a, b) KVASIR_CONCAT_INNER(a, b)

// Returns early when `expr`, a Status, is not ok.
#define KVASIR_RETURN_IF_ERROR(expr)                                                        \
  do {                                                                                      \
    if (::kvasir::Status kvasir_status = (expr); !kvasir_status.ok()) return kvasir_status; \
  } while (false)

// Declares `lhs` from a Result, or returns its Status early.
#define KVASIR_ASSIGN_OR_RETURN(lhs, expr) \
  KVASIR_ASSIGN_OR_RETURN_IMPL(KVASIR_CONCAT(kvasir_result_, __LINE__), lhs, expr)
#define KVASIR_ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                                 \
  if (!result.ok()) return std::move(result).status();  \
  lhs = std::move(result).value()
