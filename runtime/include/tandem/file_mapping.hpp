#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <boost/interprocess/mapped_region.hpp>

namespace tandem {

/// What becomes of the file of an array that may be written. update: it must be there. create: it must not; it is made, of zeros.
enum class FileMode : std::uint8_t { update, create };

/// The beginning of a regular file, mapped into this process: what is written there is in the file, for whoever reads it, at
/// once, and on the disk when the system thinks fit, or sync() returns.
///
/// Workers   open it themselves, by its name, and make sure that it is the same file. A forked one has what its host had
///           mapped then, too, and can only read it until it asks for more.
/// Truncated by somebody meanwhile: SIGBUS in whoever touches what is gone.
/// Threads   sync() by any; the rest is constant.
class FileMapping {
 public:
  enum class Access : std::uint8_t { read, write };
  /// Which file it is.
  struct Facts {
    std::string path;  // absolute
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
  };

  /// what      "float32 with shape (1000, 3)", for errors. bytes: at least 1.
  /// Errors    throw Error, with the path: no such file, none that can be opened so, not a regular one, too small, one of that
  ///           name to be created; no room for the bytes, which are taken beforehand so that writing cannot raise SIGBUS.
  static std::shared_ptr<FileMapping> open(const std::string& path, std::size_t bytes, Access access,
                                           std::string_view what);
  static std::shared_ptr<FileMapping> create(const std::string& path, std::size_t bytes);
  /// In another process: the file of these facts.
  /// Errors    throws Error when it is not there any more, or another stands in its place.
  static std::shared_ptr<FileMapping> again(const Facts& facts, std::size_t bytes, Access access);
  /// In a worker, before it runs a body: what it has inherited can be read.
  static void protect_inherited() noexcept;

  ~FileMapping();
  FileMapping(const FileMapping&) = delete;
  FileMapping& operator=(const FileMapping&) = delete;

  [[nodiscard]] const Facts& facts() const noexcept { return facts_; }
  [[nodiscard]] std::byte* base() const noexcept { return static_cast<std::byte*>(region_.get_address()); }
  /// Whole pages.
  [[nodiscard]] std::size_t room() const noexcept;
  [[nodiscard]] Access access() const noexcept { return access_; }

  /// Returns when the system has written these bytes (msync(2), MS_SYNC).
  /// Errors    throws Error with the path and what the system says.
  void sync(std::size_t first, std::size_t bytes) const;

 private:
  FileMapping(int file, std::string path, std::size_t bytes, Access access);

  Facts facts_;
  const std::size_t bytes_;
  const Access access_;
  boost::interprocess::mapped_region region_;
};

}  // namespace tandem
