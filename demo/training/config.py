"""config.json of a checkpoint: the keys that the model reads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path


@dataclass
class VisionConfig:
    hidden_size: int = 192
    intermediate_size: int = 768
    num_hidden_layers: int = 7
    num_attention_heads: int = 3
    image_size: int = 336
    patch_size: int = 14
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    @property
    def grid(self) -> int:
        return self.image_size // self.patch_size


@dataclass
class Config:
    """The keys of config.json that the model reads."""

    vocab_size: int
    bos_token_id: int
    eos_token_id: list[int]
    hidden_size: int = 256
    intermediate_size: int = 640
    num_hidden_layers: int = 3
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    rms_norm_eps: float = 1e-5
    rope_theta: float = 500000.0
    rope_scaling: dict | None = field(
        default_factory=lambda: {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
    )
    max_position_embeddings: int = 131072
    tokenizer_model_max_length: int = 4096
    mm_vision_tower: str = "clip-vit-tiny-patch14-336"
    mm_vision_select_layer: int = -2
    mm_vision_select_feature: str = "patch"
    mm_projector_type: str = "mlp2x_gelu"
    mm_hidden_size: int = 192
    compressor_size: int = 1
    prefusion_layer_num: int = 4
    resolution_ratio: int = 1
    image_aspect_ratio: str = "pad"
    mm_use_im_start_end: bool = False
    mm_use_im_patch_token: bool = False
    vision_config: VisionConfig = field(default_factory=VisionConfig)

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def load(cls, path: Path) -> Config:
        raw = json.loads(path.read_text())
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in raw.items() if key in known}
        values["vision_config"] = VisionConfig(**values["vision_config"])
        return cls(**values)

    def save(self, path: Path) -> None:
        raw = {
            "architectures": ["LlavaMiniLlamaForCausalLM"],
            "model_type": "llava_mini_llama",
            "torch_dtype": "float16",
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": False,
            **asdict(self),
            "head_dim": self.head_dim,
        }
        path.write_text(json.dumps(raw, indent=2) + "\n")
