#include "kvasir/core/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace kvasir {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

Status SystemError(const std::string& path, const char* what) {
  const int error = errno;
  std::string message = fmt::format("{}: {}: {}", path, what, std::strerror(error));
  return error == ENOENT ? Status::NotFound(std::move(message))
                         : Status::IoError(std::move(message));
}

Result<size_t> RegularFileSize(int fd, const std::string& path) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return SystemError(path, "cannot stat");
  if (S_ISDIR(info.st_mode)) {
    return Status::InvalidArgument(fmt::format("{}: is a directory, expected a file", path));
  }
  return static_cast<size_t>(info.st_size);
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return SystemError(path, "cannot open");
  KVASIR_ASSIGN_OR_RETURN(const size_t size, RegularFileSize(fd.get(), path));
  const std::byte* data = nullptr;
  if (size > 0) {
    void* mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (mapped == MAP_FAILED) return SystemError(path, "cannot map");
    // Asked for before the first touch, so that a file that is not cached yet is read and mapped in
    // huge pages where the file system can. Weights on small pages cost decoding a sixth of its
    // reads.
    madvise(mapped, size, MADV_HUGEPAGE);
    data = static_cast<const std::byte*>(mapped);
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(path, data, size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::ReleasePages(std::span<const std::byte> bytes) const {
  constexpr uintptr_t kPage = 4096;
  const auto address = [](const std::byte* p) { return reinterpret_cast<uintptr_t>(p); };
  const uintptr_t begin = std::max(address(data_), address(bytes.data()));
  const uintptr_t end =
      std::min(address(data_) + size_, address(bytes.data()) + bytes.size()) / kPage * kPage;
  const uintptr_t first = (begin + kPage - 1) / kPage * kPage;
  if (first >= end) return;
  // A huge page that a neighbour's read maps would bring them back.
  madvise(reinterpret_cast<void*>(first), end - first, MADV_NOHUGEPAGE);
  madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
}

Result<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return SystemError(path, "cannot open");
  KVASIR_RETURN_IF_ERROR(RegularFileSize(fd.get(), path).status());
  std::string text;
  char buffer[1 << 16];
  while (true) {
    const ssize_t n = read(fd.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError(path, "cannot read");
    if (n == 0) return text;
    if (text.size() + static_cast<size_t>(n) > max_bytes) {
      return Status::InvalidArgument(
          fmt::format("{}: larger than the {} bytes allowed here", path, max_bytes));
    }
    text.append(buffer, static_cast<size_t>(n));
  }
}

}  // namespace kvasir
