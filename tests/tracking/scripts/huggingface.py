"""A tiny BERT, made from its configuration, trained by the Trainer of transformers."""

import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
from transformers.utils import logging

CALLBACKS = []  # of a test

logging.disable_progress_bar()
torch.manual_seed(0)
config = BertConfig(
    vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, num_labels=2
)
bert = BertForSequenceClassification(config)
data = [{"input_ids": torch.randint(0, 32, (8,)), "labels": int(i % 2)} for i in range(32)]
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        output_dir=folder, per_device_train_batch_size=4, gradient_accumulation_steps=2, num_train_epochs=2, seed=3,
        learning_rate=1e-3, max_grad_norm=0.1, logging_steps=1, eval_strategy="epoch", save_strategy="no", report_to=[],
        use_cpu=True, disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(model=bert, args=arguments, train_dataset=data, eval_dataset=data[:8], callbacks=CALLBACKS)
    trainer.train()
logged = trainer.state.log_history
weights = bert.state_dict()
