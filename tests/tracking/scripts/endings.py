"""Ends in as many ways as a script can; with a second argument it trains first."""

import atexit
import os
import signal
import sys
import time


def end(how):
    if how == "raise":
        raise ValueError("the script's own")
    if how == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    if how == "killed":
        time.sleep(1)  # numbers wait a quarter of a second for company before they are stored
        os._exit(7)
    sys.exit({"three": 3, "text": "words on standard error", "none": None}[how])


atexit.register(print, "at exit")
print("torch" in sys.modules, sys.argv[0], sys.path[0], __file__, __spec__, __package__, sorted(globals()))
if len(sys.argv) > 2:
    import torch

    layer = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()
print("trained", flush=True)
end(sys.argv[1])
