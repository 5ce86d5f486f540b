#!/bin/sh
# Builds kernels.elf (gcc-arm-none-eabi).
set -eu
cd "$(dirname "$0")"
cat >kernels.ld <<'LD'
SECTIONS
{
  . = 0x0;
  .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) *(.data*) }
  .bss 0x20000000 (NOLOAD) : { *(.bss*) *(COMMON) }
  stack_top = 0x20004000;
  /DISCARD/ : { *(.ARM.*) *(.comment) }
}
LD
trap 'rm -f kernels.ld' EXIT
arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -O2 -ffreestanding -nostdlib -fno-builtin -fno-tree-loop-distribute-patterns \
    -Wall -Wextra -Werror -Wl,-T,kernels.ld -Wl,--build-id=none -Wl,-z,max-page-size=16 -Wl,--no-warn-rwx-segments \
    -Wl,-e,reset kernels.c -lgcc -o kernels.elf
arm-none-eabi-strip --strip-all kernels.elf
