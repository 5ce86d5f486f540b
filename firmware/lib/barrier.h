/*
 * Memory barriers between this processor and the host.
 *
 * Each use says which two accesses it orders. The compiler may not move memory accesses across them either.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef BARRIER_H
#define BARRIER_H

#if defined(__arm__)
static inline void barrier_load(void) { __asm__ volatile("dmb" ::: "memory"); }
static inline void barrier_store(void) { __asm__ volatile("dmb" ::: "memory"); }
static inline void barrier_full(void) { __asm__ volatile("dmb" ::: "memory"); }
#elif defined(__riscv)
static inline void barrier_load(void) { __asm__ volatile("fence r, rw" ::: "memory"); }
static inline void barrier_store(void) { __asm__ volatile("fence rw, w" ::: "memory"); }
static inline void barrier_full(void) { __asm__ volatile("fence rw, rw" ::: "memory"); }
#else
static inline void barrier_load(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
static inline void barrier_store(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }
static inline void barrier_full(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
#endif

#endif
