// Encoded images by key, in two tiers bounded in bytes: the model's device, and the host's memory
// for what falls out of it; in each the least recently used goes first. Thread-safe: the prepare
// pool looks up (and so skips decoding a known image), the engine alone inserts and moves images
// between the tiers. The lock is held for a look-up only.
#pragma once

#include <cstddef>
#include <list>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/request.h"

namespace llavamini {

struct CachedImage {
  ImageKey key{};
  EncodedImagePtr image;
};

class ImageCache {
 public:
  // host_bytes 0: no second tier.
  explicit ImageCache(size_t device_bytes, size_t host_bytes = 0)
      : device_(device_bytes), host_(host_bytes) {}

  // Null when unknown; on_host() when only the second tier has it. Makes the entry the most
  // recently used.
  EncodedImagePtr Find(const ImageKey& key);

  // Into the tier where the image lives, which evicts until it fits; an image larger than the whole
  // tier is not kept. Returns what fell out of the device tier and would have room on the host,
  // which does not have it yet: to be moved there and inserted again.
  std::vector<CachedImage> Insert(const ImageKey& key, EncodedImagePtr image);

  size_t device_bytes() const;
  size_t host_bytes() const;

 private:
  struct KeyHash {
    size_t operator()(const ImageKey& key) const;
  };

  // One tier, without a lock.
  class Tier {
   public:
    explicit Tier(size_t capacity) : capacity_(capacity) {}
    EncodedImagePtr Find(const ImageKey& key);
    // Moves what must go, the new entry itself if it never fits, to `dropped`.
    void Insert(CachedImage entry, std::list<CachedImage>& dropped);
    size_t bytes() const { return bytes_; }
    bool MayKeep(const CachedImage& entry) const;  // has not, and could have

   private:
    size_t capacity_;
    std::list<CachedImage> recent_;  // most recent first
    std::unordered_map<ImageKey, std::list<CachedImage>::iterator, KeyHash> index_;
    size_t bytes_ = 0;
  };

  mutable absl::Mutex mutex_;
  Tier device_ ABSL_GUARDED_BY(mutex_);
  Tier host_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace llavamini
