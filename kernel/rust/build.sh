#!/bin/sh
# Builds the Rust half of the module: one object that the linker puts beside the C glue.
#
#     build.sh OUTPUT BUILD-FOLDER KERNEL-BUILD-FOLDER
#
# Distribution kernels are built without CONFIG_RUST, so core is compiled here from the compiler's
# own source with the kernel's rules: no floating point, no red zone, the kernel's code model, and
# the mitigations that the kernel's own objects have. What nothing reaches is then left out.
# docs/decisions/kernel-object.md says why it is done this way.
set -eu

output=$1
build=$2
kernel=$3
here=$(cd "$(dirname "$0")" && pwd)
rustc=${ALUA_RUSTC:-rustc}
# In the repository the driver core is beside us, in a DKMS tree below us.
core=$here/../alua-core
[ -d "$core" ] || core=$here/../../crates/alua-core
mkdir -p "$build"

fail() {
    echo "alua: $*" >&2
    exit 1
}

library=$("$rustc" --print sysroot)/lib/rustlib/src/rust/library
[ -f "$library/core/src/lib.rs" ] || fail "the source of Rust's core library is missing at" \
    "$library: on Debian, apt-get install rustc-web rust-web-src"

configured() {
    grep -q "^$1=y" "$kernel/include/config/auto.conf"
}

# These two can be chosen in the description of the target only, and thunks that the kernel does not
# have must not be called.
features=
if configured CONFIG_RETPOLINE || configured CONFIG_MITIGATION_RETPOLINE; then
    features=,+retpoline-external-thunk,+retpoline-indirect-branches,+retpoline-indirect-calls
fi
if configured CONFIG_SLS || configured CONFIG_MITIGATION_SLS; then
    features=$features,+harden-sls-ijmp,+harden-sls-ret
fi
sed "s/+soft-float/&$features/" "$here/target.json" >"$build/target.json"

flags="--edition 2024 --target $build/target.json -Zunstable-options -Copt-level=s
    -Cpanic=abort -Cforce-unwind-tables=n -Ccodegen-units=1 -Csymbol-mangling-version=v0
    -Crelocation-model=static -Ccode-model=kernel -Cno-redzone=y -Cdebuginfo=0
    -Cembed-bitcode=y -Zfunction-sections=y --cap-lints allow"
configured CONFIG_X86_KERNEL_IBT && flags="$flags -Zcf-protection=branch -Cjump-tables=n"
configured CONFIG_RETHUNK || configured CONFIG_MITIGATION_RETHUNK &&
    flags="$flags -Zfunction-return=thunk-extern"
padding=$(sed -n 's/^CONFIG_FUNCTION_PADDING_BYTES=//p' "$kernel/include/config/auto.conf")
configured CONFIG_CALL_PADDING && flags="$flags -Zpatchable-function-entry=$padding,$padding"

compile() {
    # shellcheck disable=SC2086 # the flags are words
    RUSTC_BOOTSTRAP=1 "$rustc" $flags -L "$build" --out-dir "$build" --crate-type "$@"
}

# core takes most of the time and depends on the flags and the compiler alone.
stamp="$flags $("$rustc" --version) $(cksum <"$build/target.json")"
if [ "$(cat "$build/core.stamp" 2>/dev/null)" != "$stamp" ]; then
    rm -f "$build"/*.rlib "$build/core.stamp"
    compile rlib --crate-name core --cfg no_fp_fmt_parse "$library/core/src/lib.rs"
    compile rlib --crate-name compiler_builtins -Clinker=false "$here/builtins.rs"
    echo "$stamp" >"$build/core.stamp"
fi
compile rlib --crate-name alua_core "$core/src/lib.rs"
# All crates are optimized as one, which makes a tenth less of them.
compile staticlib --crate-name alua_kernel --cfg kernel --extern alua_core -Clto=fat "$here/src/lib.rs"

# Only what the entry points reach: most of core goes.
entries=$(sed -n 's/.*extern "C" fn \(alua_rs_[a-z0-9_]*\).*/-u \1/p' "$here"/src/*.rs)
[ -n "$entries" ] || fail "no entry point was found in $here/src"
# shellcheck disable=SC2086 # words
ld -r --gc-sections -T "$here/object.lds" $entries -o "$output.all" "$build/libalua_kernel.a"
# The linker forgets to drop the name of a function that only dropped code called: __udivti3 and its like.
objcopy --remove-section .llvmbc --remove-section .llvmcmd --remove-section .comment \
    --wildcard --keep-global-symbol 'alua_rs_*' --strip-unneeded-symbol '__*ti3' \
    "$output.all" "$output"
rm -f "$output.all"

# Nothing in it may panic, and nothing may be left that the kernel does not have.
if nm "$output" | grep -i panic >&2; then
    fail "the object above holds a panic"
fi
