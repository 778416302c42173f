# A server as the docs have it, for tests/docs: /var/lib/strongroom, /mnt/usb, /run/keys, a TPM, a token `payroll`, a disk
# /dev/sdb, the host name db1. Nothing of it is outside this process's namespaces, and all of it ends with them.
#
# Read by bash in namespaces of its own (mount, PID, network, UTS, IPC). $WORLD is a directory of this world's own, $CLONE
# the repository, $STRONGROOM the program. Runs what comes through $WORLD/commands, and ends each by its exit code between
# two control characters.
set -o pipefail
umask 022

# -- what a comment `test:` in the docs may call ---------------------------------------------------------------------------

tpm_uri=tpm:swtpm:host=127.0.0.1,port=2321

# The TPM is switched on. Its state stays over tpm_off.
tpm_on() {
    mkdir -p "$WORLD/tpm"
    swtpm socket --tpm2 --flags startup-clear,not-need-init --tpmstate dir="$WORLD/tpm" \
        --server type=tcp,port=2321,bindaddr=127.0.0.1 --ctrl type=tcp,port=2322,bindaddr=127.0.0.1 \
        </dev/null >"$WORLD/swtpm.log" 2>&1 3<&- &
    tpm=$!
    local tries
    for ((tries = 0; tries < 3000; tries++)); do
        # The control port: a client of the other one would keep others waiting.
        (exec 4<>/dev/tcp/127.0.0.1/2322) 2>/dev/null && return
        kill -0 "$tpm" || return
        sleep 0.02
    done
    return 1
}

# It is off, or gone.
tpm_off() {
    ! kill "$tpm" 2>/dev/null || wait "$tpm" || true
}

# Another TPM stands in its place: a new main board.
tpm_exchanged() {
    tpm_off
    rm -rf "$WORLD/tpm"
    tpm_on
}

# TPM2_Clear, as the firmware's menu, or some updates, do it.
tpm_cleared() { tpm2_clear -c p; }

# Secure Boot's certificates were updated, and the machine was started again.
pcr_7_changes() { tpm2_pcrextend 7:sha256=65ca01fe65ca01fe65ca01fe65ca01fe65ca01fe65ca01fe65ca01fe65ca01fe; }

# A kernel image of that name; and the machine is started with one: systemd-stub and systemd-pcrphase measure it, and the phases.
image() {
    mkdir -p "$(dirname "$1")" /run/systemd
    printf "%s\n" "${1##*/}" >"$1"
}
booted() {
    local digest
    for digest in "$(printf '.linux\0' | digest)" "$(digest <"$1")" \
        "$(printf enter-initrd | digest)" "$(printf leave-initrd | digest)" "$(printf sysinit | digest)" "$(printf ready | digest)"; do
        tpm2_pcrextend "11:sha256=$digest" || return
    done
}
digest() { sha256sum | cut -d' ' -f1; }

# A token with that label, and that PIN.
token() { softhsm2-util --init-token --free --label "$1" --pin "$2" --so-pin 5678-officer >/dev/null; }

# We sit at another server from now on, a new one if there was none of that name. What is on /mnt, in /run and on tokens comes
# along; state and TPM stay with theirs.
server() {
    local left entered
    left=$WORLD/servers/$(uname -n) entered=$WORLD/servers/$1
    tpm_off
    mkdir -p "$left"
    mv "$WORLD/tpm" "$left/tpm"
    [[ ! -e /var/lib/strongroom ]] || mv /var/lib/strongroom "$left/state"
    rm -rf "/run/lock/strongroom-$EUID"
    hostname "$1"
    [[ ! -e $entered/tpm ]] || mv "$entered/tpm" "$WORLD/tpm"
    [[ ! -e $entered/state ]] || mv "$entered/state" /var/lib/strongroom
    tpm_on
}

# Somebody has run the ceremony: a system payroll with that backup; one more backup; a new generation with that backup; a backup restored
# onto a device; a drill; a drill with a passphrase that is wrong.
made() { quietly init --device "$tpm_uri" --name payroll "$@"; }
backed_up() { quietly backup "$@"; }
generated() { quietly generate --yes "$@"; }
restored() {
    local device=$1
    [[ $device != tpm: ]] || device=$tpm_uri
    quietly restore --yes --pin-file /run/keys/pin --device "$device" "${@:2}"
}
drilled() { quietly verify --pin-file /run/keys/pin "$@"; }
mistyped() { ! strongroom verify --quiet --passphrase-fd 0 "$1" <<<"not the passphrase" 2>/dev/null; }
# The first time, remembers the key that services have; later, shows that they would get the same one.
same_key() {
    local key
    key=$(strongroom derive --quiet --generation 1 --pin-file /run/keys/pin backups/db1) || return
    [[ $key == "${remembered=$key}" ]]
}
quietly() { strongroom "$1" --quiet --passphrase-file /run/keys/passphrase "${@:2}"; }

# A journal daemon, for journalctl.
journal() {
    mkdir -p /run/systemd/journal
    /lib/systemd/systemd-journald </dev/null >"$WORLD/journald.log" 2>&1 3<&- &
    local tries
    for ((tries = 0; tries < 3000; tries++)); do
        [[ ! -S /run/systemd/journal/socket ]] || return 0
        sleep 0.02
    done
    return 1
}

