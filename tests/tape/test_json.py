"""The graph as JSON: every node's figures, by hand."""

import json
import math

import torch
from torch import nn

import gradtape as gt


def test_a_small_graph_in_full() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 0.0], [0.0, -4.0]]))
    tape = gt.record(model, torch.ones(1, 2))
    tape.backward(tape.output.sum())
    nodes = json.loads(tape.to_json())["nodes"]
    assert [(n["position"], n["name"], n["op"], n["module"], n["parents"], n["output"]) for n in nodes] == [
        (0, "input", "input", "", [], False),
        (1, "0", "linear", "0", [0], False),
        (2, "1", "relu", "1", [1], True),
    ]
    assert [(n["shape"], n["dtype"], n["bytes"]) for n in nodes] == [([1, 2], "float32", 8)] * 3
    assert [round(n["value_norm"], 5) for n in nodes] == [round(math.sqrt(2), 5), 5.0, 3.0]
    assert [round(n["grad_norm"], 5) for n in nodes] == [3.0, 1.0, round(math.sqrt(2), 5)]
    assert nodes[1]["source"].rpartition(":")[0].endswith("test_json.py")


def test_what_has_no_norm_and_what_json_has_no_number_for() -> None:
    with gt.Tape() as tape:
        x = torch.tensor([1.0, math.inf])
        torch.tensor([1, 2]) + 1
        (x * math.nan).to(torch.float16)
    nodes = json.loads(tape.to_json())["nodes"]
    assert [(n["dtype"], n["value_norm"]) for n in nodes] == [
        ("float32", "inf"),
        ("int64", None),
        ("int64", None),
        ("float32", "nan"),
        ("float16", "nan"),
    ]
    assert all(n["grad_norm"] is None for n in nodes)
    assert json.loads(gt.Tape().to_json()) == {"nodes": []}
