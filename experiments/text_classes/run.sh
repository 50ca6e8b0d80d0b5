#!/bin/sh
# Every result of this study: experiments/text_classes/run.sh FOLDER_OF_DATA, in a folder of its own.
set -e
here=$(cd "$(dirname "$0")" && pwd)
export GATEWISE_DATA="$1"
python "$here/linear.py" "$GATEWISE_DATA/mr" 1
python "$here/folds.py" experiment=text/mr seed=1
python "$here/folds.py" experiment=text/mr seed=1 data.log_count_ratios=false
gatewise train experiment=text/verses wandb.mode=disabled
gatewise train experiment=text/verses wandb.mode=disabled data.log_count_ratios=true
