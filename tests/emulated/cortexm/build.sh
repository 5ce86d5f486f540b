#!/bin/sh
# Builds the oracle for every core and makes the golden logs with qemu-system-arm (gcc-arm-none-eabi, qemu-system-arm).
set -eu
cd "$(dirname "$0")"

build() { # name, -mcpu..., code address, data address, further options
    name=$1 cpu=$2 code=$3 data=$4
    shift 4
    arm-none-eabi-gcc $cpu -mthumb -Os -g0 -ffreestanding -nostdlib -fno-builtin -Wall -Wextra -Werror "$@" \
        -Wl,--defsym=CODE=$code,--defsym=DATA=$data -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,max-page-size=16 -Wl,--no-warn-rwx-segments \
        -T link.ld start.S oracle.c -lgcc -o "$name.elf"
    arm-none-eabi-strip --strip-all "$name.elf"
}

golden() { # name, machine
    timeout 60 qemu-system-arm -machine "$2" -nographic -monitor none -serial none -icount shift=5 \
        -semihosting-config enable=on,target=native -kernel "$1.elf" >"$1.log" 2>&1
}

FP=-mfloat-abi=softfp
build m0 -mcpu=cortex-m0 0x00000000 0x20000000 -DV6 -DNOTHING=0xB0000000
build m3 -mcpu=cortex-m3 0x00000000 0x20000000 -DNOTHING=0xB0000000
build m4 "-mcpu=cortex-m4 $FP -mfpu=fpv4-sp-d16" 0x00000000 0x20000000 -DFPU -DNOTHING=0xB0000000
build m7 "-mcpu=cortex-m7 $FP -mfpu=fpv5-d16" 0x00000000 0x20000000 -DFPU -DNOTHING=0xB0000000
build m33 "-mcpu=cortex-m33 $FP -mfpu=fpv5-sp-d16" 0x10000000 0x38000000 -DFPU -DV8 -DNOTHING=0xB0000000

[ "${1:-}" = --no-qemu ] && exit
golden m0 microbit
golden m3 mps2-an385
golden m4 mps2-an386
golden m7 mps2-an500
golden m33 mps2-an505
