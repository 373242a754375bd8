#!/bin/bash
# Serves one of the tiny models on loopback, in the foreground; ready when /health answers 200.
#   serve.sh MODEL PORT [more flags of vllm serve]      MODEL: random | tool-calls
set -euo pipefail
model=$1 port=$2
shift 2
cd "${REAL_VLLM_HOME:-$HOME/.cache/real-vllm}"
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
export VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1
export VLLM_SERVER_DEV_MODE=1 VLLM_HOST_IP=127.0.0.1 GLOO_SOCKET_IFNAME=lo
exec venv/bin/vllm serve "models/$model" --served-model-name tiny --host 127.0.0.1 --port "$port" \
  --max-model-len 8192 --dtype float32 --enforce-eager --max-num-seqs 32 \
  --enable-auto-tool-choice --tool-call-parser hermes "$@"
