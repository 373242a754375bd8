"""Print the requirements in a wheel's METADATA that hold here, less the CUDA-only ones."""

import email
import sys
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

CUDA_ONLY = {"torchaudio", "torchvision", "torchcodec"}

metadata = email.message_from_string(Path(sys.argv[1]).read_text())
environment = {**default_environment(), "extra": ""}
for line in metadata.get_all("Requires-Dist", []):
    requirement = Requirement(line)
    holds = requirement.marker is None or requirement.marker.evaluate(environment)
    if holds and requirement.name not in CUDA_ONLY:
        requirement.marker = None
        print(requirement)
