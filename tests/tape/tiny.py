"""What the tiny models of Hugging Face transformers in the tests have in common."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn

Inputs = dict[str, Any]

SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LAYERS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {"vocab_size": 64, "max_position_embeddings": 32} | LAYERS | SPECIAL
BOTH_FFN = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
COUNTS = {"encoder_layers": 2, "decoder_layers": 2}
PAIR = {"vocab_size": 64, "d_model": 16, "max_position_embeddings": 32, "decoder_start_token_id": 1}
PAIR |= COUNTS | HEADS | BOTH_FFN | SPECIAL
VISION = {"image_size": 32, "patch_size": 8} | LAYERS


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


def images(size: int = 32, name: str = "pixel_values") -> Inputs:
    return {name: torch.randn(2, 3, size, size)}
