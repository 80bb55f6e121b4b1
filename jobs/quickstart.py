"""The whole road on the sample: raw text -> tokens -> language model -> retriever -> embeddings -> search.

    make quickstart
    python jobs/quickstart.py --output build/quickstart

Reads jobs/sample/scifact. Writes every stage's output and summary.json below --output. Run again, it does only
what is missing. Run from the repository's root.
"""

import sys

from ulmfit_ray.cli import Verb, run_job

if __name__ == "__main__":
    sys.exit(run_job(Verb("pipelines.quickstart", "QuickstartConfig", ""), "python jobs/quickstart.py", sys.argv[1:]))
