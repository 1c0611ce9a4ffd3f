#include "server/prepare/image_key.h"

#include <openssl/evp.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

namespace llavamini {
namespace {

struct ContextDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

ImageKey Sha256(std::string_view prefix, std::string_view bytes) {
  const std::unique_ptr<EVP_MD_CTX, ContextDeleter> context(EVP_MD_CTX_new());
  ImageKey key{};
  unsigned int length = 0;
  const bool done = context != nullptr &&
                    EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1 &&
                    EVP_DigestUpdate(context.get(), prefix.data(), prefix.size()) == 1 &&
                    EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()) == 1 &&
                    EVP_DigestFinal_ex(context.get(), key.data(), &length) == 1;
  if (!done || length != key.size()) std::abort();  // only without memory or SHA-256
  return key;
}

const char* NameOf(PictureKind kind) {
  if (kind == PictureKind::kVideo) return "video";
  return kind == PictureKind::kStill ? "still" : "frame";
}

}  // namespace

ImageKey MakeImageKey(std::string_view bytes, PictureKind kind, const ImageInputOptions& options) {
  // Ends with a byte that occurs nowhere else in it, so that no two (options, bytes) run together.
  return Sha256(absl::StrCat(NameOf(kind), " ratio=", options.resolution_ratio,
                             " side=", options.side, " pad=", options.pad_to_square ? 1 : 0, "\n"),
                bytes);
}

ImageKey FrameKey(const ImageKey& video, int64_t frame) {
  const std::string_view key(reinterpret_cast<const char*>(video.data()), video.size());
  return Sha256(absl::StrCat("frame number=", frame, "\n"), key);
}

}  // namespace llavamini
