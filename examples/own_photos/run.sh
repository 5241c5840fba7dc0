#!/usr/bin/env bash
# run.sh PHOTOS CLASSES: make the project, send the first images, say where they are.
# LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY say which server; type the same again after labelling.
set -euo pipefail

if [ ! -f photos/coreloop.toml ]; then
    coreloop init photos --images "$1" --classes "$2" --labeler label-studio \
        --encoder "${ENCODER:-timm:vit_small_patch14_dinov2.lvd142m}" \
        --budgets "${BUDGETS:-50,50,100}" --measure "${SAMPLE:-100}"
fi
cd photos
coreloop doctor
coreloop run      # scans, embeds, pushes; or brings answers back, trains, picks the next images
coreloop status
coreloop report
