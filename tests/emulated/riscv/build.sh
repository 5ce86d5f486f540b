#!/bin/sh
# Builds the test images and, from them, the golden logs: Debian's gcc-riscv64-unknown-elf and qemu-system-misc (7.2).
# QEMU's extensions that the emulated core does not have are turned off; -machine virt has the same CLINT, PLIC and UART.
set -eu
cd "$(dirname "$0")"
out=${1:-.}
for bits in 32 64; do
    if [ $bits = 32 ]; then abi=ilp32; else abi=lp64; fi
    build() {
        riscv64-unknown-elf-gcc -march=rv${bits}imac_zicsr_zifencei -mabi=$abi -mcmodel=medany -O2 -Wall -Wextra \
            -ffreestanding -nostdlib -static -Wl,--no-warn-rwx-segments -Wl,--build-id=none -T link.ld "$@"
    }
    build -s start.S oracle.c random.c -o "$out/oracle-rv$bits.elf"
    build scenarios.S -o "$out/scenarios-rv$bits.elf"
    riscv64-unknown-elf-strip -x "$out/scenarios-rv$bits.elf"
    qemu-system-riscv$bits -machine virt -cpu rv$bits,s=false,h=false,zba=false,zbb=false,zbc=false,zbs=false \
        -bios none -nographic -serial mon:stdio -kernel "$out/oracle-rv$bits.elf" </dev/null | tr -d '\r' >"$out/qemu-rv$bits.log"
done
