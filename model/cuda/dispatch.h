// The ATen side of the kernels: the operations of model/ops.h on CUDA tensors of float32, float16
// or bfloat16.
#pragma once

#include <ATen/ATen.h>

#include <utility>

#include "model/ops.h"

namespace llavamini::ops::cuda {

bool HasKernels(const at::Tensor& x);

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps);
Weights Quantized(Weights w);
at::Tensor Linear(const at::Tensor& x, const Weights& w, const at::Tensor& residual);
void AddLinear(const at::Tensor& x, const Weights& w, at::Tensor& y);
at::Tensor NormLinear(const at::Tensor& x, const at::Tensor& norm_weight, double eps,
                      const Weights& w);
at::Tensor NormGatedLinear(const at::Tensor& x, const at::Tensor& norm_weight, double eps,
                           const Weights& gate_up);
at::Tensor ActivatedLinear(const at::Tensor& x, const Weights& w, HiddenAct activation);
// ops::FinishBlock of few rows on sm_90; undefined where it is not that.
std::pair<at::Tensor, at::Tensor> StreamBlock(const at::Tensor& x, const at::Tensor& attended,
                                              const BlockEnd& end, const BlockStart* next);
at::Tensor SiluMultiply(const at::Tensor& gate_up);
void QuickGelu(at::Tensor& x);
void Gelu(at::Tensor& x);
at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     double eps);
at::Tensor Patches(const at::Tensor& pictures, const PixelScale& scale, const PatchShape& shape,
                   at::ScalarType dtype);
at::Tensor LayerNormPictures(const at::Tensor& first, const at::Tensor& patches,
                             const at::Tensor& positions, const at::Tensor& weight,
                             const at::Tensor& bias, double eps);
void RotateKeep(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                const at::Tensor& positions, const KeptRows& kept);
void Rotate(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
            const at::Tensor& positions);
void RotateAppend(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                  const PagedRows& paged);
at::Tensor AttendPages(const at::Tensor& qkv, const HeadShape& heads, const PagedRows& paged,
                       const at::Tensor& workspace);
at::Tensor AttendPromptsAndPages(const at::Tensor& qkv, const HeadShape& heads,
                                 const Segments& prompts, const PagedRows& newest,
                                 const at::Tensor& workspace);
bool AttendsPromptsAndPages(const at::Tensor& rows, int64_t count, const HeadShape& heads);
at::Tensor AppendAttend(at::Tensor& qkv, const HeadShape& heads, const RopeTable& rope,
                        const PagedRows& paged, const at::Tensor& workspace);
int64_t AttendWorkspace(int64_t places, const HeadShape& heads);
at::Tensor AttendSegments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const Segments& segments, bool causal);
std::pair<at::Tensor, at::Tensor> PackVisualAndText(const at::Tensor& qkv, const HeadShape& heads,
                                                    const at::Tensor& addresses,
                                                    const Segments& segments);
at::Tensor GatherRows(const at::Tensor& ids, const at::Tensor& places, const at::Tensor& newest,
                      const at::Tensor& embedding, const at::Tensor& made);
void SampleRows(const at::Tensor& logits, const at::Tensor& sampling, at::Tensor& ids,
                at::Tensor& newest, const at::Tensor& workspace);
int64_t SampleWorkspace(int64_t rows);
int64_t PaddedRows(int64_t rows);
void SetTimingProducts(bool timing);
void SetDeterministicProducts(bool deterministic);
void LoadProductChoices(const std::string& file);
void SaveProductChoices(const std::string& file);

}  // namespace llavamini::ops::cuda
