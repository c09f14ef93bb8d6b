#pragma once

namespace tandem {

/// Owns one descriptor, which belongs to this process alone: a fork server closes all of them.
/// Threads   each by one thread at a time; close_all_but() in a process that has only one.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) noexcept;
  Descriptor(Descriptor&& other) noexcept : number_{other.number_} { other.number_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();

  int get() const noexcept { return number_; }
  explicit operator bool() const noexcept { return number_ >= 0; }

  /// In a copy of the process: closes what all Descriptors own, of every runtime, but this one. What stays open in a
  /// copy can be used by whatever runs there, and keeps the other ends from seeing that this process let go.
  static void close_all_but(int kept) noexcept;

 private:
  int number_ = -1;
};

}  // namespace tandem
