"""Architectures of Hugging Face transformers, tiny and with random weights: each comes with its inputs."""

from typing import Any

import torch

from tests.tape.sight_models import SIGHT_MODELS
from tests.tape.text_models import TEXT_MODELS
from tests.tape.tiny import HEADS, LAYERS, PAIR, TEXT, Architecture, Inputs, words

SPEECH = LAYERS | {"conv_dim": [8, 8], "conv_stride": [5, 4], "conv_kernel": [10, 8], "num_feat_extract_layers": 2}
SPEECH |= {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "vocab_size": 20, "pad_token_id": 0}
SPEECH |= {"mask_time_length": 2, "mask_time_prob": 0.0, "layerdrop": 0.1}  # masks are drawn by numpy
FORECAST = {"prediction_length": 4, "context_length": 8, "lags_sequence": [1, 2], "num_time_features": 2, "d_model": 16}
FORECAST |= {"encoder_layers": 1, "decoder_layers": 1} | HEADS | {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
PATCHES = {"num_input_channels": 2, "context_length": 16, "patch_length": 4, "patch_stride": 4, "ffn_dim": 32}
PATCHES |= {"prediction_length": 4, "d_model": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_layers": 2}


def series() -> Inputs:
    past = {"past_values": torch.rand(2, 10), "past_time_features": torch.randn(2, 10, 2)}
    future = {"future_values": torch.rand(2, 4), "future_time_features": torch.randn(2, 4, 2)}
    return past | future | {"past_observed_mask": torch.ones(2, 10), "use_cache": False}


def speech(name: str, **settings: Any) -> Architecture:
    return Architecture(f"{name}ForCTC", SPEECH | settings, lambda: {"input_values": torch.randn(2, 400)})


def forecaster(name: str, **settings: Any) -> Architecture:
    return Architecture(f"{name}ForPrediction", FORECAST | settings, series)


def patches(name: str, **settings: Any) -> Architecture:
    return Architecture(name, PATCHES | settings, lambda: {"past_values": torch.randn(2, 16, 2)})


SOUND_AND_SERIES: dict[str, Architecture] = {
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
    "musicgen": Architecture(
        "MusicgenForCausalLM",
        TEXT | {"ffn_dim": 32, "num_codebooks": 1},
        lambda: {"input_ids": words(), "use_cache": False},
    ),
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

ARCHITECTURES = TEXT_MODELS | SIGHT_MODELS | SOUND_AND_SERIES
"""What it is called -> how it is made."""

NOT_RUN_AGAIN = {"bloom", "i-bert, quantised", "phi-moe", "recurrent gemma", "yoso"}
"""Those with an ``autograd.Function`` of their own."""

DEPENDS_ON_NUMBERS = {"autoformer", "jetmoe", "nllb-moe", "switch", "vits"}
"""Those in which numbers leave the graph, as lengths or as how much is drawn: another input goes another way."""
