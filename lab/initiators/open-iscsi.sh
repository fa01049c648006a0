# The kernel's initiator with dm-multipath: four portals in two groups, CHAP both ways and digests,
# fio verifying while groups switch, connections break and the target is started again.
. $HERE/common
cat > /run/secrets.toml <<TOML
[[account]]
name = "host"
secret = "a secret of the host"
target_name = "array"
target_secret = "a secret of the array"
TOML
mkdir -p /run/data
modprobe -a iscsi_tcp sd_mod dm_multipath dm_service_time scsi_dh_alua crc32c_generic 2>/dev/null
/lib/systemd/systemd-udevd --daemon || /usr/lib/systemd/systemd-udevd --daemon || fail "no udevd"
serve --secrets /run/secrets.toml --data /run/data

say "discovery and login to four portals, CHAP both ways, digests"
echo "InitiatorName=iqn.2026-03.invalid.lab:guest" > /etc/iscsi/initiatorname.iscsi
sed -i 's/^iscsid.startup.*//' /etc/iscsi/iscsid.conf
mkdir -p /run/lock/iscsi
iscsid -f > /run/iscsid.log 2>&1 &
sleep 2
must iscsiadm -m discovery -t sendtargets -p 127.0.0.1 > /run/found
[ "$(grep -c $TARGET /run/found)" = 4 ] || fail "discovery finds $(cat /run/found)"
set_() { iscsiadm -m node -T $TARGET -o update -n "$1" -v "$2" || fail "cannot set $1"; }
# Without the secret nobody gets in.
iscsiadm -m node -T $TARGET -p 127.0.0.1:3260 -l > /run/refused 2>&1 && fail "in without a secret"
set_ node.session.auth.authmethod CHAP
set_ node.session.auth.username host
set_ node.session.auth.password "a secret of the host"
set_ node.session.auth.username_in array
set_ node.session.auth.password_in "a secret of the array"
set_ 'node.conn[0].iscsi.HeaderDigest' CRC32C
set_ 'node.conn[0].iscsi.DataDigest' CRC32C
set_ node.session.timeo.replacement_timeout 5
must iscsiadm -m node -T $TARGET -l > /run/logins 2>&1
[ "$(iscsiadm -m session | grep -c $TARGET)" = 4 ] || fail "$(cat /run/logins)"
must iscsiadm -m session -P 2 > /run/sessions
[ "$(grep -c 'HeaderDigest: CRC32C' /run/sessions)" = 4 ] || fail "no header digests"
[ "$(grep -c 'DataDigest: CRC32C' /run/sessions)" = 4 ] || fail "no data digests"
grep -q 'as "host"' /run/target.log || fail "the target does not tell of CHAP"

say "dm-multipath"
cat > /etc/multipath.conf <<CONF
defaults {
    find_multipaths no
    user_friendly_names no
    polling_interval 1
    no_path_retry 60
}
CONF
mkdir -p /run/multipath
multipathd -d > /run/multipathd.log 2>&1 &
MULTIPATHD=$!
unit=$(alua list --json | sed -n 's/.*"name": "naa\.\(6[0-9a-f]*\)".*/\1/p' | sort | head -n 1)
[ -n "$unit" ] || { alua list; fail "alua list sees no unit"; }
map=/dev/mapper/3$unit
for _ in $(seq 60); do [ -e $map ] && break; sleep 0.5; done
[ -e $map ] || { multipath -ll; tail /run/multipathd.log; fail "no map $map"; }
for _ in $(seq 40); do
    multipath -ll 3$unit > /run/map
    [ "$(grep -c 'active ready' /run/map)" = 4 ] && break
    sleep 0.5
done
[ "$(grep -c 'active ready' /run/map)" = 4 ] || fail "not four paths: $(cat /run/map)"
[ "$(grep -c "prio=" /run/map)" = 2 ] || fail "not two groups: $(cat /run/map)"
grep -q "hwhandler='1 alua'" /run/map || fail "no alua handler: $(cat /run/map)"

say "fio verifies while groups switch, connections break, ports fail and the target restarts"
fio --name=v --filename=$map --rw=randrw --rwmixread=30 --bs=4k --size=24M --io_size=64M \
    --direct=1 --ioengine=libaio --iodepth=4 --verify=crc32c --verify_backlog=64 --verify_fatal=1 \
    --rate_iops=150 --time_based --runtime=75 --output=/run/fio.log > /run/fio.err 2>&1 &
FIO=$!
event() { say "  $*"; must alua target event "$@" > /dev/null; }
sleep 5;  event switch to=B
sleep 6;  event switch to=A
sleep 6;  event cut port=1
sleep 4;  event cut
sleep 6;  event port-down port=1
          event port-down port=2
sleep 8;  event port-up port=1
          event port-up port=2
sleep 5;  event request-logout port=3 seconds=3
sleep 5
say "  the target is started again"
kill $SERVER; wait $SERVER
sleep 2
serve --secrets /run/secrets.toml --data /run/data
wait $FIO
code=$?
cat /run/fio.log
[ $code = 0 ] || fail "fio ends with $code: $(tail -n 5 /run/fio.err) $(tail -n 5 /run/fio.log)"
grep -q "err= 0" /run/fio.log || fail "fio saw errors"
say "  fio: $(grep -oE 'issued rwts: total=[0-9,]*' /run/fio.log), no error"

say "four paths again at the end"
for _ in $(seq 40); do
    multipath -ll 3$unit > /run/map
    [ "$(grep -c 'active ready' /run/map)" = 4 ] && break
    sleep 1
done
[ "$(grep -c 'active ready' /run/map)" = 4 ] || fail "not four paths: $(cat /run/map)"
kill $MULTIPATHD; wait $MULTIPATHD 2>/dev/null
multipath -F
must iscsiadm -m node -T $TARGET -u > /dev/null
exit 0
