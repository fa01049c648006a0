# QEMU's iSCSI driver: images in and out, patterns, unmapped ranges, a switch in between.
. $HERE/common
serve
disk=iscsi://127.0.0.1/$TARGET/1
say "qemu-img convert and compare"
head -c 20000000 /dev/urandom > /run/image
must qemu-img convert -n -f raw -O raw /run/image $disk
must qemu-img compare -f raw -F raw /run/image iscsi://127.0.0.4/$TARGET/1
say "qemu-io"
io() { qemu-io -f raw "$@" $disk > /run/io 2>&1 && ! grep -qiE "failed|error|mismatch" /run/io; }
io -c 'write -P 7 1M 4M' -c 'read -P 7 1M 4M' || fail "$(cat /run/io)"
io -c 'write -z 2M 64k' -c 'read -P 0 2M 64k' -c 'read -P 7 2112k 64k' || fail "$(cat /run/io)"
io -c 'discard 1M 1M' -c 'read -P 0 1M 1M' -c flush || fail "$(cat /run/io)"
# The control: a wrong pattern is found.
io -c 'read -P 8 4M 64k' && fail "qemu-io does not see a wrong pattern"
# QEMU waits out no transition when it opens a unit (04/0A fails it), but passes over the unit
# attention of a switch that is over.
say "a switch in the middle of it"
(sleep 1.5; alua target event switch to=A unit=data1 transition=0s) &
io -c 'write -P 9 8M 1M' -c 'sleep 4000' -c 'read -P 9 8M 1M' -c 'write -P 5 9M 1M' \
    || fail "$(cat /run/io)"
wait %2 2>/dev/null
alua target status | grep -A2 'unit data1' | grep -q 'group 1: active/optimized' \
    || fail "the switch is not there"
