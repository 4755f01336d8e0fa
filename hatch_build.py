"""Builds the compiled kernels into an editable installation or a wheel, where there is a C compiler.

Without one the installation is pure Python, and `lowres doctor` says so.
"""

import sysconfig
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNELS = Path("lowres/kernels")


class KernelsHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        # by its path: lowres itself cannot be imported here, its dependencies are not installed yet
        source = Path(self.root) / KERNELS / "build.py"
        spec = spec_from_file_location("build_kernels", source)
        assert spec is not None and spec.loader is not None
        building = module_from_spec(spec)
        spec.loader.exec_module(building)
        self.place = tempfile.TemporaryDirectory()
        target = source.parent if version == "editable" else Path(self.place.name)
        try:
            made = building.build(target)
        except building.NotBuilt as missing:
            self.app.display_warning(f"no compiled kernels: {missing}")
            return
        if version != "editable":
            build_data["force_include"].update({str(path): (KERNELS / path.name).as_posix() for path in made})
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self.place.cleanup()
