import subprocess
import sys

CODE = """
import sys
sys.path.insert(0, {place!r})
from lowres.guard import guard_torchvision
print(guard_torchvision(), [name for name, module in sys.modules.items() if name.startswith("torchvision") and module])
try:
    import torchvision
except ImportError:
    print("absent")
"""


def out(place) -> str:
    command = [sys.executable, "-c", CODE.format(place=str(place))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_broken_torchvision_is_marked_as_absent(tmp_path):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "part.py").write_text("")
    (package / "__init__.py").write_text("from torchvision import part\nraise RuntimeError('no such operator')\n")
    assert out(tmp_path) == "False []\nabsent\n"


def test_a_sound_torchvision_is_left_alone(tmp_path):
    (tmp_path / "torchvision.py").write_text("")
    assert out(tmp_path) == "True ['torchvision']\n"
