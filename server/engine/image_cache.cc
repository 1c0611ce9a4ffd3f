#include "server/engine/image_cache.h"

#include <cstring>
#include <iterator>
#include <utility>

namespace llavamini {

size_t ImageCache::KeyHash::operator()(const ImageKey& key) const {
  size_t hash;  // the key is a SHA-256: any of its bytes are spread evenly
  std::memcpy(&hash, key.data(), sizeof(hash));
  return hash;
}

EncodedImagePtr ImageCache::Tier::Find(const ImageKey& key) {
  const auto found = index_.find(key);
  if (found == index_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, found->second);
  return found->second->image;
}

void ImageCache::Tier::Insert(CachedImage entry, std::list<CachedImage>& dropped) {
  const size_t entry_bytes = entry.image->bytes();
  if (const auto found = index_.find(entry.key); found != index_.end()) {
    bytes_ -= found->second->image->bytes();
    recent_.erase(found->second);
    index_.erase(found);
  }
  if (entry_bytes > capacity_) {
    dropped.push_back(std::move(entry));
    return;
  }
  while (bytes_ + entry_bytes > capacity_) {
    bytes_ -= recent_.back().image->bytes();
    index_.erase(recent_.back().key);
    dropped.splice(dropped.end(), recent_, std::prev(recent_.end()));
  }
  recent_.push_front(std::move(entry));
  index_.emplace(recent_.front().key, recent_.begin());
  bytes_ += entry_bytes;
}

bool ImageCache::Tier::MayKeep(const CachedImage& entry) const {
  return entry.image->bytes() <= capacity_ && !index_.contains(entry.key);
}

EncodedImagePtr ImageCache::Find(const ImageKey& key) {
  absl::MutexLock lock(&mutex_);
  EncodedImagePtr image = device_.Find(key);
  return image != nullptr ? image : host_.Find(key);
}

std::vector<CachedImage> ImageCache::Insert(const ImageKey& key, EncodedImagePtr image) {
  std::list<CachedImage> dropped;  // destroyed after the lock is given back
  std::vector<CachedImage> to_host;
  absl::MutexLock lock(&mutex_);
  if (image->on_host()) {
    host_.Insert({key, std::move(image)}, dropped);
    return to_host;
  }
  device_.Insert({key, std::move(image)}, dropped);
  for (const CachedImage& entry : dropped) {
    if (host_.MayKeep(entry)) to_host.push_back(entry);
  }
  return to_host;
}

size_t ImageCache::device_bytes() const {
  absl::MutexLock lock(&mutex_);
  return device_.bytes();
}

size_t ImageCache::host_bytes() const {
  absl::MutexLock lock(&mutex_);
  return host_.bytes();
}

}  // namespace llavamini
