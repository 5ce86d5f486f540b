"""Names of ELF machine numbers (e_machine) for people."""

from __future__ import annotations

__all__ = ["EM_AARCH64", "EM_ARM", "EM_RISCV", "machine_name"]

EM_ARM = 40
EM_AARCH64 = 183
EM_RISCV = 243

_HUMAN = {
    "EM_68K": "Motorola 68000",
    "EM_386": "x86",
    "EM_AARCH64": "AArch64",
    "EM_ALTERA_NIOS2": "Nios II",
    "EM_ARC_COMPACT": "ARC",
    "EM_ARC_COMPACT2": "ARCv2",
    "EM_ARM": "Arm",
    "EM_BLACKFIN": "Blackfin",
    "EM_CSKY": "C-SKY",
    "EM_LOONGARCH": "LoongArch",
    "EM_MICROBLAZE": "MicroBlaze",
    "EM_MIPS": "MIPS",
    "EM_OPENRISC": "OpenRISC",
    "EM_PPC": "PowerPC",
    "EM_PPC64": "PowerPC64",
    "EM_QDSP6": "Hexagon",
    "EM_RISCV": "RISC-V",
    "EM_SH": "SuperH",
    "EM_TI_C2000": "TI C2000",
    "EM_TI_C5500": "TI C5500",
    "EM_TI_C6000": "TI C6000",
    "EM_TI_PRU": "TI PRU",
    "EM_X86_64": "x86-64",
    "EM_XTENSA": "Xtensa",
}
"""Where pyelftools' name of the number is not what people call the core."""


def machine_name(machine: int | None) -> str:
    """Returns the name of an e_machine number, such as "Arm"; a number nobody registered as "machine 0x1234"."""
    if not machine:
        return "unknown machine"
    from elftools.elf.enums import ENUM_E_MACHINE

    for key, value in ENUM_E_MACHINE.items():
        if value == machine and key != "_default_":
            return _HUMAN.get(key, key.removeprefix("EM_"))
    return f"machine {machine:#x}"
