"""What the contract has and this version does not answer yet, within RPCs that otherwise work."""

from collections.abc import Mapping, Sequence


class NotImplementedYet(Exception):
    """A request uses fields that come later."""

    status = "UNIMPLEMENTED"
    reason = "NOT_IMPLEMENTED"

    def __init__(self, fields: Sequence[str]) -> None:
        names = ", ".join(fields)
        super().__init__(f"Not implemented yet: {names}. Leave it out for now.")
        self.metadata: Mapping[str, str] = {"field": names}
