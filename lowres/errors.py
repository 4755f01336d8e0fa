"""The tree of errors that lowres raises.

Every message is one line that states the rule, what came, and the mend, with the file and key first where there is one.
"""


class LowresError(Exception):
    """A fault that the user can mend; printed as one line, never as a traceback."""


class RecipeError(LowresError):
    """One or more faults of a recipe or a card, found in one pass and printed one a line.

    faults: the lines, at least one.
    """

    def __init__(self, faults: list[str] | str):
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class DataError(LowresError):
    """Data that is missing, truncated, empty, of another checksum, or not what its card says."""


class StoreError(LowresError):
    """The store cannot be read or written: a full disk, a damaged artifact, a missing permission."""


class ShapeError(LowresError):
    """Arrays whose shapes do not fit each other."""


class NotFinite(LowresError):
    """A loss or a weight became infinite or not a number; the cell ends as `nan`."""


class Stopped(LowresError):
    """The run was asked to stop; what was reached is kept and the next run goes on from there."""
