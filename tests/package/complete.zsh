# What a line becomes when Tab is pressed in zsh: complete.zsh LINE. zsh completes at a terminal only, so one is made.
zmodload zsh/zpty
zpty shell zsh -f -i
# What is typed before the prompt is echoed by the terminal, not by the shell; and so is this line, in which the prompt is
# written otherwise than it looks.
zpty -w shell "autoload -Uz compinit; compinit -u -d /root/try/zcompdump; PS1='rea''dy> '"
zpty -r -m shell text '*ready> *'
zpty -w -n shell "$1"$'\t'
# The mark shows up once the completion is done.
zpty -w -n shell $' #done'
zpty -r -m shell text '*#done*'
print -r -- "$text"
zpty -d shell
