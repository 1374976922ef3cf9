"""Record a computation as a graph of intermediate results; walk it, replay it, steer a node, invert a node."""

from gradtape.tape import select
from gradtape.tape._compare import Comparison, Difference
from gradtape.tape._invert import Inverted
from gradtape.tape._node import Node
from gradtape.tape._record import record
from gradtape.tape._steer import Steered
from gradtape.tape._tape import Tape
from gradtape.tape._verify import Verification

__all__ = ["Comparison", "Difference", "Inverted", "Node", "Steered", "Tape", "Verification", "record", "select"]
