#!/usr/bin/env bash
# run.sh LABELLED: a rehearsal whose answers come from folder names, then three questions to it.
set -euo pipefail

coreloop init budget --images "$1" --labelled --labeler oracle \
    --budgets "${BUDGETS:-20,40,80}" --test "${TEST:-360}"
cd budget
coreloop run
coreloop plan --target "${TARGET:-0.97}" --hourly-rate 25    # what does the target take?
coreloop plan --budget-money "${MONEY:-20}" --hourly-rate 25 # what does the money buy?
coreloop plan --stop-below 1                                 # is it worth going on?
