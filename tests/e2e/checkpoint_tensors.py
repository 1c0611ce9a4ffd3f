"""Names and shapes of a checkpoint's tensors, in the published layout."""

from __future__ import annotations

from collections.abc import Iterator

Named = Iterator[tuple[str, tuple[int, ...]]]

# Where config.json names openai/clip-vit-large-patch14-336 and says no more.
CLIP = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "image_size": 336, "patch_size": 14}


def linear(name: str, rows: int, columns: int, bias: bool = False) -> Named:
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)


def norm(name: str, width: int) -> Named:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def llama_layer(name: str, config: dict) -> Named:
    d, inner, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    yield f"{name}.input_layernorm.weight", (d,)
    yield f"{name}.post_attention_layernorm.weight", (d,)
    yield from linear(f"{name}.self_attn.q_proj", queries, d)
    yield from linear(f"{name}.self_attn.k_proj", keys, d)
    yield from linear(f"{name}.self_attn.v_proj", keys, d)
    yield from linear(f"{name}.self_attn.o_proj", d, queries)
    yield from linear(f"{name}.mlp.gate_proj", inner, d)
    yield from linear(f"{name}.mlp.up_proj", inner, d)
    yield from linear(f"{name}.mlp.down_proj", d, inner)


def clip(config: dict) -> Named:
    root, width, inner = "model.vision_tower.vision_tower.vision_model", config["hidden_size"], config["intermediate_size"]
    side = config["patch_size"]
    yield f"{root}.embeddings.class_embedding", (width,)
    yield f"{root}.embeddings.patch_embedding.weight", (width, 3, side, side)
    yield f"{root}.embeddings.position_embedding.weight", ((config["image_size"] // side) ** 2 + 1, width)
    yield from norm(f"{root}.pre_layrnorm", width)
    yield from norm(f"{root}.post_layernorm", width)
    for i in range(config["num_hidden_layers"]):
        layer = f"{root}.encoder.layers.{i}"
        yield from norm(f"{layer}.layer_norm1", width)
        yield from norm(f"{layer}.layer_norm2", width)
        for letter in ("q", "k", "v", "out"):
            yield from linear(f"{layer}.self_attn.{letter}_proj", width, width, bias=True)
        yield from linear(f"{layer}.mlp.fc1", inner, width, bias=True)
        yield from linear(f"{layer}.mlp.fc2", width, inner, bias=True)


def tensors(config: dict) -> Named:
    """Name and shape of every tensor that a checkpoint of this config.json has."""
    d, vision = config["hidden_size"], config.get("vision_config", CLIP)
    width, queries = vision["hidden_size"], config["compressor_size"] ** 2
    yield "model.embed_tokens.weight", (config["vocab_size"], d)
    yield "model.norm.weight", (d,)
    yield "lm_head.weight", (config["vocab_size"], d)
    for i in range(config["num_hidden_layers"]):
        yield from llama_layer(f"model.layers.{i}", config)
    for i in range(config["prefusion_layer_num"]):
        yield from llama_layer(f"model.prefusion_layers.{i}", config)
    yield "model.compressor.query", (queries, width)
    yield "model.compressor.pos_embed", (queries, width)
    yield "model.compressor.attn.in_proj_weight", (3 * width, width)
    yield "model.compressor.attn.in_proj_bias", (3 * width,)
    yield from linear("model.compressor.attn.out_proj", width, width, bias=True)
    yield from norm("model.compressor.ln_q", width)
    yield from norm("model.compressor.ln_kv", width)
    yield from linear("model.mm_projector.0", d, width, bias=True)
    yield from linear("model.mm_projector.2", d, d, bias=True)
    yield from clip(vision)
