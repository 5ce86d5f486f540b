/* Vector table, reset, and the part of the handlers that C cannot write. */
    .syntax unified
    .thumb
    .section .vectors, "a"
    .global vectors
vectors:
    .word stack_top, reset, nmi_handler, hard_fault_entry
    .word mem_manage_entry, bus_fault_entry, usage_fault_entry, 0
    .word 0, 0, 0, svc_entry
    .word debug_entry, 0, pendsv_entry, systick_entry
    .rept 32
    .word irq_entry
    .endr

    .text
    .thumb_func
    .global reset
reset:
    ldr r0, =data_load
    ldr r1, =data_start
    ldr r2, =data_end
1:  cmp r1, r2
    bhs 2f
    ldr r3, [r0]
    str r3, [r1]
    adds r0, r0, #4
    adds r1, r1, #4
    b 1b
2:  ldr r1, =bss_start
    ldr r2, =bss_end
    movs r3, #0
3:  cmp r1, r2
    bhs 4f
    str r3, [r1]
    adds r1, r1, #4
    b 3b
4:
#ifdef FPU
    ldr r0, =0xE000ED88
    ldr r1, =0x00F00000
    str r1, [r0]
    dsb
    isb
#endif
    bl main
    b .

    /* Calls a C function with the stacked frame and EXC_RETURN; what it returns becomes EXC_RETURN. */
    .macro entry name, function
    .thumb_func
    .global \name
\name:
    mov r1, lr
    movs r0, #4
    tst r0, r1
    bne 1f
    mrs r0, msp
    b 2f
1:  mrs r0, psp
2:  push {r1, lr}
    bl \function
    mov r1, r0
    pop {r2, r3}
    bx r1
    .endm

    entry hard_fault_entry, hard_fault
    entry mem_manage_entry, mem_manage
    entry bus_fault_entry, bus_fault
    entry usage_fault_entry, usage_fault
    entry debug_entry, debug_monitor
    entry svc_entry, svc
    entry systick_entry, systick
    entry irq_entry, irq
    entry nmi_handler, nmi

    /* PendSV: the test's own C handler, or a context switch between two threads. */
    .thumb_func
    .global pendsv_entry
pendsv_entry:
    ldr r0, =switching
    ldr r0, [r0]
    cmp r0, #0
    beq plain_pendsv
    mrs r0, psp
#ifdef FPU
    tst lr, #0x10
    it eq
    vstmdbeq r0!, {s16-s31}
    stmdb r0!, {r4-r11, lr}
    bl switch_threads
    ldmia r0!, {r4-r11, lr}
    tst lr, #0x10
    it eq
    vldmiaeq r0!, {s16-s31}
#else
    subs r0, r0, #36
    mov r1, r0
    stmia r1!, {r4-r7}
    mov r4, r8
    mov r5, r9
    mov r6, r10
    mov r7, r11
    stmia r1!, {r4-r7}
    mov r2, lr
    str r2, [r1]
    bl switch_threads
    mov r1, r0
    adds r1, r1, #16
    ldmia r1!, {r4-r7}
    mov r8, r4
    mov r9, r5
    mov r10, r6
    mov r11, r7
    ldr r2, [r1]
    adds r1, r1, #4
    mov lr, r2
    ldmia r0!, {r4-r7}
    mov r0, r1
#endif
    msr psp, r0
    bx lr
plain_pendsv:
    entry plain_entry, pendsv

    /* int semihost(int operation, void *argument) */
    .thumb_func
    .global semihost
semihost:
    bkpt #0xab
    bx lr

    /* uint32_t call_on_psp(uint32_t psp, uint32_t (*function)(void)): runs it in thread mode on the process stack. */
    .thumb_func
    .global call_on_psp
call_on_psp:
    push {r4, lr}
    mrs r4, control
    msr psp, r0
    movs r2, #2
    msr control, r2
    isb
    blx r1
    mov r1, r4
    movs r2, #2
    bics r1, r1, r2
    msr control, r1
    isb
    pop {r4, pc}

    /* void misaligned_svc(void): an SVC with SP at an odd multiple of 4 */
    .thumb_func
    .global misaligned_svc
misaligned_svc:
    movs r0, #2
    sub sp, #4
    svc #7
    add sp, #4
    bx lr

    /* Faulting code; each is followed by an instruction to go on with. */
    .balign 4
    .thumb_func
    .global do_undefined
do_undefined:
    udf #1
    bx lr
    .thumb_func
    .global do_breakpoint
do_breakpoint:
    bkpt #3
    bx lr
    /* uint32_t do_load(uint32_t address); the fault handler skips the 16-bit load */
    .thumb_func
    .global do_load
do_load:
    ldr r0, [r0]
    bx lr
    .thumb_func
    .global do_store
do_store:
    str r0, [r0]
    bx lr
    /* void do_branch(uint32_t target): the fault handler returns to LR */
    .thumb_func
    .global do_branch
do_branch:
    bx r0
    .ltorg
