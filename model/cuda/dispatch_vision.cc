// The ATen side of the kernels that only CLIP, compressor, projector and the visual part of
// pre-fusion use.
#include "model/cuda/dispatch.h"
#include "model/cuda/tensors.h"

namespace llavamini::ops::cuda {
namespace {

kernels::NormWeights NormOf(const at::Tensor& weight, const at::Tensor& bias, double eps) {
  return {weight.data_ptr(), bias.data_ptr(), static_cast<int>(weight.size(0)),
          static_cast<float>(eps)};
}

// x [.., width] as equally long runs of adjacent rows; copied where it is anything else.
struct Runs {
  at::Tensor x;
  int64_t run, stride;
};
Runs RunsOf(const at::Tensor& x) {
  const int64_t width = x.size(-1);
  if (x.dim() == 3 && x.stride(2) == 1 && x.stride(1) == width && x.stride(0) % 8 == 0) {
    return {x, x.size(1), x.stride(0)};
  }
  const at::Tensor rows = x.contiguous();
  return {rows, rows.numel() / width, 0};
}

}  // namespace

at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     double eps) {
  if (!kernels::CanLayerNorm(x.size(-1))) return plain::LayerNorm(x, weight, bias, eps);
  at::Tensor out = at::empty(x.sizes(), x.options());
  if (out.numel() == 0) return out;
  const Runs rows = RunsOf(x);
  kernels::LayerNorm(ElementOf(x), {rows.x.data_ptr(), static_cast<int>(rows.run), rows.stride},
                     NormOf(weight, bias, eps), out.data_ptr(), out.numel() / x.size(-1), Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

at::Tensor LayerNormPictures(const at::Tensor& first, const at::Tensor& patches,
                             const at::Tensor& positions, const at::Tensor& weight,
                             const at::Tensor& bias, double eps) {
  const int64_t width = first.size(0), run = positions.size(0);
  if (!kernels::CanLayerNorm(width) || !patches.is_contiguous()) {
    return plain::LayerNormPictures(first, patches, positions, weight, bias, eps);
  }
  const int64_t rows = patches.size(0) / (run - 1) * run;
  at::Tensor out = at::empty({rows, width}, patches.options());
  if (rows == 0) return out;
  kernels::LayerNormPictures(
      ElementOf(patches),
      {first.data_ptr(), patches.data_ptr(), positions.data_ptr(), static_cast<int>(run)},
      NormOf(weight, bias, eps), out.data_ptr(), rows, Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

at::Tensor Patches(const at::Tensor& pictures, const PixelScale& scale, const PatchShape& shape,
                   at::ScalarType dtype) {
  const at::Tensor pixels = pictures.contiguous();
  const int64_t count = pixels.size(0);
  at::Tensor out =
      at::empty({count * shape.grid * shape.grid, shape.width}, pixels.options().dtype(dtype));
  if (out.numel() == 0) return out;
  kernels::Patches(
      ElementOf(dtype),
      {pixels.data_ptr<uint8_t>(), scale.mean.data_ptr<float>(), scale.deviation.data_ptr<float>(),
       count, static_cast<int>(pixels.size(1)), static_cast<int>(shape.grid),
       static_cast<int>(shape.patch), static_cast<int>(shape.width)},
      out.data_ptr(), Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

void Gelu(at::Tensor& x) {
  TORCH_CHECK(x.is_contiguous(), "GELU works in place");
  if (x.numel() == 0) return;
  kernels::Gelu(ElementOf(x), x.data_ptr(), x.numel(), Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void RotateKeep(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                const at::Tensor& positions, const KeptRows& kept) {
  const at::Tensor &keys = kept.keys, &values = kept.values;
  const int64_t width = heads.key_value_heads * heads.dim;
  const auto fits = [&](const at::Tensor& x) {
    return x.stride(2) == 1 && x.stride(1) == width && x.stride(0) == keys.stride(0);
  };
  if (!kernels::CanRotateKeep(heads.dim) || !fits(keys) || !fits(values)) {
    return plain::RotateKeep(qkv, heads, rope, positions, kept);
  }
  if (qkv.numel() == 0) return;
  kernels::RotateKeep(
      ElementOf(qkv), HeadsOf(qkv, heads, rope), positions.data_ptr<int32_t>(),
      {keys.data_ptr(), values.data_ptr(), keys.stride(0), static_cast<int>(keys.size(1))},
      Stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace llavamini::ops::cuda
