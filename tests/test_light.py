"""`import gamlib` stays light: what is slow to import comes in when it is used."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("heavy", ["torchvision", "matplotlib", "seaborn", "pandas", "timm"])
def test_import_gamlib_leaves_out(heavy):
    code = f"import sys, gamlib; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_everything_public_is_there():
    import gamlib

    for name in gamlib.__all__:
        assert getattr(gamlib, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = gamlib.nonsense