# What systemd would do to start a service, without systemd: the unit is checked by systemd-analyze, and its commands are run
# one after another, in its directory below /run.
start_unit() {
    local unit=/etc/systemd/system/$1 line runtime
    systemd-analyze verify --man=no --recursive-errors=no "$unit" || return
    runtime=$(sed -n 's/^RuntimeDirectory=//p' "$unit")
    mkdir -p "/run/$runtime"
    chmod 0700 "/run/$runtime"
    while IFS= read -r line; do
        (umask "$(sed -n 's/^UMask=//p' "$unit" | grep . || echo 022)"
         RUNTIME_DIRECTORY=/run/$runtime eval "${line//%t//run}") || return
    done < <(sed -n 's/^Exec\(StartPre\|Start\|StartPost\)=//p' "$unit")
}

# /etc may be written: it is a copy.
own_etc() {
    cp -a /etc "$WORLD/etc" && mount --bind "$WORLD/etc" /etc
}

# The directories that opencryptoki's package makes.
opencryptoki_installed() {
    ln -s /run /var/run
    ln -s /run/lock /var/lock
    mkdir -p /var/log/opencryptoki /var/lib/opencryptoki/swtok/TOK_OBJ /run/lock/opencryptoki/swtok
    chgrp -R pkcs11 /var/lib/opencryptoki /run/lock/opencryptoki
    chmod -R 0770 /var/lib/opencryptoki /run/lock/opencryptoki
}

# -- the server --------------------------------------------------------------------------------------------------------------

# A root directory of its own, with this system's programs in it: whoever runs the tests owns all that the state lies in.
build() {
    local root=$WORLD/root name
    mkdir "$root"
    mount -t tmpfs -o mode=0755 root "$root"
    for name in bin sbin lib lib32 lib64 libx32; do
        if [[ -L /$name ]]; then
            cp -P "/$name" "$root/$name"
        elif [[ -d /$name ]]; then
            mkdir "$root/$name"
            mount --rbind "/$name" "$root/$name"
        fi
    done
    for name in usr etc proc sys; do
        mkdir "$root/$name"
        mount --rbind "/$name" "$root/$name"
    done
    mkdir -p "$root"/{root,run/lock,var/lib/softhsm/tokens,world,repository,dev/shm,dev/pts}
    mkdir -m 1777 "$root"/{tmp,var/tmp}
    mkdir -m 0700 "$root/run/keys"
    # A file system of its own, as a stick is.
    mkdir "$root/mnt"
    mount -t tmpfs -o mode=0755 mnt "$root/mnt"
    mkdir "$root"/mnt/{usb,usb2}
    mount -t tmpfs -o mode=0755 units "$root/etc/systemd/system"

    for name in null zero full random urandom tty ptmx; do
        : >"$root/dev/$name"
        mount --bind "/dev/$name" "$root/dev/$name"
    done
    mount --bind /dev/pts "$root/dev/pts"
    ln -s /proc/self/fd "$root/dev/fd"
    truncate -s 32M "$root/dev/sdb"

    mount --bind "$WORLD" "$root/world"
    mount --bind "$CLONE" "$root/repository"
    : >"$root/program"
    mount --bind "$STRONGROOM" "$root/program"

    ip link set lo up
    hostname db1
    exec env WORLD=/world CLONE=/repository STRONGROOM=/program HOME=/root \
        chroot "$root" bash --noprofile --norc /repository/tests/docs/world.sh
}

furnish() {
    # Quick where it must not be slow: 2^16 is what `status` takes without a warning.
    mkdir "$WORLD/bin"
    cat >"$WORLD/bin/strongroom" <<'END'
#!/bin/bash
case ${1-} in
init | generate | rotate | backup) exec "$STRONGROOM" "$@" --work-factor 16 ;;
*) exec "$STRONGROOM" "$@" ;;
esac
END
    chmod 0755 "$WORLD/bin/strongroom"
    PATH=$WORLD/bin:$PATH

    # Commands that begin in a clone of the repository.
    mkdir "$WORLD/clone"
    ln -s "$CLONE"/* "$WORLD/clone/"
    cd "$WORLD/clone"

    # The TPM tools of a server talk to /dev/tpmrm0 by themselves, and SoftHSM has its configuration in /etc.
    export TPM2TOOLS_TCTI=swtpm:host=127.0.0.1,port=2321 TSS2_LOG=all+NONE SOFTHSM2_CONF=$WORLD/softhsm2.conf
    sed "s|@TOKENDIR@|/var/lib/softhsm/tokens|" "$CLONE/softhsm-config/softhsm2.conf.in" >"$SOFTHSM2_CONF"
    tpm_on
    token payroll 1234-user
    (umask 077; printf 'three dull knives under blue snow\n' >/run/keys/passphrase; printf '1234-user\n' >/run/keys/pin)
}

# Whoever waits for an end learns of ours.
trap 'printf "\001%d\002" 255' EXIT
set -e
[[ $WORLD == /world ]] || build
furnish
set +e
exec 3<"$WORLD/commands"
while IFS= read -r -d '' -u 3 command; do
    eval "$command" 3<&-
    printf '\001%d\002' $?
done
