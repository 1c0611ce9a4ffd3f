#include "model/llava_mini.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "model/checkpoint/checkpoint.h"
#include "model/cpu/threads.h"
#include "model/device.h"
#include "model/page_locked.h"
#include "model/step_runner.h"
#include "model/vision_runner.h"

namespace llavamini {
namespace {

// Runs one call of the model on its stream; whatever LibTorch throws becomes a status (see Model).
template <typename Function>
absl::Status Guarded(const DeviceStream& stream, Function function) {
  try {
    const c10::InferenceMode inference;
    const DeviceStream::Use use(stream);
    function();
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return StatusOfTorchError(error);
  }
}

template <typename Value, typename Function>
absl::StatusOr<Value> GuardedValue(const DeviceStream& stream, Function function) {
  Value value;
  const absl::Status status = Guarded(stream, [&] { value = function(); });
  if (!status.ok()) return status;
  return value;
}

// Text stands behind the visual rows of the most detailed image; a context may be longer.
int64_t RopePositions(const ModelConfig& config, int64_t max_context_tokens) {
  int64_t visual = 0;
  for (const int64_t ratio : ServedRatios(config)) {
    visual = std::max(visual, VisualRowCount(config, ratio));
  }
  return visual + max_context_tokens;
}

class LlavaMini : public Model {
 public:
  LlavaMini(Checkpoint& checkpoint, const ModelConfig& config, const LoadOptions& options,
            const Placement& placement, const MemoryPlan& plan)
      : options_(at::TensorOptions(placement.device).dtype(placement.dtype)),
        stream_(placement.device),
        to_host_(placement.device),
        rope_(
            MakeRope(config, RopePositions(config, options.max_context_tokens), placement.device)),
        clip_(checkpoint, config),
        fusion_(checkpoint, config, rope_, options.quantization == Quantization::kFp8),
        language_model_(checkpoint, config, rope_, options.quantization == Quantization::kFp8),
        cache_(config, static_cast<int32_t>(plan.kv_pages), options.max_running,
               options.max_context_tokens, options_),
        vision_(config, &clip_, &fusion_, &stream_, options.max_images_per_batch, options_),
        fuser_(&fusion_, &stream_, language_model_.embedding(),
               VisualRowCount(config, config.resolution_ratio), options.deterministic),
        steps_(&language_model_, &cache_, &stream_, options.max_step_rows) {
    facts_.device = DeviceName(placement.device);
    facts_.dtype = DtypeName(placement.dtype);
    facts_.vocab_size = config.vocab_size;
    facts_.parameters = checkpoint.parameters();
    facts_.max_position = config.max_position_embeddings;
    facts_.tokens_per_image = static_cast<int32_t>(config.compressed_tokens());
    facts_.pages = static_cast<int32_t>(plan.kv_pages);
    facts_.memory = plan;
    facts_.places = options.max_running;
    facts_.max_images = options.max_images_per_batch;
    facts_.steps_ahead = placement.device.is_cuda() ? 1 : 0;
  }

  // Times products, records graphs and takes the host's memory; the weights are there.
  absl::Status Prepare(const ModelConfig& config, int64_t image_cache_host_bytes) {
    return Guarded(stream_, [&] {
      vision_.Prepare();
      fuser_.Prepare();
      steps_.Prepare();
      TakeHostMemory(config, image_cache_host_bytes);
      stream_.Synchronize();
    });
  }
  const DeviceStream& stream() const { return stream_; }

  const ModelFacts& facts() const override { return facts_; }

  absl::StatusOr<std::unique_ptr<Encoding>> BeginEncoding(
      absl::Span<const ImageInput* const> images) override {
    return GuardedValue<std::unique_ptr<Encoding>>(stream_, [&]() -> std::unique_ptr<Encoding> {
      return std::make_unique<GuardedEncoding>(&stream_, vision_.Begin(images));
    });
  }

  absl::StatusOr<EncodedImagePtr> MoveToHost(const EncodedImagePtr& image) override {
    return Move(image, /*to_host=*/true);
  }
  absl::StatusOr<EncodedImagePtr> MoveToDevice(const EncodedImagePtr& image) override {
    return Move(image, /*to_host=*/false);
  }

  absl::StatusOr<std::unique_ptr<FusedPrompt>> BeginFusion(absl::Span<const TokenId> prompt,
                                                           int64_t images) override {
    return std::make_unique<FusedText>(prompt, images);
  }
  absl::Status Fuse(absl::Span<const FusionRow> rows) override {
    return Guarded(stream_, [&] { fuser_.Fuse(rows); });
  }

  bool SamplesAhead(const SamplingParams& sampling) const override {
    return steps_.SamplesAhead(sampling);
  }
  absl::Status Launch(absl::Span<const PromptRow> prompts,
                      absl::Span<const DecodeRow> rows) override {
    return Guarded(stream_, [&] { steps_.Launch(prompts, rows); });
  }
  absl::StatusOr<std::vector<SampledToken>> Collect() override {
    return GuardedValue<std::vector<SampledToken>>(stream_, [&] { return steps_.Collect(); });
  }

  double StepMilliseconds(int64_t rows) const override { return steps_.Milliseconds(rows); }
  double PieceMilliseconds(int64_t images) const override {
    return vision_.PieceMilliseconds(images);
  }

