#!/usr/bin/env bash
# run.sh LABELLED: compare methods on images whose labels are known, in one folder per class.
set -euo pipefail

coreloop simulate "$1" --project rehearsal --encoder "${ENCODER:-pixels}" \
    --methods "${METHODS:-random,auto,kmeans,margin}" \
    --per-class "${PER_CLASS:-1,2,5,10}" --seeds "${SEEDS:-5}"
# which of them gets to the target with the fewest labels?
coreloop plan rehearsal --project rehearsal --target "${TARGET:-0.9}"
