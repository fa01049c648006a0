# `alua check` on Linux's own target: what it finds is recorded in docs/check.md, and nothing else
# may come.
. $HERE/common
lio=/sys/kernel/config/target
# The stock handler would take unit attentions away, and it cannot be detached.
echo "install scsi_dh_alua /bin/false" > /etc/modprobe.d/no-handler.conf
trap 'rm -f /etc/modprobe.d/no-handler.conf' EXIT
modprobe -a target_core_mod target_core_file tcm_loop sd_mod sg
store=$lio/core/fileio_0/check0
mkdir -p $store
truncate -s 64M /var/tmp/check0.img
echo "fd_dev_name=/var/tmp/check0.img,fd_dev_size=67108864" > $store/control
echo "5000000099" > $store/wwn/vpd_unit_serial
echo 1 > $store/enable
for id in 1 2; do
    group=$store/alua/grp$id
    mkdir -p $group
    echo $id > $group/tg_pt_gp_id
    echo 3 > $group/alua_access_type
    echo 500 > $group/trans_delay_msecs
    echo 10 > $group/implicit_trans_secs
    port=$lio/loopback/naa.500140500000010$id/tpgt_1
    mkdir -p $port
    echo naa.500140500000020$id > $port/nexus
    mkdir -p $port/lun/lun_0
    ln -s $store $port/lun/lun_0/disk
    echo grp$id > $port/lun/lun_0/alua_tg_pt_gp
done
sleep 3
for host in /sys/class/scsi_host/host*/scan; do echo "- - -" > $host; done
sleep 2
devices=$(lsscsi | awk '/LIO-ORG/ { print $NF }' | sort | tr '\n' ' ')
say "LIO at $devices"
[ "$(echo $devices | wc -w)" = 2 ] || { lsscsi; fail "not two paths"; }
alua check --explicit --destructive $devices > /run/check 2>&1
code=$?
cat /run/check
failed=$(sed -n 's/^ *FAILED *//p' /run/check | tr '\n' ' ')
say "exit $code, failed: $failed"
say "$(tail -n 1 /run/check)"
for id in 1 2; do
    port=$lio/loopback/naa.500140500000010$id/tpgt_1
    rm -f $port/lun/lun_0/disk
    rmdir $port/lun/lun_0 $port $lio/loopback/naa.500140500000010$id 2>/dev/null
    rmdir $store/alua/grp$id 2>/dev/null
done
rmdir $store 2>/dev/null
expected="report-whole allocation-lengths group-descriptors stpg-bad-lists "
[ "$failed" = "$expected" ] || fail "documented are: $expected"
