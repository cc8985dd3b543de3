"""A trainer that copies an adapter: `python copying_trainer.py FOLDER job.json`."""

import json
import shutil
import sys
from pathlib import Path


def main(source: str, job: str) -> None:
    """Copy `source` to the job's output folder and report it."""
    output = Path(json.loads(Path(job).read_text())["output"])
    shutil.copytree(source, output)
    saved = {"event": "saved", "folder": str(output), "sha256": "0" * 64, "seconds": 0.1}
    sys.stdout.write(json.dumps(saved) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
