#!/bin/sh
# Tell Spark which GPUs this machine has, as spark.worker.resource.gpu.discoveryScript and
# spark.executor.resource.gpu.discoveryScript expect it: {"name": "gpu", "addresses": ["0", "1"]}.
set -eu
addresses=$(nvidia-smi --query-gpu=index --format=csv,noheader | sed 's/.*/"&"/' | paste -sd, -)
echo "{\"name\": \"gpu\", \"addresses\": [$addresses]}"