 private:
  // Runs each piece on the model's stream and turns what it throws into a status.
  class GuardedEncoding : public Encoding {
   public:
    GuardedEncoding(const DeviceStream* stream, std::unique_ptr<Encoding> encoding)
        : stream_(stream), encoding_(std::move(encoding)) {}
    int pieces_left() const override { return encoding_->pieces_left(); }
    absl::Status RunPiece() override {
      absl::Status status;
      status.Update(Guarded(*stream_, [&] { status = encoding_->RunPiece(); }));
      return status;
    }
    std::vector<EncodedImagePtr> images() const override { return encoding_->images(); }

   private:
    const DeviceStream* stream_;
    std::unique_ptr<Encoding> encoding_;
  };

  // Page-locked memory for one image takes milliseconds to come by, which no step should wait for:
  // all that the host's tier may hold is taken once, and LibTorch keeps it when it is let go here.
  void TakeHostMemory(const ModelConfig& config, int64_t bytes) const {
    const at::TensorOptions pinned = options_.device(at::kCPU).pinned_memory(true);
    const int64_t rows = VisualRowCount(config, config.resolution_ratio);
    const int64_t heads = config.num_key_value_heads * config.head_dim;
    std::vector<VisualRows> images;
    for (int64_t taken = 0; taken < bytes; taken += static_cast<int64_t>(images.back().bytes())) {
      VisualRows& image = images.emplace_back();
      image.host = true;
      image.rows = at::empty({fusion_.layers(), 2, rows, heads}, pinned);
      image.tokens = at::empty({config.compressed_tokens(), config.hidden_size}, pinned);
    }
  }

  absl::StatusOr<EncodedImagePtr> Move(const EncodedImagePtr& image, bool to_host) const {
    if (!options_.device().is_cuda()) {
      return absl::UnimplementedError("the model runs in the host's memory");
    }
    return GuardedValue<EncodedImagePtr>(stream_, [&]() -> EncodedImagePtr {
      const auto& source = static_cast<const VisualRows&>(*image);
      // Nobody waits for a copy to the host, but what may read it later.
      const DeviceStream& own = to_host ? to_host_ : stream_;
      own.Follow(to_host ? stream_ : to_host_);
      const DeviceStream::Use use(own);
      const auto copy = [&](const at::Tensor& from) {
        at::Tensor target = to_host ? PageLocked(from.sizes(), from.scalar_type())
                                    : at::empty(from.sizes(), options_);
        target.copy_(from, /*non_blocking=*/true);
        if (to_host) own.Keep(from);
        return target;
      };
      auto moved = std::make_shared<VisualRows>();
      moved->rows = copy(source.rows);
      moved->tokens = copy(source.tokens);
      moved->host = to_host;
      return moved;
    });
  }

  const at::TensorOptions options_;
  const DeviceStream stream_;
  const DeviceStream to_host_;  // of images only
  const ops::RopeTable rope_;
  const ClipTower clip_;
  const Fusion fusion_;
  const LanguageModel language_model_;
  KvCache cache_;
  VisionRunner vision_;
  TextFuser fuser_;
  StepRunner steps_;
  ModelFacts facts_;
};

absl::Status PrepareModel(LlavaMini& model, const LoadOptions& options, const ModelConfig& config,
                          bool on_gpu) {
  if (!on_gpu) return absl::OkStatus();
  const std::string& tuned = options.tuning_cache.string();
  if (!tuned.empty()) ops::LoadProductChoices(tuned);
  ops::SetTimingProducts(true);
  absl::Status status = model.Prepare(config, options.image_cache_host_bytes);
  ops::SetTimingProducts(false);
  if (status.ok() && !tuned.empty()) ops::SaveProductChoices(tuned);
  return status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadLlavaMini(const LoadOptions& options,
                                                     const ModelConfig& config) {
  const absl::StatusOr<Placement> placement = ChoosePlacement(options);
  if (!placement.ok()) return placement.status();
  const absl::StatusOr<MemoryPlan> plan = PlanDeviceMemory(options, config, *placement);
  if (!plan.ok()) return plan.status();
  at::set_num_threads(options.threads > 0 ? options.threads : cpu::DefaultThreads());
  std::unique_ptr<Checkpoint> checkpoint;
  if (options.dummy_weights) {
    checkpoint = Checkpoint::Dummy();
  } else {
    auto opened = Checkpoint::Open(options.folder, options.vision_tower);
    if (!opened.ok()) return opened.status();
    checkpoint = *std::move(opened);
  }
  checkpoint->SetTarget(placement->device, placement->dtype);
  if (options.progress) checkpoint->SetProgress(options.progress);
  const bool on_gpu = placement->device.is_cuda();
  std::unique_ptr<LlavaMini> model;
  try {
    const c10::InferenceMode inference;
    if (on_gpu) ops::SetDeterministicProducts(options.deterministic);
    model = std::make_unique<LlavaMini>(*checkpoint, config, options, *placement, *plan);
  } catch (const std::exception& error) {
    if (const absl::Status status = checkpoint->Finish(); !status.ok()) return status;
    return StatusOfTorchError(error);
  }
  if (const absl::Status status = checkpoint->Finish(); !status.ok()) return status;
  if (absl::Status status = PrepareModel(*model, options, config, on_gpu); !status.ok())
    return status;
  return model;
}

}  // namespace llavamini
