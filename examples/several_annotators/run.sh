#!/usr/bin/env bash
# run.sh LABELLED: three people fill in the same sheets; people.py stands in for them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

coreloop init shared --images "$1" --labeler csv --budgets "${BUDGETS:-40}" --test "${TEST:-60}"
cd shared
sed -i.bak 's/^overlap = 1$/overlap = 3/' coreloop.toml && rm coreloop.toml.bak
for round in 0 1; do
    coreloop run                         # writes sheets/round-N-....csv
    ${PYTHON:-python} "$here/people.py" sheets alice 0.05
    ${PYTHON:-python} "$here/people.py" sheets bob 0.25
    ${PYTHON:-python} "$here/people.py" sheets carol 0.05
done
coreloop run                             # brings the answers back and trains
coreloop labels                          # do they agree, and who errs?
coreloop export --format votes           # cleanlab's table
coreloop report
