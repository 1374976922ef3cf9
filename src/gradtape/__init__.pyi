from .tape import Tape as Tape, record as record
from .transforms import Reverse as Reverse, Scale as Scale, Stop as Stop, chain as chain
from .transforms import reverse as reverse, scale as scale, stop as stop
