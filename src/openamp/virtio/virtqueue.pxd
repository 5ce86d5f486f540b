# The C side of virtqueue.py: the types of its attributes and locals, and the fences.
#
# Words in shared memory are `volatile`: each access in the source is one access in the machine, neither repeated nor
# invented (a word of the peer's that is read twice could change between a check and its use). They are declared
# for any even address, as a legacy ring may lie at one. The fences are C11's.

cimport cython

cdef extern from *:
    """
    #include <stdatomic.h>
    #include <stdint.h>
    #include <time.h>

    typedef volatile uint16_t __attribute__((may_alias)) openamp_shared16;
    typedef volatile uint32_t __attribute__((may_alias, aligned(2))) openamp_shared32;
    typedef volatile uint64_t __attribute__((may_alias, aligned(2))) openamp_shared64;

    #define openamp_load_barrier() atomic_thread_fence(memory_order_acquire)
    #define openamp_store_barrier() atomic_thread_fence(memory_order_release)
    #define openamp_full_barrier() atomic_thread_fence(memory_order_seq_cst)
    #if defined(__x86_64__) || defined(__i386__)
    #define openamp_relax() __builtin_ia32_pause()
    #elif defined(__aarch64__) || defined(__arm__)
    #define openamp_relax() __asm__ __volatile__("yield")
    #else
    #define openamp_relax() __asm__ __volatile__("")
    #endif

    static inline long long openamp_monotonic(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000000000LL + now.tv_nsec;
    }

    #define openamp_address_of(view) ((uintptr_t)PyMemoryView_GET_BUFFER(view)->buf)
    """
    ctypedef unsigned short shared16 "openamp_shared16"
    ctypedef unsigned int shared32 "openamp_shared32"
    ctypedef unsigned long long shared64 "openamp_shared64"
    ctypedef size_t uintptr_t
    void load_barrier "openamp_load_barrier" () noexcept nogil
    void store_barrier "openamp_store_barrier" () noexcept nogil
    void full_barrier "openamp_full_barrier" () noexcept nogil
    void relax "openamp_relax" () noexcept nogil
    long long monotonic "openamp_monotonic" () noexcept nogil
    uintptr_t address_of "openamp_address_of" (object view) noexcept

cdef unsigned int _NEXT, _WRITE, _INDIRECT, _NO_INTERRUPT, _NO_NOTIFY, _UNKNOWN
cdef long long _FREE
cdef int _END, _LOOKS
cdef unsigned long long _MAX_CHAIN


@cython.final
cdef class DriverQueue:
    cdef readonly str name
    cdef readonly unsigned int num, num_free, head, written
    cdef bint _live, _open
    cdef object _cause
    cdef tuple _parts
    cdef shared64[::1] _desc64
    cdef shared32[::1] _desc32, _used32
    cdef shared16[::1] _desc16, _avail16, _used16
    cdef unsigned int _mask, _published, _pending, _last, _seen
    cdef unsigned short[::1] _free, _places, _set_flags
    cdef long long[::1] _limits
    cdef int[::1] _links
    cdef unsigned long long[::1] _set_addr
    cdef unsigned int[::1] _set_length

    @cython.locals(head=cython.uint, flags=cython.uint)
    cpdef unsigned int put(self, unsigned long long addr, unsigned int length, bint writable) except? 0xFFFFFFFF
    cdef int _describe(
        self, unsigned int index, unsigned long long addr, unsigned int length, unsigned int flags, unsigned int link
    ) except -1
    @cython.locals(place=cython.uint)
    cdef int _offer(self, unsigned int head, long long limit) except -1
    @cython.locals(index=cython.uint, at=cython.uint, count=cython.uint, flags=cython.uint, link=cython.int)
    cpdef unsigned int add_chain(self, object segments) except? 0xFFFFFFFF
    cpdef bint publish(self) except -1
    @cython.locals(last=cython.uint, slot=cython.uint, head=cython.uint, written=cython.uint)
    cpdef bint take(self) except -1
    @cython.locals(at=cython.int, link=cython.int)
    cdef int _free_links(self, unsigned int head) except -1
    @cython.locals(index=cython.uint, news=cython.uint, in_flight=cython.uint)
    cdef bint _look(self) except -1
    cpdef object reclaim(self)
    @cython.locals(taken=list)
    cpdef list reclaim_many(self, Py_ssize_t limit)
    @cython.locals(
        ours=shared16[::1], others=shared16[::1], last=cython.uint, other_last=cython.uint, found=cython.bint,
        end=cython.longlong, _=cython.int,
    )
    cpdef bint spin(self, DriverQueue other, long long nanoseconds) except -1
    cpdef object disable_notifications(self)
    cpdef bint enable_notifications(self) except -1


@cython.final
cdef class DeviceQueue:
    cdef readonly str name
    cdef readonly unsigned int num, num_held, head, length
    cdef readonly unsigned long long addr
    cdef readonly bint writable
    cdef bint _live
    cdef object _cause
    cdef shared64[::1] _desc64
    cdef shared32[::1] _desc32, _used32
    cdef shared16[::1] _desc16, _avail16, _used16
    cdef unsigned int _mask, _published, _pending, _last, _seen
    cdef long long[::1] _limits

    @cython.locals(head=cython.uint, length=cython.uint, flags=cython.uint, addr=cython.ulonglong)
    cpdef bint take(self) except -1
    @cython.locals(index=cython.uint, news=cython.uint, room=cython.uint)
    cdef bint _look(self) except -1
    @cython.locals(slot=cython.uint, head=cython.uint)
    cdef unsigned int _next_head(self) except? 0xFFFFFFFF
    cdef int _hold(self, unsigned int head, long long limit) except -1
    @cython.locals(
        head=cython.uint, index=cython.uint, length=cython.uint, flags=cython.uint, link=cython.uint,
        addr=cython.ulonglong, readable=cython.ulonglong, writable=cython.ulonglong, any_writable=cython.bint,
        segments=list,
    )
    cpdef object pop(self)
    cpdef object pop_single(self)
    @cython.locals(taken=list)
    cpdef list pop_singles(self, Py_ssize_t limit)
    @cython.locals(taken=list)
    cpdef list pop_many(self, Py_ssize_t limit)
    @cython.locals(slot=cython.uint)
    cpdef object put(self, long long head, long long written)
    cpdef bint publish(self) except -1
    @cython.locals(
        ours=shared16[::1], others=shared16[::1], last=cython.uint, other_last=cython.uint, found=cython.bint,
        end=cython.longlong, _=cython.int,
    )
    cpdef bint spin(self, DeviceQueue other, long long nanoseconds) except -1
    cpdef object disable_notifications(self)
    cpdef bint enable_notifications(self) except -1
