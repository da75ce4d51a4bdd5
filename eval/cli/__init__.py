"""The command line: what is typed, and what a person sees.

Every command begins here, in the standard library alone: what the project needs may not be installed.
"""

import sys
from importlib.util import find_spec

_REMEDY = "activate the project's environment (. .venv/bin/activate), or make it first: make demo"
if sys.version_info < (3, 11) or find_spec("typer") is None:
    what = "is older than 3.11" if sys.version_info < (3, 11) else "lacks typer"
    print(f"error: {sys.executable} {what}; {_REMEDY}", file=sys.stderr)
    sys.exit(2)
