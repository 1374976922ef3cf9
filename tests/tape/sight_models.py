"""Tiny models of transformers that see images, videos, or images and text."""

from collections.abc import Callable
from typing import Any

import torch

from tests.tape.tiny import BOTH_FFN, HEADS, LAYERS, TEXT, VISION, Architecture, Inputs, images, padded, words

STAGES = {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}
NAMES = ["stage1", "stage2", "stage3", "stage4"]
RESNET = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}
RESNET |= {"layer_type": "basic", "out_features": ["stage4"]}
SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "window_size": 4}
DETECTOR = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None, "backbone_config": RESNET}
DETECTOR |= {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "num_queries": 4} | HEADS | BOTH_FFN


def video(name: str = "pixel_values") -> Inputs:
    return {name: torch.randn(1, 2, 3, 32, 32)}


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


SIGHT_MODELS: dict[str, Architecture] = {
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
    "lxmert": Architecture(
        "LxmertModel",
        TEXT | {"l_layers": 1, "x_layers": 1, "r_layers": 1, "visual_feat_dim": 8},
        lambda: padded() | {"visual_feats": torch.randn(2, 4, 8), "visual_pos": torch.rand(2, 4, 4)},
    ),
    "git": Architecture(
        "GitForCausalLM",
        TEXT | {"vision_config": VISION},
        lambda: {"input_ids": words(), "use_cache": False} | images(),
    ),
    "llava": Architecture(
        "LlavaForConditionalGeneration",
        {
            "text_config": TEXT | {"model_type": "llama", "num_key_value_heads": 1},
            "vision_feature_layer": -1,
            "image_token_index": 63,
        }
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
}
