"""What tests that build a distribution need."""

from __future__ import annotations

import shutil

import pytest
import setuptools

BUILDS = [
    pytest.mark.skipif(
        int(setuptools.__version__.split(".")[0]) < 77,
        reason=f"setuptools {setuptools.__version__} is too old to build",
    ),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc to build the payload images with"),
]
