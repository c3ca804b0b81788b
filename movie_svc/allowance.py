"""How many requests to TMDB one call may cause."""

from dataclasses import dataclass
from typing import Final

MOST_REQUESTS: Final = 2
"""What a call needs mostly is one; the other is for trying again, or for what goes with it."""


@dataclass(slots=True)
class Allowance:
    """What is left of them. Handed along with a call, and spent by each request that is made for it."""

    left: int = MOST_REQUESTS

    def spend(self) -> bool:
        """Take one, and say whether there was one to take."""
        if self.left < 1:
            return False
        self.left -= 1
        return True
