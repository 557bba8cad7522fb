"""The order of the 21 joints of a hand: that of OpenPose, wrist first, each finger from its root to its tip.

The joints of the fingers are named after what they are on a hand; ``thumb_1`` is the carpometacarpal joint, the ``_1``
of the other fingers are the knuckles (MCP).
"""

from typing import Literal

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
FINGERS = ("thumb", "index", "middle", "ring", "little")
JOINTS = ("wrist", *(f"{finger}_{place}" for finger in FINGERS for place in ("1", "2", "3", "tip")))
COUNT = len(JOINTS)
WRIST = 0
KNUCKLES = (5, 9, 13, 17)  # of index, middle, ring and little finger
TIPS = (4, 8, 12, 16, 20)
PALM = (WRIST, 1, *KNUCKLES)  # joints that bending the fingers does not move

FROM_MANO = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""Where each joint is in MANO's own order: wrist, index, middle, little, ring, thumb (three each), then five tips."""
