# cython: language_level=3, boundscheck=False, wraparound=False
"""The block hook of `counter.py` in C: see there for what it does and why."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    typedef int (*openamp_stop)(void *);
    typedef int (*openamp_read)(void *, int, void *);
    """
    ctypedef int (*openamp_stop)(void *) noexcept nogil
    ctypedef int (*openamp_read)(void *, int, void *) noexcept nogil

cdef enum:
    MAX_CONDITIONS = 3
    NUM_LENGTHS = 4096

cdef struct Condition:
    int32_t register_
    uint32_t mask
    uint32_t bias
    uint32_t minimum

cdef struct CodeRange:
    uint64_t start
    uint64_t end
    const uint8_t *bytes_

cdef struct BlockLength:
    uint64_t block
    uint32_t size
    uint32_t length

cdef struct TranslationBlock:
    uint64_t pc
    uint16_t instructions
    uint16_t size

cdef struct State:
    int64_t count
    int64_t limit
    uint64_t block
    uint64_t stopped_at
    uint32_t size
    uint32_t stopped
    uint32_t riscv
    uint32_t num_conditions
    uint64_t num_ranges
    const CodeRange *ranges
    BlockLength *lengths
    openamp_stop stop
    openamp_read read
    Condition conditions[MAX_CONDITIONS]


cdef bint hold(void *engine, const State *state) noexcept nogil:
    cdef uint32_t index
    cdef uint64_t value
    for index in range(state.num_conditions):
        value = 0
        state.read(engine, state.conditions[index].register_, &value)
        if <uint32_t>((<uint32_t>value & state.conditions[index].mask) - state.conditions[index].bias) \
                < state.conditions[index].minimum:
            return False
    return True


cdef uint32_t count_instructions(const State *state, uint64_t address, uint32_t size) noexcept nogil:
    cdef uint64_t index
    cdef uint64_t offset
    cdef uint64_t end
    cdef const uint8_t *code
    cdef uint32_t number = 0
    for index in range(state.num_ranges):
        if state.ranges[index].start <= address < state.ranges[index].end:
            code = state.ranges[index].bytes_
            offset = address - state.ranges[index].start
            end = min(offset + size, state.ranges[index].end - state.ranges[index].start)
            while offset + 1 < end:
                if (code[offset] & 3) == 3 if state.riscv else code[offset + 1] >= 0xE8:
                    offset += 4
                else:
                    offset += 2
                number += 1
            break
    return number


cdef bint needs_look(const State *state, uint64_t address, uint32_t size) noexcept nogil:
    """RISC-V: the block may hold an instruction that `rvdecode.find_trouble` names."""
    cdef uint64_t index
    cdef uint64_t offset
    cdef uint64_t end
    cdef const uint8_t *code
    cdef uint32_t half
    cdef uint32_t function
    cdef uint32_t number
    for index in range(state.num_ranges):
        if state.ranges[index].start <= address < state.ranges[index].end:
            code = state.ranges[index].bytes_
            offset = address - state.ranges[index].start
            end = min(offset + size, state.ranges[index].end - state.ranges[index].start)
            while offset + 1 < end:
                half = code[offset] | <uint32_t>code[offset + 1] << 8
                function = half >> 13
                if (half & 3) == 3:
                    if (half & 0x207F) == 0x2073 and offset + 3 < end:
                        number = (code[offset + 2] | <uint32_t>code[offset + 3] << 8) >> 4
                        if (number & 0xF60) == 0xC00:
                            return True
                    offset += 4
                    continue
                if (half & 3) == 1:
                    if function == 4 and half & 0x1000 and (state.riscv == 32 or (half & 0xC40) == 0xC40):
                        return True
                elif function == 1 or function == 5 or (function == 4 and not half & 3):
                    return True
                elif half & 3 and state.riscv == 32 and (function == 3 or function == 7 or (not function and half & 0x1000)):
                    return True
                offset += 2
            break
    return False


cdef void block(void *engine, uint64_t address, uint32_t size, void *data) noexcept nogil:
    cdef State *state = <State *>data
    cdef BlockLength *known
    if state.count >= state.limit or (state.num_conditions and hold(engine, state)):
        state.stopped = 1
        state.stopped_at = address
        state.stop(engine)
        return
    known = &state.lengths[(address >> 1) % NUM_LENGTHS]
    if known.block != address or known.size != size:
        known.block = address
        known.size = size
        known.length = count_instructions(state, address, size)
        if state.riscv and needs_look(state, address, size):
            state.block = address
            state.size = size
            state.stopped = 2
            state.stopped_at = address
            state.stop(engine)
            return
    state.block = address
    state.size = size
    state.count += known.length


cdef void new_block(void *engine, const TranslationBlock *new, const TranslationBlock *previous, void *data) \
        noexcept nogil:
    cdef State *state = <State *>data
    cdef BlockLength *known = &state.lengths[(new.pc >> 1) % NUM_LENGTHS]
    if known.block == new.pc:
        known.size = 0


BLOCK = <size_t>&block
NEW_BLOCK = <size_t>&new_block
STATE_SIZE = sizeof(State)
