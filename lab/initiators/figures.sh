# Figures beside tgt and LIO's iSCSI target, all in this guest with the same client: ratios to LIO.
# Not part of the tests: `cargo xtask lab initiators figures`.
. $HERE/common
# A unit as large as the others, in memory like theirs.
alua array print demo | sed 's/^blocks = .*/blocks = 524288/' > /run/bench.toml
serve --array /run/bench.toml
truncate -s 256M /dev/shm/tgt.img
tgtd -f --iscsi portal=127.0.0.1:13260 > /run/tgtd.log 2>&1 &
sleep 2
tgt="tgtadm --lld iscsi"
must $tgt --op new --mode target --tid 1 -T iqn.2026-03.invalid.tgt:bench
must $tgt --op new --mode logicalunit --tid 1 --lun 1 -b /dev/shm/tgt.img
must $tgt --op bind --mode target --tid 1 -I ALL
modprobe -a target_core_mod iscsi_target_mod
lio=/sys/kernel/config/target
store=$lio/core/rd_mcp_0/bench
mkdir -p $store
echo "rd_pages=65536" > $store/control
echo 1 > $store/enable
mkdir -p $lio/iscsi
port=$lio/iscsi/iqn.2026-03.invalid.lio:bench/tpgt_1
mkdir -p $port/np/127.0.0.1:23260 $port/lun/lun_0
ln -s $store $port/lun/lun_0/disk
echo 0 > $port/attrib/authentication
echo 1 > $port/attrib/generate_node_acls
echo 0 > $port/attrib/demo_mode_write_protect
echo 1 > $port/enable
alua-bench-iscsi ${SECONDS_EACH:-4} \
    alua=127.0.0.1:3260,$TARGET,0 \
    tgt=127.0.0.1:13260,iqn.2026-03.invalid.tgt:bench,1 \
    lio=127.0.0.1:23260,iqn.2026-03.invalid.lio:bench,0 > /run/figures || fail "$(cat /run/figures)"
cat /run/figures
sed 's/^/lab:     /' /run/figures
