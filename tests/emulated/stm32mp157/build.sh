#!/bin/sh
# Builds peripherals.elf (gcc-arm-none-eabi).
set -eu
cd "$(dirname "$0")"
arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -Os -g0 -ffreestanding -nostdlib -fno-builtin -Wall -Wextra -Werror \
    -Wl,--build-id=none -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -T link.ld peripherals.c -lgcc -o peripherals.elf
arm-none-eabi-strip --strip-all peripherals.elf
