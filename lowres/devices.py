"""How a training is spread over devices and hosts, and how often it is saved. Never hashed: nothing computed depends
on it but for rounding.
"""

from pydantic import Field

from lowres.fingerprint import Spec


class Mesh(Spec):
    """`mesh = {...}`: the devices as a grid of three axes."""

    data: int = Field(default=1, ge=1)
    """Groups of devices that each hold all weights and read rows of their own."""
    fsdp: int | None = Field(default=None, ge=1)
    """Devices that read rows of their own and share the weights among them. Unset: all that data and tensor leave."""
    tensor: int = Field(default=1, ge=1)
    """Devices that share the heads and the inner width of every layer, and the vocabulary; it divides the heads."""


class Saving(Spec):
    """`checkpoints = {...}`: of a training on several devices."""

    folder: str | None = None
    """A folder or URL that every host sees, with a folder in it for each training. Unset: the store's work folder."""
    seconds: float = Field(default=30.0, ge=0)
    """From one checkpoint to the next; longer where writing one takes over a twentieth of that."""
    keep: int = Field(default=1, ge=1)
    """The newest so many are kept."""
    keep_every: int | None = Field(default=None, ge=1)
    """Those of the steps that this divides are saved and kept as well."""


class Devices(Spec):
    """What a stage is told of them."""

    mesh: Mesh = Mesh()
    hosts: int = Field(default=1, ge=1)
    """Machines that run the same command."""
    checkpoints: Saving = Saving()
