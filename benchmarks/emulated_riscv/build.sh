#!/bin/sh
# Builds kernels-rv32.elf and kernels-rv64.elf (gcc-riscv64-unknown-elf).
set -eu
cd "$(dirname "$0")"
cat >kernels.ld <<'LD'
SECTIONS
{
  . = 0x80000000;
  .text : { KEEP(*(.start)) *(.text*) *(.rodata*) *(.srodata*) *(.data*) *(.sdata*) }
  .bss (NOLOAD) : ALIGN(4096) { *(.bss*) *(.sbss*) *(COMMON) }
  stack_top = 0x80080000;
  /DISCARD/ : { *(.comment) *(.riscv.attributes) *(.eh_frame*) }
}
LD
trap 'rm -f kernels.ld' EXIT
for bits in 32 64; do
    if [ $bits = 32 ]; then abi=ilp32; else abi=lp64; fi
    riscv64-unknown-elf-gcc -march=rv${bits}imac_zicsr -mabi=$abi -mcmodel=medany -O2 -ffreestanding -nostdlib -fno-builtin \
        -fno-tree-loop-distribute-patterns -Wall -Wextra -Werror -Wl,-T,kernels.ld -Wl,--build-id=none \
        -Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments kernels.c -o kernels-rv$bits.elf
    riscv64-unknown-elf-strip --strip-all kernels-rv$bits.elf
done
