#include <tandem/worker_arrays.hpp>

#include <sys/mman.h>

#include <algorithm>

#include <tandem/error.hpp>

namespace tandem {

std::shared_ptr<FileMapping> FileMappings::find(const ArrayToken& token, const FileMapping::Facts& facts) {
  const auto access = token.read_only == 0 ? FileMapping::Access::write : FileMapping::Access::read;
  const auto known = std::find_if(last_.begin(), last_.end(), [&](const auto& one) {
    return one->facts().device == facts.device && one->facts().inode == facts.inode &&
           one->access() == access && one->room() >= token.bytes;
  });
  if (known != last_.end()) {
    std::rotate(last_.begin(), known, known + 1);
    return last_.front();
  }
  auto mapping = FileMapping::again(facts, token.bytes, access);
  mprotect(mapping->base(), mapping->room(), PROT_READ);
  last_.insert(last_.begin(), mapping);
  if (last_.size() > kMost) last_.pop_back();
  return mapping;
}

WorkerArrays::~WorkerArrays() {
  for (const auto& block : blocks_) {
    block->end();
    if (!block->was_writable()) continue;
    if (block->file()) {
      mprotect(block->file()->base(), block->room(), PROT_READ);
    } else {
      writable_[block->offset()] = block->room();
    }
  }
}

std::shared_ptr<ArrayBlock> WorkerArrays::find(const ArrayToken& token) {
  for (const auto& block : blocks_) {
    if (block->offset() != token.offset) continue;
    if (token.read_only == 0) keep_writable(*block);
    return block;
  }
  if (token.offset > bytes_ || token.room > bytes_ - token.offset)
    throw Error("a shared array lies outside of its store");
  const auto block =
      std::make_shared<ArrayBlock>(base_ + token.offset, token.offset, token.bytes, token.room, true);
  if (token.read_only == 0) keep_writable(*block);
  blocks_.push_back(block);
  return block;
}

std::shared_ptr<ArrayBlock> WorkerArrays::find_file(const ArrayToken& token, const FileMapping::Facts& facts) {
  for (const auto& block : blocks_) {
    if (block->offset() != token.offset) continue;
    if (token.read_only != 0 || block->file()->access() == FileMapping::Access::write) return block;
  }
  const auto block = std::make_shared<ArrayBlock>(files_.find(token, facts), token.offset, token.bytes, true);
  if (token.read_only == 0) block->lend_for_writing();
  blocks_.push_back(block);
  return block;
}

void WorkerArrays::known() {
  for (auto one = writable_.begin(); one != writable_.end();) {
    const bool lent = std::any_of(blocks_.begin(), blocks_.end(), [one](const auto& block) {
      return block->offset() == one->first && block->was_writable();
    });
    if (lent) {
      ++one;
      continue;
    }
    mprotect(base_ + one->first, one->second, PROT_READ);
    // Part of it may be lent now as another array.
    for (const auto& block : blocks_) {
      const bool overlaps =
          block->offset() < one->first + one->second && one->first < block->offset() + block->room();
      if (overlaps && block->was_writable())
        mprotect(base_ + block->offset(), block->room(), PROT_READ | PROT_WRITE);
    }
    one = writable_.erase(one);
  }
}

void WorkerArrays::keep_writable(ArrayBlock& block) {
  block.lend_for_writing();
  const auto known = writable_.find(block.offset());
  if (known != writable_.end() && known->second == block.room()) block.set_writable();
}

}  // namespace tandem
