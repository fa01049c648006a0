# libiscsi's tools: discovery, INQUIRY, and its own suite for targets.
. $HERE/common
serve
say "iscsi-ls, iscsi-inq"
must iscsi-ls -s iscsi://127.0.0.1 > /run/ls
[ "$(grep -c '^Target:'$TARGET /run/ls)" = 4 ] || fail "iscsi-ls lists other portals: $(cat /run/ls)"
[ "$(grep -c 'Lun:.*DIRECT_ACCESS' /run/ls)" = 16 ] || fail "iscsi-ls lists other units"
must iscsi-inq iscsi://127.0.0.1/$TARGET/0 > /run/inq
grep -q "TPGS:3" /run/inq || fail "iscsi-inq shows another TPGS: $(cat /run/inq)"
must iscsi-readcapacity16 iscsi://127.0.0.3/$TARGET/1 > /run/capacity
grep -q "Total size:1073741824" /run/capacity || fail "another size: $(cat /run/capacity)"

# Debian's libiscsi has no iscsi-dd; iscsi-md5sum reads a whole unit through the library as well.
say "iscsi-md5sum of a unit that is kept in a file"
mkdir -p /run/small-data
head -c 8388608 /dev/urandom > /run/small-data/data0.img
alua array print demo | sed 's/^blocks = .*/blocks = 16384/' > /run/small.toml
alua target serve --array /run/small.toml --data /run/small-data --portal 127.0.0.9:3260=1 \
    --control /run/small.sock > /run/small.log 2>&1 &
small=$!
for _ in $(seq 100); do grep -q "control socket" /run/small.log && break; sleep 0.1; done
seen=$(iscsi-md5sum iscsi://127.0.0.9/$TARGET/0) || fail "iscsi-md5sum: $(cat /run/small.log)"
[ "$seen" = "$(md5sum < /run/small-data/data0.img | cut -d' ' -f1)" ] || fail "other data: $seen"
must alua target event stop --control /run/small.sock
wait $small

say "iscsi-test-cu"

# Known to differ: what libiscsi wants of data that are longer than the CDB takes (an error) is not
# what SAM and RFC 7143 let a target do (carry it out, with a residual), and a mistake of the suite.
# docs/iscsi.md argues each. One that passes makes the documentation untrue, and fails too.
known="CompareAndWrite.InvalidDataOutSize GetLBAStatus.UnmapSingle
WriteSame10.InvalidDataOutSize WriteSame16.InvalidDataOutSize"
differ=""
families=0
total=0
for family in $(iscsi-test-cu -l | grep -oE '^ *(SCSI|iSCSI)\.[A-Za-z0-9]+$' | tr -d ' ' | sort -u); do
    case $family in
        # Not there in the model; and a test whose client cannot read the answer that RFC 7143 asks for.
        *Sanitize*|*ExtendedCopy|*SendTargets) continue ;;
    esac
    timeout 120 iscsi-test-cu -d -n -f -t $family iscsi://127.0.0.1/$TARGET/0 > /run/cu 2>&1
    code=$?
    [ $code = 124 ] && fail "$family hangs: $(tail -n 3 /run/cu)"
    ran=$(awk '$1 == "tests" { print $3 }' /run/cu)
    [ -n "$ran" ] || fail "$family did not run: $(tail -n 5 /run/cu)"
    total=$((total + ran))
    # A guest that says nothing for minutes counts as hung, and a busy machine needs some for all of them.
    families=$((families + 1))
    [ $((families % 10)) = 0 ] && say "$families families, $total tests"
    for test in $(sed -n 's/^Suite \([^,]*\), Test \([^ ]*\) had failures:.*/\1.\2/p' /run/cu); do
        case " $(echo $known) " in
            *" $test "*) differ="$differ$test " ;;
            *) fail "iscsi-test-cu $test: $(cat /run/cu)" ;;
        esac
    done
done
say "iscsi-test-cu: $total tests, known to differ: $(echo $differ | wc -w)"
sorted() { echo $* | tr ' ' '\n' | sort; }
[ "$(sorted $differ)" = "$(sorted $known)" ] || fail "documented are: $known; differ: $differ"
[ $total -gt 200 ] || fail "only $total tests ran"
