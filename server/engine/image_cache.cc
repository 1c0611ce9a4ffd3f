#include "server/engine/image_cache.h"

#include <cstring>
#include <utility>

namespace llavamini {

size_t ImageCache::KeyHash::operator()(const ImageKey& key) const {
  size_t hash;  // the key is a SHA-256: any of its bytes are spread evenly
  std::memcpy(&hash, key.data(), sizeof(hash));
  return hash;
}

EncodedImagePtr ImageCache::Find(const ImageKey& key) {
  absl::MutexLock lock(&mutex_);
  const auto found = index_.find(key);
  if (found == index_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, found->second);
  return found->second->image;
}

void ImageCache::Insert(const ImageKey& key, EncodedImagePtr image) {
  const size_t image_bytes = image->bytes();
  std::list<Entry> dropped;  // destroyed after the lock is given back
  absl::MutexLock lock(&mutex_);
  if (const auto found = index_.find(key); found != index_.end()) {
    bytes_ -= found->second->image->bytes();
    dropped.splice(dropped.end(), recent_, found->second);
    index_.erase(found);
  }
  if (image_bytes > capacity_bytes_) return;
  while (bytes_ + image_bytes > capacity_bytes_) {
    bytes_ -= recent_.back().image->bytes();
    index_.erase(recent_.back().key);
    dropped.splice(dropped.end(), recent_, std::prev(recent_.end()));
  }
  recent_.push_front({key, std::move(image)});
  index_.emplace(key, recent_.begin());
  bytes_ += image_bytes;
}

size_t ImageCache::bytes() const {
  absl::MutexLock lock(&mutex_);
  return bytes_;
}

}  // namespace llavamini
