"""Architectures of Hugging Face transformers, tiny and with random weights: each comes with its inputs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn

Inputs = dict[str, Any]


class Architecture(NamedTuple):
    """A class of transformers, the settings of its config, and what makes its inputs."""

    name: str
    settings: dict[str, Any]
    inputs: Callable[[], Inputs]

    def make(self, training: bool = False) -> tuple[nn.Module, Inputs]:
        """Return a model with weights from seed 0, and inputs."""
        torch.manual_seed(0)
        kind = getattr(transformers, self.name)
        return kind(kind.config_class(**self.settings)).train(training), self.inputs()

    def drops(self) -> bool:
        """Return whether something is dropped at random in training."""
        config = getattr(transformers, self.name).config_class(**self.settings).to_dict()
        return any("drop" in key and isinstance(value, float) and value > 0 for key, value in config.items())


def words(length: int = 8) -> Tensor:
    return torch.randint(3, 60, (2, length))


def padded() -> Inputs:
    """Two texts, the second shorter."""
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[1, 5:] = 0
    return {"input_ids": words(), "attention_mask": mask}


def labelled() -> Inputs:
    return padded() | {"labels": words()}


def images(size: int = 32, name: str = "pixel_values") -> Inputs:
    return {name: torch.randn(2, 3, size, size)}


def video(name: str = "pixel_values") -> Inputs:
    return {name: torch.randn(1, 2, 3, 32, 32)}


def series() -> Inputs:
    past = {"past_values": torch.rand(2, 10), "past_time_features": torch.randn(2, 10, 2)}
    future = {"future_values": torch.rand(2, 4), "future_time_features": torch.randn(2, 4, 2)}
    return past | future | {"past_observed_mask": torch.ones(2, 10), "use_cache": False}


SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LAYERS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {"vocab_size": 64, "max_position_embeddings": 32} | LAYERS | SPECIAL
GPT = {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32} | SPECIAL
GROUPED = {"num_key_value_heads": 1, "head_dim": 8}
ONE_KEY = {"num_key_value_heads": 1}
EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2}
LOCAL_EXPERTS = {"num_local_experts": 3, "num_experts_per_tok": 2}
BOTH_FFN = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
COUNTS = {"encoder_layers": 2, "decoder_layers": 2}
PAIR = {"vocab_size": 64, "d_model": 16, "max_position_embeddings": 32, "decoder_start_token_id": 1}
PAIR |= COUNTS | HEADS | BOTH_FFN | SPECIAL
T5 = {"vocab_size": 64, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
T5 |= {"relative_attention_num_buckets": 8, "decoder_start_token_id": 0}
VISION = {"image_size": 32, "patch_size": 8} | LAYERS
STAGES = {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}
NAMES = ["stage1", "stage2", "stage3", "stage4"]
RESNET = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}
RESNET |= {"layer_type": "basic", "out_features": ["stage4"]}
SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "window_size": 4}
DETECTOR = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None, "backbone_config": RESNET}
DETECTOR |= {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "num_queries": 4} | HEADS | BOTH_FFN
SPEECH = LAYERS | {"conv_dim": [8, 8], "conv_stride": [5, 4], "conv_kernel": [10, 8], "num_feat_extract_layers": 2}
SPEECH |= {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "vocab_size": 20, "pad_token_id": 0}
SPEECH |= {"mask_time_length": 2, "mask_time_prob": 0.0, "layerdrop": 0.1}  # masks are drawn by numpy
FORECAST = {"prediction_length": 4, "context_length": 8, "lags_sequence": [1, 2], "num_time_features": 2, "d_model": 16}
FORECAST |= {"encoder_layers": 1, "decoder_layers": 1} | HEADS | {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
PATCHES = {"num_input_channels": 2, "context_length": 16, "patch_length": 4, "patch_stride": 4, "ffn_dim": 32}
PATCHES |= {"prediction_length": 4, "d_model": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_layers": 2}
STATE = {"state_size": 4, "conv_kernel": 3, "time_step_rank": 2}


def encoder(name: str, inputs: Callable[[], Inputs] = padded, **settings: Any) -> Architecture:
    return Architecture(name, TEXT | settings, inputs)


def masked(name: str, **settings: Any) -> Architecture:
    return encoder(f"{name}ForMaskedLM", **settings)


def decoder(name: str, *groups: dict[str, Any], base: dict[str, Any] = TEXT, cache: bool = False) -> Architecture:
    settings = dict(base)
    for group in groups:
        settings |= group
    return Architecture(f"{name}ForCausalLM", settings, lambda: padded() | {"use_cache": cache})


def pair(name: str, base: dict[str, Any] = PAIR, **settings: Any) -> Architecture:
    inputs = lambda: {"input_ids": words(), "decoder_input_ids": words(6), "use_cache": False}  # noqa: E731
    return Architecture(name, base | settings, inputs)


def generation(name: str, base: dict[str, Any] = PAIR, **settings: Any) -> Architecture:
    return pair(f"{name}ForConditionalGeneration", base, **settings)


def vision(name: str, inputs: Callable[[], Inputs] = images, **settings: Any) -> Architecture:
    return Architecture(name, VISION | settings, inputs)


def classifier(name: str, size: int = 32, **settings: Any) -> Architecture:
    """Return an image classifier whose settings are its own."""
    return Architecture(f"{name}ForImageClassification", settings, lambda: images(size))


def with_text(name: str, **settings: Any) -> Architecture:
    text, sight = TEXT | {"projection_dim": 8}, VISION | {"projection_dim": 8}
    config = {"text_config": text, "vision_config": sight, "projection_dim": 8} | settings
    return Architecture(name, config, lambda: {"input_ids": words()} | images())


def detector(name: str, **settings: Any) -> Architecture:
    return Architecture(name, DETECTOR | settings, lambda: images(64))


def speech(name: str, **settings: Any) -> Architecture:
    return Architecture(f"{name}ForCTC", SPEECH | settings, lambda: {"input_values": torch.randn(2, 400)})


def forecaster(name: str, **settings: Any) -> Architecture:
    return Architecture(f"{name}ForPrediction", FORECAST | settings, series)


def patches(name: str, **settings: Any) -> Architecture:
    return Architecture(name, PATCHES | settings, lambda: {"past_values": torch.randn(2, 16, 2)})


ARCHITECTURES: dict[str, Architecture] = {
    # encoders of text
    "bert": masked("Bert"),
    "bert with a loss": encoder("BertForMaskedLM", labelled),
    "bert for questions": encoder("BertForQuestionAnswering"),
    "roberta": masked("Roberta"),
    "xlm-roberta": masked("XLMRoberta"),
    "distilbert": masked("DistilBert", dim=16, n_layers=2, n_heads=2, hidden_dim=32),
    "albert": masked("Albert", embedding_size=8),
    "electra": encoder("ElectraForPreTraining", embedding_size=8),
    "deberta": masked("Deberta", relative_attention=True, pos_att_type=["c2p", "p2c"]),
    "deberta-v2": masked("DebertaV2", relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=8),
    "modernbert": masked("ModernBert"),
    "eurobert": masked("EuroBert", **ONE_KEY),
    "nomic-bert": masked("NomicBert"),
    "mobilebert": masked("MobileBert", embedding_size=8, intra_bottleneck_size=8, true_hidden_size=8),
    "squeezebert": masked("SqueezeBert", embedding_size=16),
    "convbert": masked("ConvBert", embedding_size=16),
    "megatron-bert": masked("MegatronBert"),
    "rembert": masked("RemBert", input_embedding_size=8, output_embedding_size=8),
    "mpnet": masked("MPNet"),
    "ernie": masked("Ernie"),
    "roformer": masked("RoFormer", embedding_size=16),
    "nystromformer": encoder("NystromformerForMaskedLM", lambda: {"input_ids": words(64)}, max_position_embeddings=64),
    "yoso": masked("Yoso"),
    "mra": masked("Mra"),
    "fnet": masked("FNet"),
    "longformer": masked("Longformer", attention_window=4),
    "big bird": masked("BigBird", attention_type="original_full"),
    "big bird, sparse": encoder(
        "BigBirdForMaskedLM",
        lambda: {"input_ids": words(48)},
        block_size=4,
        num_random_blocks=1,
        max_position_embeddings=64,
    ),
    "funnel": Architecture(
        "FunnelForMaskedLM",
        {"vocab_size": 64, "block_sizes": [1, 1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32},
        padded,
    ),
    "canine": encoder(
        "CanineForSequenceClassification", local_transformer_stride=2, num_hash_buckets=32, downsampling_rate=2
    ),
    "i-bert, quantised": masked("IBert", quant_mode=True),
    "esm": masked("Esm"),
    "luke": masked("Luke", entity_vocab_size=10, entity_emb_size=8),
    "layoutlm": masked("LayoutLM"),
    "tapas": encoder("TapasForSequenceClassification"),
    "splinter": encoder("SplinterForQuestionAnswering"),
    "x-mod": masked("Xmod", languages=["en_XX"], default_language="en_XX"),
    "flaubert": encoder("FlaubertWithLMHeadModel", emb_dim=16, n_layers=2, n_heads=2),
    "xlm": encoder("XLMWithLMHeadModel", emb_dim=16, n_layers=2, n_heads=2),
    "xlnet": Architecture(
        "XLNetLMHeadModel", {"vocab_size": 64, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32}, padded
    ),
    # decoders of text
    "gpt": Architecture("OpenAIGPTLMHeadModel", GPT, padded),
    "gpt-2": Architecture("GPT2LMHeadModel", GPT, lambda: padded() | {"use_cache": False}),
    "gpt-2 with a cache": Architecture("GPT2LMHeadModel", GPT, lambda: padded() | {"use_cache": True}),
    "gpt-j": decoder("GPTJ", {"rotary_dim": 4}, base=GPT),
    "gpt-neo": decoder(
        "GPTNeo", {"num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "window_size": 4}
    ),
    "gpt-neox": decoder("GPTNeoX"),
    "gpt-bigcode": decoder("GPTBigCode", base=GPT),
    "gpt-oss": decoder("GptOss", GROUPED, LOCAL_EXPERTS, {"sliding_window": 4}),
    "codegen": decoder("CodeGen", {"n_head": 4, "rotary_dim": 4, "n_ctx": 32}, base=GPT),
    "ctrl": Architecture("CTRLLMHeadModel", GPT | {"dff": 32}, lambda: padded() | {"use_cache": False}),
    "opt": decoder("OPT", {"ffn_dim": 32, "word_embed_proj_dim": 16}),
    "bloom": decoder("Bloom", {"n_layer": 2, "n_head": 2}),
    "mpt": decoder("Mpt", base={"vocab_size": 64, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 32}),
    "xglm": decoder("XGLM", {"d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 32}),
    "biogpt": decoder("BioGpt"),
    "llama": decoder("Llama", GROUPED),
    "llama with a cache": decoder("Llama", GROUPED, cache=True),
    "llama, eager": decoder("Llama", GROUPED, {"attn_implementation": "eager", "output_attentions": True}),
    "llama with a loss": Architecture("LlamaForCausalLM", TEXT | GROUPED, lambda: labelled() | {"use_cache": False}),
    "mistral": decoder("Mistral", GROUPED, {"sliding_window": 4}),
    "qwen2": decoder("Qwen2", GROUPED),
    "qwen3": decoder("Qwen3", GROUPED),
    "qwen3-next": decoder(
        "Qwen3Next",
        GROUPED | EXPERTS | {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
        {"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
        {"layer_types": ["linear_attention", "full_attention"]},
    ),
    "gemma": decoder("Gemma", GROUPED),
    "gemma 2": decoder("Gemma2", GROUPED, {"sliding_window": 4}),
    "gemma 3": decoder("Gemma3", GROUPED, {"sliding_window": 4}),
    "phi": decoder("Phi"),
    "phi 3": decoder("Phi3", ONE_KEY),
    "falcon": decoder("Falcon"),
    "falcon, alibi": decoder("Falcon", {"alibi": True}),
    "stablelm": decoder("StableLm", ONE_KEY),
    "starcoder 2": decoder("Starcoder2", ONE_KEY),
    "cohere": decoder("Cohere", ONE_KEY),
    "cohere 2": decoder("Cohere2", ONE_KEY, {"sliding_window": 4}),
    "olmo": decoder("Olmo"),
    "olmo 2": decoder("Olmo2"),
    "granite": decoder("Granite", ONE_KEY),
    "nemotron": decoder("Nemotron", GROUPED),
    "persimmon": decoder("Persimmon"),
    "glm": decoder("Glm", GROUPED),
    "smollm 3": decoder("SmolLM3", ONE_KEY),
    "helium": decoder("Helium", GROUPED),
    "diffllama": decoder("DiffLlama", {"num_key_value_heads": 2, "head_dim": 8}),
    "exaone 4": decoder("Exaone4", ONE_KEY, {"sliding_window": 4}),
    "ernie 4.5": decoder("Ernie4_5", GROUPED),
    "bitnet": decoder("BitNet", ONE_KEY),
    "apertus": decoder("Apertus", ONE_KEY),
    "doge": decoder("Doge", ONE_KEY),
    "nanochat": decoder("NanoChat", ONE_KEY),
    # mixtures of experts
    "mixtral": decoder("Mixtral", GROUPED, LOCAL_EXPERTS),
    "qwen2-moe": decoder(
        "Qwen2Moe", ONE_KEY, EXPERTS, {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
    ),
    "qwen3-moe": decoder("Qwen3Moe", GROUPED, EXPERTS, {"moe_intermediate_size": 16}),
    "olmoe": decoder("Olmoe", EXPERTS),
    "granite-moe": decoder("GraniteMoe", ONE_KEY, LOCAL_EXPERTS),
    "phi-moe": decoder("Phimoe", ONE_KEY, LOCAL_EXPERTS),
    "jetmoe": decoder("JetMoe", {"num_key_value_heads": 2, "kv_channels": 8}, LOCAL_EXPERTS),
    "minimax": decoder("MiniMax", GROUPED, LOCAL_EXPERTS, {"block_size": 4}),
    "deepseek v3": decoder(
        "DeepseekV3",
        {"num_key_value_heads": 2, "n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2},
        {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8},
        {"moe_intermediate_size": 16, "first_k_dense_replace": 1},
    ),
    # recurrences
    "mamba": decoder("Mamba", STATE),
    "mamba 2": decoder("Mamba2", {"state_size": 4, "num_heads": 4, "head_dim": 8, "n_groups": 1, "chunk_size": 4}),
    "falcon-mamba": decoder("FalconMamba", STATE),
    "recurrent gemma": decoder("RecurrentGemma", ONE_KEY, {"lru_width": 16, "num_hidden_layers": 3}),
    "jamba": decoder(
        "Jamba",
        ONE_KEY | {"num_experts": 2, "mamba_d_state": 4, "mamba_dt_rank": 2, "use_mamba_kernels": False},
        {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    ),
    "bamba": decoder(
        "Bamba",
        ONE_KEY | {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_n_groups": 1},
        {"attn_layer_indices": [1], "mamba_chunk_size": 4},
    ),
    "lfm 2": decoder("Lfm2", ONE_KEY, {"layer_types": ["conv", "full_attention"]}),
    "rwkv": decoder("Rwkv", {"attention_hidden_size": 16, "context_length": 16}),
    "xlstm": decoder(
        "xLSTM",
        {"num_heads": 2, "num_blocks": 2, "chunk_size": 4, "mode": "train", "step_kernel": "native"},
        {"chunkwise_kernel": "chunkwise--native_autograd", "sequence_kernel": "native_sequence__native"},
    ),
    # from text to text
    "t5": generation("T5", T5),
    "mt5": generation("MT5", T5),
    "umt5": generation("UMT5", T5),
    "longt5": generation("LongT5", T5, local_radius=3),
    "longt5, global": generation(
        "LongT5", T5, local_radius=3, encoder_attention_type="transient-global", global_block_size=4
    ),
    "switch": generation("SwitchTransformers", T5, num_experts=2, expert_capacity=8, num_sparse_encoder_layers=1),
    "t5-gemma": generation("T5Gemma", {"vocab_size": 64}, encoder=TEXT | GROUPED, decoder=TEXT | GROUPED),
    "bart": generation("Bart"),
    "mbart": generation("MBart"),
    "pegasus": generation("Pegasus"),
    "pegasus-x": generation("PegasusX", block_size=4, num_global_tokens=2),
    "marian": pair("MarianMTModel"),
    "blenderbot": generation("Blenderbot"),
    "m2m-100": generation("M2M100"),
    "nllb-moe": generation("NllbMoe", num_experts=2, expert_capacity=8, encoder_sparse_step=1, decoder_sparse_step=1),
    "led": generation(
        "LED", attention_window=4, max_encoder_position_embeddings=32, max_decoder_position_embeddings=32
    ),
    "prophetnet": generation(
        "ProphetNet",
        {"vocab_size": 64, "hidden_size": 16, "max_position_embeddings": 32, "ngram": 2, "num_buckets": 8} | BOTH_FFN,
        num_encoder_layers=2,
        num_encoder_attention_heads=2,
        num_decoder_layers=2,
        num_decoder_attention_heads=2,
    ),
    # images
    "vit": vision("ViTForImageClassification"),
    "deit": vision("DeiTForImageClassification"),
    "beit": vision("BeitForImageClassification", use_relative_position_bias=True, layer_scale_init_value=0.1),
    "dinov2": vision("Dinov2ForImageClassification"),
    "dinov3": vision("DINOv3ViTModel", num_register_tokens=1),
    "vit-mae": vision(
        "ViTMAEForPreTraining",
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
    ),
    "vit-det": vision(
        "VitDetModel", mlp_ratio=2, window_block_indices=[0], window_size=2, use_relative_position_embeddings=True
    ),
    "aimv2": vision("Aimv2VisionModel"),
    "swin": classifier("Swin", depths=[2, 1], num_heads=[1, 2], **SWIN),
    "swin v2": classifier("Swinv2", depths=[2, 1], num_heads=[1, 2], **SWIN),
    "swin2sr": Architecture(
        "Swin2SRForImageSuperResolution",
        {"image_size": 16, "patch_size": 1, "embed_dim": 8, "depths": [2], "num_heads": [2], "window_size": 4},
        lambda: images(16),
    ),
    "hiera": classifier(
        "Hiera",
        image_size=[32, 32],
        embed_dim=8,
        depths=[1, 1],
        num_heads=[1, 2],
        patch_size=[4, 4],
        patch_stride=[4, 4],
        patch_padding=[1, 1],
        masked_unit_size=[4, 4],
        num_query_pool=1,
    ),
    "pvt v2": classifier("PvtV2", hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, num_attention_heads=[1, 1, 2, 2]),
    "cvt": classifier("Cvt", embed_dim=[8, 8, 16], num_heads=[1, 1, 2], depth=[1, 2, 3]),
    "poolformer": classifier("PoolFormer", **STAGES),
    "focalnet": classifier(
        "FocalNet", image_size=32, embed_dim=8, depths=[1, 1], hidden_sizes=[8, 16], focal_levels=[1, 1]
    ),
    "convnext": classifier("ConvNext", **STAGES),
    "convnext v2": classifier("ConvNextV2", **STAGES),
    "resnet": classifier("ResNet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    "resnet, bottlenecks": classifier("ResNet", embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1]),
    "regnet": classifier("RegNet", embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], groups_width=4),
    "bit": classifier("Bit", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_groups=4),
    "mobilenet v1": classifier("MobileNetV1", depth_multiplier=0.125, min_depth=4),
    "mobilenet v2": classifier("MobileNetV2", depth_multiplier=0.125, min_depth=4, depth_divisible_by=4),
    "efficientnet": classifier("EfficientNet", width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320),
    "mobilevit": classifier(
        "MobileViT", hidden_sizes=[8, 8, 8], neck_hidden_sizes=[8] * 7, num_attention_heads=2, image_size=32
    ),
    "mobilevit v2": classifier("MobileViTV2", 64, width_multiplier=0.125),
    "swiftformer": classifier("SwiftFormer", embed_dims=[8] * 4, depths=[1] * 4),
    "segformer": Architecture(
        "SegformerForSemanticSegmentation",
        {"hidden_sizes": [8, 8], "depths": [1, 1], "num_attention_heads": [1, 2], "num_encoder_blocks": 2}
        | {"sr_ratios": [2, 1], "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2]}
        | {"decoder_hidden_size": 8},
        images,
    ),
    "glpn": Architecture(
        "GLPNForDepthEstimation",
        STAGES | {"num_attention_heads": [1] * 4, "sr_ratios": [2, 2, 1, 1], "decoder_hidden_size": 8},
        images,
    ),
    "dpt": vision(
        "DPTForSemanticSegmentation",
        num_hidden_layers=4,
        is_hybrid=False,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8,
        use_auxiliary_head=False,
    ),
    "upernet": Architecture(
        "UperNetForSemanticSegmentation",
        {"backbone_config": {"model_type": "convnext", "out_features": NAMES} | STAGES, "hidden_size": 8}
        | {"pool_scales": [1, 2], "auxiliary_in_channels": 8, "auxiliary_channels": 8},
        images,
    ),
    "superpoint": Architecture(
        "SuperPointForKeypointDetection",
        {"encoder_hidden_sizes": [8] * 4, "decoder_hidden_size": 8, "descriptor_decoder_dim": 8},
        images,
    ),
    "yolos": vision("YolosForObjectDetection", image_size=[32, 32], num_detection_tokens=3),
    "detr": detector("DetrForObjectDetection"),
    "conditional detr": detector("ConditionalDetrForObjectDetection"),
    "deformable detr": detector(
        "DeformableDetrForObjectDetection",
        d_model=32,
        decoder_layers=2,
        backbone_config=RESNET | {"out_features": NAMES[1:]},
        num_feature_levels=3,
    ),
    "rt-detr": Architecture(
        "RTDetrForObjectDetection",
        {"backbone_config": RESNET | {"model_type": "rt_detr_resnet", "out_features": NAMES[1:]}, "d_model": 16}
        | {"encoder_hidden_dim": 16, "encoder_in_channels": [16, 16, 32], "encoder_layers": 1, "num_denoising": 0}
        | {"decoder_in_channels": [16] * 3, "num_queries": 4, "decoder_layers": 1}
        | HEADS
        | BOTH_FFN,
        lambda: images(64),
    ),
    "maskformer": Architecture(
        "MaskFormerForInstanceSegmentation",
        {
            "backbone_config": SWIN
            | {"model_type": "swin", "depths": [1] * 4, "num_heads": [1] * 4, "out_features": NAMES}
        }
        | {"fpn_feature_size": 32, "mask_feature_size": 32, "decoder_config": DETECTOR | {"model_type": "detr"}},
        images,
    ),
    "mask2former": Architecture(
        "Mask2FormerForUniversalSegmentation",
        {
            "backbone_config": SWIN
            | {"model_type": "swin", "depths": [1] * 4, "num_heads": [1] * 4, "out_features": NAMES}
        }
        | {
            "feature_size": 32,
            "mask_feature_size": 32,
            "hidden_dim": 32,
            "encoder_feedforward_dim": 32,
            "num_queries": 4,
        }
        | {"encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2, "dim_feedforward": 32},
        images,
    ),
    "vitpose": Architecture(
        "VitPoseForPoseEstimation",
        {"backbone_config": LAYERS | {"model_type": "vitpose_backbone", "image_size": [32, 32], "patch_size": [8, 8]}},
        images,
    ),
    # videos
    "timesformer": vision("TimesformerForVideoClassification", video, num_frames=2),
    "videomae": vision("VideoMAEForVideoClassification", video, num_frames=2, tubelet_size=1),
    "vivit": vision("VivitForVideoClassification", video, num_frames=2, tubelet_size=[1, 8, 8]),
    # images and text
    "clip": with_text("CLIPModel"),
    "chinese clip": with_text("ChineseCLIPModel"),
    "altclip": with_text("AltCLIPModel"),
    "siglip": with_text("SiglipModel"),
    "owl-vit": with_text("OwlViTModel"),
    "groupvit": with_text("GroupViTModel"),
    "blip": with_text("BlipModel"),
    "clipseg": with_text("CLIPSegModel"),
    "vilt": Architecture("ViltModel", TEXT | VISION, lambda: {"input_ids": words()} | images()),
    "lxmert": encoder(
        "LxmertModel",
        lambda: padded() | {"visual_feats": torch.randn(2, 4, 8), "visual_pos": torch.rand(2, 4, 4)},
        l_layers=1,
        x_layers=1,
        r_layers=1,
        visual_feat_dim=8,
    ),
    "git": encoder(
        "GitForCausalLM", lambda: {"input_ids": words(), "use_cache": False} | images(), vision_config=VISION
    ),
    "llava": Architecture(
        "LlavaForConditionalGeneration",
        {"text_config": TEXT | ONE_KEY | {"model_type": "llama"}, "vision_feature_layer": -1, "image_token_index": 63}
        | {"vision_config": VISION | {"model_type": "clip_vision_model", "projection_dim": 8}},
        lambda: {"input_ids": torch.cat([torch.full((2, 16), 63), words()], 1), "use_cache": False} | images(),
    ),
    "sam": Architecture(
        "SamModel",
        {
            "vision_config": VISION
            | {"num_hidden_layers": 1, "output_channels": 8, "window_size": 2, "mlp_dim": 32, "num_pos_feats": 4}
            | {"global_attn_indexes": [0]},
            "prompt_encoder_config": {"hidden_size": 8, "image_size": 32, "patch_size": 8, "mask_input_channels": 4},
            "mask_decoder_config": {"hidden_size": 8, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
            | {"iou_head_hidden_dim": 8},
        },
        lambda: images() | {"input_points": 30 * torch.rand(2, 1, 2, 2)},
    ),
    "perceiver": Architecture(
        "PerceiverForMaskedLM",
        {"vocab_size": 64, "d_model": 16, "num_latents": 4, "d_latents": 16, "num_blocks": 1, "qk_channels": 16}
        | {"num_self_attends_per_block": 2, "num_self_attention_heads": 2, "num_cross_attention_heads": 2}
        | {"max_position_embeddings": 32, "v_channels": 16},
        padded,
    ),
    # sound
    "wav2vec2": speech("Wav2Vec2"),
    "wav2vec2, layer norm": speech("Wav2Vec2", feat_extract_norm="layer", do_stable_layer_norm=True),
    "wav2vec2-conformer": speech("Wav2Vec2Conformer"),
    "hubert": speech("Hubert"),
    "wavlm": speech("WavLM"),
    "unispeech": speech("UniSpeech"),
    "sew": speech("SEW", squeeze_factor=2),
    "data2vec-audio": speech("Data2VecAudio", conv_pos_kernel_size=8),
    "whisper": Architecture(
        "WhisperForConditionalGeneration",
        PAIR | {"num_mel_bins": 8, "max_source_positions": 20, "max_target_positions": 16},
        lambda: {"input_features": torch.randn(2, 8, 40), "decoder_input_ids": words(5), "use_cache": False},
    ),
    "speech to text": Architecture(
        "Speech2TextForConditionalGeneration",
        PAIR
        | {"input_feat_per_channel": 8, "max_source_positions": 64, "max_target_positions": 16, "conv_channels": 16},
        lambda: {"input_features": torch.randn(2, 40, 8), "decoder_input_ids": words(5), "use_cache": False},
    ),
    "audio spectrogram": Architecture(
        "ASTForAudioClassification",
        LAYERS | {"patch_size": 4, "frequency_stride": 4, "time_stride": 4, "max_length": 16, "num_mel_bins": 8},
        lambda: {"input_values": torch.randn(2, 16, 8)},
    ),
    "encodec": Architecture(
        "EncodecModel",
        {"hidden_size": 8, "num_filters": 4, "upsampling_ratios": [4, 2], "codebook_size": 16, "codebook_dim": 8}
        | {"num_lstm_layers": 1, "target_bandwidths": [6.0], "sampling_rate": 4000},
        lambda: {"input_values": torch.randn(1, 1, 64)},
    ),
    "dac": Architecture(
        "DacModel",
        {"encoder_hidden_size": 8, "downsampling_ratios": [2, 2], "decoder_hidden_size": 16, "n_codebooks": 2}
        | {"codebook_size": 16, "codebook_dim": 4},
        lambda: {"input_values": torch.randn(1, 1, 64)},
    ),
    "vits": Architecture(
        "VitsModel",
        {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 16}
        | {"flow_size": 16, "spectrogram_bins": 9, "prior_encoder_num_flows": 2, "upsample_initial_channel": 16}
        | {"upsample_rates": [2, 2], "upsample_kernel_sizes": [4, 4], "resblock_kernel_sizes": [3]}
        | {"resblock_dilation_sizes": [[1]], "duration_predictor_num_flows": 2, "duration_predictor_flow_bins": 4}
        | {"wavenet_num_layers": 1, "prior_encoder_num_wavenet_layers": 1, "posterior_encoder_num_wavenet_layers": 1},
        lambda: {"input_ids": words()},
    ),
    "musicgen": decoder("Musicgen", {"ffn_dim": 32, "num_codebooks": 1}),
    # series
    "time series transformer": forecaster("TimeSeriesTransformer"),
    "informer": forecaster("Informer"),
    "autoformer": forecaster("Autoformer", moving_average=3, label_length=2),
    "patchtst": patches("PatchTSTForPrediction"),
    "patchtst, masked": patches("PatchTSTForPretraining", random_mask_ratio=0.4),
    "patchtsmixer": patches("PatchTSMixerForPrediction"),
    "decision transformer": Architecture(
        "DecisionTransformerModel",
        {
            "state_dim": 3,
            "act_dim": 2,
            "hidden_size": 16,
            "n_layer": 2,
            "n_head": 2,
            "max_ep_len": 32,
            "n_positions": 64,
        },
        lambda: {
            "states": torch.randn(2, 5, 3),
            "actions": torch.randn(2, 5, 2),
            "rewards": torch.randn(2, 5, 1),
            "returns_to_go": torch.randn(2, 5, 1),
            "timesteps": torch.arange(5).expand(2, 5),
        },
    ),
}
"""What it is called -> how it is made."""

NOT_RUN_AGAIN = {"bloom", "i-bert, quantised", "phi-moe", "recurrent gemma", "yoso"}
"""Those with an ``autograd.Function`` of their own."""

DEPENDS_ON_NUMBERS = {"autoformer", "jetmoe", "nllb-moe", "switch", "vits"}
"""Those in which numbers leave the graph, as lengths or as how much is drawn: another input takes another way."""
