"""A GAN in one LightningModule, optimized by hand; then a classifier, optimized by Lightning, clipped, accumulated."""

import logging
import sys
import warnings

import torch
from torch import nn

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

import lightning as L

CALLBACKS = []  # of a test


class GAN(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
        self.automatic_optimization = False

    def training_step(self, batch, index):
        first, second = self.optimizers()
        for optimizer, sign in ((first, 1.0), (second, -1.0)):
            optimizer.zero_grad()
            self.manual_backward(sign * self.discriminator(self.generator(batch)).mean())
            optimizer.step()

    def configure_optimizers(self):
        return torch.optim.Adam(self.generator.parameters()), torch.optim.Adam(self.discriminator.parameters())


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 1))

    def training_step(self, batch, index):
        return self.layers(batch).square().mean()

    def validation_step(self, batch, index):
        self.log("val/loss", self.layers(batch).square().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def trainer(**options):
    silent = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return L.Trainer(accelerator="cpu", max_epochs=2, callbacks=CALLBACKS, **silent, **options)


torch.manual_seed(0)
data = torch.utils.data.DataLoader(torch.randn(32, 2), batch_size=8)
if "classifier" not in sys.argv:
    gan = GAN()
    trainer().fit(gan, data)
    weights = gan.state_dict()
if "gan" not in sys.argv:
    classifier = Classifier()
    trainer(gradient_clip_val=0.01, accumulate_grad_batches=2, num_sanity_val_steps=1).fit(classifier, data, data)
    weights = {**(weights if "classifier" not in sys.argv else {}), **classifier.state_dict()}
