#!/usr/bin/env bash
# PROGRAM train|test (older versions: train|test PROGRAM). Prints one JSON object.
set -euo pipefail
exec python -c 'from windtunnel.evolve import skydiscover_main; skydiscover_main(@SUITE@)' "$@"
