"""A step of the package build: the wheel brings the payload images along, so a host under test needs no compiler."""

import sys
from pathlib import Path
from types import ModuleType

from setuptools.command.build_py import build_py

PACKAGE = "virtproof/guest_payloads"


class BuildWithImages(build_py):
    """``build_py``, and then the images.  An editable install builds them on first use."""

    editable_mode = False

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self._images().build_all(Path(self.build_lib, PACKAGE, "images"))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        built = Path(self.build_lib, PACKAGE, "images").glob("*")
        return [*super().get_outputs(include_bytecode), *map(str, built)]

    def _images(self) -> ModuleType:
        sys.path.insert(0, self.get_package_dir(""))
        from virtproof.guest_payloads import images  # noqa: PLC0415 -- nothing is installed while it is built

        return images
