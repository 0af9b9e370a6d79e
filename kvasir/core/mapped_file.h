// A file mapped read-only. The bytes live as long as the object; views borrow from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kvasir/status.h"

namespace kvasir {

class MappedFile {
 public:
  // Errors: kNotFound when the path does not exist, kIoError for anything else the system says.
  // An empty file maps to an empty span.
  static Result<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  // Lets whole pages of the part of `bytes` that lies in this file go; the system reads them again
  // when they are touched.
  void ReleasePages(std::span<const std::byte> bytes) const;

 private:
  MappedFile(std::string path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}
  std::string path_;
  const std::byte* data_;
  size_t size_;
};

// Reads a small file whole. Errors as Open, and kInvalidArgument past `max_bytes`.
Result<std::string> ReadFile(const std::string& path, size_t max_bytes = size_t{256} << 20);

}  // namespace kvasir
