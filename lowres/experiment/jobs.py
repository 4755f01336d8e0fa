"""What the driver sends a worker: one serialisable Job. An executor is whatever runs Jobs."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from lowres.artifacts import Node, Run
from lowres.devices import Devices
from lowres.fingerprint import Spec

StageFunction = Callable[[Mapping[str, Path], Any, Run], None]


class Job(BaseModel):
    """One node to build, and the resources to do it with.

    spec_type: "module:class" of the spec. inputs: role -> artifact id. files: sha256 -> path of raw files.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    stage: str
    version: int
    worker: str
    target: str
    spec_type: str
    spec: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, str] = {}
    threads: int = 1
    device: str = "cpu"
    devices: Devices = Devices()

    @classmethod
    def of(
        cls, node: Node, files: Mapping[str, Path], threads: int, device: str, devices: Devices | None = None
    ) -> "Job":
        """The job that builds `node`."""
        kind = type(node.spec)
        return cls(
            id=node.id,
            stage=node.stage.name,
            version=node.stage.version,
            worker=node.stage.worker,
            target=node.stage.target,
            spec_type=f"{kind.__module__}:{kind.__qualname__}",
            spec=node.spec.model_dump(mode="json"),
            inputs={role: child.id for role, child in node.inputs.items()},
            files={sha: str(path) for sha, path in files.items()},
            threads=threads,
            device=device,
            devices=devices or Devices(),
        )

    def load(self) -> StageFunction:
        """The stage's function; its room's framework is imported here."""
        return imported(self.target)

    def typed_spec(self) -> Spec:
        """The spec as its class."""
        return imported(self.spec_type).model_validate(self.spec)


def imported(target: str) -> Any:
    """The object that "module:name" names."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
