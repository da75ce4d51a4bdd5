"""The command line: what is typed, and what a person sees.

Every command begins here, in the standard library alone: what the project needs may not be installed.
"""

import sys
from importlib.util import find_spec

# What pyproject.toml asks for in any case, as it is imported.
NEEDED = (
    "typer", "rich", "pydantic", "torch", "numpy", "fvcore", "safetensors", "cv2", "PIL", "isal", "skimage", "pandas",
    "jinja2", "psutil", "pynvml", "pooch", "requests", "tqdm", "platformdirs", "filelock", "yaml",
)  # fmt: skip
_REMEDY = (
    "activate the project's environment (. .venv/bin/activate), or make it first: make demo; "
    "or install into this one, in the project's folder: pip install -e ."
)
_lacking = [name for name in NEEDED if find_spec(name) is None]
if sys.version_info < (3, 11) or _lacking:
    what = "is older than 3.11" if sys.version_info < (3, 11) else f"lacks {', '.join(_lacking)}"
    print(f"error: {sys.executable} {what}; {_REMEDY}", file=sys.stderr)
    sys.exit(2)
