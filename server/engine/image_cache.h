// Encoded images by key, bounded in bytes, least recently used first out. Thread-safe: the prepare
// pool looks up (and so skips decoding a known image), the engine inserts. The lock is held for a
// look-up only.
#pragma once

#include <cstddef>
#include <list>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/request.h"

namespace llavamini {

class ImageCache {
 public:
  explicit ImageCache(size_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  // Null when unknown. Makes the entry the most recently used.
  EncodedImagePtr Find(const ImageKey& key);

  // Evicts until it fits; an image larger than the whole cache is not kept.
  void Insert(const ImageKey& key, EncodedImagePtr image);

  size_t bytes() const;

 private:
  struct KeyHash {
    size_t operator()(const ImageKey& key) const;
  };
  struct Entry {
    ImageKey key;
    EncodedImagePtr image;
  };

  const size_t capacity_bytes_;
  mutable absl::Mutex mutex_;
  std::list<Entry> recent_ ABSL_GUARDED_BY(mutex_);  // most recent first
  std::unordered_map<ImageKey, std::list<Entry>::iterator, KeyHash> index_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace llavamini
