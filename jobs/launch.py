"""Start a verb from a script in this folder.

The `python` of a submitted job is the one of the head node's PATH, and may lack our packages: that is said in a line.
"""

import sys


def launch(verb: str) -> None:
    """Run a verb with this process's arguments, and exit with its status."""
    try:
        from ulmfit_ray.cli import main
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error}; {sys.executable} lacks a package of ulmfit-ray: see cluster/README.md")
    sys.exit(main([verb, *sys.argv[1:]]))
