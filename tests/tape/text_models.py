"""Tiny models of transformers that read or write text."""

from collections.abc import Callable
from typing import Any

from tests.tape.tiny import BOTH_FFN, PAIR, SPECIAL, TEXT, Architecture, Inputs, padded, words

GPT = {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32} | SPECIAL
GROUPED = {"num_key_value_heads": 1, "head_dim": 8}
ONE_KEY = {"num_key_value_heads": 1}
EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2}
LOCAL_EXPERTS = {"num_local_experts": 3, "num_experts_per_tok": 2}
T5 = {"vocab_size": 64, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
T5 |= {"relative_attention_num_buckets": 8, "decoder_start_token_id": 0}
STATE = {"state_size": 4, "conv_kernel": 3, "time_step_rank": 2}


def labelled() -> Inputs:
    return padded() | {"labels": words()}


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


TEXT_MODELS: dict[str, Architecture] = {
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
}
