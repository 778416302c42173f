#!/bin/bash
# What bash offers for the words given: complete.bash WORD..., the last one being completed. Loads the completion as an
# interactive shell does at its first Tab, by the command's name.
set -euo pipefail
set +u
# shellcheck source=/dev/null
source /usr/share/bash-completion/bash_completion
_completion_loader "$1" || [[ $? -eq 124 ]]
function=$(complete -p "$1" | sed 's/.*-F \([^ ]*\).*/\1/')
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
"$function" "$1" "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
